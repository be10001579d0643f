"""Offsets of Crop layers that align their bottoms: those of Caffe's branch `future`, whose texts
give none.

The map of a bottom is composed of those of the layers that it comes from, along first bottoms, up
to the last value that both bottoms come from.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..errors import FcnError, located
from ..layers.common.coordinates import IDENTITY
from .coord_map import compose, inverse
from .graph import Graph, Node

CELL = (1, 1, 1, 1)     # a shape of four axes, all that the maps of these layers depend on


def align_crops(graph: Graph, types: dict[str, Any], layer_of: Callable[[Node], Any]) -> Graph:
    """The graph with the offset of each aligned Crop without crop_param in one. layer_of: the layer
    of a node. FcnError, with the layer, where the bottoms cannot be aligned."""
    nodes = list(graph.nodes)
    made: dict[Node, Node] = {}
    with located(graph.file) as place:
        for i, node in enumerate(nodes):
            place.node = node
            if not getattr(types.get(node.type), 'aligned', False) or len(node.bottoms) != 2 \
                    or node.param.HasField('crop_param'):       # given, or found before
                continue
            param = type(node.param)()
            param.CopyFrom(node.param)
            offsets = offset_of(graph, node, lambda node: layer_of(made.get(node, node)))
            param.crop_param.axis = 2
            param.crop_param.offset[:] = offsets
            made[node] = nodes[i] = replace(node, param=param)
    return replace(graph, nodes=tuple(nodes)) if made else graph


def offset_of(graph: Graph, node: Node, layer_of: Callable[[Node], Any]) -> list[int]:
    """[y, x]: the row and column of a Crop's first bottom at which its second one starts. FcnError
    if there is no such place."""
    first, second = (way(graph, value) for value in node.bottoms)
    common = next((value for value in second if value in first), None)
    if common is None:
        raise FcnError('its bottoms do not come from a common blob along first bottoms',
                       do='Crop to a blob of the same branch, or give crop_param in the dialect '
                          "'bvlc'.")
    maps = [composed(graph, values[:values.index(common)], layer_of) for values in (first, second)]
    _, scale, shift = compose(maps[1], inverse(maps[0]))
    if (scale != 1).any():
        raise FcnError(f'its bottoms have different scales: {shown(scale)} instead of 1',
                       do='Change the strides of the layers between them.')
    if (shift > 0).any():
        raise FcnError(f'the crop offset would be negative: {shown(-shift)}',
                       do='Use more padding before the blob that is cropped.')
    if any(s.denominator != 1 for s in shift):
        raise FcnError(f'the crop offset would not be whole: {shown(-shift)}',
                       do='Change a kernel size or a pad by one.')
    offsets = [int(-s) for s in shift]
    return offsets * 2 if len(offsets) == 1 else offsets


def way(graph: Graph, value: int) -> list[int]:
    """A value and those that it comes from along first bottoms."""
    values = [value]
    while graph.producer(values[-1]).bottoms:
        values.append(graph.producer(values[-1]).bottoms[0])
    return values


def composed(graph: Graph, values: list[int], layer_of: Callable[[Node], Any]) -> tuple:
    """The map of the layers that make these values, the last one applied first."""
    found = IDENTITY
    for value in values:
        node = graph.producer(value)
        step = layer_of(node).cell_map(CELL)
        if step is None:
            raise FcnError(f"there is no coordinate map of layer '{node.name}' ({node.type}), "
                           'which lies between its bottoms', do='Crop to a blob that is reached '
                           'through convolutions, poolings and elementwise layers.')
        found = compose(found, step)
    return found


def shown(values: Any) -> str:
    return ', '.join(f'{float(v):g}' for v in values)
