"""Permute: a blob with its axes in another order (SSD's permute_layer).

fcn_repro_param. order: which axis of the bottom each axis of the top is. Axes that it leaves out
follow in ascending order, as in SSD, whose message permute_param has the same field.
"""

from ..sizes import dims
from .common.base import Layer


class Permute(Layer):
    """bottom -> the same values, axis i of the top being axis order[i] of the bottom."""

    type = 'Permute'
    narrow = linear = True
    fields = 'fcn_repro_param'
    own_fields = ('order',)

    def setup(self):
        order = list(self.param.order)
        if not order:
            raise self.error('no order', 'Give the axes of the bottom in the order of the top: '
                             'fcn_repro_param { order: [0, 2, 3, 1] }.')
        if len(set(order)) < len(order):
            raise self.error(f'order {order} names an axis twice', 'Give each axis once.')

    def whole(self, shape):
        """The order of all axes of a bottom of this shape."""
        order, rank = list(self.param.order), len(shape)
        if max(order) >= rank:
            raise self.error(f'order {order} for a bottom of shape {dims(shape)}',
                             f'Its axes are 0 to {rank - 1}.' if rank else 'It has no axes.')
        return [*order, *(axis for axis in range(rank) if axis not in order)]

    def shape(self, bottoms):
        return [tuple(bottoms[0][axis] for axis in self.whole(bottoms[0]))]

    def forward(self, bottoms, params):
        x, = bottoms
        return [x.permute(self.whole(x.shape)).contiguous()]

    def torch_code(self, code):
        order = self.whole(code.dims[0])
        return f'{code.bottoms[0]}.permute({", ".join(map(str, order))}).contiguous()'

    def onnx_nodes(self, nodes):
        return [nodes.op('Transpose', *nodes.bottoms, perm=self.whole(nodes.dims[0]))]
