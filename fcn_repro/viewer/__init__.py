"""The viewer: any net as an offline page, as an SVG or as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from types import MappingProxyType

from ..proto.dialects import Dialect
from .describe import Drawn, Shape, describe
from .facts import NetFacts, facts_of_net
from .page import page_of
from .reading import Note, read_source
from .saving import save
from .svg import svg_of
from .table import text_of

__all__ = ['Drawn', 'NetFacts', 'Note', 'drawn', 'facts_of_net', 'page_of', 'save', 'svg_of',
           'text_of']


def drawn(path: str | PathLike, phase: int | str = 'TEST', size: tuple[int, int] | None = None,
          shapes: Mapping[str, Shape] | None = None, level: int = 0, stages: Sequence[str] = (),
          dialect: Dialect | str | None = None,
          define: Mapping[str, object] = MappingProxyType({})) -> Drawn:
    """The net of a prototxt file, described for a drawing; nothing is allocated or run.

    size: (H, W) of the images that it reads; shapes: {blob: shape} of inputs, data, and blobs that
    layers of unknown types make. dialect, define: as for read_net. FcnError with file and line for
    a text that is no net, for a bottom that no layer before makes, for a blob that two layers make,
    and for a name in `shapes` that no blob has; all other faults are in `notes`.
    """
    return describe(read_source(path, dialect, define), phase, level, stages, size, shapes)
