"""Crop: the first bottom, cut to the second's size at an offset (Caffe's crop_layer)."""

from ..sizes import dims
from .common import coordinates
from .common.base import Layer
from .common.exporting import sizes_text


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

    def reach(self, bottom):
        if len(bottom) != 4:
            return None
        start, given = self.axis(self.param.axis, bottom), list(self.param.offset) or [0]
        offsets = [0] * start + (given if len(given) > 1 else given * (4 - start))
        return tuple(coordinates.Reach(low=offset, high=offset) for offset in offsets[2:4])

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

    def torch_code(self, code):
        cuts, reference = [':'] * len(code.shapes[0]), code.bottoms[1]
        for axis, offset, _ in self.window(*code.shapes):
            size, = sizes_text(reference, code.dims[1], axis, axis + 1)
            if size.isdigit():
                cuts[axis] = f'{offset}:{offset + int(size)}'
            else:
                cuts[axis] = f'{offset}:{offset} + {size}' if offset else f':{size}'
        return f'{code.bottoms[0]}[{", ".join(cuts)}]'

    def onnx_nodes(self, nodes):
        window = self.window(*nodes.shapes)
        axes, starts, sizes = map(list, zip(*window, strict=True))
        if None in nodes.dims[1][axes[0]:axes[-1] + 1]:
            size = nodes.extents(1, axes[0], axes[-1] + 1)
            ends = nodes.op('Add', size, nodes.ints(starts)) if any(starts) else size
        else:
            ends = nodes.ints([a + b for a, b in zip(starts, sizes, strict=True)])
        return [nodes.op('Slice', nodes.bottoms[0], nodes.ints(starts), ends, nodes.ints(axes))]
