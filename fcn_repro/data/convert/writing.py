"""Write a Source as a folder in VOC's layout: whole, or not at all."""

import random
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from fcn_repro.data.colours import FILE, Colour, Table, as_text
from fcn_repro.data.examine import (
    ASIDE,
    ORIENTATION,
    Fault,
    animated,
    in_threads,
    orientation,
)
from fcn_repro.data.findings import by_kind, lines_of
from fcn_repro.data.image import as_rgb, open_image
from fcn_repro.data.layouts import good_name
from fcn_repro.data.scenes import write_label
from fcn_repro.data.whole import check_free, whole_folder
from fcn_repro.errors import FcnError
from fcn_repro.paths import as_path

from .source import Item, Source
from .sources import open_source

PART = 0.8                  # of the images for train, where neither user nor folder says
SMALLEST = 16               # pixels of the longest side
KEPT = {'JPEG': '.jpg', 'PNG': '.png'}      # formats of images that are copied as they are
QUALITY = 95                # of a JPEG that has to be written anew
COPIED = 'copied as they are'


@dataclass(frozen=True)
class Converted:
    """What convert() wrote. splits: {name: images}. masks: the kind of masks. notes: {what was done
    to images: how many}; decided: what was recognised, in words. faults: of the files that were
    left out."""

    folder: Path
    splits: dict[str, int]
    names: tuple[str, ...]
    masks: str
    notes: dict[str, int]
    decided: tuple[str, ...]
    faults: tuple[Fault, ...]


def convert(folder: str | Path, out: str | Path, masks: str | None = None, *,
            split: float | None = None, seed: int = 0,
            colours: str | Path | Mapping[Colour, str] | None = None, names: Sequence[str] = (),
            other: str = 'error', void: int | None = None,
            longest: int | None = None) -> Converted:
    """Write the images and masks of a folder into `out` in VOC's layout.

    masks: 'rgb', 'binary', 'index', 'coco', 'cityscapes' or 'labelme'; None: what they look like.
    split: the part of the images for train, the others are val; None: as the folder's own splits
    are, or PART. seed: of the draw, which depends on the names alone. colours: of rgb masks, a
    table's file, 'voc', 'cityscapes' or {RGB: class name}; None: a class for each colour. names: of
    the classes. other: what becomes of values of no class: 'error', 'void' or 'nearest'. void: an
    id of index masks that means void. longest: the longest side in pixels; larger pairs are scaled.

    JPEGs and PNGs in RGB are copied byte by byte. The folder appears when it is complete. A pair
    that cannot be converted is left out and is one of `faults`. FcnError for a folder `out` that
    holds something, for a folder without pairs, and where no pair can be converted.
    """
    check_numbers(split, longest)
    root = as_path(folder, 'the folder of images and masks', 'Give its path.')
    target = as_path(out, 'the folder to write', 'Give its path.')
    if not root.is_dir():
        raise FcnError('there is no such folder', file=root,
                       do='Give a folder of images and masks.')
    check_free(target, root)
    source = open_source(root, masks, colours, names, other, void)
    with whole_folder(target, root) as part:
        made = write_all(source, part, split, seed, longest)
    return Converted(target, made.splits, made.names, made.masks, made.notes, made.decided,
                     made.faults)


def check_numbers(split: float | None, longest: int | None) -> None:
    """FcnError for a part that leaves train or val empty, and for a side of too few pixels."""
    if split is not None and not 0 < split < 1:
        raise FcnError(f'split is {split:g}', do='Give the part of the images for train, above 0 '
                       'and below 1.')
    if longest is not None and longest < SMALLEST:
        raise FcnError(f'longest is {longest} pixels', do=f'Give {SMALLEST} or more.')


@dataclass(frozen=True)
class Written:
    """One pair: its item, a note of what was done to its image, or the fault that it has."""

    item: Item
    note: str = ''
    fault: Fault | None = None


def write_all(source: Source, part: Path, split: float | None, seed: int,
              longest: int | None) -> Converted:
    """Write all of a Source into the empty folder `part`; FcnError where no pair is good."""
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (part / name).mkdir(parents=True)
    written = in_threads(lambda item: write_pair(source, item, part, longest), source.items,
                         'converting')
    good = [each.item for each in written if each.fault is None]
    faults = [*source.faults, *(each.fault for each in written if each.fault)]
    if not good:
        raise none_good(source, faults)
    splits = assigned(good, split, seed)
    for name, ids in splits.items():
        (part / f'ImageSets/Segmentation/{name}.txt').write_text(
            ''.join(f'{id_}\n' for id_ in sorted(ids)))
    (part / 'classes.txt').write_text(''.join(f'{name}\n' for name in source.names))
    (part / FILE).write_text(as_text(source.shown, source.names))
    if source.table:
        (part / 'mask-colours.txt').write_text('# the colours of the masks that were converted\n'
                                               + Table(source.table, source.names).lines())
    notes = Counter(each.note or COPIED for each in written if each.fault is None)
    return Converted(part, {name: len(ids) for name, ids in splits.items()}, source.names,
                     source.kind, dict(notes), tuple(source.notes), tuple(faults))


def none_good(source: Source, faults: list[Fault]) -> FcnError:
    """The error where no pair can be converted: the kinds of faults, and what to do about the
    first."""
    if not faults:
        return FcnError('there is no pair of image and mask', file=source.folder,
                        do='Give a folder of images and masks.')
    first = next(iter(by_kind(faults).values()))[0]
    return FcnError(f'no pair can be converted as {source.kind} masks; nothing was written',
                    items=lines_of(faults), file=source.folder, code=f'data-{first.kind}',
                    facts=first.facts, do=first.do)


def assigned(items: Sequence[Item], part: float | None, seed: int) -> dict[str, list[str]]:
    """{split: ids}: the folder's own splits; or, if it has none or `part` is given, a draw that
    depends on ids and seed alone. Each of train and val has one image at least, of two or more."""
    own = {item.split for item in items}
    if part is None and own - {''}:
        splits: dict[str, list[str]] = {}
        for item in items:
            splits.setdefault(item.split or 'train', []).append(item.id)
        if 'val' in splits or len(splits.get('train', ())) < 2:
            return splits
        return {**splits, **drawn(splits['train'], PART, seed)}
    return drawn([item.id for item in items], PART if part is None else part, seed)


def drawn(ids: Sequence[str], part: float, seed: int) -> dict[str, list[str]]:
    """{'train': ids, 'val': ids} by a draw."""
    order = sorted(ids)
    random.Random(seed).shuffle(order)
    count = min(max(round(part * len(order)), 1), max(len(order) - 1, 1))
    return {'train': order[:count], **({'val': order[count:]} if order[count:] else {})}


# ---- one pair ------------------------------------------------------------------------------------

def write_pair(source: Source, item: Item, part: Path, longest: int | None) -> Written:
    """Write the image and the label of an item; a fault where that is not possible."""
    if not good_name(item.id):
        return Written(item, fault=Fault('name', item.image, 'a name with a space at an end, a '
                                         'control character, or bytes that are no text',
                                         'Rename the file.'))
    path = item.image
    try:
        image, _ = open_image(path, 'image')
        path = item.file
        label = source.label(item)
        if too_large(label, longest) is None and plain(image):
            check_sizes(item, label, image)
            shutil.copyfile(item.image, target(part, item, KEPT[str(image.format)]))
            note = ''
        else:
            path = item.image
            note, label = write_image(image, label, item, part, longest)
        write_label(part / f'SegmentationClass/{item.id}.png', label, source.shown)
    except FcnError as error:
        return Written(item, fault=Fault.of(error.facts.get('kind', 'unreadable'), error, path))
    return Written(item, note)


def target(part: Path, item: Item, suffix: str) -> Path:
    """The path of an item's image in the result."""
    return part / f'JPEGImages/{item.id}{suffix}'


def plain(image: Image.Image) -> bool:
    """Whether an image is what the reader of training takes: upright RGB in a JPEG or PNG."""
    return image.mode == 'RGB' and image.format in KEPT and 'transparency' not in image.info and \
        orientation(image) == 1 and not animated(image)


def check_sizes(item: Item, label: np.ndarray, image: Image.Image) -> None:
    """FcnError for a label of another size than its image."""
    (h, w), (height, width) = label.shape, (image.height, image.width)
    if (h, w) != (height, width):
        raise FcnError(f'{h}x{w} (height x width), its image {height}x{width}', file=item.file,
                       facts={'kind': 'size'}, do='Give image and mask the same size.')


def too_large(label: np.ndarray, longest: int | None) -> float | None:
    """The factor by which a pair is scaled; None for 1."""
    side = max(label.shape)
    return longest / side if longest is not None and side > longest else None


def write_image(image: Image.Image, label: np.ndarray, item: Item, part: Path,
                longest: int | None) -> tuple[str, np.ndarray]:
    """Write an image upright, in RGB and not too large; returns a note of that, and the label for
    it. A JPEG stays one; everything else becomes a PNG."""
    suffix = KEPT.get(str(image.format), '.png')
    notes = []
    if animated(image):
        notes.append('the first frame of several')
    turned = orientation(image)
    if turned != 1:
        upright = ImageOps.exif_transpose(image)
        if turned in ASIDE and label.shape != (upright.height, upright.width) and \
                label.shape == (image.height, image.width):
            label = turned_label(label, image)          # drawn on the pixels as they are stored
            notes.append('turned upright by their EXIF, with their masks')
        else:
            notes.append('turned upright by their EXIF')
        image = upright
    array, kind = as_rgb(image, item.image)
    if kind:
        notes.append(f'made RGB ({kind})')
    made = Image.fromarray(array)
    check_sizes(item, label, made)
    factor = too_large(label, longest)
    if factor is not None:
        size = (max(1, round(made.width * factor)), max(1, round(made.height * factor)))
        made = made.resize(size, Image.Resampling.LANCZOS)
        label = np.asarray(Image.fromarray(label).resize(size, Image.Resampling.NEAREST))
        notes.append(f'scaled to {longest} pixels')
    if suffix == '.jpg':
        made.save(target(part, item, suffix), quality=QUALITY, subsampling=0)
    else:
        made.save(target(part, item, suffix))
    return ', '.join(notes) or 'written anew as PNG', label


def turned_label(label: np.ndarray, image: Image.Image) -> np.ndarray:
    """A label turned as the EXIF of its image says."""
    made = Image.fromarray(label)
    made.getexif()[ORIENTATION] = image.getexif()[ORIENTATION]
    return np.asarray(ImageOps.exif_transpose(made))
