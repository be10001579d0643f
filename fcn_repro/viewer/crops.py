"""Why a Crop has its offset: the coordinate maps between the blob that is cut and its reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FcnError
from ..net.coord_map import compose, crop_offset, walk
from ..proto.netspec import Function

if TYPE_CHECKING:
    from .describe import Blob, Item


@dataclass(frozen=True)
class Step:
    """One layer that moves coordinates, on the way to a blob: cell x of its bottom is cell `map` of
    its top, and by the layers so far cell x of the common blob is cell `so_far`."""
    layer: str
    map: str
    so_far: str


@dataclass(frozen=True)
class Cut:
    """The offset of a Crop, explained. given: by the text, along y and x; derived: by the maps, or
    None. fits: whether they agree. way, reference: the steps from the common blob to the blob that
    is cut and to the reference."""
    given: tuple[int, ...]
    derived: tuple[int, ...] | None
    words: str
    common: str = ''
    way: tuple[Step, ...] = ()
    reference: tuple[Step, ...] = ()

    @property
    def fits(self) -> bool:
        return self.derived == self.given


def cuts_of(items: Sequence[Item], blobs: Mapping[int, Blob],
            layers: Mapping[int, tuple[Any, Any]]) -> dict[int, Cut]:
    """{number of the item: Cut} of the layers that cut one blob to another's size along both
    spatial axes. layers: {id of a node: (node, Layer)} of the known ones."""
    tops: dict[int, Any] = {}
    owners: dict[Any, tuple[Item, Any]] = {}
    found = {}
    for i, item in enumerate(items):
        fn = Function(item.node.type, [tops[v] for v in item.bottoms], {'ntop': len(item.tops)})
        tops.update(zip(item.tops, fn.tops, strict=True))
        owners[fn] = item, layers.get(id(item.node), (None, None))[1]
        if _is_cut(item, owners[fn][1], blobs):
            found[i] = _Explained(item, blobs, tops, owners).cut()
    return found


def _is_cut(item: Item, layer: Any, blobs: Mapping[int, Blob]) -> bool:
    """Whether an item's second bottom gives a size alone, to an image of which each cell of the top
    is one cell; layer: its Layer, None if unknown."""
    return layer is not None and layer.passes_values and len(item.bottoms) == 2 \
        and item.content == 1 and len(item.tops) == 1 and all(
            len(blobs[v].shape or ()) == 4 for v in (*item.bottoms, *item.tops))


class _Explained:
    """The explanation of one Crop."""

    def __init__(self, item, blobs, tops, owners):
        self.item, self.blobs, self.owners = item, blobs, owners
        self.cut_blob, self.reference = (blobs[v] for v in item.bottoms)
        self.sources = [tops[v] for v in item.bottoms]
        self.layer = next(layer for each, layer in owners.values() if each is item)

    def map_of(self, fn):
        """The coordinate map of a layer; None without one."""
        item, layer = self.owners[fn]
        shape = self.blobs[item.bottoms[0]].shape
        if layer is None or shape is None:
            return None
        try:
            return layer.cell_map(shape)
        except FcnError:                # a global pooling: one cell, nothing that moves
            return None

    def cut(self) -> Cut:
        given = tuple(-pad for _, _, pad, _ in self.layer.reads(self.cut_blob.shape))
        one, two = self.cut_blob.name, self.reference.name
        try:
            top_from, top_to = self.sources
            _, offsets = crop_offset(top_from, top_to, self.map_of)
        except FcnError as error:
            return Cut(given, None, f"No offset follows for '{one}' and '{two}': {error.what}. "
                       f'The text gives {numbers(given)}.')
        derived = tuple(np.broadcast_to(np.array(offsets), 2).tolist())
        common, maps, ways = self.ways()
        return Cut(given, derived, self.words(common, maps, derived, given), common,
                   *map(self.steps, ways))

    def ways(self):
        """(name of the common blob, the maps and the ways from it to the blob that is cut and to
        the reference), as coord_map_from_to finds them."""
        known = {blob: found for blob, *found in walk(self.sources[0], self.map_of)}
        blob, *there = next(found for found in walk(self.sources[1], self.map_of)
                            if found[0] in known)
        item, _ = self.owners[blob.fn]
        maps, ways = zip(known[blob], there, strict=True)
        return self.blobs[item.tops[blob.n]].name, tuple(map(shown, maps)), ways

    def steps(self, way) -> tuple[Step, ...]:
        """The layers of a way that move coordinates."""
        out, so_far = [], None
        for fn in way:
            coord = self.map_of(fn)
            so_far = coord if so_far is None else compose(coord, so_far)
            if shown(coord) != 'x':
                out.append(Step(self.owners[fn][0].name, shown(coord), shown(so_far)))
        return tuple(out)

    def words(self, common, maps, derived, given) -> str:
        one, two = self.cut_blob.name, self.reference.name
        if maps[1] == 'x':
            text = f"'{one}' comes from '{two}', whose cell x is cell {maps[0]} of '{one}'"
        elif maps[0] == 'x' and common == one:
            text = f"'{two}' comes from '{one}', whose cell x is cell {maps[1]} of '{two}'"
        else:
            text = f"'{one}' and '{two}' both come from '{common}', whose cell x is cell " \
                   f"{maps[0]} of '{one}' and cell {maps[1]} of '{two}'"
        text += f". So cell 0 of '{two}' lies on cell {numbers(derived)} of '{one}', and the " \
                f'offset is {numbers(derived)}.'
        if derived == given:
            return f'{text} The text says the same.'
        off = max(abs(a - b) for a, b in zip(derived, given, strict=True))
        axis = self.cut_blob.field[0] if self.cut_blob.field else None
        by = f', {float(off * axis.stride):g} pixels of the input' if axis else ''
        return f'{text} The text says {numbers(given)}: {off} cells off{by}.'


def shown(coord: tuple) -> str:
    """A coordinate map as a formula of x: '8 x + 3/2', for y and x where they differ."""
    _, scale, shift = coord
    pairs = list(dict.fromkeys(zip(*np.broadcast_arrays(scale, shift), strict=True)))
    return ' | '.join(_line(Fraction(a), Fraction(b)) for a, b in pairs)


def _line(scale: Fraction, shift: Fraction) -> str:
    head = 'x' if scale == 1 else f'{scale} x' if scale.denominator == 1 \
        else f'x/{scale.denominator}' if scale.numerator == 1 else f'({scale}) x'
    return head if not shift else f'{head} {"+" if shift > 0 else "−"} {abs(shift)}'


def numbers(values: Sequence[int]) -> str:
    """Offsets along y and x; one number where they are equal."""
    return ', '.join(map(str, dict.fromkeys(values)))
