"""Log: the logarithm of shift + scale x (Caffe's log_layer)."""

import math

from .common.exporting import number
from .common.neuron import NeuronLayer


class Log(NeuronLayer):
    """Any shape. Base -1 stands for e. Values that are not positive give -infinity or NaN; in place
    the gradient is the derivative at the top; both as in Caffe."""

    type = 'Log'
    fields = 'log_param'

    def setup(self):
        base = self.param.base
        if base != -1 and (base == 1 or not 0 < base < math.inf):
            raise self.error(f'base {base:g} is not positive, finite and different from 1',
                             'Give such a base, or -1 for e.')
        self.outer = 1.0 if base == -1 else 1 / math.log(base)

    def inner(self, x):
        x = x if self.param.scale == 1 else x * self.param.scale
        return x if self.param.shift == 0 else x + self.param.shift

    def value(self, x):
        y = self.inner(x).log()
        return y if self.outer == 1 else y * self.outer

    def slope(self, bottom, top):
        return self.param.scale * self.outer / self.inner(bottom)

    def torch_code(self, code):
        x, scale, shift = code.bottoms[0], self.param.scale, self.param.shift
        x = x if scale == 1 else f'{x} * {number(scale)}'
        x = x if shift == 0 else f'{x} + {number(shift)}'
        return f'({x}).log()' + ('' if self.outer == 1 else f' * {self.outer!r}')

    def onnx_nodes(self, nodes):
        x, scale, shift = nodes.bottoms[0], self.param.scale, self.param.shift
        x = x if scale == 1 else nodes.op('Mul', x, nodes.floats(scale))
        x = x if shift == 0 else nodes.op('Add', x, nodes.floats(shift))
        y = nodes.op('Log', x)
        return [y if self.outer == 1 else nodes.op('Mul', y, nodes.floats(self.outer))]
