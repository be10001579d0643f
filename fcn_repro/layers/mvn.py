"""MVN: mean 0 and variance 1 for each image, or map (Caffe's mvn_layer)."""

import torch

from .common.base import Layer


class MVN(Layer):
    """(N, C, H, W) -> (x - mean) / (std + eps) over each map, or with across_channels over each
    image; with normalize_variance: false x - mean. Missing last axes count as 1."""

    type = 'MVN'
    keeps_coordinates = True
    fields = 'mvn_param'

    def shape(self, bottoms):
        if len(bottoms[0]) > 4:
            raise self.error(f'a bottom of {len(bottoms[0])} axes', 'MVN takes up to 4.')
        return [(*bottoms[0], *[1] * (4 - len(bottoms[0])))]

    def forward(self, bottoms, params):
        x = bottoms[0].reshape(self.shape([bottoms[0].shape])[0])
        axes = (1, 2, 3) if self.param.across_channels else (2, 3)
        if not self.param.normalize_variance:
            return [x - x.mean(axes, keepdim=True)]
        return [Normalised.apply(x, axes, self.param.eps)]


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
