"""Scale: a product with a learned or given blob, broadcast from an axis on (scale_layer)."""

import torch
from torch import nn

from .common.base import constant
from .common.broadcast import BroadcastLayer
from .common.exporting import arguments


class Scale(BroadcastLayer):
    """bottoms: x, and optionally the scale; top as x. Parameters: scale (unless it is the second
    bottom; filler default 1) and, with bias_term, bias of the scale's shape (default 0)."""

    type = 'Scale'
    fields = 'scale_param'

    def parameters(self, bottoms):
        shape, p = self.operand_shape(bottoms), self.param
        out = []
        if len(bottoms) == 1:
            out.append((shape, p.filler if p.HasField('filler') else constant(1)))
        if p.bias_term:
            out.append((shape, p.bias_filler if p.HasField('bias_filler') else constant(0)))
        return out

    def forward(self, bottoms, params):
        x, params = bottoms[0], list(params)
        factor = bottoms[1] if len(bottoms) == 2 else params.pop(0)
        y = x * self.broadcast(factor, x)
        return [y + self.broadcast(params[0], x) if params else y]

    @classmethod
    def folds(cls, param):
        p = param.scale_param
        return len(param.bottom) == 1 and p.axis == 1 and p.num_axes == 1

    def affine(self, params):
        scale, *bias = params
        return scale, bias[0] if bias else torch.zeros_like(scale)

    def torch_code(self, code):
        x, blobs = code.bottoms[0], [self.blob_shape(blob, code.dims[0]) for blob in code.blobs]
        if len(code.bottoms) == 1:
            call = arguments(blobs[0], bias=(self.param.bias_term, False))
            names = ('weight', 'bias') if self.param.bias_term else ('weight',)
            module = code.module(f'{code.helper(LearnedScale)}({call})', *names, shape=blobs[0])
            return f'{module}({x})'
        if not blobs:
            return f'{x} * {self.operand_code(code)}'
        module = code.module(f'{code.helper(ScaleBy)}({blobs[0]})', 'bias', shape=blobs[0])
        return f'{module}({x}, {self.operand_code(code)})'

    def onnx_nodes(self, nodes):
        blobs = [nodes.floats(blob.reshape(self.blob_shape(blob, nodes.dims[0])))
                 for blob in nodes.blobs]
        factor = self.operand_node(nodes) if len(nodes.bottoms) == 2 else blobs.pop(0)
        y = nodes.op('Mul', nodes.bottoms[0], factor)
        return [nodes.op('Add', y, blobs[0]) if blobs else y]


class LearnedScale(nn.Module):
    """A learned factor, and possibly a bias (Caffe's Scale)."""

    def __init__(self, shape, bias=False):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape)) if bias else None

    def forward(self, x):
        y = x * self.weight
        return y if self.bias is None else y + self.bias


class ScaleBy(nn.Module):
    """A product with a given factor, and a learned bias (Caffe's Scale of two bottoms)."""

    def __init__(self, shape):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, x, factor):
        return x * factor + self.bias
