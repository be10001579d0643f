"""labelme's JSON: one file for each image, with polygons and other shapes."""

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcn_repro.data.colours import VOID_NAMES
from fcn_repro.data.examine import Fault
from fcn_repro.data.image import VOID, open_image
from fcn_repro.data.layouts import PICTURES
from fcn_repro.errors import FcnError
from fcn_repro.paths import confined

from .json_files import head_of, listed, points_of, read_json
from .shapes import fill_circle, fill_polygon, stroke
from .source import MOST_CLASSES, Item, Source, check_declared

WHAT = "a JSON file of labelme's"
BACKGROUND = frozenset(('background', '_background_', '__background__'))
EXPORT = 'Open it in labelme, and save it again.'


@dataclass
class Labelme(Source):
    """Images with labelme's files. Classes are the labels of all files in alphabetical order, after
    a background; a later shape is on top, as in labelme. Points and lines have no inside: they are
    one pixel wide."""

    index: dict[str, int] | None = None
    kind = 'labelme'

    def label(self, item: Item) -> np.ndarray:
        size, shapes = item.data
        check_declared(size, item)
        label = np.zeros(size, np.uint8)
        try:
            for shape in shapes:
                paint(label, shape, class_of(shape['label'], self.index or {}))
        except (ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
            raise FcnError(f'a shape cannot be drawn: {error}', file=item.file,
                           do=EXPORT) from None
        return label


def class_of(label: str, index: dict[str, int]) -> int:
    """The class index of a label."""
    if label.lower() in VOID_NAMES:
        return VOID
    return 0 if label.lower() in BACKGROUND else index[label]


def paint(label: np.ndarray, shape: dict[str, Any], value: int) -> None:
    """Draw a shape; ValueError for one of an unknown kind."""
    kind, points = shape.get('shape_type') or 'polygon', points_of(shape['points'])
    if kind == 'polygon':
        fill_polygon(label, points, value)
    elif kind == 'rectangle':
        (left, top), (right, bottom) = points
        fill_polygon(label, [(left, top), (right, top), (right, bottom), (left, bottom)], value)
    elif kind == 'circle':
        centre, rim = points
        fill_circle(label, centre, math.dist(centre, rim), value)
    elif kind in ('line', 'linestrip', 'point'):
        stroke(label, points, value)
    elif kind == 'mask':
        (left, top), _ = points
        part, _ = open_image(io.BytesIO(base64.b64decode(shape['mask'])), 'mask of a shape')
        place = label[max(0, round(top)):, max(0, round(left)):][:part.height, :part.width]
        place[np.asarray(part.convert('L'))[:place.shape[0], :place.shape[1]] > 0] = value
    else:
        raise ValueError(f"it is a {kind!r}; known are polygon, rectangle, circle, line, "
                         'linestrip, point and mask')


def is_labelme(path: Path) -> bool:
    """Whether a JSON file begins as one of labelme's does."""
    head = head_of(path)
    return b'"shapes"' in head or (b'"imageData"' in head and b'"imagePath"' in head)


def labelme_source(folder: Path, files: Sequence[Path]) -> Labelme:
    """The Source of labelme's files."""
    items: list[Item] = []
    faults: list[Fault] = []
    labels: set[str] = set()
    for file in files:
        try:
            found = read_json(file, WHAT)
            shapes = listed(found, 'shapes', file)
            image = image_of(folder, file, found)
            items.append(Item('', '', image, file, (size_of(found, image, file), shapes)))
            labels |= {label_of(shape, file) for shape in shapes}
        except FcnError as error:
            faults.append(Fault.of('unreadable', error, file))
    classes = sorted(label for label in labels
                     if label.lower() not in VOID_NAMES | BACKGROUND)
    if len(classes) + 1 > MOST_CLASSES:
        raise FcnError(f'{len(classes)} labels, of at most {MOST_CLASSES - 1}', file=folder,
                       do='Use fewer labels.')
    return Labelme(folder, with_ids(folder, items), ('background', *classes), faults,
                   index={label: i for i, label in enumerate(classes, 1)})


def label_of(shape: dict[str, Any], file: Path) -> str:
    """The label of a shape; FcnError where it is no text of one line."""
    label = shape.get('label')
    if not isinstance(label, str) or not label.strip() or len(label) > 200 or \
            not label.isprintable():
        raise FcnError(f'a shape has the label {ascii(label)[:100]}', file=file, do=EXPORT)
    return label


def image_of(folder: Path, file: Path, found: dict[str, Any]) -> Path:
    """The image of a file: of the same stem beside it, or where it says, inside the folder (of a
    path on another machine the last part counts). FcnError where there is none."""
    for suffix in PICTURES:
        for path in (file.with_suffix(suffix), file.with_suffix(suffix.upper())):
            if path.is_file():
                return path
    name = str(found.get('imagePath') or file.stem).replace('\\', '/')
    last = name.rpartition('/')[2]
    places = (file.parent.relative_to(folder), Path('images'), Path())
    for relative in (f'{places[0]}/{name}', *(f'{place}/{last}' for place in places)):
        with suppress(FcnError):
            path = confined(folder, relative, 'imagePath', file=file)
            if path.is_file() and path.suffix.lower() in PICTURES:
                return path
    raise FcnError(f'its image {name[:200]!a} is missing', file=file, facts={'kind': 'no-image'},
                   do='Put the image beside it.')


def size_of(found: dict[str, Any], image: Path, file: Path) -> tuple[int, int]:
    """(height, width) as a file tells; FcnError for other values."""
    height, width = (found.get(key) for key in ('imageHeight', 'imageWidth'))
    if type(height) is not int or type(width) is not int or height < 1 or width < 1:
        raise FcnError(f'its imageHeight is {height!r}, its imageWidth {width!r}', file=file,
                       do=EXPORT)
    return height, width


def with_ids(folder: Path, items: list[Item]) -> list[Item]:
    """The items with ids: the stem of the image, or its path where stems repeat."""
    stems = Counter(item.image.stem for item in items)
    return [Item(item.image.stem if stems[item.image.stem] == 1 else
                 '_'.join(item.file.relative_to(folder).with_suffix('').parts), '',
                 item.image, item.file, item.data) for item in items]

