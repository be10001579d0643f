"""Power: (shift + scale x) ^ power (Caffe's power_layer)."""

import torch

from .common.exporting import number
from .common.neuron import NeuronLayer
from .common.slope import with_slope


class Power(NeuronLayer):
    """Any shape. With power or scale 0 the top is the constant shift ^ power and the gradient 0.

    The gradient is Caffe's power scale top / (shift + scale bottom), except for powers 1 and 2: NaN
    where both are 0, and in place, where the bottom is the top, not the derivative.
    """

    type = 'Power'
    fields = 'power_param'

    def setup(self):
        self.factor = self.param.power * self.param.scale

    def forward(self, bottoms, params):
        x, = bottoms
        y = self.value(x.detach())
        return [with_slope(y, x, self.slope(y if self.overwrites else x, y))]

    def value(self, x):
        if self.factor == 0:
            return torch.full_like(x, self.param.shift).pow(self.param.power)
        y = self.base(x)
        return y if self.param.power == 1 else y.pow(self.param.power)

    def base(self, x):
        x = x if self.param.scale == 1 else x * self.param.scale
        return x if self.param.shift == 0 else x + self.param.shift

    @classmethod
    def folds(cls, param):
        return param.power_param.power == 1

    def affine(self, params):
        p = self.param
        return (torch.tensor(p.scale, dtype=torch.float64),
                torch.tensor(p.shift, dtype=torch.float64))

    def slope(self, bottom, top):
        if self.factor == 0 or self.param.power == 1:
            return top.new_full((), self.factor)
        base = self.base(bottom)
        return self.factor * (base if self.param.power == 2 else top / base)

    def torch_code(self, code):
        x, p = code.bottoms[0], self.param
        if self.factor == 0:
            return f'torch.full_like({x}, {number(p.shift)}).pow({number(p.power)})'
        y = x if p.scale == 1 else f'{x} * {number(p.scale)}'
        y = y if p.shift == 0 else f'{y} + {number(p.shift)}'
        return y if p.power == 1 else f'({y}).pow({number(p.power)})'

    def onnx_nodes(self, nodes):
        x, p = nodes.bottoms[0], self.param
        scale, shift = (0, p.shift ** p.power) if self.factor == 0 else (p.scale, p.shift)
        x = x if scale == 1 else nodes.op('Mul', x, nodes.floats(scale))
        x = x if shift == 0 else nodes.op('Add', x, nodes.floats(shift))
        if self.factor == 0 or p.power == 1:
            return [x]
        return [nodes.op('Pow', x, nodes.floats(p.power))]
