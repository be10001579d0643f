"""SigmoidCrossEntropyLoss of HED's fork: edges and the rest weigh the same in each image
(sigmoid_cross_entropy_loss_layer)."""

import math

import torch
import torch.nn.functional as F

from ..common.base import Layer
from ..common.losses import one_target_each


class BalancedLoss(Layer):
    """bottoms: scores and as many targets -> the sum over images of the cross-entropies of their
    targets of 1, times the share of 0, and of their targets of 0, times the share of 1, divided by
    the number of images. Shares are of the targets that are 0 or 1.

    Other targets add nothing to the loss, but to the gradient sigmoid - target, unweighted; an
    image without a target of 0 or 1 makes the loss NaN; both as in the fork.
    """

    type = 'SigmoidCrossEntropyLoss'
    balanced = True
    bottoms = 2
    loss = True
    fields = 'loss_param'
    unsupported = 'ignore_label', 'normalization', 'normalize'
    instead = "The loss of the dialect 'hed' does not read it; remove it."

    def shape(self, bottoms):
        one_target_each(self, bottoms)
        return [()]

    def forward(self, bottoms, params):
        return [Balanced.apply(bottoms[0], bottoms[1].detach().reshape(bottoms[0].shape))]


class Balanced(torch.autograd.Function):
    """The loss, and its gradient as the fork computes it."""

    @staticmethod
    def forward(ctx, scores, targets):
        ones, zeros = targets == 1, targets == 0
        rows = (len(scores), *[1] * (scores.dim() - 1))
        edges, rest = (mask.flatten(1).sum(1).view(rows).to(scores.dtype) for mask in (ones, zeros))
        both = edges + rest
        weight = torch.where(ones, rest / both, torch.where(zeros, edges / both, 1))
        ctx.save_for_backward(scores, targets, weight)
        terms = F.binary_cross_entropy_with_logits(scores, targets, reduction='none')
        terms = torch.where(ones | zeros, terms * weight, 0)
        empty = (both == 0).any()       # 0 / 0 in the fork
        return torch.where(empty, math.nan, terms.sum() / max(1, len(scores)))

    @staticmethod
    def backward(ctx, grad):
        scores, targets, weight = ctx.saved_tensors
        return (scores.sigmoid() - targets) * weight * (grad / max(1, len(scores))), None
