"""Interp: bilinear resizing with aligned corners (DeepLab's interp_layer)."""

from fractions import Fraction

import numpy as np
import torch.nn.functional as F

from ...sizes import dims
from ..common.base import Layer

LAST = 2 ** 31 - 1      # of a Slice: to the end


class Interp(Layer):
    """(N, C, H, W) -> (N, C, h, w): the first and the last row and column keep their places, and
    those between are interpolated; one row or column is the first.

    pad_beg and pad_end, not above 0, cut rows and columns off first. Then shrink_factor s alone
    makes (n - 1) / s + 1 of n, zoom_factor z alone n + (n - 1)(z - 1), and both the one after the
    other; height and width count where neither or both are given.
    """

    type = 'Interp'
    fields = 'interp_param'
    dialect_fields = tuple(f'interp_param.{name}' for name in (
        'height', 'width', 'zoom_factor', 'shrink_factor', 'pad_beg', 'pad_end'))
    linear = makes_tops = True

    def setup(self):
        p = self.param
        given = p.HasField('height') and p.HasField('width')
        self.shrinks, self.zooms = p.HasField('shrink_factor'), p.HasField('zoom_factor')
        if self.shrinks and self.zooms and given:
            self.shrinks = self.zooms = False
        for name in 'pad_beg', 'pad_end':
            if getattr(p, name) > 0:
                raise self.error(f'{name} {getattr(p, name)} is above 0',
                                 'Only cutting is possible here: give 0 or a negative number.')
        for name in 'shrink_factor', 'zoom_factor':
            if getattr(p, name) < 1:
                raise self.error(f'{name} {getattr(p, name)} is not positive', 'Fix the field.')
        if not (self.shrinks or self.zooms or given):
            raise self.error('no size is given',
                             'Give height and width, zoom_factor or shrink_factor.')
        if not (self.shrinks or self.zooms) and min(p.height, p.width) < 1:
            raise self.error(f'height {p.height} and width {p.width}', 'Give positive numbers.')

    def cut(self, size):
        """What is left of an axis of `size` cells."""
        return size + self.param.pad_beg + self.param.pad_end

    def extent(self, size, given):
        """The length of an axis of the top. given: height or width."""
        if self.shrinks:
            size = (size - 1) // self.param.shrink_factor + 1
        if self.zooms:
            size += (size - 1) * (self.param.zoom_factor - 1)
        return size if self.shrinks or self.zooms else given

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'Interp takes 4 axes.')
        n, c, *sides = bottoms[0]
        left = [self.cut(side) for side in sides]
        if min(left) < 1:
            raise self.error(f'pad_beg {self.param.pad_beg} and pad_end {self.param.pad_end} leave '
                             f'nothing of {dims(sides)}', 'Use a larger input, or cut less.')
        return [(n, c, *map(self.extent, left, (self.param.height, self.param.width)))]

    def forward(self, bottoms, params):
        x, size = self.cropped(bottoms[0]), self.shape([bottoms[0].shape])[0][2:]
        if not x.shape[0] * x.shape[1]:
            return [x.new_zeros((*x.shape[:2], *size))]
        if x.shape[2:] == size:
            return [x.clone()]
        return [F.interpolate(x, size, mode='bilinear', align_corners=True)]

    def cropped(self, x):
        """A bottom without the rows and columns that are cut off."""
        begin = -self.param.pad_beg
        return x[:, :, begin:begin + self.cut(x.shape[2]), begin:begin + self.cut(x.shape[3])]

    def cell_map(self, bottom):
        size = self.shape([bottom])[0][2:]
        left = [self.cut(side) for side in bottom[2:4]]
        if min(*left, *size) < 2:
            return None                 # one cell has no scale
        scale = np.array([Fraction(to - 1, of - 1) for to, of in zip(size, left, strict=True)],
                         dtype=object)
        return 1, scale, scale * self.param.pad_beg

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        x, (_, _, *sides) = code.bottoms[0], code.shapes[0]
        begin, end = -self.param.pad_beg, self.param.pad_end
        if begin or end:
            cut = f'{begin}:{end}' if end else f'{begin}:'
            x = f'{x}[:, :, {cut}, {cut}]'
        size = tuple(map(self.extent, map(self.cut, sides),
                         (self.param.height, self.param.width)))
        if self.shrinks or self.zooms:
            return f'{code.helper(resized)}({x}, {self.param.shrink_factor * self.shrinks or 1}, ' \
                   f'{self.param.zoom_factor * self.zooms or 1})'
        return f"F.interpolate({x}, {size}, mode='bilinear', align_corners=True)"

    def onnx_nodes(self, nodes):
        p, x = self.param, nodes.bottoms[0]
        if p.pad_beg or p.pad_end:
            x = nodes.op('Slice', x, nodes.ints([-p.pad_beg] * 2),
                         nodes.ints([p.pad_end or LAST] * 2), nodes.ints([2, 3]))
        size = self.exported_size(nodes) if None in nodes.dims[0][2:] else nodes.ints(
            self.shape(nodes.shapes)[0][2:])
        batch = nodes.extents(0, 0, 2) if None in nodes.dims[0][:2] else nodes.ints(
            nodes.shapes[0][:2])
        sizes = nodes.op('Concat', batch, size, axis=0)
        return [nodes.op('Resize', x, '', '', sizes, mode='linear',
                         coordinate_transformation_mode='align_corners')]

    def exported_size(self, nodes):
        """The name of an int64 vector: height and width of the top, for a bottom of any size."""
        p, one = self.param, nodes.ints([1, 1])
        if not (self.shrinks or self.zooms):
            return nodes.ints([p.height, p.width])
        size = nodes.op('Add', nodes.extents(0, 2, 4), nodes.ints([p.pad_beg + p.pad_end - 1] * 2))
        if self.shrinks:
            size = nodes.op('Div', size, nodes.ints([p.shrink_factor] * 2))
        if self.zooms:
            size = nodes.op('Mul', size, nodes.ints([p.zoom_factor] * 2))
        return nodes.op('Add', size, one)


def resized(x, shrink, zoom):
    """Bilinear resizing with aligned corners to (n - 1) / shrink + 1 cells, then by zoom."""
    size = [(n - 1) // shrink + 1 for n in x.shape[2:]]
    size = [n + (n - 1) * (zoom - 1) for n in size]
    return F.interpolate(x, size, mode='bilinear', align_corners=True)
