"""Power: (shift + scale x) ^ power (Caffe's power_layer)."""

import torch

from .base import Layer


class Power(Layer):
    """Any shape. With power or scale 0 the top is the constant shift ^ power and the gradient 0."""

    type = 'Power'
    fields = 'power_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x, p = bottoms[0], self.param
        if p.power * p.scale == 0:
            return [torch.full_like(x, p.shift).pow(p.power) + 0 * x.detach()]
        y = x if p.scale == 1 else x * p.scale
        y = y if p.shift == 0 else y + p.shift
        return [y.expand_as(y) if p.power == 1 else y.pow(p.power)]
