"""InnerProduct: the fully connected layer (Caffe's inner_product_layer)."""

import math

import torch.nn.functional as F

from ..ops import blas
from .common.base import Layer


class InnerProduct(Layer):
    """bottom (…, K from axis on) -> top (…, num_output); weight (num_output, K), or (K,
    num_output) with transpose; bias (num_output,)."""

    type = 'InnerProduct'
    product = linear = overwritable = makes_tops = True
    fields = 'inner_product_param'

    def setup(self):
        if self.param.num_output < 1:
            raise self.error('inner_product_param.num_output is missing or 0', 'Set it.')

    def parameters(self, bottoms):
        p = self.param
        k = math.prod(bottoms[0][self.axis(p.axis, bottoms[0]):])
        weight = (k, p.num_output) if p.transpose else (p.num_output, k)
        out = [(weight, p.weight_filler)]
        if p.bias_term:
            out.append(((p.num_output,), p.bias_filler))
        return out

    def shape(self, bottoms):
        axis = self.axis(self.param.axis, bottoms[0])
        return [(*bottoms[0][:axis], self.param.num_output)]

    def macs(self, bottoms):
        return math.prod((*self.shape(bottoms)[0], *bottoms[0][self.axis(self.param.axis,
                                                                         bottoms[0]):]))

    def forward(self, bottoms, params):
        x = bottoms[0].flatten(self.axis(self.param.axis, bottoms[0].shape))
        weight = params[0].t() if self.param.transpose else params[0]
        linear = blas.linear if self.state.options.blas else F.linear
        return [linear(x, weight, params[1] if len(params) > 1 else None)]
