"""Tables of colours: which class a colour stands for in masks, and in which one it is shown."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from fcn_repro.data.image import VOID
from fcn_repro.data.palette import LONGEST_CLASS, palette
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.paths import CONTROL

FILE = 'colours.txt'    # beside classes.txt: the colours in which labels and predictions are shown
AT_ONCE = 2 ** 16       # colours that are compared with a table at once
VOID_NAMES = frozenset(('void', 'ignore', 'unlabelled', 'unlabeled', '__ignore__'))
FORM = "Write 'R G B name' in each line, three numbers from 0 to 255; the name void: no class."

Colour = tuple[int, int, int]


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

    def shown(self) -> np.ndarray:
        """(256, 3) uint8 RGB: of each class, and of void, its first colour; VOC's of the others."""
        colours = palette()
        for colour, index in reversed(self.indices.items()):
            colours[index] = colour
        return colours


def shown_in(folder: str | Path) -> np.ndarray | None:
    """(256, 3) uint8 RGB, the colours in which the classes of a data set or a run are shown, by its
    FILE: classes in the order of their lines; None without the file. FcnError as read_table."""
    path = Path(folder, FILE)
    return read_table(path).shown() if os.path.exists(path) else None


def as_text(colours: np.ndarray, names: tuple[str, ...]) -> str:
    """The FILE of the colours (256, 3) of classes; one that another class has already is replaced
    by one of VOC's, since the file is a table, too."""
    rows: list[Colour] = [(int(r), int(g), int(b)) for r, g, b in colours]
    others = iter([colour for colour in map(tuple, palette().tolist()) if colour not in rows])
    table: dict[Colour, int] = {}
    for i in range(len(names)):
        table[next(others) if rows[i] in table else rows[i]] = i
    table.setdefault(rows[VOID], VOID)
    return ('# the colours in which labels and predictions are shown\n'
            + Table(table, names).lines())


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
    if not 1 <= len(names) <= VOID:
        raise FcnError(f'the table has {len(names)} classes, of 1 to {VOID}', file=path,
                       do=FORM)
    return Table(indices, tuple(names))


def words(colour: Iterable[int]) -> str:
    """A colour in words."""
    return '({})'.format(', '.join(map(str, colour)))
