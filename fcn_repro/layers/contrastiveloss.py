"""ContrastiveLoss of pairs (Caffe's contrastive_loss_layer)."""

import math

import torch

from ..sizes import dims
from .common.base import Layer
from .common.losses import same_first
from .common.slope import with_slope


class ContrastiveLoss(Layer):
    """bottoms: a, b (N, C) and N marks, 1 (once truncated not 0) where a and b are similar ->
    sum l / (2 N). With d = |a - b|: l = d² of a similar pair, else max(0, margin - d)², or with
    legacy_version max(0, margin - d²).

    The gradient of a pair apart is Caffe's: (margin - d) / (d + 1e-4) times the difference.
    """

    type = 'ContrastiveLoss'
    bottoms = 3
    loss = True
    fields = 'contrastive_loss_param'

    def shape(self, bottoms):
        same_first(self, bottoms)
        a, b, marks = bottoms
        counts = {math.prod(axes) for axes in (a[1:], b[1:], a[1:2], b[1:2])}
        if len(counts) > 1:             # all are C
            raise self.error(f'bottoms of {dims(a)} and {dims(b)}', 'Both must be N x C.')
        if math.prod(marks) != a[0]:
            raise self.error(f'{math.prod(marks)} marks ({dims(marks)}) for {a[0]} pairs',
                             'Give one for each pair.')
        return [()]

    def forward(self, bottoms, params):
        a, b, marks = bottoms
        apart = a.unsqueeze(-1).flatten(1) - b.unsqueeze(-1).flatten(1)     # (N, C)
        difference, margin = apart.detach(), self.param.margin
        square = difference.square().sum(1)
        if self.param.legacy_version:
            short = margin - square
            far, slope = short.clamp(min=0), torch.ones_like(short)
        else:
            distance = square.sqrt()
            short = margin - distance
            far, slope = short.clamp(min=0).square(), short / (distance + 1e-4)
        similar = marks.detach().reshape(-1).trunc() != 0
        slope = torch.where(similar, torch.ones_like(slope), -slope * (short > 0))
        value = torch.where(similar, square, far)[:, None] / (2 * apart.shape[1])
        loss = with_slope(value.expand_as(apart), apart, slope[:, None] * difference)
        return [loss.sum() / a.shape[0]]
