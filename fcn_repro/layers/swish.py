"""Swish: x sigmoid(beta x) (Caffe's swish_layer)."""

from .common.neuron import NeuronLayer


class Swish(NeuronLayer):
    """Any shape."""

    type = 'Swish'
    fields = 'swish_param'
    keeps_coordinates = False       # pycaffe's coord_map does not know the type

    def value(self, x):
        return x * (self.param.beta * x).sigmoid()
