"""InnerProduct: the fully connected layer (Caffe's inner_product_layer)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from ..ops import blas
from .common.base import Layer
from .common.exporting import arguments
from .common.reshaping import reshape_node


class InnerProduct(Layer):
    """bottom (…, K from axis on) -> top (…, num_output); weight (num_output, K), or (K,
    num_output) with transpose; bias (num_output,)."""

    type = 'InnerProduct'
    product = linear = overwritable = makes_tops = True
    fields = 'inner_product_param'

    @classmethod
    def learns(cls, param):
        return 1 + param.inner_product_param.bias_term

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

    def torch_code(self, code):
        p, dims = self.param, code.dims[0]
        axis, names = self.axis(p.axis, dims), ('weight', 'bias') if p.bias_term else ('weight',)
        cells = math.prod(code.shapes[0][axis:])
        x = code.bottoms[0] if axis == len(dims) - 1 else f'{code.bottoms[0]}.flatten({axis})'
        kind = code.helper(TransposedLinear) if p.transpose else 'nn.Linear'
        call = arguments(cells, p.num_output, bias=(p.bias_term, True))
        return f'{code.module(f"{kind}({call})", *names)}({x})'

    def onnx_nodes(self, nodes):
        p, dims = self.param, nodes.dims[0]
        axis, x = self.axis(p.axis, dims), nodes.bottoms[0]
        if axis != len(dims) - 1:
            x = reshape_node(nodes, axis, [math.prod(nodes.shapes[0][axis:])], len(dims))
        if axis == 1:
            return [nodes.op('Gemm', x, *nodes.params, transB=int(not p.transpose))]
        weight = nodes.params[0] if p.transpose else \
            nodes.op('Transpose', nodes.params[0], perm=[1, 0])
        y = nodes.op('MatMul', x, weight) if axis else nodes.op('Reshape', nodes.op(
            'MatMul', nodes.op('Reshape', x, nodes.ints([1, -1])), weight), nodes.ints([-1]))
        return [nodes.op('Add', y, nodes.params[1]) if p.bias_term else y]


class TransposedLinear(nn.Module):
    """nn.Linear with a weight of (inputs, outputs) (Caffe's InnerProduct, transpose)."""

    def __init__(self, inputs, outputs, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(inputs, outputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight.t(), self.bias)
