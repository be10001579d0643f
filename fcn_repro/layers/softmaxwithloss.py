"""SoftmaxWithLoss (Caffe's softmax_loss_layer), with class weights and a sampled loss.

What Caffe's lacks is in fcn_repro_param, whose defaults change nothing. class_weight: one number
for each class, by which the terms of its pixels are multiplied. keep_ratio: the probability p with
which a position takes part in training. keep_cell: the side, in positions, of the squares that are
kept or left out as one. Sections 3.4 and 4.4 of the paper: patchwise training is a sampled loss,
with 1/p times as many images for a batch of the same size. The normaliser VALID counts the
positions that take part; weights do not change it.
"""

import math
from functools import lru_cache

import torch

from ..proto import LossParameter
from .common.base import Layer
from .common.labels import label_layout, labels_of, unchecked_labels
from .common.losses import normalization, normalizer, same_first

FLT_MIN = torch.finfo(torch.float32).tiny


class SoftmaxWithLoss(Layer):
    """bottoms: scores (…, C, …) and labels -> the loss, a scalar, and optionally the
    probabilities. The sum of -log p over pixels that are not ignored, divided by: VALID their
    number; FULL all positions; BATCH_SIZE those before the class axis; NONE 1; never under 1.

    p is clamped at FLT_MIN in the loss (at most 87.3 a pixel), not in its gradient, as in Caffe.
    Which positions a sampled loss keeps is, like Dropout's mask, a function of the net's seed, the
    layer's name and the number of forward passes so far; in phase TEST all take part.
    """

    type = 'SoftmaxWithLoss'
    bottoms = 2
    tops = (1, 2)
    loss = True
    fields = 'loss_param'
    further_messages = ('softmax_param',)
    own_fields = 'class_weight', 'keep_ratio', 'keep_cell'
    ignored = ('softmax_param.engine',)

    def setup(self):
        p = self.param
        self.normalization = normalization(p, LossParameter.VALID)
        self.ignore = p.ignore_label if p.HasField('ignore_label') else None
        own = self.node.param.fcn_repro_param
        self.class_weight = own.class_weight[:]
        self.ratio, self.cell = own.keep_ratio, own.keep_cell
        if not all(math.isfinite(w) and w >= 0 for w in self.class_weight):
            raise self.error(f'class_weight {[f"{w:g}" for w in self.class_weight]}',
                             'Give finite numbers that are not negative.')
        if not 0 < self.ratio <= 1:
            raise self.error(f'keep_ratio {self.ratio:g} is not above 0 and at most 1',
                             'Give the share of the positions that is kept.')
        if self.cell < 1:
            raise self.error('keep_cell is 0', 'Give the side of a cell in positions.')

    def class_axis(self, scores, labels):
        return label_layout(self, self.node.param.softmax_param.axis, scores, labels)

    def shape(self, bottoms):
        same_first(self, bottoms)
        classes = bottoms[0][self.class_axis(*bottoms)]
        if self.class_weight and len(self.class_weight) != classes:
            raise self.error(f'{len(self.class_weight)} class_weight for {classes} classes',
                             'Give one for each class.')
        return [(), bottoms[0]][:len(self.node.tops)]

    def weights(self, dtype, device):
        """The class weights as a tensor (C,); None without."""
        return constants(tuple(self.class_weight), dtype, device) if self.class_weight else None

    def divisor(self, scores, axis, valid):
        """What the sum is divided by, a 0-d tensor; arguments as of losses.normalizer."""
        return normalizer(self.normalization, scores, axis, valid)

    def kept(self, inner, axis, device):
        """The positions that take part in this pass, a bool tensor of shape `inner`, that of the
        scores without their class axis `axis`; None: all. Cells are counted from the first position
        of each axis after the classes; those at the end may be smaller."""
        if not self.train or self.ratio == 1:
            return None
        cells = [*inner[:axis], *(-(-n // self.cell) for n in inner[axis:])]
        keep = self.random(lambda: torch.empty(cells, device=device), self.draw).bool()
        for along in range(axis, len(inner)) if self.cell > 1 else ():
            side = min(self.cell, inner[along])
            keep = keep.repeat_interleave(side, along).narrow(along, 0, inner[along])
        return keep

    def draw(self, keep):
        """Fill a tensor with 1 for what takes part at the net's position, and 0."""
        keep.bernoulli_(self.ratio, generator=self.draws(self.state.position, device=keep.device))

    def forward(self, bottoms, params):
        scores, blob = bottoms
        axis = self.class_axis(scores.shape, blob.shape)
        inner = scores.shape[:axis] + scores.shape[axis + 1:]
        given = (blob.reshape(inner), scores.shape[axis], self.ignore,
                 self.kept(inner, axis, scores.device))
        if self.state.unchecked:
            labels, valid, wrong = unchecked_labels(*given)
            labels = labels.masked_fill(~valid | wrong, 0)
        else:
            (labels, valid), wrong = labels_of(self, *given), None
        norm = self.divisor(scores.shape, axis, valid)
        weights = self.weights(scores.dtype, scores.device)
        factor = valid if weights is None else weights[labels] * valid
        loss, prob = SoftmaxLoss.apply(scores, labels.unsqueeze(axis), factor.unsqueeze(axis), axis,
                                       norm)
        if wrong is not None:
            loss = loss.masked_fill(wrong.any(), math.nan)
        return [loss, prob][:len(self.node.tops)]


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def constants(numbers, dtype, device):
    """A tensor of these numbers, to be read alone: copied to a GPU once, not in every pass."""
    return torch.tensor(numbers, dtype=dtype, device=device)


class SoftmaxLoss(torch.autograd.Function):
    """The gradient is prob - onehot in closed form, so that only prob is kept for backward.
    factor: of each position's term, a bool or a number, 0 for those that do not count."""

    @staticmethod
    def forward(ctx, scores, labels, factor, axis, norm):
        prob = torch.softmax(scores, axis)
        own = prob.gather(axis, labels).clamp(min=FLT_MIN)
        loss = -(own.log() * factor).sum() / norm
        ctx.save_for_backward(prob, labels, factor, norm)
        ctx.axis = axis
        ctx.mark_non_differentiable(prob)
        return loss, prob

    @staticmethod
    def backward(ctx, grad, _):
        prob, labels, factor, norm = ctx.saved_tensors
        own = prob.gather(ctx.axis, labels)
        out = prob.scatter(ctx.axis, labels, own - 1)
        return out.mul_(factor).mul_(grad / norm), None, None, None, None
