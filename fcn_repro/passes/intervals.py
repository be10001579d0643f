"""Interval propagation: how far the edges of a padded canvas, and the image in it, influence each
layer of a chain.

Along an axis the first and last cells depend on the edge (a later layer pads with zeros of its own,
a pooling window is cut off), those in the middle on the image. Those between, the band, depend on
constant padding alone, so they are all equal along the axis.
"""

from dataclasses import dataclass

from ..layers import RunState, layer_class
from ..net.graph import Node
from ..proto import dialect_of

SIZE = 500          # of an image, to estimate work; the result holds for any size
CHANNELS = 3        # of an image
ELEMENT = 256       # multiply-adds worth a value read and written: 100 on a CPU, 300 on a GPU


@dataclass(frozen=True)
class Line:
    """The cells of one axis: [0, edge) and [tail, size) depend on the edge of the canvas,
    [image, after) on the image."""
    size: int
    edge: int
    image: int
    after: int
    tail: int

    def through(self, size, kernel, stride, pad):
        """The `size` cells of a layer's top: number i reads `kernel` cells from i * stride - pad
        on."""
        return Line(size, max(0, ceil(self.edge + pad, stride)),
                    (self.image - kernel + pad) // stride + 1, ceil(self.after + pad, stride),
                    (self.tail - kernel + pad) // stride + 1)


@dataclass(frozen=True)
class Stop:
    """A node after which cells can be restored. The pairs are for rows and columns.

    stride: pixels from one cell of the top to the next. start: the first cell of the first band.
    end: how many cells follow the last band. spare: cells that both bands can do without.
    size: the top's, of an image of SIZE. work: multiply-adds in a cell of it, or time worth them.
    """
    node: Node
    stride: tuple
    start: tuple
    end: tuple
    spare: tuple
    size: tuple
    channels: int
    work: float

    @property
    def removable(self):
        """Pixels at each side that can be left out before this node and restored after it."""
        return tuple(cells * step for cells, step in zip(self.spare, self.stride, strict=True))


def make_layer(node):
    """A node's layer, to be asked for what its settings mean."""
    return layer_class(node.type, dialect_of(node.param))(node, RunState(0))


def may_have_border(node):
    """Whether a pad of a Convolution is large enough for has_border: kernel and stride are at least
    1. Most nodes are told apart by this alone."""
    p = node.param.convolution_param
    return max(*p.pad, p.pad_h, p.pad_w) > 1


def has_border(node):
    """Whether the pad of a Convolution over two axes gives at least two equal cells at a side."""
    axes = zip(*make_layer(node).window(), strict=True)
    return any(pad >= kernel + stride for kernel, stride, pad in axes)


def trace(nodes):
    """The Stops of a chain of nodes, up to the last with a band; the first node's pad creates it.

    The bands are the narrowest over all remainders of an image's size modulo the strides, so they
    hold for every size. The chain ends where windows skip cells (stride over kernel).
    """
    layers = [make_layer(node) for node in nodes]
    windows = [list(zip(*layer.window(), strict=True)) for layer in layers]
    lines = [images([axes[i][1] for axes in windows], windows[0][i][2]) for i in (0, 1)]
    stops, stride, channels = [], (1, 1), CHANNELS
    for node, layer, axes in zip(nodes, layers, windows, strict=True):
        if any(s > k or k > line[0].size + 2 * p
               for (k, s, p), line in zip(axes, lines, strict=True)):
            break
        lines = [[line.through(extent(layer, i, line.size), *axes[i]) for line in lines[i]]
                 for i in (0, 1)]
        start, end, spare = zip(*map(band, lines), strict=True)
        if max(spare) == 0:
            break
        stride = tuple(a * s for a, (_, s, _) in zip(stride, axes, strict=True))
        macs, channels = layer.macs_per_cell(channels)
        work = macs + ELEMENT * channels
        stops.append(Stop(node, stride, start, end, spare, (lines[0][0].size, lines[1][0].size),
                          channels, work))
    return stops


def extent(layer, axis, size):
    """Cells of a layer's top along an axis (0 rows, 1 columns) for `size` of its bottom."""
    bottom = [1, 1, *layer.window()[0]]
    bottom[2 + axis] = size
    return layer.shape([bottom])[0][2 + axis]


def images(strides, pad):
    """The Lines of images of SIZE pixels and more, one for each remainder modulo the strides, in
    image coordinates: the canvas begins at -pad."""
    total = 1
    for stride in strides:
        if total * stride <= max(pad, 1):       # beyond that bands are empty
            total *= stride
    return [Line(n, -pad, 0, n, n + pad) for n in range(SIZE, SIZE + total)]


def band(lines):
    """(start, end, spare) of a Stop along one axis, valid for all these sizes."""
    start, image = lines[0].edge, lines[0].image            # equal in all
    end = max(line.size - line.tail for line in lines)
    other = min(line.size - line.after for line in lines)
    return start, end, max(0, min(image - start, other - end) - 1)


def ceil(a, b):
    """a / b, rounded up."""
    return -(-a // b)
