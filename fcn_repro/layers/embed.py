"""Embed: a row of a table for each index (Caffe's embed_layer)."""

import torch.nn.functional as F

from .common.base import Layer
from .common.labels import indices


class Embed(Layer):
    """bottom: indices (truncated) of any shape -> (…, num_output); weight (input_dim,
    num_output), bias (num_output,). Indices get no gradient."""

    type = 'Embed'
    fields = 'embed_param'

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

    def forward(self, bottoms, params):
        index = indices(self, bottoms[0], self.param.input_dim, 'indices',
                        'Fix the bottom, or embed_param.input_dim.')
        y = F.embedding(index, params[0])
        return [y + params[1] if len(params) > 1 else y]
