"""BNLL: log(1 + exp(x)), the binomial normal log likelihood (Caffe's bnll_layer)."""

import torch.nn.functional as F

from .common.neuron import NeuronLayer


class BNLL(NeuronLayer):
    """Any shape. The gradient is the sigmoid of the bottom; in place that of the top, as in
    Caffe."""

    type = 'BNLL'

    def value(self, x):
        return F.softplus(x, threshold=50)

    def slope(self, bottom, top):
        return bottom.sigmoid()

    def torch_code(self, code):
        return f'F.softplus({code.bottoms[0]}, threshold=50)'

    def onnx_nodes(self, nodes):
        return [nodes.op('Softplus', *nodes.bottoms)]
