"""SpreadPooling: a Pooling of stride 1 whose windows are spread, made by net.dense."""

import torch.nn.functional as F

from ..common.internal import InternalLayer
from ..pooling import LOWEST, Pooling


class SpreadPooling(InternalLayer):
    """(N, C, H, W) -> (N, C, h, w), h = H + (2 pad - k + 1) * spread: the cells of a window are
    `spread` cells apart, and so is what pad adds.

    Node.setting is the spread (y, x). It takes every cell that Pooling would at its own stride on
    each of the interleaved grids. Caffe's Pooling has no dilation.
    """

    type = 'SpreadPooling'
    position_invariant = makes_tops = True
    spatial_axes = 2
    instead = 'Write a Pooling.'

    def setup(self):
        super().setup()
        original, = self.node.parts
        self.pooling, self.spread = Pooling(original, self.state), self.node.setting
        self.narrow = self.pooling.narrow
        self.pads = tuple(p * s for p, s in zip(self.pooling.pad, self.spread, strict=True))

    def window(self):
        wide = tuple((k - 1) * s + 1 for k, s in zip(self.pooling.kernel, self.spread, strict=True))
        return wide, (1, 1), self.pads

    def shape(self, bottoms):
        n, c, *size = bottoms[0]
        (height, width), _, pads = self.window()
        top = tuple(side + 2 * pad - wide + 1
                    for side, pad, wide in zip(size, pads, (height, width), strict=True))
        if min(top) < 1:
            raise self.error(f'a bottom of {size[0]}x{size[1]} is smaller than the spread window '
                             f'of {height}x{width}', 'Use a larger input.')
        return [(n, c, *top)]

    def forward(self, bottoms, params):
        x, (y_pad, x_pad) = bottoms[0], self.pads
        self.shape([x.shape])
        pooling = self.pooling
        padded = F.pad(x, (x_pad, x_pad, y_pad, y_pad), value=LOWEST if pooling.max else 0)
        if pooling.max:
            return [F.max_pool2d(padded, pooling.kernel, 1, 0, self.spread)]
        (height, width), (down, right) = pooling.kernel, self.spread
        rows = padded.shape[2] - (height - 1) * down
        columns = padded.shape[3] - (width - 1) * right
        total = sum(padded[:, :, i * down:i * down + rows, j * right:j * right + columns]
                    for i in range(height) for j in range(width))
        return [total / (height * width)]
