"""Facts of a net from its graph alone: receptive field, stride, layers, parameters (Table 1)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any

from ..errors import FcnError, nearest
from ..proto.define import defined
from ..proto.dialects import Dialect
from ..proto.netspec import net_text
from ..proto.prototxt import read_text
from .describe import Drawn, describe
from .reading import parse_source

SIZE = 500, 500         # of the image that Table 1 is about


@dataclass(frozen=True)
class NetFacts:
    """What Table 1 says of a net.

    blob: the one that the first three are of: the coarsest scores, which no upsampling is in.
    receptive_field: pixels of the input along a side that a cell of it depends on. stride: pixels
    from one cell to the next. layers: convolutions and inner products on the longest way to it.
    parameters: numbers that are learned (lr_mult is not 0), in the whole net.
    """
    blob: str
    receptive_field: int
    stride: int
    layers: int
    parameters: int


def facts_of_net(net: str | PathLike | Any, blob: str | None = None,
                 phase: int | str = 'TEST', dialect: Dialect | str | None = None,
                 define: Mapping[str, object] = MappingProxyType({})) -> NetFacts:
    """The facts of a net: the path of a prototxt file, or a NetParameter. Nothing is allocated or
    run, and no data are opened: images are of 500x500 pixels where the text says no size.

    blob: to measure the first three at, in place of the scores. dialect, define: as for read_net.
    FcnError for a blob that there is
    not, for one that does not have a receptive field (it sees the whole input, or is not known),
    and as for viewer.drawn.
    """
    read = isinstance(net, str | PathLike)
    text, file = (read_text(net), str(net)) if read else (net_text(net), '<net>')
    source = parse_source(defined(text, define, file), file, dialect)
    drawn = describe(source, phase)
    if drawn.unknown:
        drawn = describe(source, phase, size=SIZE)
    depths = depths_of(drawn)
    value = named(drawn, blob) if blob else coarsest(drawn, depths)
    field = drawn.blobs[value].field
    if field is None:
        raise FcnError(f"the receptive field of blob '{drawn.blobs[value].name}' is not known",
                       file=file, do='Name a blob of a net of convolutions and poolings; a '
                       'classifier has one once it is cast.')
    return NetFacts(drawn.blobs[value].name, max(axis.size for axis in field),
                    int(max(axis.stride for axis in field)), depths[value], learned(drawn))


def named(drawn: Drawn, blob: str) -> int:
    """The last value of a blob of this name."""
    found = [value for value, each in drawn.blobs.items() if each.name == blob]
    if not found:
        names = [each.name for each in drawn.blobs.values()]
        raise FcnError(f"the net has no blob '{blob}'", file=drawn.graph.file,
                       do=nearest(blob, names) or 'Name one of its blobs.')
    return max(found)


def depths_of(drawn: Drawn) -> Mapping[int, int]:
    """{value: products with weights on the longest way to it}; not those behind an upsampling."""
    depths: dict[int, int] = {}
    for item in drawn.items:
        known = [depths[v] for v in item.bottoms[:item.content] if v in depths]
        if item.kind == 'up' or (item.bottoms and not known):
            continue
        depth = max(known, default=0) + (item.kind == 'weights')
        depths |= dict.fromkeys(item.tops, depth)
    return depths


def coarsest(drawn: Drawn, depths: Mapping[int, int]) -> int:
    """The deepest value in front of any upsampling that has a receptive field, the last one of
    several: the scores of an FCN's last layer."""
    known = [v for v in depths if drawn.blobs[v].field is not None]
    if not known:
        raise FcnError('no blob of this net has a receptive field that is known',
                       file=drawn.graph.file, do='Give a net that begins with images.')
    return max(known, key=lambda value: (depths[value], value))


def learned(drawn: Drawn) -> int:
    """Numbers that are learned, shared ones once."""
    return sum(math.prod(parameter.shape) for item in drawn.items for parameter in item.params
               if parameter.learned and parameter.owner is None)

