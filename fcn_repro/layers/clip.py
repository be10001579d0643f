"""Clip: x clamped to [min, max] (Caffe's clip_layer)."""

from .common.exporting import number
from .common.neuron import NeuronLayer


class Clip(NeuronLayer):
    """Any shape. The gradient passes where the bottom is from min to max, both included; in place
    all of it passes, as in Caffe, which then looks at the clipped values."""

    type = 'Clip'
    fields = 'clip_param'
    keeps_coordinates = False       # pycaffe's coord_map does not know the type

    def setup(self):
        for name in 'min', 'max':
            if not self.param.HasField(name):
                raise self.error(f'clip_param.{name} is missing', 'Set it.')
        if not self.param.min <= self.param.max:
            raise self.error(f'min {self.param.min:g} is above max {self.param.max:g}',
                             'Fix one of them.')

    def value(self, x):
        return x.clamp(self.param.min, self.param.max)

    def slope(self, bottom, top):
        return ((bottom >= self.param.min) & (bottom <= self.param.max)).to(bottom.dtype)

    def torch_code(self, code):
        least, most = number(self.param.min), number(self.param.max)
        return f'{code.bottoms[0]}.clamp({least}, {most})'

    def onnx_nodes(self, nodes):
        return [nodes.op('Clip', nodes.bottoms[0], nodes.floats(self.param.min),
                         nodes.floats(self.param.max))]
