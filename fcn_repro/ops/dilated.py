"""A dilated convolution as ordinary ones: every d-th row and column of a map is a smaller map, on
which the filters are not dilated, so that Winograd's algorithm serves them (inference on the CPU).
"""

import torch
import torch.nn.functional as F

from .conv import may_be_winograd, ours
from .winograd import TILE

FULL = 0.5          # of the cells of tiles that are outputs, at least: else direct sums are faster
LEAST = 64          # tiles of TILE x TILE outputs, as for an ordinary convolution


def splits(x, weight, stride, pad, dilation, group, shape):
    """Whether conv_split applies, and pays for an x of this shape."""
    if torch.is_grad_enabled() or group != 1 or max(stride) > 1 or max(dilation) == 1 \
            or not x.is_cpu or not ours(x, weight) or not may_be_winograd(weight.shape) \
            or not x.is_contiguous(memory_format=torch.channels_last):
        return False
    outputs, tiles = shape[0], shape[0]
    for size, p, d in zip(shape[2:], pad, dilation, strict=True):
        extent = size + 2 * p - 2 * d
        if extent < 1:
            return False
        outputs *= extent
        tiles *= d * -(-extent // (d * TILE))
    return tiles >= LEAST and outputs >= FULL * TILE * TILE * tiles


def conv_split(run, x, pad, dilation):
    """A convolution of x (N, C, H, W), channels_last, by run(parts) -> tops: an ordinary one with
    3x3 filters, stride 1 and no padding of parts (d_y d_x N, C, h, w)."""
    (n, c, *sides), extents, cells = x.shape, [], []
    ends = []
    for size, p, d in zip(sides, pad, dilation, strict=True):
        extents.append(size + 2 * p - 2 * d)
        cells.append(-(-(size + 2 * p) // d))
        ends.append(cells[-1] * d - size - p)
    x = F.pad(x, (pad[1], ends[1], pad[0], ends[0])).permute(0, 2, 3, 1)
    (d_y, d_x), (h, w) = dilation, cells
    parts = x.reshape(n, h, d_y, w, d_x, c).permute(2, 4, 0, 1, 3, 5).reshape(-1, h, w, c)
    tops = run(parts.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    h, w, c = tops.shape[1:]
    whole = tops.reshape(d_y, d_x, n, h, w, c).permute(2, 3, 0, 4, 1, 5).reshape(
        n, h * d_y, w * d_x, c)[:, :extents[0], :extents[1]]
    return whole.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


def conv_split_ref(x, weight, bias, pad, dilation):
    """The twin of conv_split with an ordinary convolution, which defines it."""
    return F.conv2d(x, weight, bias, 1, pad, dilation)
