"""Upsample: values put back where a MAX pooling found them (SegNet's upsample_layer)."""

import torch

from ... import ops
from ...errors import FcnError
from ...sizes import dims
from ..common.base import Layer

LARGEST = 2 ** 24       # a float32 mask counts up to it


class Upsample(Layer):
    """bottoms: values (N, C, h, w) and a mask of that shape, y * W + x as Pooling's second top has
    it -> (N, C, H, W), 0 but for top[mask] = value; of several values for one place the last stays,
    and each gets the place's gradient.

    The size is upsample_h and upsample_w, or scale (scale_h and scale_w) times the bottom's,
    without one row with pad_out_h and without one column with pad_out_w. A third bottom, which the
    forks do not have, gives its height and width instead: that of what the Pooling read, so that a
    net takes images of any size.
    """

    type = 'Upsample'
    bottoms = (2, 3)
    content_bottoms = 1
    makes_tops = linear = True
    fields = 'upsample_param'
    dialect_fields = tuple(f'upsample_param.{name}' for name in (
        'scale', 'scale_h', 'scale_w', 'pad_out_h', 'pad_out_w', 'upsample_h', 'upsample_w'))

    def setup(self):
        p = self.param
        if len(self.node.bottoms) == 3 and p.ListFields():
            raise self.error('upsample_param with a third bottom, which gives the size',
                             'Remove the one or the other.')
        size = p.HasField('upsample_h'), p.HasField('upsample_w')
        sides = p.HasField('scale_h'), p.HasField('scale_w')
        if not all(size) and (any(size) or sides[0] != sides[1]
                              or (all(sides) and p.HasField('scale'))):
            raise self.error('the sizes do not fit together', 'Give upsample_h and upsample_w, or '
                             'scale, or scale_h and scale_w.')
        self.size = (p.upsample_h, p.upsample_w) if all(size) else None
        self.scale = (p.scale_h, p.scale_w) if all(sides) else (p.scale,) * 2
        self.less = (p.pad_out_h, p.pad_out_w)
        for name, values in ('upsample_h and upsample_w', self.size), ('scale', self.scale):
            if values and min(values) < 2:
                raise self.error(f'{name} {dims(values)}', 'Both must be above 1.')
        if not self.size and any(less and scale != 2
                                 for less, scale in zip(self.less, self.scale, strict=True)):
            raise self.error(f'pad_out_h or pad_out_w with a scale of {dims(self.scale)}',
                             'They are for a scale of 2: give upsample_h and upsample_w.')

    def shape(self, bottoms):
        values, mask, *like = bottoms
        if len(values) != 4 or tuple(mask) != tuple(values):
            raise self.error(f'values of {dims(values)} and a mask of {dims(mask)}',
                             'Give (N, C, h, w) and a mask of the same shape: the second top of '
                             'the Pooling.')
        if like and len(like[0]) != 4:
            raise self.error(f'a bottom of {dims(like[0])} for the size', 'Give a blob of 4 axes.')
        if like:
            size = tuple(like[0][2:])
        else:
            size = self.size or tuple(side * scale - less for side, scale, less in zip(
                values[2:], self.scale, self.less, strict=True))
        if size[0] * size[1] > LARGEST:
            raise self.error(f'a top of {dims(size)}: the mask, float32, cannot tell its '
                             f'{size[0] * size[1]} places apart', 'Use a smaller image.')
        return [(*values[:2], *size)]

    def forward(self, bottoms, params):
        x, mask = bottoms[:2]
        size = self.shape([bottom.shape for bottom in bottoms])[0][2:]
        places = size[0] * size[1]
        if not torch.is_grad_enabled() and x.is_cpu and x.dtype == mask.dtype == torch.float32:
            try:
                return [ops.unpool(x, mask, size)]
            except FcnError:        # of a place outside, which `check` names
                self.check(mask.flatten(2).long(), size)
                raise
        index, values = mask.detach().flatten(2).long(), x.flatten(2)
        if self.state.unchecked:
            wrong = (index < 0) | (index >= places)
            values, index = values.masked_fill(wrong, torch.nan), index.masked_fill(wrong, 0)
        elif index.numel():
            self.check(index, size)
        return [Unpool.apply(values, index, places).unflatten(2, size)]

    def check(self, index, size):
        """FcnError for a place outside the top."""
        low, high = (end.item() for end in index.aminmax())
        if low < 0 or high >= size[0] * size[1]:
            count = int(((index < 0) | (index >= size[0] * size[1])).sum())
            raise self.error(f'{count} places of the mask are outside the top {dims(size)}, such '
                             f'as {low if low < 0 else high}', 'Give upsample_h and upsample_w (or '
                             'pad_out_h, pad_out_w) so that the top has the size of what the '
                             'Pooling of the mask read.')

    # ---- export --------------------------------------------------------------------------------

    def torch_code(self, code):
        x, mask, *like = code.bottoms
        if like:
            size = f'{like[0]}.shape[2:]'
        elif self.size:
            size = str(self.size)
        else:
            sides = [f'{x}.shape[{axis}]' if code.dims[0][axis] is None
                     else str(code.shapes[0][axis]) for axis in (2, 3)]
            size = '({}, {})'.format(*(
                f'{side} * {scale}' + ' - 1' * less for side, scale, less in zip(
                    sides, self.scale, self.less, strict=True)))
        return f'{code.helper(unpool)}({x}, {mask}, {size})'

    def onnx_nodes(self, nodes):
        """ScatterElements into zeros; where windows overlap, which of two values for one place
        stays is the runtime's."""
        x, mask = nodes.bottoms[:2]
        count = nodes.ints([0, 0, -1])
        batch = nodes.extents(0, 0, 2)
        if len(nodes.bottoms) == 3:
            sides = nodes.extents(2, 2, 4)
        elif self.size:
            sides = nodes.ints(self.size)
        else:
            sides = nodes.op('Mul', nodes.extents(0, 2, 4), nodes.ints(self.scale))
            sides = nodes.op('Sub', sides, nodes.ints(map(int, self.less))) \
                if any(self.less) else sides
        places = nodes.op('ReduceProd', sides, axes=[0], keepdims=1)
        zeros = nodes.op('Expand', nodes.floats([[[0]]]),
                         nodes.op('Concat', batch, places, axis=0))
        index = nodes.op('Cast', nodes.op('Reshape', mask, count), to=7)
        top = nodes.op('ScatterElements', zeros, index, nodes.op('Reshape', x, count), axis=2)
        return [nodes.op('Reshape', top, nodes.op('Concat', batch, sides, axis=0))]


class Unpool(torch.autograd.Function):
    """values (N, C, n) and their places (N, C, n) -> (N, C, places), the last of several staying;
    the gradient of each value is that of its place, as in the fork."""

    @staticmethod
    def forward(ctx, values, index, places):
        ctx.save_for_backward(index)
        if values.is_cuda:          # where scatter writes several values in any order
            return last_of_each(values, index, places)
        return values.new_zeros(*values.shape[:2], places).scatter(2, index, values)

    @staticmethod
    def backward(ctx, grad):
        index, = ctx.saved_tensors
        return grad.gather(2, index), None, None


def last_of_each(values, index, places):
    """Unpool's result without relying on the order in which scatter writes."""
    order = torch.arange(values.shape[2], device=values.device).expand_as(index)
    last = index.new_full((*index.shape[:2], places), -1).scatter_reduce(2, index, order, 'amax')
    return values.gather(2, last.clamp(min=0)).masked_fill(last < 0, 0)


def unpool(x, mask, size):
    """Values put back to the places y * width + x of a mask (SegNet's Upsample)."""
    index = mask.flatten(2).long()
    top = x.new_zeros(*x.shape[:2], size[0] * size[1]).scatter(2, index, x.flatten(2))
    return top.unflatten(2, size)
