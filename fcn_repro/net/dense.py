"""Dense output of a net that subsamples, without skips (section 3.2 of the paper), and its cost.

Cell i of a coarse blob of stride f reads the pixels i f + low to i f + high. Its dense form at
stride t, a divisor of f, has a cell for every t-th pixel: cell j reads j t + low to j t + high, and
every (f / t)-th is one of the coarse blob's.

Shift-and-stitch gets it from f²/t² passes of the net, each over an image whose first pixels are
left out, their outputs interlaced. Filter rarefaction gets it from one pass of another net: layers
beyond stride t move by one cell, and the windows above them are spread, a filter [a b c] becoming
[a 0 b 0 c]. Without padding both give the same numbers. With padding they do wherever none of it is
read: the one pads each shifted image at its own edge, the other the image at its own.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import FcnError
from ..layers.common.coordinates import Reach
from ..sizes import dims
from .graph import Graph, Node
from .net import Net

Pair = tuple[int, int]
POINT = (Reach(), Reach())


@dataclass(frozen=True)
class Window:
    """What cell 0 of a blob reads of an image along one axis: the pixels low to high, beyond the
    image where that is padding. Cell i reads those `stride` i pixels further. spread: how many
    times more cells the blob has in the rarefied net than in the net itself."""
    stride: int = 1
    low: int = 0
    high: int = 0
    spread: int = 1

    def under(self, reach: Reach, keeps: bool) -> 'Window':
        """That of a layer's top over a bottom with this one. keeps: whether the rarefied net keeps
        the layer's stride."""
        return Window(self.stride * reach.step, self.low + self.stride * reach.low,
                      self.high + self.stride * reach.high,
                      self.spread if keeps else self.spread * reach.step)

    def cells(self, size: int, stride: int) -> int:
        """Cells at this stride that read an image of so many pixels and, as far as the net pads at
        each end by the same, padding."""
        return (size - 2 * self.low - (self.high - self.low + 1)) // stride + 1


def shift_and_stitch(net: Net, blob: str, image: Any, stride: int = 1) -> torch.Tensor:
    """The dense form of a blob at `stride`, (N, C, h, w), by passes over shifted images.

    net: with one Input, in phase TEST. image: (N, C, H, W), its data. h = (H - 2 low - r) // stride
    + 1 for a receptive field of r pixels. FcnError for a net that has no such form, for a stride
    that is no divisor of the blob's, and for an image under its receptive field."""
    source, windows = _source(net), windows_of(net, blob, stride)[net.graph.last(blob)]
    image = torch.as_tensor(image)
    height, width = _cells(net, blob, windows, image.shape, stride)
    steps = [window.stride // stride for window in windows]
    out = None
    for y, x in itertools.product(*map(range, steps)):
        if y < height and x < width:
            part = net.forward(blobs=blob, stop_after=_layer(net, blob), **{
                source: image[:, :, y * stride:, x * stride:]})[blob]
            rows, columns = -(-(height - y) // steps[0]), -(-(width - x) // steps[1])
            if out is None:
                out = part.new_empty((*part.shape[:2], height, width))
            out[:, :, y::steps[0], x::steps[1]] = part[:, :, :rows, :columns]
    assert out is not None          # y = x = 0 is always there
    return out


def filter_rarefaction(net: Net, blob: str, image: Any, stride: int = 1) -> torch.Tensor:
    """What shift_and_stitch gives, by one pass of `rarefied`'s net."""
    windows = windows_of(net, blob, stride)[net.graph.last(blob)]
    image = torch.as_tensor(image)
    height, width = _cells(net, blob, windows, image.shape, stride)
    dense = rarefied(net, blob, stride).forward(**{_source(net): image})[blob]
    return dense[:, :, :height, :width]


def rarefied(net: Net, blob: str, stride: int = 1) -> Net:
    """The net up to `blob` with no more than this stride and spread windows, on the same
    parameters: filter rarefaction. The last rows and columns of the blob may be of windows that a
    pooling cut off at the image's edge; filter_rarefaction leaves them out. FcnError as for
    shift_and_stitch."""
    graph, wanted = net.graph, net.graph.last(blob)
    _source(net)
    windows = windows_of(net, blob, stride)
    nodes = []
    for node in needed(graph, blob):
        if node.bottoms:
            y, x = windows[node.bottoms[0]]
            top = tuple(axis.spread for axis in windows[node.tops[0]])
            if (y.spread, x.spread) != (1, 1) or top != (1, 1):
                node = _spread(net, node, (y.spread, x.spread))
        nodes.append(node)
    kept = {graph.values[v] for node in nodes for v in node.tops}
    dense = Net(replace(graph, nodes=tuple(nodes), outputs=(blob,),
                        inputs=tuple(name for name in graph.inputs if name in kept)),
                seed=net.state.seed, passes=net.passes)
    dense.place(net.options)
    dense.share_with(net)
    assert dense.graph.last(blob) == wanted
    return dense


def windows_of(net: Net, blob: str, stride: int) -> dict[int, tuple[Window, Window]]:
    """{value: its Window, (y, x)} of all that `blob` is made from, for a rarefied net of this
    stride. FcnError for a layer whose top is no function of windows of its bottoms, for bottoms of
    one layer that lie differently, and for a stride that is no divisor of the blob's, or that no
    layer's stride comes to."""
    graph: Graph = net.graph
    found: dict[int, tuple[Window, Window]] = {}
    for node in needed(graph, blob):
        if not node.bottoms:
            found.update(dict.fromkeys(node.tops, (Window(), Window())))
            continue
        seen = {found[v] for v in node.bottoms}
        if len(seen) > 1:
            raise _error(net, node, 'its bottoms have different windows')
        reaches = net.layer(node).reach(net.shapes[node.bottoms[0]])
        if reaches is None or any(reach.every > 1 for reach in reaches):
            raise _error(net, node, 'its cells read no fixed windows')
        bottom, = seen
        y, x = (window.under(reach, window.spread == 1 and window.stride * reach.step <= stride)
                for window, reach in zip(bottom, reaches, strict=True))
        found.update(dict.fromkeys(node.tops, (y, x)))
    for window in found[graph.last(blob)]:
        if stride < 1 or window.stride != stride * window.spread:
            raise FcnError(f"'{blob}' has stride {window.stride}, and no layer before has "
                           f'{stride}', file=graph.file,
                           do='Give a stride that the net has on the way to it, or 1.')
    return found


def needed(graph: Graph, blob: str) -> list[Node]:
    """The nodes that a blob is made by, in net order."""
    wanted, found = {graph.last(blob)}, []
    for node in reversed(graph.upto(graph.producer(graph.last(blob)))):
        if wanted & set(node.tops):
            found.append(node)
            wanted.update(node.bottoms)
    return found[::-1]


def multiply_adds(net: Net, blob: str, height: int, width: int) -> int:
    """Multiply-adds of the products of one pass up to `blob` over an image of this size; nothing is
    computed or allocated."""
    shapes = dict(net.shapes)
    source = net.graph.first(_source(net))
    shapes[source] = (*shapes[source][:2], height, width)
    total = 0
    for node in needed(net.graph, blob):
        if node.bottoms:
            layer, bottoms = net.layer(node), [shapes[v] for v in node.bottoms]
            shapes.update(zip(node.tops, map(tuple, layer.shape(bottoms)), strict=True))
            total += layer.macs(bottoms)
    return total


def stitching_sizes(net: Net, blob: str, height: int, width: int, stride: int = 1
                    ) -> Iterator[Pair]:
    """The size of each image that shift_and_stitch runs for an image of this size."""
    windows = windows_of(net, blob, stride)[net.graph.last(blob)]
    for y, x in itertools.product(*(range(0, window.stride, stride) for window in windows)):
        yield height - y, width - x


def _spread(net: Net, node: Node, by: Pair) -> Node:
    """A node of the rarefied net over bottoms that have `by` times as many cells."""
    layer = net.layer(node)
    if layer.reach(net.shapes[node.bottoms[0]]) == POINT:
        return node
    found = layer.spread(by)
    if found is None:
        raise _error(net, node, 'its windows cannot be spread')
    return found


def _cells(net: Net, blob: str, windows: tuple[Window, Window], shape: Any, stride: int) -> Pair:
    sizes = [window.cells(size, stride) for window, size in zip(windows, shape[2:], strict=True)]
    if len(shape) != 4 or min(sizes) < 1:
        field = dims([window.high + window.low + 1 for window in windows])
        raise FcnError(f"an image of {dims(tuple(shape))} is under what a cell of '{blob}' reads, "
                       f'{field}', file=net.graph.file, do='Give a larger image, (N, C, H, W).')
    return sizes[0], sizes[1]


def _source(net: Net) -> str:
    """The name of the net's one input."""
    if len(net.graph.inputs) != 1:
        raise FcnError(f'the net has {len(net.graph.inputs)} inputs', file=net.graph.file,
                       do='Give a deploy net with one Input.')
    return net.graph.inputs[0]


def _layer(net: Net, blob: str) -> str:
    return net.graph.producer(net.graph.last(blob)).name


def _error(net: Net, node: Node, what: str) -> FcnError:
    return FcnError(f'{what}, so it has no dense form', file=net.graph.file, line=node.line,
                    layer=node.name, type=node.type,
                    do='Give a blob before it; of a classifier, cast it first.')
