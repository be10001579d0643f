"""SoftmaxWithLoss (Caffe's softmax_loss_layer)."""

import torch

from ..proto import LossParameter
from .common.base import Layer
from .common.labels import label_layout, labels_of
from .common.losses import normalization, normalizer, same_first

FLT_MIN = torch.finfo(torch.float32).tiny


class SoftmaxWithLoss(Layer):
    """bottoms: scores (…, C, …) and labels -> the loss, a scalar, and optionally the
    probabilities. The sum of -log p over pixels that are not ignored, divided by: VALID their
    number; FULL all positions; BATCH_SIZE those before the class axis; NONE 1; never under 1.

    p is clamped at FLT_MIN in the loss (at most 87.3 a pixel), not in its gradient, as in Caffe.
    """

    type = 'SoftmaxWithLoss'
    bottoms = 2
    tops = (1, 2)
    loss = True
    fields = 'loss_param'
    further_messages = ('softmax_param',)
    ignored = ('softmax_param.engine',)

    def setup(self):
        p = self.param
        self.normalization = normalization(p, LossParameter.VALID)
        self.ignore = p.ignore_label if p.HasField('ignore_label') else None

    def class_axis(self, scores, labels):
        return label_layout(self, self.node.param.softmax_param.axis, scores, labels)

    def shape(self, bottoms):
        same_first(self, bottoms)
        self.class_axis(*bottoms)
        return [(), bottoms[0]][:len(self.node.tops)]

    def forward(self, bottoms, params):
        scores, blob = bottoms
        axis = self.class_axis(scores.shape, blob.shape)
        inner = scores.shape[:axis] + scores.shape[axis + 1:]
        labels, valid = labels_of(self, blob.reshape(inner), scores.shape[axis], self.ignore)
        norm = normalizer(self.normalization, scores.shape, axis, valid)
        loss, prob = SoftmaxLoss.apply(scores, labels.unsqueeze(axis), valid.unsqueeze(axis), axis,
                                       norm)
        return [loss, prob][:len(self.node.tops)]


class SoftmaxLoss(torch.autograd.Function):
    """The gradient is prob - onehot in closed form, so that only prob is kept for backward."""

    @staticmethod
    def forward(ctx, scores, labels, valid, axis, norm):
        prob = torch.softmax(scores, axis)
        own = prob.gather(axis, labels).clamp(min=FLT_MIN)
        loss = -(own.log() * valid).sum() / norm
        ctx.save_for_backward(prob, labels, valid, norm)
        ctx.axis = axis
        ctx.mark_non_differentiable(prob)
        return loss, prob

    @staticmethod
    def backward(ctx, grad, _):
        prob, labels, valid, norm = ctx.saved_tensors
        own = prob.gather(ctx.axis, labels)
        out = prob.scatter(ctx.axis, labels, own - 1)
        return out.mul_(valid).mul_(grad / norm), None, None, None, None
