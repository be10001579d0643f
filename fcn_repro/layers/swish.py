"""Swish: x sigmoid(beta x) (Caffe's swish_layer)."""

from .common.exporting import number
from .common.neuron import NeuronLayer


class Swish(NeuronLayer):
    """Any shape."""

    type = 'Swish'
    fields = 'swish_param'
    keeps_coordinates = False       # pycaffe's coord_map does not know the type

    def value(self, x):
        return x * (self.param.beta * x).sigmoid()

    def torch_code(self, code):
        x, = code.bottoms
        return f'{x} * ({number(self.param.beta)} * {x}).sigmoid()'

    def onnx_nodes(self, nodes):
        x, = nodes.bottoms
        inner = nodes.op('Mul', x, nodes.floats(self.param.beta))
        return [nodes.op('Mul', x, nodes.op('Sigmoid', inner))]
