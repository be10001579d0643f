"""SPP: spatial pyramid pooling to a fixed number of bins (Caffe's spp_layer)."""

from dataclasses import replace

import torch

from ..sizes import dims
from .common.base import Layer
from .pooling import Pooling


class SPP(Layer):
    """(N, C, H, W) -> (N, C * (1 + 4 + 16 + …)): level l is pooled with a kernel and stride of
    ceil(H / 2^l), padded evenly; levels are flattened and joined. pyramid_height 1 gives
    (N, C, 1, 1). A level can have fewer than 4^l bins where Caffe's pooling drops the last."""

    type = 'SPP'
    fields = 'spp_param'
    makes_tops = True
    ignored = ('engine',)

    def setup(self):
        if self.param.pyramid_height < 1:
            raise self.error('spp_param.pyramid_height is missing or 0', 'Set it.')
        if self.param.pool == self.param.STOCHASTIC:
            raise self.error('pool: STOCHASTIC is not supported', 'Use MAX or AVE.')

    def levels(self, bottom):
        """The Pooling layer of each level for a bottom shape."""
        if len(bottom) != 4 or min(bottom) < 1:
            raise self.error(f'a bottom of shape {dims(bottom)}', 'SPP takes (N, C, H, W).')
        return [self.level(2 ** i, bottom) for i in range(self.param.pyramid_height)]

    def level(self, bins, bottom):
        kernel = [-(-size // bins) for size in bottom[2:]]
        pad = [(k * bins - size + 1) // 2 for k, size in zip(kernel, bottom[2:], strict=True)]
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise self.error(f'{bins}x{bins} bins in a bottom of {dims(bottom)} need pad '
                             f'{dims(pad)} with kernel {dims(kernel)}',
                             'Lower pyramid_height, or use a larger input.')
        pool = 'MAX' if self.param.pool == self.param.MAX else 'AVE'
        param = type(self.node.param)(name=self.node.name, type='Pooling', pooling_param={
            'pool': pool, 'kernel_h': kernel[0], 'kernel_w': kernel[1], 'stride_h': kernel[0],
            'stride_w': kernel[1], 'pad_h': pad[0], 'pad_w': pad[1]})
        return Pooling(replace(self.node, type='Pooling', param=param), self.state)

    def shape(self, bottoms):
        shapes = [level.shape(bottoms)[0] for level in self.levels(bottoms[0])]
        if len(shapes) == 1:
            return shapes
        n, c = bottoms[0][:2]
        return [(n, sum(c * h * w for *_, h, w in shapes))]

    def forward(self, bottoms, params):
        tops = [level.forward(bottoms, [])[0] for level in self.levels(bottoms[0].shape)]
        return [torch.cat([top.flatten(1) for top in tops], 1)] if len(tops) > 1 else tops

    def torch_code(self, code):
        tops = [level.torch_code(code) for level in self.fixed_levels(code)]
        if len(tops) == 1:
            return tops[0]
        return f'torch.cat([{", ".join(f"{top}.flatten(1)" for top in tops)}], 1)'

    def onnx_nodes(self, nodes):
        tops = [level.onnx_nodes(nodes)[0] for level in self.fixed_levels(nodes)]
        if len(tops) == 1:
            return tops
        return [nodes.op('Concat', *(nodes.op('Flatten', top, axis=1) for top in tops), axis=1)]

    def fixed_levels(self, made):
        """The Pooling layers of the levels; FcnError where they depend on the input's size."""
        if None in made.dims[0][2:]:
            raise self.error('its windows depend on the size of the input',
                             'Export the net for one size.')
        return self.levels(made.shapes[0])
