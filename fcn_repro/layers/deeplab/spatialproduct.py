"""SpatialProduct: each channel times one map (DeepLab's spatial_product_layer)."""

from ...sizes import dims
from ..common.base import Layer


class SpatialProduct(Layer):
    """bottoms (N, C, H, W) and (N, 1, H, W) -> their product (N, C, H, W)."""

    type = 'SpatialProduct'
    bottoms = 2
    local = keeps_coordinates = makes_tops = True

    def shape(self, bottoms):
        x, weights = bottoms
        if len(x) != 4 or tuple(weights) != (x[0], 1, *x[2:]):
            raise self.error(f'bottoms of {dims(x)} and {dims(weights)}',
                             'Give (N, C, H, W) and (N, 1, H, W).')
        return [x]

    def forward(self, bottoms, params):
        return [bottoms[0] * bottoms[1]]

    def torch_code(self, code):
        return ' * '.join(code.bottoms)

    def onnx_nodes(self, nodes):
        return [nodes.op('Mul', *nodes.bottoms)]
