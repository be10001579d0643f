"""Slice: a blob cut into several along an axis (Caffe's slice_layer)."""

from itertools import pairwise

import torch

from ..sizes import dims
from .common.base import ANY, Layer


class Slice(Layer):
    """bottom -> tops that follow one another along the axis: cut at the slice_points, or without
    any into equal parts."""

    type = 'Slice'
    narrow = linear = True
    tops = (1, ANY)
    fields = 'slice_param'

    def setup(self):
        points, tops = list(self.param.slice_point), len(self.node.tops)
        if self.param.HasField('axis') and self.param.HasField('slice_dim'):
            raise self.error('both axis and slice_dim', 'Keep axis: slice_dim is its old name.')
        if points and len(points) != tops - 1:
            raise self.error(f'{len(points)} slice_point for {tops} tops',
                             f'Give {tops - 1}, or none for equal parts.')

    @property
    def local(self):
        """Along batch and channels it moves nothing."""
        return self.along((1, 1, 1, 1)) < 2

    def along(self, shape):
        legacy = self.param.HasField('slice_dim')
        return self.axis(self.param.slice_dim if legacy else self.param.axis, shape)

    def sizes(self, shape):
        """The extent of each top along the axis."""
        points, tops, axis = list(self.param.slice_point), len(self.node.tops), self.along(shape)
        size = shape[axis]
        if not points and (size % tops or size < tops):
            raise self.error(f'{tops} tops do not evenly divide axis {axis} of a bottom of shape '
                             f'{dims(shape)}', 'Give slice_point, or another number of tops.')
        ends = [*points, size] if points else range(size // tops, size + 1, size // tops)
        sizes = [end - start for start, end in pairwise([0, *ends])]
        if min(sizes) < 1:
            raise self.error(f'slice_point {", ".join(map(str, points))} in axis {axis} of a '
                             f'bottom of shape {dims(shape)}',
                             f'They must rise, from 1 or more to {size - 1} or less.')
        return sizes

    def shape(self, bottoms):
        shape, axis = tuple(bottoms[0]), self.along(bottoms[0])
        return [(*shape[:axis], n, *shape[axis + 1:]) for n in self.sizes(shape)]

    def forward(self, bottoms, params):
        x = bottoms[0]
        return list(torch.split(x, self.sizes(x.shape), self.along(x.shape)))

    def torch_code(self, code):
        axis, sizes = self.along(code.dims[0]), self.fixed_sizes(code)
        return f'torch.split({code.bottoms[0]}, {sizes}, {axis})' + ('[0]' if len(sizes) < 2
                                                                     else '')

    def onnx_nodes(self, nodes):
        axis, sizes = self.along(nodes.dims[0]), self.fixed_sizes(nodes)
        return nodes.ops(len(sizes), 'Split', nodes.bottoms[0], nodes.ints(sizes), axis=axis)

    def fixed_sizes(self, made):
        """The extents of the tops; FcnError where they depend on the input's size."""
        if made.dims[0][self.along(made.dims[0])] is None:
            raise self.error('it cuts an axis whose length depends on the input',
                             'Export the net for one size.')
        return self.sizes(made.shapes[0])
