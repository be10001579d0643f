"""Log: the logarithm of shift + scale x (Caffe's log_layer)."""

import math

from .base import Layer


class Log(Layer):
    """Any shape. Base -1 stands for e. Not positive values give -infinity or NaN, as in Caffe;
    in-place too the gradient is that at the bottom (Caffe takes it at the top)."""

    type = 'Log'
    fields = 'log_param'

    def setup(self):
        base = self.param.base
        if base != -1 and (base == 1 or not 0 < base < math.inf):
            raise self.error(f'base {base:g} is not positive, finite and other than 1',
                             'Give such a one, or -1 for e.')
        self.outer = 1.0 if base == -1 else 1 / math.log(base)

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x, p = bottoms[0], self.param
        x = x if p.scale == 1 else x * p.scale
        y = (x if p.shift == 0 else x + p.shift).log()
        return [y if self.outer == 1 else y * self.outer]
