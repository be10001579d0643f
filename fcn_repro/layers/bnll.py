"""BNLL: log(1 + exp(x)), the binomial normal log likelihood (Caffe's bnll_layer)."""

import torch.nn.functional as F

from .base import Layer


class BNLL(Layer):
    """Any shape. In-place too the gradient is that at the bottom (Caffe takes it at the top)."""

    type = 'BNLL'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [F.softplus(bottoms[0], threshold=50)]
