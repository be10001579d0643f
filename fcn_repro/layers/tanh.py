"""TanH: the hyperbolic tangent (Caffe's tanh_layer)."""

from .base import Layer


class TanH(Layer):
    """Any shape. tanh_param.engine chooses among Caffe's implementations: no meaning here."""

    type = 'TanH'
    fields = 'tanh_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [bottoms[0].tanh()]
