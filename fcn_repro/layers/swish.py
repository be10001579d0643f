"""Swish: x sigmoid(beta x) (Caffe's swish_layer)."""

from .base import Layer


class Swish(Layer):
    """Any shape."""

    type = 'Swish'
    fields = 'swish_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x = bottoms[0]
        return [x * (self.param.beta * x).sigmoid()]
