"""Tile: a blob repeated along an axis (Caffe's tile_layer)."""

from .common.base import Layer


class Tile(Layer):
    """bottom -> `tiles` copies of it along the axis."""

    type = 'Tile'
    fields = 'tile_param'
    makes_tops = True

    def setup(self):
        if self.param.tiles < 1:
            raise self.error(f'tile_param.tiles is {self.param.tiles or "missing or 0"}',
                             'Give 1 or more.')

    def shape(self, bottoms):
        shape, axis = list(bottoms[0]), self.axis(self.param.axis, bottoms[0])
        shape[axis] *= self.param.tiles
        return [tuple(shape)]

    def forward(self, bottoms, params):
        x, axis = bottoms[0], self.axis(self.param.axis, bottoms[0].shape)
        return [x.repeat(*(self.param.tiles if i == axis else 1 for i in range(x.dim())))]

    def torch_code(self, code):
        axis = self.axis(self.param.axis, code.dims[0])
        counts = [self.param.tiles if i == axis else 1 for i in range(len(code.dims[0]))]
        return f'{code.bottoms[0]}.repeat({", ".join(map(str, counts))})'

    def onnx_nodes(self, nodes):
        axis = self.axis(self.param.axis, nodes.dims[0])
        counts = [self.param.tiles if i == axis else 1 for i in range(len(nodes.dims[0]))]
        return [nodes.op('Tile', nodes.bottoms[0], nodes.ints(counts))]
