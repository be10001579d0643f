"""Embed: a row of a table for each index (Caffe's embed_layer)."""

import math

import torch.nn.functional as F

from .common.base import Layer
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
