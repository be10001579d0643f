"""Which part of a net's input some cells of its outputs depend on, so that a large image can be run
in overlapping parts with the results of the whole.

A part begins at a multiple of the net's stride, so every layer has the cells there that it has in
the whole, and ends where nothing that is wanted reads further. It includes the edge of the image
exactly where something wanted reads beyond an edge: the padding of a layer (FCN's conv1_1 pads by
100) is then the same as in the whole, and elsewhere it touches only cells that are thrown away.

Bits are those of the whole too, on the CPU: convolutions choose their algorithm by the whole
(Net.run_as); where that may be Winograd's, whose outputs of a tile round by all inputs of the tile,
parts begin at its tiles, and all cells of a tile with a wanted one count as wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, cast

from ..errors import FcnError, located
from ..layers.common.coordinates import Reach
from ..ops.conv import may_be_winograd
from ..ops.winograd import TILE
from .graph import Node
from .net import Net

Shapes = dict[int, tuple]       # {value: shape}


class Span(NamedTuple):
    """Cells from first to before end, along one axis."""
    first: int
    end: int


class Tile(NamedTuple):
    """cells: of the outputs, (y, x) Spans, that this tile gives. part: of the input, that the net
    has to be given for them."""
    cells: tuple[Span, Span]
    part: tuple[Span, Span]


class Tiling:
    """Tiles of a net whose outputs have the size of its input.

    source: the value of its input (N, 3, H, W); targets: the values of its outputs (N, C, H, W).
    stride: (y, x), at whose multiples parts may begin. FcnError for a layer between them that reads
    more than cells around its own place, as an InnerProduct or a global pooling does.
    """

    def __init__(self, net: Net, source: int, targets: Sequence[int]):
        self.net, self.source, self.targets = net, source, tuple(targets)
        self.nodes = list(self._between())
        self.reaches = [self._reach(node) for node in self.nodes]
        self.units = [self._unit(node) for node in self.nodes]
        self.stride = self._stride(0), self._stride(1)

    def _between(self) -> Iterator[Node]:
        """The nodes whose tops the targets are made from, last first."""
        wanted = set(self.targets)
        for node in reversed(self.net.graph.nodes):
            if node.bottoms and wanted & set(node.tops):
                wanted.update(self._content(node))
                yield node

    def _content(self, node: Node) -> tuple[int, ...]:
        """The bottoms that a node's tops get values from."""
        return node.bottoms[:self.net.layer(node).content_bottoms]

    def _reach(self, node: Node) -> tuple[Reach, Reach]:
        reach = self.net.layer(node).reach(self.net.shapes[node.bottoms[0]])
        if reach is None or any(len(self.net.shapes[v]) != 4 for v in self._content(node)):
            raise FcnError('it may read the whole of its bottom, so the net does not run in tiles',
                           file=self.net.graph.file, layer=node.name, type=node.type,
                           code='no-tiles', do='Give a smaller image, or run it whole.')
        return reach

    def _stride(self, axis: int) -> int:
        """The least stride of parts at which every blob's cells fall on cells of the whole; of the
        blobs that Winograd's algorithm may take, on its tiles, since rounding depends on those."""
        scales = {self.source: Fraction(1)}
        stride = 1
        for node, reach in zip(reversed(self.nodes), reversed(self.reaches), strict=True):
            found = {scales[v] for v in self._content(node) if v in scales}
            if len(found) > 1:
                raise FcnError('its bottoms have different strides', file=self.net.graph.file,
                               layer=node.name, type=node.type, code='no-tiles',
                               do='Give a smaller image, or run it whole.')
            for scale in found:
                top = scale * reach[axis].scale
                scales.update(dict.fromkeys(node.tops, top))
                stride = math.lcm(stride, (top / self._unit(node)).denominator)
        return stride

    def _unit(self, node: Node) -> int:
        """Cells along a side of a tile of Winograd's algorithm, where that may run a node, of a
        dilated one by parts (ops/dilated.py); else 1."""
        options, layer = self.net.options, cast(Any, self.net.layer(node))
        if not layer.product or not options.winograd or options.gpu \
                or not may_be_winograd(self.net.layer_params[node.key][0].shape):
            return 1
        return TILE * math.lcm(*layer.geometry(self.net.shapes[node.bottoms[0]])[4])

    def shapes(self, height: int, width: int) -> Shapes:
        """{value: shape} for an input of this size, of all values that the targets need; nothing is
        allocated, and no size is too large. FcnError for an input that the layers do not take."""
        return shapes_of(self.net, self.source, height, width)

    def part(self, axis: int, cells: Span, shapes: Shapes) -> Span:
        """The part of the input, along an axis (0: y, 1: x), that these cells of the targets depend
        on; shapes: those of the whole."""
        wanted: dict[int, Span] = dict.fromkeys(self.targets, cells)
        before = after = False              # whether the part has to include the edge
        for node, reach, unit in zip(self.nodes, self.reaches, self.units, strict=True):
            tops = [wanted[v] for v in node.tops if v in wanted]
            if not tops:
                continue
            size = shapes[node.tops[0]][2 + axis]
            first, last = reach[axis].cells(
                max(min(top.first for top in tops) - (unit - 1), 0),
                min(max(top.end for top in tops) + unit - 1, size) - 1)
            for v in self._content(node):
                size = shapes[v][2 + axis]
                before, after = before or first < 0, after or last >= size
                found = Span(min(max(first, 0), size - 1), max(min(last + 1, size), 1))
                known = wanted.get(v, found)
                wanted[v] = Span(min(found.first, known.first), max(found.end, known.end))
        size, stride, found = shapes[self.source][2 + axis], self.stride[axis], wanted[self.source]
        return Span(0 if before else found.first // stride * stride,
                    size if after else min(size, -(-found.end // stride) * stride))

    def tiles(self, height: int, width: int, side: int) -> Iterator[Tile]:
        """Tiles of at most side x side cells, or of one stride, that cover an image, by rows."""
        shapes = self.shapes(height, width)
        spans = [self._spans(axis, size, side) for axis, size in enumerate((height, width))]
        parts = [[self.part(axis, cells, shapes) for cells in spans[axis]] for axis in (0, 1)]
        for y, part_y in zip(spans[0], parts[0], strict=True):
            for x, part_x in zip(spans[1], parts[1], strict=True):
                yield Tile((y, x), (part_y, part_x))

    def _spans(self, axis: int, size: int, side: int) -> list[Span]:
        step = max(side // self.stride[axis], 1) * self.stride[axis]
        return [Span(first, min(first + step, size)) for first in range(0, size, step)]


def shapes_of(net: Net, source: int, height: int, width: int) -> Shapes:
    """{value: shape} of a net whose input `source` is of this size; nothing is allocated. FcnError,
    with the layer, for a size that the layers do not take."""
    shapes = dict(net.shapes)
    shapes[source] = (*shapes[source][:2], height, width)
    for node in net.graph.nodes:
        if node.bottoms:
            bottoms = [shapes[v] for v in node.bottoms]
            with located(net.graph.file, node):
                shapes.update(zip(node.tops, map(tuple, net.layer(node).shape(bottoms)),
                                  strict=True))
    return shapes
