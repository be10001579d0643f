"""Masks that are pictures: class indices, 0 and 255, or colours with a table."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_repro.data.colours import Colour, Table, read_table, words
from fcn_repro.data.examine import (
    LOSSY,
    MOST_COLOURS,
    Fault,
    MaskFacts,
    in_threads,
    mask_facts,
    rgb,
)
from fcn_repro.data.image import VOID, open_image
from fcn_repro.data.layouts import Pair
from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError

from .colours import derived
from .source import Item, Source, named

OTHER = 'error', 'void', 'nearest'      # what becomes of a value or colour that is no class
FEW = 8                     # grey values that are classes; more, beside 0 and 255, are edges
SMOOTH = 32                 # values that are classes though they are no indices
AREA = 3                    # pixels of the side of a square that smoothed edges do not fill
NEAR = 40                   # distance in RGB of colours that compression makes of one


def wrong(kind: str, what: str, do: str, path: Path) -> FcnError:
    """The error of a mask, with the kind of fault that it is."""
    return FcnError(what, file=path, do=do, code=f'data-{kind}', facts={'kind': kind})


@dataclass
class Indices(Source):
    """Masks of class indices, whatever the format: a palette's, grey of 8 or 16 bits, RGB of three
    equal channels. void: another index that stands for no label. palette: {index: colour} of the
    masks' palettes, in which the classes go on to be shown."""

    void: int | None = None
    other: str = 'error'
    palette: Mapping[int, Colour] = field(default_factory=dict)
    kind = 'index'

    @cached_property
    def shown(self) -> np.ndarray:
        colours = super().shown.copy()
        for index, colour in self.palette.items():
            colours[index] = colour
        return colours

    def label(self, item: Item) -> np.ndarray:
        label = values_of(item.file, self.other).copy()
        if self.void is not None:
            label[label == self.void] = VOID
        return label


@dataclass
class Binary(Source):
    """Masks of two values: black is class 0, `bright` class 1. Others are an error, or what `other`
    says: void, or the nearest of the two."""

    bright: int = 255
    other: str = 'error'
    kind = 'binary'

    def label(self, item: Item) -> np.ndarray:
        values = brightness(item.file, self.other)
        known = (values == 0) | (values == self.bright)
        if known.all():
            return (values == self.bright).astype(np.uint8)
        if self.other == 'nearest':
            return (2 * values.astype(np.int64) > self.bright).astype(np.uint8)
        if self.other == 'void':
            return np.where(known, values == self.bright, VOID).astype(np.uint8)
        strange = np.unique(values[~known])
        raise wrong('edges', f'the mask has {strange.size} values besides 0 and {self.bright}, '
                    f'such as {strange[strange.size // 2]}, in {(~known).sum():,} pixels: its '
                    'edges are smoothed', ROUNDING, item.file)


@dataclass
class Coloured(Source):
    """Masks of colours, by a table."""

    colours: Table = field(default_factory=lambda: Table({}, ()))
    other: str = 'error'
    kind = 'rgb'

    def label(self, item: Item) -> np.ndarray:
        image, _ = open_image(item.file, 'mask')
        check_lossless(image, item.file, self.other)
        packed = packed_colours(image)
        label = self.colours.lookup.take(packed)
        unknown = label < 0
        if unknown.any():
            label = self.completed(label, unknown, packed, item.file)
        return label.astype(np.uint8)

    def completed(self, label: np.ndarray, unknown: np.ndarray, packed: np.ndarray,
                  path: Path) -> np.ndarray:
        """The label with a class, or void, where the colour is not in the table."""
        if self.other == 'void':
            return np.where(unknown, VOID, label)
        if self.other == 'nearest':
            label[unknown] = self.colours.nearest(packed[unknown])
            return label
        colours, counts = np.unique(packed[unknown], return_counts=True)
        most = int(colours[counts.argmax()])
        raise wrong('edges', f'the mask has {colours.size} colours that are not in the table, such '
                    f'as {words((most >> 16, most >> 8 & 255, most & 255))}, in '
                    f'{unknown.sum():,} pixels', ROUNDING, path)


ROUNDING = ("Export the masks without smoothed edges; or give other='nearest', to round them, or "
            "other='void', to leave the edges out of loss and scores.")


def check_lossless(image: Image.Image, path: Path, other: str) -> None:
    """FcnError for a mask in a lossy format, unless its values are rounded anyway."""
    if image.format in LOSSY and other != 'nearest':
        raise wrong('lossy', f'the mask is a {image.format} picture, whose compression changes '
                    'values along every edge', "Give the PNG that it was made from; if there is "
                    "none, other='nearest' rounds to the classes, wrong at some edges.", path)


def values_of(path: Path, other: str = 'error') -> np.ndarray:
    """The indices of a mask, (H, W) uint8; FcnError for colours and other numbers."""
    image, bits = open_image(path, 'mask')
    check_lossless(image, path, other)
    if image.mode in ('LA', 'PA'):
        image = image.getchannel(0)
    if image.mode in ('P', 'L', '1'):
        step = {'L;2': 85, 'L;4': 17}.get(bits, 1)          # Pillow spreads them over 8 bits
        return np.asarray(image).astype(np.uint8) // step
    if image.mode.startswith('I') or image.mode == 'F':
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
            raise wrong('mask-mode', f'the mask has values from {values.min():g} to '
                        f'{values.max():g}, not class indices from 0 to 255',
                        'Number the classes from 0.', path)
        return values.astype(np.uint8)
    array = np.asarray(rgb(image))
    if (array != array[..., :1]).any():
        raise wrong('colours', 'the mask holds colours, not class indices',
                    "Convert them as masks='rgb'.", path)
    return array[..., 0]


def brightness(path: Path, other: str) -> np.ndarray:
    """The values of a mask of two, (H, W) uint8: of colours the largest channel."""
    image, _ = open_image(path, 'mask')
    check_lossless(image, path, other)
    if image.mode == '1':
        return np.asarray(image).astype(np.uint8) * 255
    if image.mode == 'P' and len({tuple(each) for each in np.reshape(
            (image.getpalette('RGB') or [])[:6], (-1, 3))}) > 1:
        return np.asarray(image.convert('RGB')).max(2)
    if image.mode in ('RGB', 'RGBA', 'CMYK', 'YCbCr', 'LAB', 'HSV'):
        return np.asarray(rgb(image)).max(2)
    return values_of(path, other)


# ---- which kind they are -------------------------------------------------------------------------

@dataclass(frozen=True)
class Masks:
    """What the masks of a folder hold together. facts: of those that can be read."""

    facts: list[MaskFacts]

    @property
    def values(self) -> np.ndarray:
        """(256,) int64 pixels by value, of the masks with one channel."""
        counts = [facts.counts for facts in self.facts if facts.counts is not None]
        return np.sum(counts, axis=0) if counts else np.zeros(256, np.int64)

    @property
    def coloured(self) -> list[MaskFacts]:
        """Those of several channels that are not all grey."""
        return [facts for facts in self.facts if facts.counts is None and
                (facts.colours is None or any(len(set(colour)) > 1 for colour in facts.colours))]

    @property
    def grey(self) -> np.ndarray:
        """(256,) int64 pixels by value of all masks that are grey, whatever their channels."""
        total = self.values.copy()
        for facts in self.facts:
            if facts.counts is None and facts.colours and facts not in self.coloured:
                for colour, n in facts.colours.items():
                    total[colour[0]] += n
        return total

    def kind(self) -> str:
        """'rgb', 'binary' or 'index'."""
        if 2 * len(self.coloured) > len(self.facts) or self.palettes_differ():
            return 'rgb'
        used = [int(value) for value in np.flatnonzero(self.grey)]
        classes = [value for value in used if value != VOID]
        if used == [VOID] or (classes and max(classes) + 1 <= 2 * len(classes) + 8 and
                              len(classes) <= SMOOTH and used != [0, VOID]):
            return 'index'
        ends = self.grey[[0, VOID]].sum() > 0.8 * self.grey.sum()
        if len(used) <= 2 or (ends and len(used) > FEW):
            return 'binary'
        return 'rgb' if len(used) <= SMOOTH else 'index'

    @property
    def palettes(self) -> dict[int, set[Colour]]:
        """{index: its colours} by the palettes of all files."""
        seen: dict[int, set[Colour]] = {}
        for facts in self.facts:
            if facts.mode == 'P' and facts.counts is not None and facts.colours:
                used = [int(value) for value in np.flatnonzero(facts.counts)]
                if len(used) == len(facts.colours):
                    for value, colour in zip(used, facts.colours, strict=True):
                        seen.setdefault(value, set()).add(colour)
        return seen

    def palettes_differ(self) -> bool:
        """Whether palettes give one index several colours in several files: an editor made them
        anew for each."""
        return any(len(colours) > 1 for colours in self.palettes.values())

    def palette(self) -> dict[int, Colour]:
        """{index: colour} by the palettes; {} where they are VOC's, or no colours to tell classes
        apart: greys, one for several indices, or others in each file."""
        found = {value: min(colours) for value, colours in self.palettes.items()}
        good = not self.palettes_differ() and len(set(found.values())) == len(found)
        coloured = any(len(set(colour)) > 1 for colour in found.values())
        voc = palette()
        other = any(colour != tuple(voc[value]) for value, colour in found.items())
        return found if good and coloured and other else {}

    def bright(self) -> int:
        """The value that stands for the object in binary masks."""
        used = np.flatnonzero(self.grey)
        if self.coloured or any(facts.mode in ('P', '1') for facts in self.facts):
            return max((max(map(max, facts.colours)) for facts in self.facts if facts.colours),
                       default=0) or 255
        return int(used.max()) if used.size and used.max() else 255


def look_at(paths: Sequence[Path]) -> Masks:
    """The facts of mask files; those that cannot be read are told when they are converted."""
    def facts(path: Path) -> MaskFacts | None:
        try:
            return mask_facts(path)
        except FcnError:
            return None
    return Masks([found for found in in_threads(facts, paths, 'looking at masks')
                  if found is not None])


def colours_of(masks: Masks, paths: Sequence[Path], other: str) -> dict[Colour, int]:
    """{RGB: pixels} of the classes in masks: all colours; or, with `other` than 'error', those that
    fill areas. FcnError where without it most colours are those of smoothed edges."""
    total: Counter[Colour] = Counter()
    many = [facts for facts in masks.coloured if facts.colours is None and
            facts.format not in LOSSY]
    if other == 'error':
        for facts in masks.facts:
            if facts.format not in LOSSY:
                total.update(facts.colours or grey_colours(facts))
        if len(total) <= FEW and not many:
            return dict(total)
    areas = area_colours(paths)
    if other != 'error':
        return apart(areas)
    if many or 2 * len(areas) < len(total):
        count = f'more than {MOST_COLOURS}' if many else len(total)
        raise wrong('edges', f'the masks have {count} colours, and {len(areas)} of them fill areas'
                    ': the others are those of smoothed edges', ROUNDING, paths[0])
    return dict(total)


def area_colours(paths: Sequence[Path]) -> dict[Colour, int]:
    """{RGB: pixels that are the centre of a square of AREA pixels of this colour} of masks."""
    def areas(path: Path) -> Counter[int]:
        try:
            image, _ = open_image(path, 'mask')
        except FcnError:                        # told when it is converted
            return Counter()
        packed = packed_colours(image)
        height, width = (max(0, n - AREA + 1) for n in packed.shape)
        inner, flat = packed[:height, :width], np.ones((height, width), bool)
        for y in range(AREA):
            for x in range(AREA):
                flat &= packed[y:y + height, x:x + width] == inner
        values, counts = np.unique(inner[flat], return_counts=True)
        return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    total: Counter[int] = Counter()
    for found in in_threads(areas, paths, 'looking at colours'):
        total.update(found)
    return {(code >> 16, code >> 8 & 255, code & 255): n for code, n in total.items()}


def packed_colours(image: Image.Image) -> np.ndarray:
    """(H, W) uint32: the colour of each pixel as 0xRRGGBB."""
    pixels = rgb(image).tobytes('raw', 'BGRX')
    return np.frombuffer(pixels, '<u4').reshape(image.height, image.width) & 0xffffff


def apart(colours: Mapping[Colour, int]) -> dict[Colour, int]:
    """The most frequent colours that differ by more than NEAR: compression makes several of one."""
    kept: dict[Colour, int] = {}
    for colour, n in sorted(colours.items(), key=lambda row: (-row[1], row[0])):
        if all(sum((a - b) ** 2 for a, b in zip(colour, each, strict=True)) > NEAR ** 2
               for each in kept):
            kept[colour] = n
    return kept


def grey_colours(facts: MaskFacts) -> dict[Colour, int]:
    """{RGB: pixels} of a mask with one channel."""
    if facts.counts is None:
        return {}
    step = 255 if facts.mode == '1' and facts.counts[255] == 0 else 1
    return {(int(v) * step,) * 3: int(facts.counts[v])
            for v in np.flatnonzero(facts.counts)}          # type: ignore[misc]


# ---- sources -------------------------------------------------------------------------------------

def mask_source(folder: Path, pairs: Sequence[Pair], faults: list[Fault], kind: str | None,
                table: Table | None, own: Path | None, names: Sequence[str], other: str,
                void: int | None) -> Source:
    """The Source of pairs of pictures. kind: None to find it; table: of their colours; own: the
    file of one that lies in the folder, for masks of colours without `table`; None to derive it."""
    paths = [pair.mask for pair in pairs]
    masks = look_at(paths)
    found = kind or ('rgb' if table else masks.kind())
    notes = []
    if found == 'rgb' and table is None and own is not None:
        table, notes = read_table(own), [f'the colours are those of {own.name}']
    items = [Item(pair.id, pair.split, pair.image, pair.mask) for pair in pairs]
    make: Callable[..., Source] = {'rgb': coloured, 'binary': binary, 'index': indices}[found]
    source = make(folder, items, list(faults), masks, table, names, other, void)
    source.notes += notes
    return source


def indices(folder: Path, items: list[Item], faults: list[Fault], masks: Masks,
            table: Table | None, names: Sequence[str], other: str, void: int | None) -> Source:
    used = [value for value in np.flatnonzero(masks.grey) if value not in (VOID, void)]
    colours = masks.palette()
    if void is not None and void in colours:
        colours[VOID] = colours.pop(void)
    return Indices(folder, items, named(names, int(max(used, default=0)) + 1), faults,
                   ['the colours are those of the palettes'] if colours else [], void=void,
                   other=other, palette=colours)


def binary(folder: Path, items: list[Item], faults: list[Fault], masks: Masks,
           table: Table | None, names: Sequence[str], other: str, void: int | None) -> Source:
    bright = masks.bright()
    return Binary(folder, items, tuple(names) or ('background', 'object'), faults,
                  [f'0 is the background, {bright} the object'], bright=bright, other=other)


def coloured(folder: Path, items: list[Item], faults: list[Fault], masks: Masks,
             table: Table | None, names: Sequence[str], other: str, void: int | None) -> Source:
    note = ''
    if table is None:
        pixels = colours_of(masks, [item.file for item in items], other)
        table, note = derived(pixels) if pixels else (Table({(0, 0, 0): 0}, ('background',)), '')
        if note and (lossy := {facts.format for facts in masks.facts if facts.format in LOSSY}):
            note += f'; {" and ".join(sorted(lossy))} changes colours: these are about right, ' \
                    'and a table of colours would give them exactly, and their names'
    if names:
        table = Table(table.indices, named(names, len(table.names)))
    return Coloured(folder, items, table.names, faults, [note] if note else [],
                    table.indices, colours=table, other=other)
