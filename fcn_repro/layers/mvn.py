"""MVN: mean 0 and variance 1 for each image, or map (Caffe's mvn_layer)."""

import torch

from .common.base import Layer
from .common.exporting import number


class MVN(Layer):
    """(N, C, H, W) -> (x - mean) / (std + eps) over each map, or with across_channels over each
    image; with normalize_variance: false x - mean. Missing last axes count as 1."""

    type = 'MVN'
    keeps_coordinates = True
    fields = 'mvn_param'

    @property
    def axes(self):
        return (1, 2, 3) if self.param.across_channels else (2, 3)

    def shape(self, bottoms):
        if len(bottoms[0]) > 4:
            raise self.error(f'a bottom of {len(bottoms[0])} axes', 'MVN takes up to 4.')
        return [(*bottoms[0], *[1] * (4 - len(bottoms[0])))]

    def forward(self, bottoms, params):
        x = bottoms[0].reshape(self.shape([bottoms[0].shape])[0])
        axes = self.axes
        if not self.param.normalize_variance:
            return [x - x.mean(axes, keepdim=True)]
        return [Normalised.apply(x, axes, self.param.eps)]

    def torch_code(self, code):
        x, axes = f'{code.bottoms[0]}{"[..., None]" * (4 - len(code.dims[0]))}', self.axes
        if not self.param.normalize_variance:
            return f'{x} - {x}.mean({axes}, keepdim=True)'
        return f'{code.helper(normalised)}({x}, {axes}, {number(self.param.eps)})'

    def onnx_nodes(self, nodes):
        x, axes, rank = nodes.bottoms[0], list(self.axes), len(nodes.dims[0])
        if rank < 4:
            x = nodes.op('Unsqueeze', x, nodes.ints(range(rank, 4)))
        y = nodes.op('Sub', x, nodes.op('ReduceMean', x, axes=axes, keepdims=1))
        if not self.param.normalize_variance:
            return [y]
        squares = nodes.op('ReduceMean', nodes.op('Mul', y, y), axes=axes, keepdims=1)
        scale = nodes.op('Add', nodes.op('Sqrt', squares), nodes.floats(self.param.eps))
        return [nodes.op('Div', y, scale)]


class Normalised(torch.autograd.Function):
    """Backward as Caffe's: the derivative as if eps were 0, divided by std + eps."""

    @staticmethod
    def forward(ctx, x, axes, eps):
        y = x - x.mean(axes, keepdim=True)
        scale = y.square().mean(axes, keepdim=True).sqrt() + eps
        y = y / scale
        ctx.save_for_backward(y, scale)
        ctx.axes = axes
        return y

    @staticmethod
    def backward(ctx, grad):
        y, scale = ctx.saved_tensors
        along = y * (grad * y).mean(ctx.axes, keepdim=True)
        return (grad - grad.mean(ctx.axes, keepdim=True) - along) / scale, None, None


def normalised(x, axes, eps):
    """Mean 0 and variance 1 over some axes (Caffe's MVN)."""
    y = x - x.mean(axes, keepdim=True)
    return y / (y.square().mean(axes, keepdim=True).sqrt() + eps)
