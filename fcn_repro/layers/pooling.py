"""Pooling: MAX (with mask) and AVE, ceil or floor, global (Caffe's pooling_layer).

What Caffe's lacks is in fcn_repro_param. output_size: the size of the top, one number or (y, x), of
pool: AVE; its cell i is the mean of the cells floor(i n / m) to ceil((i + 1) n / m) - 1 of n for m,
as in torch's adaptive average pooling.
"""

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F

from .. import ops
from ..proto import PoolingParameter
from ..sizes import dims
from .common import coordinates
from .common.base import Layer
from .common.exporting import FLOAT, arguments, brief

WINDOW = ('kernel_size', 'kernel_h', 'kernel_w', 'stride', 'stride_h', 'stride_w', 'pad', 'pad_h',
          'pad_w', 'global_pooling', 'round_mode')      # fields that say what a window is
LOWEST = -torch.finfo(torch.float32).max      # what Caffe's MAX starts from: -FLT_MAX


class Pooling(Layer):
    """(N, C, H, W) -> (N, C, h, w), and for MAX optionally the mask: y * W + x of the maximum,
    -1 in an empty window.

    h = ceil((H + 2 pad - k) / s) + 1; with pad > 0 the last window is dropped if it would start
    at H + pad or later. The MAX gradient goes to the first maximum in row order; the AVE divisor
    counts padding up to H + pad.
    """

    type = 'Pooling'
    position_invariant = makes_tops = True
    spatial_axes = 2
    tops = (1, 2)
    fields = 'pooling_param'
    own_fields = ('output_size',)
    ignored = ('engine',)

    def setup(self):
        p = self.param
        self.max = p.pool == PoolingParameter.MAX
        self.narrow = self.max and len(self.node.tops) == 1     # a mask counts beyond 16-bit floats
        if p.pool == PoolingParameter.STOCHASTIC:
            raise self.error('pool: STOCHASTIC is not supported', 'Use MAX or AVE.')
        if len(self.node.tops) == 2 and not self.max:
            raise self.error('a second top (the mask) with pool: AVE', 'Remove it, or use MAX.')
        self.output_size = self._read_output_size()
        if self.output_size:
            return
        sides = p.HasField('kernel_h') and p.HasField('kernel_w')
        if p.global_pooling and any(p.HasField(f'kernel_{side}') for side in ('h', 'w', 'size')):
            raise self.error('global_pooling with a kernel size', 'Remove the kernel size.')
        if not p.global_pooling and p.HasField('kernel_size') == sides:
            raise self.error('give kernel_size, or kernel_h and kernel_w')
        self.kernel = (p.kernel_h, p.kernel_w) if sides else (p.kernel_size,) * 2
        self.stride = self._pair('stride')
        self.pad = self._pair('pad')
        if p.global_pooling and (self.pad != (0, 0) or self.stride != (1, 1)):
            raise self.error('global_pooling with pad or stride', 'Remove them.')
        if not p.global_pooling and (min(self.kernel) < 1 or min(self.stride) < 1):
            raise self.error(f'kernel {dims(self.kernel)}, stride {dims(self.stride)}',
                             'Both must be positive.')
        if not p.global_pooling and any(a >= k for a, k in zip(self.pad, self.kernel, strict=True)):
            raise self.error(f'pad {dims(self.pad)} is not under the kernel {dims(self.kernel)}')

    def _read_output_size(self):
        """The pair output_size, or None; FcnError for what contradicts it."""
        p, size = self.param, self.node.param.fcn_repro_param.output_size[:]
        if not size:
            return None
        if len(size) > 2 or min(size) < 1:
            raise self.error(f'output_size {dims(size)}', 'Give one or two positive numbers.')
        if self.max:
            raise self.error('output_size with pool: MAX', 'Use pool: AVE, or a kernel size.')
        for name in WINDOW:
            if p.HasField(name):
                raise self.error(f'output_size with {name}', 'Remove one of them.')
        return tuple(size * 2)[:2]

    def window(self):
        if self.param.global_pooling or self.output_size:
            return None
        return self.kernel, self.stride, self.pad

    def spread(self, by):
        if self.window() is None or len(self.node.tops) > 1:
            return None
        param = type(self.node.param)(name=self.node.name, type='SpreadPooling',
                                      bottom=self.node.param.bottom, top=self.node.param.top)
        return replace(self.node, type='SpreadPooling', param=param, parts=(self.node,),
                       setting=tuple(by))

    @classmethod
    def coord_map(cls, settings):
        return coordinates.convolution(settings, cls.type)

    def cell_map(self, bottom):
        settings = {}                   # a global pooling has no window that moves
        if window := self.window():
            settings = dict(zip(('kernel_size', 'stride', 'pad'), map(list, window), strict=True))
        return self.coord_map(settings)

    def _pair(self, name):
        p = self.param
        h, w = p.HasField(f'{name}_h'), p.HasField(f'{name}_w')
        if h != w or (h and p.HasField(name)):
            raise self.error(f'give {name}, or both {name}_h and {name}_w')
        return (getattr(p, f'{name}_h'), getattr(p, f'{name}_w')) if h else (getattr(p, name),) * 2

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}', 'Pooling takes 4 axes.')
        n, c, *size = bottoms[0]
        if self.output_size:
            if min(size) < 1:
                raise self.error(f'a bottom of {dims(bottoms[0])} has no cells',
                                 'Use a larger input.')
            return [(n, c, *self.output_size)]
        kernel = size if self.param.global_pooling else self.kernel
        top = tuple(self._extent(*axis) for axis in
                    zip(size, kernel, self.stride, self.pad, strict=True))
        if min(top) < 1:
            raise self.error(f'a bottom of {dims(bottoms[0])} is smaller than the kernel '
                             f'{dims(kernel)}', 'Use a larger input.')
        return [(n, c, *top)] * len(self.node.tops)

    def scratch(self, bottoms):
        """The indices (int64) that a mask is made from, and the bottom with padding."""
        (n, c, *size), (*_, h, w) = bottoms[0], self.shape(bottoms)[0]
        if self.output_size:
            return 0
        kernel = size if self.param.global_pooling else self.kernel
        by_us = any(2 * p > k for p, k in zip(self.pad, kernel, strict=True))
        whole = [max(side + 2 * p * by_us, (o - 1) * s - p * (not by_us) + 1)
                 for side, p, o, s in zip(size, self.pad, (h, w), self.stride, strict=True)]
        padded = n * c * math.prod(whole) if whole != list(size) else 0
        return padded + (2 * n * c * h * w if len(self.node.tops) == 2 else 0)

    def _extent(self, size, kernel, stride, pad):
        ceil = self.param.round_mode == PoolingParameter.CEIL
        out = (math.ceil if ceil else math.floor)((size + 2 * pad - kernel) / stride) + 1
        if any(self.pad) and (out - 1) * stride >= size + pad:
            out -= 1
        return out

    def forward(self, bottoms, params):
        x = bottoms[0]
        height, width = x.shape[2:]
        h, w = self.shape([x.shape])[0][2:]
        if not x.shape[1]:                  # torch's pooling refuses a blob without channels
            return [x.new_zeros(top) for top in self.shape([x.shape])]
        if self.output_size:
            return [F.adaptive_avg_pool2d(x, self.output_size)]
        kernel = (height, width) if self.param.global_pooling else self.kernel
        x, before, pad = self._padded(x, (h, w), kernel)
        if not self.max:
            return [F.avg_pool2d(x, kernel, self.stride, pad, ceil_mode=True)[:, :, :h, :w]]
        if len(self.node.tops) == 1 and ops.suits_block_maximum(x, kernel, self.stride, pad):
            return [ops.block_maximum(x, kernel)]
        if len(self.node.tops) == 1 and ops.suits_max_pool(x, kernel):
            return [ops.max_pool(x, kernel, self.stride, pad, (h, w))]
        if len(self.node.tops) == 1:
            return [F.max_pool2d(x, kernel, self.stride, pad, ceil_mode=True)[:, :, :h, :w]]
        y, index = F.max_pool2d(x, kernel, self.stride, pad, ceil_mode=True, return_indices=True)
        if x.shape[2:] == (height, width):      # nothing was added: every index is a place of x
            return [y[:, :, :h, :w], index[:, :, :h, :w].to(y.dtype)]
        row, column = index // x.shape[3] - before[0], index % x.shape[3] - before[1]
        mask = torch.where((row < height) & (column < width), row * width + column, -1)
        return [y[:, :, :h, :w], mask[:, :, :h, :w].to(y.dtype)]

    def _padded(self, x, out, kernel):
        """(x, with the padding that torch's pooling does not support; rows and columns added in
        front; the padding left to torch).

        torch requires pad <= kernel / 2. It also drops a last window that starts outside if pad is
        0, which Caffe keeps (stride over kernel): there x is extended by Caffe's initial value of a
        window, so that an empty one gives -FLT_MAX (MAX) or NaN (AVE).
        """
        pad, before, lowest = self.pad, (0, 0), max(LOWEST, torch.finfo(x.dtype).min)
        if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
            x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=lowest if self.max else 0)
            pad, before = (0, 0), pad
        last = [(o - 1) * s - p for o, s, p in zip(out, self.stride, pad, strict=True)]
        beyond = [max(0, start + 1 - size) for start, size in zip(last, x.shape[2:], strict=True)]
        if any(beyond):
            x = F.pad(x, (0, beyond[1], 0, beyond[0]), value=lowest if self.max else math.nan)
        return x, before, pad

    # ---- export --------------------------------------------------------------------------------

    @property
    def like_torch(self):
        """Whether torch's pooling has these windows; see _padded."""
        ceil = self.param.round_mode == PoolingParameter.CEIL
        beyond = ceil and not any(self.pad) and any(
            s > k for s, k in zip(self.stride, self.kernel, strict=True))
        return not beyond and all(2 * p <= k for p, k in zip(self.pad, self.kernel, strict=True))

    def torch_code(self, code):
        x, mask = code.bottoms[0], len(self.node.tops) == 2
        if self.output_size:
            return f'F.adaptive_avg_pool2d({x}, {brief(self.output_size)})'
        function = 'F.max_pool2d' if self.max else 'F.avg_pool2d'
        if self.param.global_pooling:
            fixed, kernel, more = True, f'{x}.shape[2:]', ''
        else:
            fixed, kernel = self.like_torch, brief(self.kernel)
            ceil = self.param.round_mode == PoolingParameter.CEIL and max(self.stride) > 1
            more = ', ' + arguments(brief(self.stride), padding=(brief(self.pad), 0),
                                    ceil_mode=(ceil, False))
        if mask and fixed:
            return f'{code.helper(pool_with_mask)}({x}, {kernel}{more})'
        if fixed:
            return f'{function}({x}, {kernel}{more})'
        if mask:
            raise self.error('a mask with these windows cannot be exported as PyTorch code',
                             'Use a pad of at most half the kernel, and a stride up to it.')
        ceil = self.param.round_mode == PoolingParameter.CEIL
        return f'{code.helper(pool)}({x}, {function}, {self.kernel}, {self.stride}, ' \
               f'{self.pad}, {ceil})'

    def onnx_nodes(self, nodes):
        x, mask = nodes.bottoms[0], len(self.node.tops) == 2
        if self.output_size == (1, 1):
            return [nodes.op('GlobalAveragePool', x)]
        if self.output_size:
            rows, columns = (self.averages(nodes, axis) for axis in (2, 3))
            columns = nodes.op('Transpose', columns, perm=[1, 0])
            return [nodes.op('MatMul', nodes.op('MatMul', rows, x), columns)]
        if self.param.global_pooling and not mask:
            return [nodes.op('GlobalMaxPool' if self.max else 'GlobalAveragePool', x)]
        if self.param.global_pooling:
            raise self.error('a mask of a global pooling cannot be exported as ONNX',
                             'Leave out the second top.')
        after = self.pads_after()
        windows = {'kernel_shape': self.kernel, 'strides': self.stride}
        beyond = any(a >= k for a, k in zip(after, self.kernel, strict=True))  # stride over kernel
        if beyond:
            if mask:
                raise self.error('a mask with a stride over the kernel cannot be exported as ONNX',
                                 'Leave out the second top.')
            ends = nodes.ints([0] * 6 + list(after))
            x = nodes.op('Pad', x, ends, nodes.floats(LOWEST if self.max else 0))
            pads = [0] * 4
        else:
            pads = [*self.pad, *after]
        if mask:
            return self.masked(nodes, x, pads=pads, **windows)
        if self.max:
            return [nodes.op('MaxPool', x, pads=pads, **windows)]
        return [self.average(nodes, x, pads, after, beyond, windows)]

    def average(self, nodes, x, pads, after, beyond, windows):
        """Sums of windows, divided as Caffe's AVE does."""
        if after == self.pad:
            return nodes.op('AveragePool', x, pads=pads, count_include_pad=1, **windows)
        shares = self.shares(nodes, after)
        if beyond:      # onnxruntime 1.30 would merge the Pads into AveragePool, which refuses them
            x, shares = nodes.op('Neg', x), nodes.op('Neg', shares)
        y = nodes.op('AveragePool', x, pads=pads, count_include_pad=1, **windows)
        return nodes.op('Div', y, nodes.op('AveragePool', shares, **windows))

    def averages(self, nodes, axis):
        """The matrix (m, n) that takes the means of output_size along an axis: 1 over their number
        for the cells that one is of, computed in the graph for an axis of any length."""
        most, length = self.output_size[axis - 2], nodes.extents(0, axis, axis + 1)
        steps = nodes.floats(range(most + 1))
        size = nodes.op('Cast', length, to=FLOAT)
        ends = nodes.op('Div', nodes.op('Mul', steps, size), nodes.floats(most))
        column = nodes.ints([most, 1])
        first = nodes.op('Slice', nodes.op('Floor', ends), nodes.ints([0]), nodes.ints([most]))
        end = nodes.op('Slice', nodes.op('Ceil', ends), nodes.ints([1]), nodes.ints([most + 1]))
        first, end = (nodes.op('Reshape', each, column) for each in (first, end))
        scalar = nodes.op('Squeeze', size, nodes.ints([0]))
        cells = nodes.op('Range', nodes.floats(0), scalar, nodes.floats(1))
        inside = nodes.op('And', nodes.op('Not', nodes.op('Less', cells, first)),
                          nodes.op('Less', cells, end))
        return nodes.op('Div', nodes.op('Cast', inside, to=FLOAT), nodes.op('Sub', end, first))

    def pads_after(self):
        """The padding after an axis with which rounding down gives Caffe's windows: with CEIL one
        more where a stride is left over, but none that starts in the padding, unless all pads are
        0. So the model does not depend on what a runtime means by ceil_mode."""
        if self.param.round_mode != PoolingParameter.CEIL:
            return self.pad
        return tuple(min(p + s - 1, k - 1) if any(self.pad) else s - 1
                     for p, s, k in zip(self.pad, self.stride, self.kernel, strict=True))

    def shares(self, nodes, after):
        """1 where Caffe's AVE counts a cell, up to H + pad, and 0 beyond: (1, 1, H, W), of a map
        with all its padding."""
        twice = [2 * p for p in self.pad]
        sides = nodes.extents(0, 2, 4)
        sides = nodes.op('Add', sides, nodes.ints(twice)) if any(twice) else sides
        ones = nodes.op('Expand', nodes.floats(np.ones((1, 1, 1, 1))),
                        nodes.op('Concat', nodes.ints([1, 1]), sides, axis=0))
        rest = [a - p for a, p in zip(after, self.pad, strict=True)]
        return nodes.op('Pad', ones, nodes.ints([0] * 6 + rest))

    def masked(self, nodes, x, **windows):
        """The two tops of a MAX pooling with a mask."""
        top, index = nodes.ops(2, 'MaxPool', x, **windows)
        count = nodes.op('ReduceProd', nodes.extents(0, 2, 4), axes=[0], keepdims=1)
        return [top, nodes.op('Cast', nodes.op('Mod', index, count), to=FLOAT)]


def pool_with_mask(x, *window, **more):
    """The maxima, and where they are: y * width + x (Caffe's Pooling with two tops)."""
    y, index = F.max_pool2d(x, *window, **more, return_indices=True)
    return y, index.to(y.dtype)


def pool(x, function, kernel, stride, pad, ceil):
    """Caffe's windows where torch's differ: a pad over half the kernel, a stride over it."""
    largest = function is F.max_pool2d
    lowest = -torch.finfo(torch.float32).max
    counts = []
    for n, k, s, p in zip(x.shape[2:], kernel, stride, pad, strict=True):
        left = n + 2 * p - k
        count = (-(-left // s) if ceil else left // s) + 1
        counts.append(count - (any(pad) and (count - 1) * s >= n + p))
    x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]), value=lowest if largest else 0)
    more = [max(0, (c - 1) * s + 1 - n)
            for c, s, n in zip(counts, stride, x.shape[2:], strict=True)]
    if any(more):                   # an empty window
        x = F.pad(x, (0, more[1], 0, more[0]), value=lowest if largest else float('nan'))
    return function(x, kernel, stride, ceil_mode=True)[:, :, :counts[0], :counts[1]]
