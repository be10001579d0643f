"""HingeLoss: the margin of one class against all others (Caffe's hinge_loss_layer)."""

import torch
import torch.nn.functional as F

from ..proto import HingeLossParameter
from .common.base import Layer
from .common.losses import own_label, same_first


class HingeLoss(Layer):
    """bottoms: scores (N, …), taken as rows of K classes, and labels (N, …), of which the first N
    values count -> sum h / N, or with norm L2 sum h² / N; h = max(0, 1 - score) at the label,
    max(0, 1 + score) elsewhere."""

    type = 'HingeLoss'
    bottoms = 2
    loss = True
    fields = 'hinge_loss_param'

    def shape(self, bottoms):
        same_first(self, bottoms)
        return [()]

    def forward(self, bottoms, params):
        scores, labels = own_label(self, *bottoms)
        sign = torch.ones_like(scores).scatter_(1, labels, -1)
        over = F.relu(1 + sign * scores)
        if self.param.norm == HingeLossParameter.L2:
            over = over.square()
        return [over.sum() / len(scores)]
