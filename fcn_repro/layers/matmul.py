"""MatMul: the product of two blobs of matrices, a layer type that no Caffe has.

fcn_repro_param. transpose_a, transpose_b: the matrices of this bottom are transposed first.
"""

import math

import torch

from ..sizes import dims
from .common.base import Layer


class MatMul(Layer):
    """bottoms a (N, n, k) and b (N, k, m) -> (N, n, m), one product for each item of the batch;
    a (N, k, n) with transpose_a, b (N, m, k) with transpose_b."""

    type = 'MatMul'
    bottoms = 2
    product = overwritable = makes_tops = True
    fields = 'fcn_repro_param'
    own_fields = 'transpose_a', 'transpose_b'

    def setup(self):
        self.transposed = self.param.transpose_a, self.param.transpose_b

    def shape(self, bottoms):
        for i, bottom in enumerate(bottoms):
            if len(bottom) != 3:
                raise self.error(f'bottom {i} has shape {dims(bottom)}, not 3 axes (batch, rows, '
                                 'columns)', 'Give it three axes by a Reshape.')
        (batch, n, k), (count, inner, m) = map(self.matrices, bottoms, self.transposed)
        if batch != count:
            raise self.error(f'bottoms of {dims(bottoms[0])} and {dims(bottoms[1])}',
                             'Their first axes, the batch, must agree.')
        if k != inner:
            raise self.error(f'{n}x{k} matrices times {inner}x{m} ones (bottoms of '
                             f'{dims(bottoms[0])} and {dims(bottoms[1])})', 'The columns of the '
                             'first must be the rows of the second: set transpose_a or '
                             'transpose_b.')
        return [(batch, n, m)]

    @staticmethod
    def matrices(shape, transposed):
        """(N, rows, columns) as they are multiplied."""
        batch, rows, columns = shape
        return (batch, columns, rows) if transposed else (batch, rows, columns)

    def macs(self, bottoms):
        return math.prod(self.shape(bottoms)[0]) * bottoms[0][1 if self.transposed[0] else 2]

    def forward(self, bottoms, params):
        self.shape([x.shape for x in bottoms])
        a, b = (x.transpose(1, 2) if transposed else x
                for x, transposed in zip(bottoms, self.transposed, strict=True))
        return [torch.bmm(a, b)]

    def torch_code(self, code):
        a, b = (f'{x}.transpose(1, 2)' if transposed else x
                for x, transposed in zip(code.bottoms, self.transposed, strict=True))
        return f'torch.bmm({a}, {b})'

    def onnx_nodes(self, nodes):
        a, b = (nodes.op('Transpose', x, perm=[0, 2, 1]) if transposed else x
                for x, transposed in zip(nodes.bottoms, self.transposed, strict=True))
        return [nodes.op('MatMul', a, b)]
