"""LRN: local response normalisation across or within channels (Caffe's lrn_layer)."""

import math

import torch.nn.functional as F

from ..proto import LRNParameter
from .common import coordinates
from .common.base import Layer
from .common.exporting import arguments, number


class LRN(Layer):
    """(N, C, H, W) -> the same. ACROSS_CHANNELS: x (k + alpha/n sum x²)^-beta over n channels.
    WITHIN_CHANNEL: x (1 + alpha AVE-pool(x²))^-beta over n x n pixels; Caffe ignores k there."""

    type = 'LRN'
    keeps_coordinates = position_invariant = True
    spatial_axes = 2
    fields = 'lrn_param'
    ignored = ('engine',)

    def setup(self):
        if self.param.local_size % 2 == 0:
            raise self.error(f'local_size {self.param.local_size} is even', 'Caffe takes odd only.')

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of {len(bottoms[0])} axes', 'LRN takes (N, C, H, W).')
        return list(bottoms)

    def scratch(self, bottoms):
        """The squares, with (local_size - 1) / 2 channels of padding on either side."""
        n, c, *size = bottoms[0]
        across = self.param.norm_region == LRNParameter.ACROSS_CHANNELS
        return n * (c + self.param.local_size - 1) * math.prod(size) if across else 0

    def window(self):
        across = self.param.norm_region == LRNParameter.ACROSS_CHANNELS
        return super().window() if across else None

    def reach(self, bottom):
        across = self.param.norm_region == LRNParameter.ACROSS_CHANNELS
        n = 1 if across else self.param.local_size
        return (coordinates.Reach.sliding(n, 1, n // 2),) * 2 if len(bottom) == 4 else None

    def forward(self, bottoms, params):
        x, p, n = bottoms[0], self.param, self.param.local_size
        if p.norm_region == LRNParameter.ACROSS_CHANNELS:
            return [F.local_response_norm(x, n, p.alpha, p.beta, p.k)]
        mean = F.avg_pool2d(x * x, n, 1, (n - 1) // 2)
        return [x * (1 + p.alpha * mean).pow(-p.beta)]

    def torch_code(self, code):
        x, p, n = code.bottoms[0], self.param, self.param.local_size
        alpha, beta = number(p.alpha), number(p.beta)
        if p.norm_region == LRNParameter.ACROSS_CHANNELS:
            call = arguments(x, n, alpha, beta, number(p.k))
            return f'F.local_response_norm({call})'
        mean = f'F.avg_pool2d({x} * {x}, {n}, 1, {(n - 1) // 2})'
        return f'{x} * (1 + {alpha} * {mean}).pow(-{beta})'

    def onnx_nodes(self, nodes):
        x, p, n = nodes.bottoms[0], self.param, self.param.local_size
        if p.norm_region == LRNParameter.ACROSS_CHANNELS:
            return [nodes.op('LRN', x, size=n, alpha=p.alpha, beta=p.beta, bias=p.k)]
        mean = nodes.op('AveragePool', nodes.op('Mul', x, x), kernel_shape=[n, n],
                        pads=[(n - 1) // 2] * 4, count_include_pad=1)
        base = nodes.op('Add', nodes.op('Mul', mean, nodes.floats(p.alpha)), nodes.floats(1))
        return [nodes.op('Mul', x, nodes.op('Pow', base, nodes.floats(-p.beta)))]
