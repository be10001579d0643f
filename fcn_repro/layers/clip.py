"""Clip: x kept in [min, max] (Caffe's clip_layer)."""

from .base import Layer


class Clip(Layer):
    """Any shape. The gradient passes from min to max, both included, and is 0 outside; in-place
    too (Caffe then lets all of it pass: it looks at the clipped values)."""

    type = 'Clip'
    fields = 'clip_param'

    def setup(self):
        for name in 'min', 'max':
            if not self.param.HasField(name):
                raise self.error(f'clip_param.{name} is missing', 'Set it.')
        if not self.param.min <= self.param.max:
            raise self.error(f'min {self.param.min:g} is above max {self.param.max:g}',
                             'Mend one of them.')

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        return [bottoms[0].clamp(self.param.min, self.param.max)]
