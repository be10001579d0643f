"""Tables of colours: which class a colour of a mask stands for."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import ImageColor

from fcn_repro.data.examine import Colour
from fcn_repro.data.image import VOID
from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.data.reader import LONGEST_CLASS
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.paths import CONTROL

from .source import MOST_CLASSES

AT_ONCE = 2 ** 16       # colours that are compared with a table at once
MOST_DERIVED = 64       # classes that are found by their colours alone
KNOWN_AT_LEAST = 4      # colours of a known table, black and void not counted, to recognise it
VOID_NAMES = frozenset(('void', 'ignore', 'unlabelled', 'unlabeled', '__ignore__'))
FORM = "Write 'R G B name' in each line, three numbers from 0 to 255; the name void: no class."

# Cityscapes' classes by trainId: labelId, name, colour. Source: the labels of cityscapesScripts.
CITYSCAPES = (
    (7, 'road', (128, 64, 128)), (8, 'sidewalk', (244, 35, 232)), (11, 'building', (70, 70, 70)),
    (12, 'wall', (102, 102, 156)), (13, 'fence', (190, 153, 153)), (17, 'pole', (153, 153, 153)),
    (19, 'traffic light', (250, 170, 30)), (20, 'traffic sign', (220, 220, 0)),
    (21, 'vegetation', (107, 142, 35)), (22, 'terrain', (152, 251, 152)),
    (23, 'sky', (70, 130, 180)), (24, 'person', (220, 20, 60)), (25, 'rider', (255, 0, 0)),
    (26, 'car', (0, 0, 142)),
    (27, 'truck', (0, 0, 70)), (28, 'bus', (0, 60, 100)), (31, 'train', (0, 80, 100)),
    (32, 'motorcycle', (0, 0, 230)), (33, 'bicycle', (119, 11, 32)))
CITYSCAPES_VOID = ((0, 0, 0), (111, 74, 0), (81, 0, 81), (250, 170, 160), (230, 150, 140),
                   (180, 165, 180), (150, 100, 100), (150, 120, 90), (0, 0, 90), (0, 0, 110))


class Table:
    """Colours of classes. indices: {RGB: class index, VOID for none}; names: by index."""

    def __init__(self, indices: Mapping[Colour, int], names: tuple[str, ...]):
        self.indices, self.names = dict(indices), names
        self._lookup: np.ndarray | None = None

    @property
    def lookup(self) -> np.ndarray:
        """(2 ** 24,) int16: the class index of a packed colour, -1 for one that is not in it."""
        if self._lookup is None:
            lookup = np.full(2 ** 24, -1, np.int16)
            for (r, g, b), index in self.indices.items():
                lookup[r << 16 | g << 8 | b] = index
            self._lookup = lookup
        return self._lookup

    def nearest(self, packed: np.ndarray) -> np.ndarray:
        """The class indices of packed colours, (N,), by the least squared distance in RGB."""
        unique, back = np.unique(packed, return_inverse=True)
        colours = np.stack([unique >> 16, unique >> 8 & 255, unique & 255], 1).astype(np.int64)
        known = np.array(list(self.indices), np.int64)
        values = np.array(list(self.indices.values()), np.int16)
        nearest = np.zeros(len(colours), np.int64)
        for start in range(0, len(colours), AT_ONCE):
            some = colours[start:start + AT_ONCE]
            nearest[start:start + AT_ONCE] = ((known ** 2).sum(1) - 2 * some @ known.T).argmin(1)
        return values[nearest][back.reshape(-1)]

    def lines(self) -> str:
        """The table as a text that read_table reads."""
        names = {**dict(enumerate(self.names)), VOID: 'void'}
        return ''.join('{} {} {} {}\n'.format(*colour, names[index])
                       for colour, index in self.indices.items())


def voc_table() -> Table:
    """VOC's colours and classes."""
    colours = [(int(r), int(g), int(b)) for r, g, b in palette()]
    return Table({**{colours[i]: i for i in range(len(VOC_CLASSES))}, colours[VOID]: VOID},
                 VOC_CLASSES)


def cityscapes_table() -> Table:
    """The colours of Cityscapes' gtFine_color, as its 19 classes of training."""
    return Table({**dict.fromkeys(CITYSCAPES_VOID, VOID),
                  **{colour: i for i, (_, _, colour) in enumerate(CITYSCAPES)}},
                 tuple(name for _, name, _ in CITYSCAPES))


TABLES = {'voc': voc_table, 'cityscapes': cityscapes_table}


def table_of(colours: str | Path | Mapping[Colour, str]) -> Table:
    """The table that a user gives: the name of a known one, a file, or {RGB: name}."""
    if isinstance(colours, Mapping):
        return numbered([(colour, name) for colour, name in colours.items()], 'colours')
    return TABLES[str(colours)]() if str(colours) in TABLES else read_table(Path(colours))


def read_table(path: Path) -> Table:
    """A table from a text with lines 'R G B name'; '#' begins a comment. Classes are numbered in
    the order of the lines; colours of one name are one class, those named void are none. FcnError,
    with the line, for anything else."""
    try:
        text = read_regular(path, 'a table of colours', 2 ** 20).decode('utf-8-sig')
    except UnicodeDecodeError:
        raise FcnError('the file is not text', file=path, do=FORM) from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith('#'):
            rows.append(row_of(line, path, number))
    return numbered(rows, path)


def row_of(line: str, path: Path, number: int) -> tuple[Colour, str]:
    """(colour, name) of a line; commas between the numbers are taken too."""
    words = line.replace(',', ' ').split(None, 3)
    try:
        r, g, b = map(int, words[:3])
        good = all(0 <= value <= 255 for value in (r, g, b)) and len(words) == 4
    except ValueError:
        good = False
    name = words[3].strip() if good else ''
    if not good or len(name) > LONGEST_CLASS or CONTROL.search(name):
        raise FcnError(f'the line is {short(ascii(line), 100)}', file=path, line=number, do=FORM)
    return (r, g, b), name


def numbered(rows: list[tuple[Colour, str]], path: str | Path) -> Table:
    """A table of (colour, name) rows; FcnError for a colour with two names, and without a class."""
    names: list[str] = []
    indices: dict[Colour, int] = {}
    for colour, name in rows:
        index = VOID
        if name.lower() not in VOID_NAMES:
            if name not in names:
                names.append(name)
            index = names.index(name)
        if indices.setdefault(colour, index) != index:
            raise FcnError(f'the colour {words(colour)} has two names', file=path, do=FORM)
    if not 1 <= len(names) <= MOST_CLASSES:
        raise FcnError(f'the table has {len(names)} classes, of 1 to {MOST_CLASSES}', file=path,
                       do=FORM)
    return Table(indices, tuple(names))


def derived(pixels: Mapping[Colour, int]) -> tuple[Table, str]:
    """A table for the colours of some masks, {RGB: pixels}, and how it was found, in words: a known
    one where it has them all; else a class for each: black, or the most frequent colour, is 0."""
    white_void = {(224, 224, 192)} & pixels.keys()
    told = pixels.keys() - {(0, 0, 0)} - white_void
    for name, known in TABLES.items():
        table = known()
        if len(told) >= KNOWN_AT_LEAST and pixels.keys() <= table.indices.keys():
            return table, f"the colours are {name}'s"
    if not 1 <= len(pixels) - len(white_void) <= MOST_DERIVED:
        raise FcnError(f'the masks have {len(pixels)} colours, of 1 to {MOST_DERIVED}',
                       facts={'kind': 'edges'}, do='Give a table of the colours.')
    first = (0, 0, 0) if (0, 0, 0) in pixels else \
        max(pixels.keys() - white_void, key=lambda colour: (pixels[colour], colour))
    order = [first, *sorted(pixels.keys() - white_void - {first})]
    names = ['background', *map(colour_name, order[1:])]
    return (Table({**{colour: i for i, colour in enumerate(order)},
                   **dict.fromkeys(white_void, VOID)}, tuple(names)),
            f'{len(order)} classes by their colours')


def colour_name(colour: Colour) -> str:
    """A colour's name in CSS, or #rrggbb."""
    # getrgb, since Pillow replaces the texts of its table by what they stand for once they are used
    return next((name for name in ImageColor.colormap if ImageColor.getrgb(name) == tuple(colour)),
                '#{:02x}{:02x}{:02x}'.format(*colour))


def words(colour: Iterable[int]) -> str:
    """A colour in words."""
    return '({})'.format(', '.join(map(str, colour)))
