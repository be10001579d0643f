"""SigmoidCrossEntropyLoss (Caffe's sigmoid_cross_entropy_loss_layer)."""

import math

import torch.nn.functional as F

from ..proto import LossParameter
from .common.base import Layer
from .common.losses import normalization, normalizer, one_target_each


class SigmoidCrossEntropyLoss(Layer):
    """bottoms: scores and as many targets in [0, 1] -> -sum t log p + (1 - t) log(1 - p) with
    p = sigmoid(score), over the targets that are not ignored, divided by: BATCH_SIZE (the
    default) the first axis; VALID the number that counts; FULL all; NONE 1; never under 1.

    A target counts as ignored when it is ignore_label once truncated: with ignore_label 0 that
    is every target under 1, as in Caffe. Targets get no gradient.
    """

    type = 'SigmoidCrossEntropyLoss'
    bottoms = 2
    loss = True
    fields = 'loss_param'

    def setup(self):
        self.normalization = normalization(self.param, LossParameter.BATCH_SIZE)

    def shape(self, bottoms):
        one_target_each(self, bottoms)
        return [()]

    def forward(self, bottoms, params):
        scores, targets = bottoms[0], bottoms[1].detach().reshape(bottoms[0].shape)
        valid = targets == targets
        if self.param.HasField('ignore_label'):
            valid = targets.trunc() != self.param.ignore_label
        loss = F.binary_cross_entropy_with_logits(scores, targets, reduction='none') * valid
        batch = (scores.shape[0], 1, math.prod(scores.shape[1:]))
        return [loss.sum() / normalizer(self.normalization, batch, 1, valid)]
