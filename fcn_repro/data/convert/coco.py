"""COCO's JSON: instances (polygons and run lengths) and panoptic segments."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcn_repro.data.examine import Fault, rgb
from fcn_repro.data.image import VOID, image_size, open_image
from fcn_repro.data.layouts import PICTURES, SPLIT_WORDS, WORDS, walk
from fcn_repro.errors import FcnError
from fcn_repro.paths import confined

from .json_files import head_of, listed, pixels_of, points_of, read_json
from .shapes import fill_polygon, filled, runs
from .source import MOST_CLASSES, Item, Source, check_declared

WHAT = 'a JSON file of COCO, instances or panoptic'
EXPORT = 'Export it again, as COCO instances.'


@dataclass(frozen=True)
class Annotated:
    """What COCO tells of an image. rows: its annotations; size: (height, width) or None; segments:
    the PNG of a panoptic annotation."""

    rows: list[dict[str, Any]]
    size: tuple[int, int] | None
    segments: Path | None = None


@dataclass
class Coco(Source):
    """Images of COCO. Classes are the categories in the order of their ids, after a background;
    panoptic ones have none, and what has no segment is void. A crowd is void. Where instances
    overlap the smaller one is on top."""

    index: dict[int, int] | None = None     # {category id: class index}
    kind = 'coco'

    def label(self, item: Item) -> np.ndarray:
        data: Annotated = item.data
        try:
            if data.segments is not None:
                return self.panoptic(data)
            size = data.size or image_size(item.image)
            check_declared(size, item)
            return self.instances(data.rows, size)
        except (ValueError, TypeError, OverflowError, KeyError) as error:
            raise FcnError(f"an annotation of '{item.id}' cannot be drawn: {error}",
                           file=item.file, do=EXPORT) from None

    def class_of(self, row: dict[str, Any]) -> int:
        """The class index of an annotation or segment; void for a crowd."""
        index = (self.index or {})[row['category_id']]
        return VOID if row.get('iscrowd') else index

    def instances(self, rows: list[dict[str, Any]], size: tuple[int, int]) -> np.ndarray:
        label = np.zeros(size, np.uint8)
        for row in sorted(rows, key=lambda row: (not row.get('iscrowd'), -area(row))):
            value, shape = self.class_of(row), row.get('segmentation')
            if isinstance(shape, list):
                for part in shape:
                    fill_polygon(label, points_of(part), value)
            elif isinstance(shape, dict):
                if tuple(shape['size']) != size:
                    raise ValueError(f"run lengths of {shape['size']}, the image is {size}")
                label[filled(runs(shape['counts']), size)] = value
            else:
                raise ValueError('it has no segmentation')
        return label

    def panoptic(self, data: Annotated) -> np.ndarray:
        image, _ = open_image(data.segments or '', 'panoptic mask')
        array = np.asarray(rgb(image)).astype(np.int64)
        ids = array[..., 0] + 256 * array[..., 1] + 65536 * array[..., 2]
        label = np.full(ids.shape, VOID, np.uint8)
        for segment in data.rows:
            label[ids == int(segment['id'])] = self.class_of(segment)
        return label


def area(row: dict[str, Any]) -> float:
    """The area of an annotation, of its box where it tells none."""
    _, _, width, height = row.get('bbox') or (0, 0, 0, 0)
    return float(row.get('area') or width * height)


def is_coco(path: Path) -> bool:
    """Whether a JSON file begins as one of COCO does."""
    head = head_of(path)
    return sum(key in head for key in (b'"images"', b'"annotations"', b'"categories"', b'"info"',
                                       b'"licenses"')) >= 2 and b'"shapes"' not in head


def coco_source(folder: Path, files: Sequence[Path]) -> Coco:
    """The Source of a folder with COCO's JSON files, of one split each where their names tell.
    FcnError for files of other forms, and for categories that differ between them."""
    pictures: dict[str, list[Path]] = {}
    for path in walk(folder, PICTURES):
        pictures.setdefault(path.name, []).append(path)
    items: list[Item] = []
    faults: list[Fault] = []
    names: tuple[str, ...] | None = None
    index: dict[int, int] = {}
    for file in files:
        found = read_json(file, WHAT)
        rows = listed(found, 'annotations', file)
        panoptic = any('segments_info' in row for row in rows)
        mine, index = categories(found, file, panoptic)
        if names not in (None, mine):
            raise FcnError('its categories are not those of the other JSON files', file=file,
                           do='Convert the files one by one.')
        names = mine
        check_categories(rows, index, file)
        for row, image in images_with(found, rows, file):
            add(row, image, file, folder, pictures, panoptic, items, faults)
    return Coco(folder, unique(items), names or (), faults, index=index)


def categories(found: dict[str, Any], file: Path,
               panoptic: bool) -> tuple[tuple[str, ...], dict[int, int]]:
    """(class names, {category id: class index}) of a file."""
    rows: list[tuple[int, str]] = []
    for row in listed(found, 'categories', file):
        number, name = row.get('id'), row.get('name')
        if type(number) is not int or not isinstance(name, str) or not name.strip():
            raise FcnError("'categories' has one without id or name", file=file, do=EXPORT)
        rows.append((number, name))
    rows.sort()
    names = ([] if panoptic else ['background']) + [' '.join(name.split())[:200]
                                                    for _, name in rows]
    if len(names) > MOST_CLASSES:
        raise FcnError(f'{len(names)} classes, of at most {MOST_CLASSES}', file=file,
                       do='Export fewer categories.')
    first = len(names) - len(rows)
    return tuple(names), {number: first + i for i, (number, _) in enumerate(rows)}


def check_categories(rows: list[dict[str, Any]], index: dict[int, int], file: Path) -> None:
    """FcnError for an annotation of a category that is not listed."""
    for row in rows:
        for each in (row.get('segments_info') or ()) if 'segments_info' in row else (row,):
            number = each.get('category_id') if isinstance(each, dict) else each
            if not isinstance(number, int) or number not in index:
                raise FcnError(f'an annotation has the category {number!r}, which is not listed',
                               file=file, do=EXPORT)


def images_with(found: dict[str, Any], rows: list[dict[str, Any]],
                file: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """[(image, its annotations)] of a file, in its order."""
    of: dict[Any, list[dict[str, Any]]] = {}
    for row in rows:
        if not isinstance(row.get('image_id'), (int, str)):
            raise FcnError('an annotation has no image_id', file=file, do=EXPORT)
        of.setdefault(row['image_id'], []).append(row)
    return [(row, of.get(row.get('id'), [])) for row in listed(found, 'images', file)]


def add(row: dict[str, Any], rows: list[dict[str, Any]], file: Path, folder: Path,
        pictures: dict[str, list[Path]], panoptic: bool, items: list[Item],
        faults: list[Fault]) -> None:
    """Add the item of an image, or the fault that it makes none."""
    name = row.get('file_name')
    image = located(folder, name, file, pictures)
    if image is None:
        faults.append(Fault('no-image', file, f"the image '{name}' is not in {folder}",
                            'Add the images, at any place in the folder.'))
        return
    if not panoptic:
        items.append(Item(image.stem, split_of(file), image, file,
                          Annotated(rows, pixels_of(row, file))))
        return
    segments = located(folder, rows[0].get('file_name'), file, pictures, file.stem) if rows \
        else None
    if segments is None:
        faults.append(Fault('no-mask', image, 'its panoptic PNG is missing', 'Unpack the archive '
                            f'of {file.stem} beside the JSON file.'))
        return
    items.append(Item(image.stem, split_of(file), image, segments,
                      Annotated(rows[0]['segments_info'], None, segments)))


def located(folder: Path, name: object, file: Path, pictures: dict[str, list[Path]],
            inside: str = '') -> Path | None:
    """Where an image of this name is: at its path in the folder, or anywhere if the name is there
    once; `inside`: below a folder of this name. None if it is not; FcnError for a name that leads
    out of the folder."""
    path = confined(folder, name, 'file_name', file=file)       # type: ignore[arg-type]
    found = pictures.get(os.path.basename(str(name)), [])
    if inside:
        found = [each for each in found if inside in each.parts]
    elif path in found:
        return path
    else:
        split = split_of(file)
        of_split = [each for each in found if split and split in map(split_of, each.parents)
                    and f'panoptic_{split}' not in str(each)]
        found = of_split or found
    return found[0] if len(found) == 1 else None


def split_of(path: Path) -> str:
    """The split that the name of a file or folder tells, or ''."""
    words = (word.lower() for word in WORDS.findall(path.stem))
    return next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), '')


def unique(items: list[Item]) -> list[Item]:
    """The items, with the split before an id that several have."""
    seen: dict[str, int] = {}
    for item in items:
        seen[item.id] = seen.get(item.id, 0) + 1
    made, taken = [], set()
    for item in items:
        id_ = item.id if seen[item.id] == 1 else '_'.join(filter(None, (
            item.split, item.image.parent.name, item.id)))
        while id_ in taken:
            id_ += '_'
        taken.add(id_)
        made.append(Item(id_, item.split, item.image, item.file, item.data))
    return made
