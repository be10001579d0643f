"""ReLU with negative_slope (Caffe's relu_layer)."""

import copy

import torch
import torch.nn.functional as F

from .common.exporting import number
from .common.neuron import NeuronLayer
from .common.slope import with_slope


class ReLU(NeuronLayer):
    """Any shape. At 0 the gradient is negative_slope times the top diff. In place with
    negative_slope under 0 no top is under 0, and all of the gradient passes, as in Caffe."""

    type = 'ReLU'
    narrow = True
    fields = 'relu_param'
    ignored = ('engine',)
    reuse = False       # computes in the bottom's memory

    def overwriting(self):
        layer = copy.copy(self)
        layer.reuse = True
        return layer

    def value(self, x):
        factor = self.param.negative_slope
        if factor == 0:
            return F.relu(x, inplace=self.reuse)
        y = F.leaky_relu(x, factor)
        if factor < 0 and self.overwrites:
            return with_slope(y, x, torch.where(y > 0, 1, factor))
        return y

    def torch_code(self, code):
        x, slope = code.bottoms[0], self.param.negative_slope
        return f'F.leaky_relu({x}, {number(slope)})' if slope else f'F.relu({x})'

    def onnx_nodes(self, nodes):
        slope = self.param.negative_slope
        return [nodes.op('LeakyRelu', *nodes.bottoms, alpha=slope) if slope else
                nodes.op('Relu', *nodes.bottoms)]
