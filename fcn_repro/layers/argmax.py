"""ArgMax: the indices, or the values, of the top_k largest values (Caffe's argmax_layer)."""

import math

import torch

from ..sizes import dims
from .common.base import Layer
from .common.exporting import FLOAT


class ArgMax(Layer):
    """No gradient. Of equal values the one of the higher index comes first, as in Caffe.

    With axis: the top is the bottom with top_k in that axis, and holds indices, or with
    out_max_val values. Without: each item of axis 0 is taken as one vector, and the top is
    (N, 1, top_k) of indices or, with out_max_val, (N, 2, top_k) of indices and values, with
    further axes of 1 up to the bottom's count.
    """

    type = 'ArgMax'
    fields = 'argmax_param'

    def setup(self):
        if self.param.top_k < 1:
            raise self.error('top_k 0', 'Give 1 or more.')

    @property
    def local(self):
        """Along the channels it moves nothing."""
        return self.param.HasField('axis') and self.param.axis in (1, -3)

    def along(self, shape):
        """The axis; None without. Checks top_k."""
        if not shape:
            raise self.error('a scalar bottom', 'Give a blob with axes.')
        axis = self.axis(self.param.axis, shape) if self.param.HasField('axis') else None
        count = math.prod(shape[1:]) if axis is None else shape[axis]
        if self.param.top_k > count:
            where = 'each item' if axis is None else f'axis {axis}'
            raise self.error(f'top_k {self.param.top_k} of the {count} values in {where} of a '
                             f'bottom of {dims(shape)}', 'Lower top_k.')
        return axis

    def shape(self, bottoms):
        shape, axis, k = tuple(bottoms[0]), self.along(bottoms[0]), self.param.top_k
        if axis is not None:
            return [(*shape[:axis], k, *shape[axis + 1:])]
        return [(shape[0], 1 + self.param.out_max_val, k) + (1,) * (len(shape) - 3)]

    def forward(self, bottoms, params):
        x, axis = bottoms[0].detach(), self.along(bottoms[0].shape)
        if axis is None:
            values, indices = self.largest(x.reshape(len(x), 1, math.prod(x.shape[1:])), 2)
            top = torch.cat([indices, values], 1) if self.param.out_max_val else indices
            return [top.reshape(self.shape([x.shape])[0])]
        return [self.largest(x, axis)[not self.param.out_max_val]]

    def largest(self, x, axis):
        """(values, indices in the dtype of x)."""
        values, order = x.flip(axis).sort(dim=axis, descending=True, stable=True)
        cut = values.narrow(axis, 0, self.param.top_k), order.narrow(axis, 0, self.param.top_k)
        return cut[0], (x.shape[axis] - 1 - cut[1]).to(x.dtype)

    def torch_code(self, code):
        axis = self.along(code.dims[0] if None not in code.dims[0] else code.shapes[0])
        values = 'True' if self.param.out_max_val else 'False'
        if axis is None and self.param.out_max_val:
            raise self.error('indices and values in one blob cannot be exported as PyTorch code',
                             'Set axis: 1, with out_max_val or without.')
        if axis is None:
            x = f'{code.bottoms[0]}.reshape({code.bottoms[0]}.shape[0], 1, -1)'
            more = '' if len(code.dims[0]) < 4 else f'[(..., *[None] * {len(code.dims[0]) - 3})]'
            return f'{code.helper(largest)}({x}, {self.param.top_k}, 2){more}'
        return f'{code.helper(largest)}({code.bottoms[0]}, {self.param.top_k}, {axis}, {values})'

    def onnx_nodes(self, nodes):
        axis = self.along(nodes.dims[0] if None not in nodes.dims[0] else nodes.shapes[0])
        if axis is None or self.param.top_k > 1:
            raise self.error(f'top_k {self.param.top_k} without axis, or above 1, cannot be '
                             'exported as ONNX', 'Set axis: 1 and top_k: 1.')
        if self.param.out_max_val:
            return [nodes.op('ReduceMax', nodes.bottoms[0], axes=[axis], keepdims=1)]
        index = nodes.op('ArgMax', nodes.bottoms[0], axis=axis, keepdims=1, select_last_index=1)
        return [nodes.op('Cast', index, to=FLOAT)]


def largest(x, count, axis, values=False):
    """Indices or values of the largest; of equal ones the last is first (Caffe's ArgMax)."""
    ordered, index = x.flip(axis).sort(dim=axis, descending=True, stable=True)
    if values:
        return ordered.narrow(axis, 0, count)
    return (x.shape[axis] - 1 - index.narrow(axis, 0, count)).to(x.dtype)
