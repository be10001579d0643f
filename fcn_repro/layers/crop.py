"""Crop: the first bottom, cut to the second's size at an offset (Caffe's crop_layer)."""

from ..sizes import dims
from .common import coordinates
from .common.base import Layer


class Crop(Layer):
    """bottoms: the blob to crop, and one that gives the size of `axis` and all axes after it.

    One offset serves all those axes; none means 0. The second bottom gets no gradient; what axes
    it has beyond the first's are ignored.
    """

    type = 'Crop'
    passes_values = True
    narrow = linear = True
    bottoms = 2
    content_bottoms = 1
    fields = 'crop_param'

    def window(self, bottom, reference):
        """[(axis, offset, size), …]: the window that is cropped from a bottom of shape `bottom`."""
        if len(bottom) > len(reference):
            raise self.error(f'cannot crop {dims(bottom)} to {dims(reference)}: it has fewer axes',
                             'Crop to a blob of as many axes.')
        start = self.axis(self.param.axis, bottom)
        offsets = list(self.param.offset) or [0]
        count = len(bottom) - start
        if len(offsets) not in (1, count):
            raise self.error(f'{len(offsets)} offsets for {count} axes from axis {start} on',
                             f'Give 1 or {count}.')
        offsets = offsets * count if len(offsets) == 1 else offsets
        window = [(start + i, o, reference[start + i]) for i, o in enumerate(offsets)]
        for axis, offset, size in window:
            if offset + size > bottom[axis]:
                raise self.error(f'the crop leaves its input: axis {axis} is {bottom[axis]}, but '
                                 f'offset {offset} + size {size} = {offset + size}',
                                 'Use a smaller offset or more padding.')
        return window

    @classmethod
    def coord_map(cls, settings):
        return coordinates.crop(settings)

    def cell_map(self, bottom):
        return self.coord_map({'axis': self.param.axis, 'offset': list(self.param.offset) or [0]})

    def reads(self, bottom):
        axis, offset = self.axis(self.param.axis, bottom), list(self.param.offset) or [0]
        along = [0] * axis + (offset * (len(bottom) - axis) if len(offset) == 1 else offset)
        return tuple((1, 1, -start, 1) for start in along[2:])

    def reach(self, bottom):
        if len(bottom) != 4:
            return None
        cut = {axis: offset for axis, offset, _ in self.window(bottom, (0,) * 4)}
        return tuple(coordinates.Reach(low=cut.get(axis, 0), high=cut.get(axis, 0))
                     for axis in (2, 3))

    def shape(self, bottoms):
        top = list(bottoms[0])
        for axis, _, size in self.window(*bottoms):
            top[axis] = size
        return [tuple(top)]

    def forward(self, bottoms, params):
        top = bottoms[0]
        for axis, offset, size in self.window(bottoms[0].shape, bottoms[1].shape):
            top = top.narrow(axis, offset, size)
        return [top]
