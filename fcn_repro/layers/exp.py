"""Exp: base ^ (shift + scale x) (Caffe's exp_layer)."""

import math

from .common.neuron import NeuronLayer


class Exp(NeuronLayer):
    """Any shape. Base -1 stands for e."""

    type = 'Exp'
    fields = 'exp_param'

    def setup(self):
        base = self.param.base
        if base != -1 and not 0 < base < math.inf:
            raise self.error(f'base {base:g} is not positive and finite', 'Give one, or -1 for e.')
        log_base = 1.0 if base == -1 else math.log(base)
        self.inner, self.outer = log_base * self.param.scale, math.exp(log_base * self.param.shift)

    def value(self, x):
        y = (x if self.inner == 1 else x * self.inner).exp()
        return y if self.outer == 1 else y * self.outer

    def torch_code(self, code):
        x = code.bottoms[0] if self.inner == 1 else f'({code.bottoms[0]} * {self.inner!r})'
        return f'{x}.exp()' + ('' if self.outer == 1 else f' * {self.outer!r}')

    def onnx_nodes(self, nodes):
        x, = nodes.bottoms
        x = x if self.inner == 1 else nodes.op('Mul', x, nodes.floats(self.inner))
        y = nodes.op('Exp', x)
        return [y if self.outer == 1 else nodes.op('Mul', y, nodes.floats(self.outer))]
