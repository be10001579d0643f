"""Reshape: the same values in another shape (Caffe's reshape_layer)."""

import math

from ..sizes import dims
from .common.base import Layer
from .common.reshaping import reshape_code, reshape_node


class Reshape(Layer):
    """bottom -> num_axes axes from `axis` on (-1: all of them) replaced by those of shape, where
    a 0 copies the bottom's axis at its place and one -1 is inferred. A negative axis
    counts from the end, -1 after the last axis."""

    type = 'Reshape'
    narrow = linear = True
    fields = 'reshape_param'

    def setup(self):
        wanted = list(self.param.shape.dim)
        if min(wanted, default=0) < -1 or wanted.count(-1) > 1:
            raise self.error(f'a shape with dims {wanted}',
                             'Give positive ones, 0 to copy, and at most one -1 to infer.')

    def span(self, shape):
        """(first, last + 1) of the axes that are replaced."""
        rank, axis, count = len(shape), self.param.axis, self.param.num_axes
        if not -rank - 1 <= axis <= rank:
            raise self.error(f'axis {axis} is outside a bottom of shape {dims(shape)}',
                             f'Use {-rank - 1} to {rank}.')
        start = axis if axis >= 0 else rank + 1 + axis
        if not -1 <= count <= rank - start:
            raise self.error(f'num_axes {count} from axis {start} of a bottom of shape '
                             f'{dims(shape)}', f'Use 0 to {rank - start}, or -1 for all.')
        return start, rank if count == -1 else start + count

    def shape(self, bottoms):
        shape = tuple(bottoms[0])
        start, end = self.span(shape)
        wanted = list(self.param.shape.dim)
        for i in range(len(wanted)):
            if wanted[i] == 0 and start + i >= len(shape):
                raise self.error(f'dim {i} of the shape is 0, but a bottom of shape {dims(shape)} '
                                 f'has no axis {start + i} to copy', 'Give a number.')
            wanted[i] = shape[start + i] if wanted[i] == 0 else wanted[i]
        count = math.prod(shape)
        rest = [*shape[:start], *(d for d in wanted if d != -1), *shape[end:]]
        if -1 in wanted and math.prod(rest) and count % math.prod(rest) == 0:
            wanted[wanted.index(-1)] = count // math.prod(rest)
        top = (*shape[:start], *wanted, *shape[end:])
        if -1 in top or math.prod(top) != count:
            raise self.error(f'a bottom of shape {dims(shape)} has {count} values, which do '
                             f'not fill {dims(top)}', 'Fix reshape_param.shape.')
        return [top]

    def forward(self, bottoms, params):
        return [bottoms[0].reshape(self.shape([bottoms[0].shape])[0])]

    def torch_code(self, code):
        return reshape_code(code, *self.target(code.dims[0]))

    def onnx_nodes(self, nodes):
        return [reshape_node(nodes, *self.target(nodes.dims[0]))]

    def target(self, dims):
        """As reshape_code takes it."""
        start, end = self.span(dims)
        return start, list(self.param.shape.dim), end
