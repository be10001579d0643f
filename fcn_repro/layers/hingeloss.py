"""HingeLoss: the margin of one class against all others (Caffe's hinge_loss_layer)."""

import torch
import torch.nn.functional as F

from ..proto import HingeLossParameter
from .base import Layer
from .labels import indices
from .losses import rows


class HingeLoss(Layer):
    """bottoms: scores (N, …), taken as rows of K classes, and N labels -> sum h / N, or with
    norm L2 sum h² / N; h = max(0, 1 - score) at the label, max(0, 1 + score) elsewhere."""

    type = 'HingeLoss'
    bottoms = 2
    loss = True
    fields = 'hinge_loss_param'

    def shape(self, bottoms):
        rows(self, bottoms)
        return [()]

    def forward(self, bottoms, params):
        count, classes = rows(self, [x.shape for x in bottoms])
        scores = bottoms[0].reshape(count, classes)
        labels = indices(self, bottoms[1].reshape(count, 1), classes, 'labels',
                         'Mend the labels, or num_output of the scores.')
        sign = torch.ones_like(scores).scatter_(1, labels, -1)
        over = F.relu(1 + sign * scores)
        if self.param.norm == HingeLossParameter.L2:
            over = over.square()
        return [over.sum() / count]
