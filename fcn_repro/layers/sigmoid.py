"""Sigmoid: 1 / (1 + exp(-x)) (Caffe's sigmoid_layer)."""

from .base import Layer


class Sigmoid(Layer):
    """Any shape. sigmoid_param.engine chooses among Caffe's implementations: no meaning here."""

    type = 'Sigmoid'
    fields = 'sigmoid_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [bottoms[0].sigmoid()]
