"""Normalize: the channels of each cell, or all values of an image, with length 1 (ParseNet's
normalize_layer)."""

import numpy as np
import torch

from ...sizes import dims
from ..common.base import Layer, constant
from ..common.exporting import number


class Normalize(Layer):
    """(N, C, …) -> scale x / sqrt(sum of x² + eps), the sum over all values of an image, or with
    across_spatial: false over the channels of each cell.

    Parameter: the scale, one number with shape () or, with channel_shared: false, (C,); filler
    default 1. fix_scale: it is not learned. The gradient is the fork's: with a scale for each
    channel it is scale (dy - x (x · dy) / n²) / n, n the length, which is not the derivative
    where the scales differ.
    """

    type = 'Normalize'
    keeps_coordinates = True
    fields = 'norm_param'
    dialect_fields = tuple(f'norm_param.{name}' for name in (
        'across_spatial', 'scale_filler', 'channel_shared', 'fix_scale', 'eps'))

    @property
    def local(self):
        return not self.param.across_spatial

    def setup(self):
        if not self.param.eps >= 0:
            raise self.error(f'eps {self.param.eps:g}', 'Give 0 or a positive number.')

    def parameters(self, bottoms):
        shape = () if self.param.channel_shared else (self.shape(bottoms)[0][1],)
        p = self.param
        return [(shape, p.scale_filler if p.HasField('scale_filler') else constant(1))]

    def shape(self, bottoms):
        if len(bottoms[0]) < 2:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'Normalize takes (N, C, …).')
        return list(bottoms)

    def axes(self, rank):
        return tuple(range(1, rank)) if self.param.across_spatial else (1,)

    def forward(self, bottoms, params):
        x, (scale,) = bottoms[0], params
        wide = scale.reshape(-1, *[1] * (x.dim() - 2))
        return [UnitLength.apply(x, wide, self.axes(x.dim()), self.param.eps)]

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        rank = len(code.dims[0])
        scale = code.blobs[0].reshape(-1, *[1] * (rank - 2))
        module = code.module(
            f'{code.helper(Length)}({scale.shape}, {self.axes(rank)}, {number(self.param.eps)})',
            scale=scale)
        return f'{module}({code.bottoms[0]})'

    def onnx_nodes(self, nodes):
        x, rank = nodes.bottoms[0], len(nodes.dims[0])
        squares = nodes.op('ReduceSum', nodes.op('Mul', x, x), nodes.ints(self.axes(rank)),
                           keepdims=1)
        length = nodes.op('Sqrt', nodes.op('Add', squares, nodes.floats(self.param.eps)))
        scale = np.asarray(nodes.blobs[0]).reshape(-1, *[1] * (rank - 2))
        return [nodes.op('Mul', nodes.op('Div', x, length), nodes.floats(scale))]


class UnitLength(torch.autograd.Function):
    """scale x / n with the fork's gradient; n = sqrt(sum of x² over axes + eps)."""

    @staticmethod
    def forward(ctx, x, scale, axes, eps):
        length = (x.square().sum(axes, keepdim=True) + eps).sqrt()
        ctx.save_for_backward(x, scale, length)
        ctx.axes = axes
        return x / length * scale

    @staticmethod
    def backward(ctx, grad):
        x, scale, length = ctx.saved_tensors
        along = (x * grad).sum(ctx.axes, keepdim=True)
        bottom = (grad - x * (along / length.square())) / length * scale
        over = [i for i in range(x.dim()) if i != 1 or scale.shape[0] == 1]
        sums = (x / length * grad).sum(over).reshape(scale.shape)
        return bottom, sums, None, None


class Length(torch.nn.Module):
    """Values divided by their length along axes, times a scale (ParseNet's Normalize)."""

    def __init__(self, shape, axes, eps):
        super().__init__()
        self.axes, self.eps = axes, eps
        self.register_buffer('scale', torch.ones(shape))

    def forward(self, x):
        return x / (x.square().sum(self.axes, keepdim=True) + self.eps).sqrt() * self.scale
