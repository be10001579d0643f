"""TanH: the hyperbolic tangent (Caffe's tanh_layer)."""

from .common.neuron import NeuronLayer


class TanH(NeuronLayer):
    """Any shape. tanh_param.engine chooses among Caffe's implementations: no meaning here."""

    type = 'TanH'
    fields = 'tanh_param'
    ignored = ('engine',)

    def value(self, x):
        return x.tanh()

    def torch_code(self, code):
        return f'{code.bottoms[0]}.tanh()'

    def onnx_nodes(self, nodes):
        return [nodes.op('Tanh', *nodes.bottoms)]
