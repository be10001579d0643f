"""AbsVal: |x| (Caffe's absval_layer)."""

from .common.neuron import NeuronLayer


class AbsVal(NeuronLayer):
    """Any shape, not in place. At 0 the gradient is 0."""

    type = 'AbsVal'
    in_place = False

    def value(self, x):
        return x.abs()

    def torch_code(self, code):
        return f'{code.bottoms[0]}.abs()'

    def onnx_nodes(self, nodes):
        return [nodes.op('Abs', *nodes.bottoms)]
