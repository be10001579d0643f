"""RepeatBorder: restores the rows and columns that passes.collapse_border left out."""

from ... import ops
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
        return [ops.repeat_border(bottoms[0], *self.node.setting)]
