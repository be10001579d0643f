"""Flatten: merges axes into one (Caffe's flatten_layer)."""

import math

from ..sizes import dims
from .common.base import Layer
from .common.reshaping import reshape_code, reshape_node


class Flatten(Layer):
    """bottom -> the axes from axis to end_axis, both included, as one. An end_axis just before
    axis inserts an axis of 1, as in Caffe."""

    type = 'Flatten'
    narrow = linear = True
    fields = 'flatten_param'

    def shape(self, bottoms):
        shape = tuple(bottoms[0])
        start = self.axis(self.param.axis, shape)
        end = self.axis(self.param.end_axis, shape, 'end_axis') + 1
        if end < start:
            raise self.error(f'end_axis {end - 1} is before axis {start} of a bottom of shape '
                             f'{dims(shape)}', 'Fix one of them.')
        return [(*shape[:start], math.prod(shape[start:end]), *shape[end:])]

    def forward(self, bottoms, params):
        return [bottoms[0].reshape(self.shape([bottoms[0].shape])[0])]

    def torch_code(self, code):
        return reshape_code(code, *self.target(code.dims[0]))

    def onnx_nodes(self, nodes):
        return [reshape_node(nodes, *self.target(nodes.dims[0]))]

    def target(self, dims):
        """As reshape_code takes it: axes before, what replaces the merged ones, axes after."""
        start = self.axis(self.param.axis, dims)
        end = self.axis(self.param.end_axis, dims, 'end_axis') + 1
        merged = dims[start:end]
        return start, [-1 if None in merged else math.prod(merged)], end
