"""Sigmoid: 1 / (1 + exp(-x)) (Caffe's sigmoid_layer)."""

from .common.neuron import NeuronLayer


class Sigmoid(NeuronLayer):
    """Any shape. sigmoid_param.engine chooses among Caffe's implementations: no meaning here."""

    type = 'Sigmoid'
    decision = 0.5
    fields = 'sigmoid_param'
    ignored = ('engine',)

    def value(self, x):
        return x.sigmoid()

    def torch_code(self, code):
        return f'{code.bottoms[0]}.sigmoid()'

    def onnx_nodes(self, nodes):
        return [nodes.op('Sigmoid', *nodes.bottoms)]
