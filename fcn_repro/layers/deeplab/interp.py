"""Interp: resizing (DeepLab's interp_layer), bilinear with aligned corners unless told otherwise.

What the forks' lacks: a second bottom, which gives the size, and two fields of fcn_repro_param.
align_corners: false resizes as most frameworks do, cell i at (i + 1/2) times the scale, less 1/2;
resize: NEAREST takes the nearest cell before, cell floor(i n / m) of n for one of m.
"""

from fractions import Fraction

import numpy as np
import torch.nn.functional as F

from ...proto import FcnReproParameter
from ...sizes import dims
from ..common.base import Layer
from ..common.exporting import sizes_text

LAST = 2 ** 31 - 1      # of a Slice: to the end


class Interp(Layer):
    """(N, C, H, W) -> (N, C, h, w): the first and the last row and column keep their places, and
    those between are interpolated; one row or column is the first.

    pad_beg and pad_end, not above 0, cut rows and columns off first. Then shrink_factor s alone
    makes (n - 1) / s + 1 of n, zoom_factor z alone n + (n - 1)(z - 1), and both the one after the
    other; height and width count where neither or both are given. A second bottom (…, h, w) gives
    the size instead, and gets no gradient. The factors are those of aligned corners.
    """

    type = 'Interp'
    bottoms = 1, 2
    content_bottoms = 1
    fields = 'interp_param'
    own_fields = 'align_corners', 'resize'
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
        self.like = len(self.node.bottoms) == 2         # the size is that of another blob
        self.check_size(given)
        self.read_own()

    def check_size(self, given):
        """FcnError unless there is one size. given: whether height and width are."""
        p = self.param
        if self.like:
            for name in 'height', 'width', 'zoom_factor', 'shrink_factor':
                if p.HasField(name):
                    raise self.error(f'a second bottom gives the size, and {name} does too',
                                     'Remove one of them.')
        elif not (self.shrinks or self.zooms or given):
            raise self.error('no size is given', 'Give height and width, zoom_factor, '
                             'shrink_factor, or a second bottom of the size.')
        elif not (self.shrinks or self.zooms) and min(p.height, p.width) < 1:
            raise self.error(f'height {p.height} and width {p.width}', 'Give positive numbers.')

    def read_own(self):
        """Read fcn_repro_param."""
        own = self.node.param.fcn_repro_param
        self.nearest = own.resize == FcnReproParameter.NEAREST
        self.aligned_corners = own.align_corners and not self.nearest
        if self.nearest and own.HasField('align_corners'):
            raise self.error('align_corners with resize: NEAREST', 'Remove one of them.')
        if not self.aligned_corners and (self.shrinks or self.zooms):
            name = 'zoom_factor' if self.zooms else 'shrink_factor'
            raise self.error(f'{name} with corners that are not aligned',
                             'Give height and width, or a second bottom of the size.')

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
        for i, bottom in enumerate(bottoms):
            if len(bottom) != 4:
                raise self.error(f'a bottom of shape {dims(bottom)}' if not i else
                                 f'a bottom of shape {dims(bottom)} as the size',
                                 'Interp takes 4 axes.')
        n, c, *sides = bottoms[0]
        left = [self.cut(side) for side in sides]
        if min(left) < 1:
            raise self.error(f'pad_beg {self.param.pad_beg} and pad_end {self.param.pad_end} leave '
                             f'nothing of {dims(sides)}', 'Use a larger input, or cut less.')
        if self.like:
            if min(bottoms[1][2:]) < 1:
                raise self.error(f'a bottom of shape {dims(bottoms[1])} as the size',
                                 'Give one that has cells.')
            return [(n, c, *bottoms[1][2:])]
        return [(n, c, *map(self.extent, left, (self.param.height, self.param.width)))]

    def forward(self, bottoms, params):
        x = self.cropped(bottoms[0])
        size = self.shape([bottom.shape for bottom in bottoms])[0][2:]
        if not x.shape[0] * x.shape[1]:
            return [x.new_zeros((*x.shape[:2], *size))]
        if x.shape[2:] == size:
            return [x.clone()]
        if self.nearest:
            return [F.interpolate(x, size, mode='nearest')]
        return [F.interpolate(x, size, mode='bilinear', align_corners=self.aligned_corners)]

    def cropped(self, x):
        """A bottom without the rows and columns that are cut off."""
        begin = -self.param.pad_beg
        return x[:, :, begin:begin + self.cut(x.shape[2]), begin:begin + self.cut(x.shape[3])]

    def cell_map(self, bottom):
        if self.like:
            return None                 # the scale depends on the other blob
        size = self.shape([bottom])[0][2:]
        left = [self.cut(side) for side in bottom[2:4]]
        one = int(self.aligned_corners)
        if min(*left, *size) < 1 + one:
            return None                 # one cell has no scale
        scale = np.array([Fraction(to - one, of - one)
                          for to, of in zip(size, left, strict=True)], dtype=object)
        shift = scale * self.param.pad_beg
        if not self.aligned_corners and not self.nearest:
            shift = shift + (scale - 1) / 2
        return 1, scale, shift

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        x, (_, _, *sides) = code.bottoms[0], code.shapes[0]
        begin, end = -self.param.pad_beg, self.param.pad_end
        if begin or end:
            cut = f'{begin}:{end}' if end else f'{begin}:'
            x = f'{x}[:, :, {cut}, {cut}]'
        if self.shrinks or self.zooms:
            return f'{code.helper(resized)}({x}, {self.param.shrink_factor * self.shrinks or 1}, ' \
                   f'{self.param.zoom_factor * self.zooms or 1})'
        size = f'({", ".join(sizes_text(code.bottoms[1], code.dims[1], 2, 4))})' if self.like \
            else tuple(map(self.extent, map(self.cut, sides), (self.param.height,
                                                               self.param.width)))
        if self.nearest:
            return f"F.interpolate({x}, {size}, mode='nearest')"
        return f"F.interpolate({x}, {size}, mode='bilinear', align_corners={self.aligned_corners})"

    def onnx_nodes(self, nodes):
        p, x = self.param, nodes.bottoms[0]
        if p.pad_beg or p.pad_end:
            x = nodes.op('Slice', x, nodes.ints([-p.pad_beg] * 2),
                         nodes.ints([p.pad_end or LAST] * 2), nodes.ints([2, 3]))
        size = self.exported_size(nodes) if None in nodes.dims[-1][2:] else nodes.ints(
            self.shape(nodes.shapes)[0][2:])
        batch = nodes.extents(0, 0, 2) if None in nodes.dims[0][:2] else nodes.ints(
            nodes.shapes[0][:2])
        sizes = nodes.op('Concat', batch, size, axis=0)
        if self.nearest:
            return [nodes.op('Resize', x, '', '', sizes, mode='nearest', nearest_mode='floor',
                             coordinate_transformation_mode='asymmetric')]
        return [nodes.op('Resize', x, '', '', sizes, mode='linear', coordinate_transformation_mode=(
            'align_corners' if self.aligned_corners else 'half_pixel'))]

    def exported_size(self, nodes):
        """The name of an int64 vector: height and width of the top, for a bottom of any size."""
        p, one = self.param, nodes.ints([1, 1])
        if self.like:
            return nodes.extents(1, 2, 4)
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
