"""Bias: a sum with a learned or given blob, broadcast from an axis on (Caffe's bias_layer)."""

import torch
from torch import nn

from .common.broadcast import BroadcastLayer


class Bias(BroadcastLayer):
    """bottoms: x, and optionally the bias; top as x. Parameter: the bias, unless it is the second
    bottom (filler default 0)."""

    type = 'Bias'
    fields = 'bias_param'

    def parameters(self, bottoms):
        if len(bottoms) == 2:
            return []
        return [(self.operand_shape(bottoms), self.param.filler)]

    def forward(self, bottoms, params):
        x, operand = bottoms[0], bottoms[1] if len(bottoms) == 2 else params[0]
        return [x + self.broadcast(operand, x)]

    def torch_code(self, code):
        if len(code.bottoms) == 2:
            return f'{code.bottoms[0]} + {self.operand_code(code)}'
        shape = self.blob_shape(code.blobs[0], code.dims[0])
        module = code.module(f'{code.helper(LearnedBias)}({shape})', 'bias', shape=shape)
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        if len(nodes.bottoms) == 2:
            return [nodes.op('Add', nodes.bottoms[0], self.operand_node(nodes))]
        bias = nodes.blobs[0].reshape(self.blob_shape(nodes.blobs[0], nodes.dims[0]))
        return [nodes.op('Add', nodes.bottoms[0], nodes.floats(bias))]


class LearnedBias(nn.Module):
    """A learned sum (Caffe's Bias)."""

    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x):
        return x + self.bias
