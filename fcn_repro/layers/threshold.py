"""Threshold: 1 above a threshold, else 0 (Caffe's threshold_layer)."""

from .common.exporting import FLOAT, number
from .common.neuron import NeuronLayer


class Threshold(NeuronLayer):
    """Any shape; no gradient."""

    type = 'Threshold'
    decision = 0.5
    fields = 'threshold_param'
    position_invariant = False      # not continuous: a rounding upstream can flip it

    def value(self, x):
        return (x.detach() > self.param.threshold).to(x.dtype)

    def torch_code(self, code):
        return f'({code.bottoms[0]} > {number(self.param.threshold)}).float()'

    def onnx_nodes(self, nodes):
        above = nodes.op('Greater', nodes.bottoms[0], nodes.floats(self.param.threshold))
        return [nodes.op('Cast', above, to=FLOAT)]
