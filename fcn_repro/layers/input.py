"""Input: the blobs that the caller fills (Caffe's input_layer)."""

from .common.base import ANY, Layer


class Input(Layer):
    """tops of the shapes in input_param; the net keeps their data and may reshape them."""

    type = 'Input'
    bottoms = 0
    tops = (1, ANY)
    fields = 'input_param'

    def setup(self):
        given, tops = len(self.param.shape), len(self.node.tops)
        if given not in (0, 1, tops):
            raise self.error(f'{given} shapes for {tops} tops', f'Give 1 or {tops}.')

    def shape(self, bottoms):
        shapes = [tuple(shape.dim) for shape in self.param.shape] or [()]
        return shapes * len(self.node.tops) if len(shapes) == 1 else shapes
