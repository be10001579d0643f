"""DomainTransform: filtering that stops at edges (DeepLab's domain_transform_layer)."""

import math

import torch

from ...sizes import dims
from ..common.base import Layer


class DomainTransform(Layer):
    """bottoms: x (N, C, H, W), the reference gradient g (N, 1, H, W), and the size (h, w) of each
    image (N, 1, 1, 2), at most (H, W) -> x filtered within h and w.

    Each of num_iter iterations filters along the rows forth and back, then along the columns:
    y[i] += weight (y[i ∓ 1] - y[i]), where weight = exp(-sqrt(2) / sigma_i (1 + g spatial_sigma /
    range_sigma)) at the later one of the two cells, between min_weight and 1, and sigma_i halves
    from one iteration to the next. The gradient ignores these bounds, as in the fork.
    """

    type = 'DomainTransform'
    bottoms = 3
    fields = 'domain_transform_param'
    dialect_fields = tuple(f'domain_transform_param.{name}' for name in (
        'num_iter', 'spatial_sigma', 'range_sigma', 'min_weight'))
    makes_tops = keeps_coordinates = True
    replayable = False                      # the size is read from a blob

    def setup(self):
        p = self.param
        for name in 'spatial_sigma', 'range_sigma', 'num_iter':
            if not getattr(p, name) > 0:
                raise self.error(f'{name} {getattr(p, name):g} is not positive', 'Fix the field.')
        if not p.min_weight >= 0:
            raise self.error(f'min_weight {p.min_weight:g} is not at least 0', 'Fix the field.')

    def shape(self, bottoms):
        x, gradient, size = bottoms
        if len(x) != 4 or tuple(gradient) != (x[0], 1, *x[2:]) or math.prod(size) != 2 * x[0]:
            raise self.error(f'bottoms of {dims(x)}, {dims(gradient)} and {dims(size)}',
                             'Give (N, C, H, W), (N, 1, H, W) and (N, 1, 1, 2).')
        return [x]

    def scratch(self, bottoms):
        return 4 * self.param.num_iter * math.prod(bottoms[0])      # all steps, for backward

    def forward(self, bottoms, params):
        x, gradient, sizes = bottoms
        images = []
        for n, size in enumerate(sizes.detach().reshape(-1, 2).long().tolist()):
            (h, w), image = size, x[n]
            if h > x.shape[2] or w > x.shape[3] or min(h, w) < 0:
                raise self.error(f'an image of {dims(size)} in a blob of {dims(x.shape)}',
                                 'Give the size of the image, at most that of the blob.')
            inner = image[:, :h, :w]
            for i in range(self.param.num_iter if h * w else 0):
                weight = self.weight(gradient[n, 0, :h, :w], i)
                inner = along(along(inner, weight, 2), weight, 1)
            below = torch.cat([inner, image[:, :h, w:]], 2)
            images.append(torch.cat([below, image[:, h:]], 1))
        return [torch.stack(images) if images else x.clone()]

    def weight(self, gradient, i):
        """The weights (h, w) of iteration i."""
        p = self.param
        sigma = p.spatial_sigma * math.sqrt(3) * 2 ** (p.num_iter - i - 1) / \
            math.sqrt(4 ** p.num_iter - 1)
        return Weight.apply(gradient, -math.sqrt(2) / sigma, p.spatial_sigma / p.range_sigma,
                            p.min_weight)


class DomainTransformForwardOnly(DomainTransform):
    """The same without a gradient."""

    type = 'DomainTransformForwardOnly'

    def forward(self, bottoms, params):
        return super().forward([bottom.detach() for bottom in bottoms], params)


def along(x, weight, axis):
    """x (C, h, w) filtered along an axis, forth and then back."""
    cells, weights = list(x.unbind(axis)), weight.unbind(axis - 1)
    for i in range(1, len(cells)):
        cells[i] = cells[i] + weights[i] * (cells[i - 1] - cells[i])
    for i in reversed(range(len(cells) - 1)):
        cells[i] = cells[i] + weights[i + 1] * (cells[i + 1] - cells[i])
    return torch.stack(cells, axis)


class Weight(torch.autograd.Function):
    """exp(rate (1 + ratio g)) between `least` and 1, with the gradient of the exponential alone, at
    the bounded value."""

    @staticmethod
    def forward(ctx, gradient, rate, ratio, least):
        weight = (rate * (1 + gradient * ratio)).exp().clamp(least).clamp(max=1)
        ctx.save_for_backward(weight)
        ctx.factor = rate * ratio
        return weight

    @staticmethod
    def backward(ctx, grad):
        weight, = ctx.saved_tensors
        return ctx.factor * grad * weight, None, None, None
