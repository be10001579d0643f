"""Concat along an axis (Caffe's concat_layer)."""

import torch

from ..sizes import dims
from .common import coordinates
from .common.base import ANY, Layer

LAST = torch.channels_last


class Concat(Layer):
    """bottoms that agree in all axes but one -> a top with that axis summed."""

    type = 'Concat'
    narrow = linear = True
    bottoms = (1, ANY)
    fields = 'concat_param'
    makes_tops = True

    def setup(self):
        if self.param.HasField('axis') and self.param.HasField('concat_dim'):
            raise self.error('both axis and concat_dim', 'Keep axis: concat_dim is its old name.')

    def cell_map(self, bottom):
        """Along the channels it moves nothing; pycaffe has no map for the type."""
        return coordinates.IDENTITY if self.param.axis == 1 else None

    @property
    def local(self):
        return self.along((1, 1, 1, 1)) < 2

    def along(self, shape):
        legacy = self.param.HasField('concat_dim')
        return self.axis(self.param.concat_dim if legacy else self.param.axis, shape)

    def shape(self, bottoms):
        axis = self.along(bottoms[0])
        for i, bottom in enumerate(bottoms):
            if len(bottom) != len(bottoms[0]) or any(
                    a != b for j, (a, b) in enumerate(zip(bottom, bottoms[0], strict=True))
                    if j != axis):
                raise self.error(f'bottom {i} is {dims(bottom)}, bottom 0 is {dims(bottoms[0])}: '
                                 f'they may differ only in axis {axis}', 'Crop them first.')
        top = list(bottoms[0])
        top[axis] = sum(bottom[axis] for bottom in bottoms)
        return [tuple(top)]

    def forward(self, bottoms, params):
        # in one format, which the top then has: our own products take channels-last alone
        if self.state.options.gemm and any(
                x.dim() == 4 and x.is_contiguous(memory_format=LAST) and not x.is_contiguous()
                for x in bottoms):
            bottoms = [x.contiguous(memory_format=LAST) for x in bottoms]
        return [torch.cat(bottoms, self.along(bottoms[0].shape))]

    def torch_code(self, code):
        return f'torch.cat([{", ".join(code.bottoms)}], {self.along(code.shapes[0])})'

    def onnx_nodes(self, nodes):
        return [nodes.op('Concat', *nodes.bottoms, axis=self.along(nodes.shapes[0]))]
