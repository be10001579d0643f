"""Embed: a row of a table for each index (Caffe's embed_layer)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .common.base import Layer
from .common.exporting import INT64
from .common.labels import indices


class Embed(Layer):
    """bottom: indices (truncated) of any shape -> (…, num_output); weight (input_dim,
    num_output), bias (num_output,). Indices get no gradient."""

    type = 'Embed'
    fields = 'embed_param'
    makes_tops = True

    def setup(self):
        for field in 'num_output', 'input_dim':
            if getattr(self.param, field) < 1:
                raise self.error(f'embed_param.{field} is missing or 0', 'Set it.')

    def parameters(self, bottoms):
        p = self.param
        out = [((p.input_dim, p.num_output), p.weight_filler)]
        if p.bias_term:
            out.append(((p.num_output,), p.bias_filler))
        return out

    def shape(self, bottoms):
        return [(*bottoms[0], self.param.num_output)]

    def scratch(self, bottoms):
        """The indices (int64), and the rows before the bias is added."""
        count = math.prod(bottoms[0])
        return 2 * count + (count * self.param.num_output if self.param.bias_term else 0)

    def forward(self, bottoms, params):
        index = indices(self, bottoms[0], self.param.input_dim, 'indices',
                        'Fix the bottom, or embed_param.input_dim.')
        y = F.embedding(index, params[0])
        return [y + params[1] if len(params) > 1 else y]

    def torch_code(self, code):
        p = self.param
        names = ('weight', 'bias') if p.bias_term else ('weight',)
        call = f'{code.helper(Rows)}({p.input_dim}, {p.num_output}, {p.bias_term})'
        module = code.module(call, *names)
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        index = nodes.op('Cast', nodes.bottoms[0], to=INT64)
        rows = nodes.op('Gather', nodes.params[0], index, axis=0)
        return [nodes.op('Add', rows, nodes.params[1]) if len(nodes.params) > 1 else rows]


class Rows(nn.Module):
    """A row of a table for each index (Caffe's Embed)."""

    def __init__(self, rows, size, bias):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(rows, size))
        self.bias = nn.Parameter(torch.zeros(size)) if bias else None

    def forward(self, x):
        y = F.embedding(x.long(), self.weight)
        return y if self.bias is None else y + self.bias
