"""RepeatBorder: restores the rows and columns that passes.collapse_border left out."""

from itertools import pairwise, product

import torch

from ...sizes import dims
from ..common.internal import InternalLayer


class RepeatBorder(InternalLayer):
    """(N, C, H, W) -> (N, C, H + 2 r_y, W + 2 r_x): row `start` and the row `end` before the last
    are repeated r_y times more, columns likewise; gradients of the copies are summed.

    node.setting: (start, end, r) of the rows and of the columns.
    """

    type = 'RepeatBorder'
    narrow = True
    instead = 'Write a larger pad.'

    def shape(self, bottoms):
        bottom, = bottoms
        if len(bottom) != 4:
            raise self.error(f'a bottom of shape {dims(bottom)}', 'It takes 4 axes.')
        for size, (start, end, count) in zip(bottom[2:], self.node.setting, strict=True):
            if count and start + end + 2 > size:
                raise self.error(f'{size} cells, but cell {start} and the one {end} before the '
                                 'last are repeated', 'Run the net without collapse_border.')
        return [(*bottom[:2], *(n + 2 * r for n, (_, _, r) in
                                zip(bottom[2:], self.node.setting, strict=True)))]

    def forward(self, bottoms, params):
        x, = bottoms
        rows, columns = (pieces(n, *axis) for n, axis in
                         zip(x.shape[2:], self.node.setting, strict=True))
        return [Repeat.apply(x, self.shape([x.shape])[0], list(product(rows, columns)))]


def pieces(size, start, end, count):
    """[(cells of the top, cells of the bottom), …], slices that cover a whole axis; a bottom
    slice of one cell is broadcast over its top slice."""
    if count == 0:
        return [(slice(0, size), slice(0, size))]
    cuts = 0, start, start + 1, size - 1 - end, size - end, size
    found, at = [], 0
    for (first, stop), more in zip(pairwise(cuts), (0, count, 0, count, 0), strict=True):
        found.append((slice(at, at + stop - first + more), slice(first, stop)))
        at += stop - first + more
    return found


class Repeat(torch.autograd.Function):
    """Copies blocks in the bottom's memory format; each cell of the bottom is in one block."""

    @staticmethod
    def forward(ctx, bottom, shape, blocks):
        ctx.shape, ctx.blocks = bottom.shape, blocks
        top = empty(shape, bottom)
        for (y, from_y), (x, from_x) in blocks:
            top[:, :, y, x] = bottom[:, :, from_y, from_x]
        return top

    @staticmethod
    def backward(ctx, grad):
        out = empty(ctx.shape, grad)
        for (y, to_y), (x, to_x) in ctx.blocks:
            block, cells = grad[:, :, y, x], out[:, :, to_y, to_x]
            many = [axis for axis in (2, 3) if block.shape[axis] != cells.shape[axis]]
            out[:, :, to_y, to_x] = block.sum(many, keepdim=True) if many else block
        return out, None, None


def empty(shape, like):
    """An unwritten tensor, channels_last if `like` is."""
    last = like.is_contiguous(memory_format=torch.channels_last)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=(
        torch.channels_last if last else torch.contiguous_format))
