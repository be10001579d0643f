"""ELU: x above 0, alpha (exp(x) - 1) below (Caffe's elu_layer)."""

import torch.nn.functional as F

from .base import Layer


class ELU(Layer):
    """Any shape. At 0 the gradient is alpha times the top diff."""

    type = 'ELU'
    fields = 'elu_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [F.elu(bottoms[0], self.param.alpha)]
