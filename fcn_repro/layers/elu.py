"""ELU: x above 0, alpha (exp(x) - 1) below (Caffe's elu_layer)."""

import torch
import torch.nn.functional as F

from .common.exporting import arguments, number
from .common.neuron import NeuronLayer


class ELU(NeuronLayer):
    """Any shape. At 0 the gradient is alpha times the top diff. In place with alpha under 0 the
    gradient is not the derivative, as in Caffe."""

    type = 'ELU'
    fields = 'elu_param'

    def value(self, x):
        return F.elu(x, self.param.alpha)

    def slope(self, bottom, top):
        return torch.where(bottom > 0, 1, self.param.alpha + top)

    def torch_code(self, code):
        return f'F.elu({arguments(code.bottoms[0], alpha=(number(self.param.alpha), "1.0"))})'

    def onnx_nodes(self, nodes):
        return [nodes.op('Elu', *nodes.bottoms, alpha=self.param.alpha)]
