"""Padding: zeros around a blob, or a margin cut off (DeepLab v1's padding_layer)."""

import torch.nn.functional as F

from ...sizes import dims
from ..common.base import Layer


class Padding(Layer):
    """(N, C, H, W) -> (N, C, H + pad_beg + pad_end, W + pad_beg + pad_end): rows and columns of
    zeros before and after, cut off where the numbers are negative."""

    type = 'Padding'
    fields = 'padding_param'
    dialect_fields = tuple(f'padding_param.{name}' for name in (
        'pad_beg', 'pad_end'))
    linear = makes_tops = True

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'Padding takes 4 axes.')
        n, c, *sides = bottoms[0]
        p = self.param
        top = [side + p.pad_beg + p.pad_end for side in sides]
        if min(top) < 1:
            raise self.error(f'pad_beg {p.pad_beg} and pad_end {p.pad_end} leave nothing of '
                             f'{dims(sides)}', 'Use a larger input, or cut less.')
        return [(n, c, *top)]

    def forward(self, bottoms, params):
        p = self.param
        return [F.pad(bottoms[0], (p.pad_beg, p.pad_end) * 2)]

    def torch_code(self, code):
        p = self.param
        return f'F.pad({code.bottoms[0]}, {(p.pad_beg, p.pad_end) * 2})'

    def onnx_nodes(self, nodes):
        p = self.param
        pads = nodes.ints([0, 0, p.pad_beg, p.pad_beg, 0, 0, p.pad_end, p.pad_end])
        return [nodes.op('Pad', nodes.bottoms[0], pads)]
