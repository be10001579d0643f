"""Check a data set before anything is trained on it: every file is decoded, and all faults are one
list."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import numpy as np

from fcn_repro.data.colours import shown_in
from fcn_repro.data.convert.colours import table_of
from fcn_repro.data.convert.source import Item, Source
from fcn_repro.data.convert.sources import open_source
from fcn_repro.data.examine import (
    LOSSY,
    Fault,
    ImageFacts,
    MaskFacts,
    image_facts,
    in_threads,
    mask_facts,
)
from fcn_repro.data.findings import MANY_PIXELS, Findings, Record
from fcn_repro.data.image import VOID
from fcn_repro.data.layouts import VOC_IMAGES, VOC_MASKS, is_voc
from fcn_repro.data.original import checked_original, layout_of, of_list
from fcn_repro.data.reader import read_class_names
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError
from fcn_repro.paths import as_path

SPLITS = 'train', 'val'

Done = TypeVar('Done')


def check_folder(folder: str | Path, splits: Sequence[str] | None = None,
                 classes: int | None = None, colours: str | Path | None = None, *,
                 pascal: str | Path | None = None, sbd: str | Path | None = None) -> Findings:
    """What is in a folder, and what of it would make a training fail, or learn nothing.

    In VOC's layout, and in those of the paper's other data sets (original.py), the samples of the
    splits are checked (None: train and val, or those that there are lists of); a folder in another
    layout that convert() takes is checked as it would be converted, and its layout is one of the
    faults. classes: the number of classes of the net, if there is one. colours: of convert().
    pascal: the folder that VOC2010 is in, of PASCAL-Context. sbd: SBD's folder, for the split
    seg11valid. FcnError where there is no folder, and for a table of colours that is none.
    """
    root = as_path(folder, 'the folder of the data set', 'Give its path.')
    if classes is not None and not 1 <= classes <= VOID:
        raise FcnError(f'{classes} classes', code='bad-classes', do='Give 1 to 255 classes.')
    if not root.is_dir():
        raise FcnError('there is no such folder', file=root,
                       do=f'Give the folder of a data set (relative paths start at {os.getcwd()}).')
    if is_voc(root):
        return checked_voc(root, tuple(splits or SPLITS), sbd).for_classes(classes)
    if (layout := layout_of(root)) is not None:
        where = None if pascal is None else as_path(pascal, 'pascal', 'Give the path of a folder.')
        return checked_original(root, layout, splits, where).for_classes(classes)
    return check_source(root, colours).for_classes(classes)


# ---- VOC's layout --------------------------------------------------------------------------------

def checked_voc(root: Path, splits: tuple[str, ...],
                sbd: str | Path | None = None) -> Findings:
    """The Findings of a folder in VOC's layout; computed once for the same files."""
    readers: list[VocFolder] = []
    faults: list[Fault] = []
    for split in splits:
        try:
            readers.append(VocFolder(root, split, sbd))
            faults += of_list(readers[-1], root.name)
        except FcnError as error:
            faults.append(Fault.of('split', error, root))
    names: tuple[str, ...] = ()
    try:
        names = (readers[0].classes if readers else read_class_names(root / 'classes.txt')) or ()
    except FcnError as error:
        faults.append(Fault.of('names', error, root))
    try:
        shown_in(root)
    except FcnError as error:
        faults.append(Fault.of('table', error, root))
    records, more = samples_of(root, tuple(reader.split for reader in readers), sbd,
                               stamp(readers))
    return Findings(root, 'voc', list(records), [*faults, *more], names)


def stamp(readers: Iterable[VocFolder]) -> tuple[tuple[str, int, int], ...]:
    """(path, size, time of change) of all files of the readers' samples, and where they start."""
    found = [(os.getcwd(), 0, 0)]
    for reader in readers:
        for folder in {str(Path(id_).parent) for id_ in reader.ids}:
            for top in (VOC_IMAGES, VOC_MASKS):
                place = reader.folder / top / folder
                if place.is_dir():
                    with os.scandir(place) as entries:
                        found += [(entry.path, (state := entry.stat()).st_size, state.st_mtime_ns)
                                  for entry in entries if entry.is_file()]
        found.append((str(reader.split_file), hash(tuple(reader.ids)), 0))
    return tuple(found)


@lru_cache(1)
def samples_of(root: Path, splits: tuple[str, ...], sbd: str | Path | None,
               files: tuple) -> tuple[tuple[Record, ...], tuple[Fault, ...]]:
    """The records and faults of the samples of splits that can be read; files: their stamp."""
    readers = [VocFolder(root, split, sbd) for split in splits]
    faults: list[Fault] = []
    tasks: dict[str, VocFolder] = {}
    for reader in readers:
        tasks |= {id_: reader for id_ in reader.ids if id_ not in tasks}
    unlabelled = [reader for reader in readers if 'test' in reader.split
                  and not reader.has_labels()]
    faults += [Fault('unlabelled', reader.split_file, f"no image of '{reader.split}' has a label: "
                     'it can be labelled, but not scored', 'Its labels are not published; label '
                     'maps for the server are made of it.') for reader in unlabelled]
    made = in_threads(lambda task: of_voc(task[1], task[0], task[1] not in unlabelled),
                      list(tasks.items()), 'checking')
    by_id: dict[str, Record] = {}
    for record, found in made:
        faults += found
        by_id[record.id] = record
    return tuple(replace(by_id[id_], split=reader.split) for reader in readers
                 for id_ in dict.fromkeys(reader.ids)), tuple(faults)


def of_voc(reader: VocFolder, id_: str,
           labelled: bool = True) -> tuple[Record, list[Fault]]:
    """The record and the faults of one sample of VOC's layout."""
    faults: list[Fault] = []
    image = opened(reader, reader.images, id_, image_facts, 'no-mask', faults)
    mask = opened(reader, reader.labels, id_, mask_facts, 'no-mask', faults) if labelled else None
    file = reader.folder / reader.labels.format(id_)
    if image:
        faults += of_image(reader.image_file(id_), image)
    if mask is None:
        return Record(id_, reader.split, file, image), faults
    file = reader.label_file(id_)
    wrong = of_mask(file, mask)
    if image and image.size != mask.size:
        wrong.append(of_sizes(file, mask.size, image))
    counts = mask.counts if not wrong and mask.counts is not None else np.zeros(256, np.int64)
    ids = np.flatnonzero(counts)
    return (Record(id_, reader.split, file, image, mask.size, mask.mode, ids, counts[ids]),
            faults + wrong)


def opened(reader: VocFolder, pattern: str, id_: str, facts: Callable[[Path], Done], kind: str,
           faults: list[Fault]) -> Done | None:
    """The facts of a sample's file; None, and a fault, where it is missing or cannot be read."""
    what = 'image' if pattern == reader.images else 'label'
    try:
        path = reader.sample_path(pattern, id_)
    except FcnError as error:
        faults.append(Fault.of('clash', error, reader.split_file))
        return None
    if not path.is_file():
        others = ' and '.join(sorted(reader.names_like(path)))
        faults.append(Fault(
            'no-image' if what == 'image' else kind, path, f'the {what} is missing'
            + (f'; there is {others}' if others else ''),
            f'Add the file, or remove the id from {reader.split_file.name}.'))
        return None
    return facts_of(path, facts, faults)


def facts_of(path: Path, facts: Callable[[Path], Done], faults: list[Fault]) -> Done | None:
    """The facts of a file; None, and a fault, where it cannot be read."""
    try:
        return facts(path)
    except FcnError as error:
        kind = 'too-large' if error.code == 'too-many-pixels' else 'unreadable'
        faults.append(Fault.of(kind, error, path))
        return None


def of_image(path: Path, facts: ImageFacts) -> list[Fault]:
    """Faults of an image that the reader of VOC's layout takes, or refuses."""
    faults = []
    if facts.mode != 'RGB':
        faults.append(Fault('image-mode', path, f'its mode is {facts.mode!r}',
                            'Convert the folder, or save the image as RGB.'))
    if facts.turned != 1:
        faults.append(Fault('turned', path, f'its EXIF orientation is {facts.turned}',
                            'Training takes the pixels as they are stored; labels have to be for '
                            'those.'))
    return faults + of_any_image(path, facts)


def of_any_image(path: Path, facts: ImageFacts) -> list[Fault]:
    """What is said of an image in any layout."""
    faults = []
    if facts.animated:
        faults.append(Fault('animated', path, 'it has several frames', 'The first one is taken.'))
    height, width = facts.size
    if height * width > MANY_PIXELS:
        faults.append(Fault('huge', path, f'it is {height}x{width} (height x width)',
                            'Convert the folder with longest=1000, say, or expect long training.',
                            {'longest': 1000}))
    return faults


def of_mask(path: Path, facts: MaskFacts) -> list[Fault]:
    """The fault for which the reader of labels refuses a mask."""
    if facts.format in LOSSY:
        return [Fault('lossy', path, f'it is a {facts.format} picture, whose compression changes '
                      'class ids along every edge', 'Give the PNG that it was made from.')]
    if facts.mode in ('RGB', 'RGBA', 'CMYK'):
        count = 'more than 256' if facts.colours is None else len(facts.colours)
        return [Fault('colours', path, f'its mode is {facts.mode!r}, with {count} colours',
                      'Convert the folder, with a table of the colours.')]
    if not facts.indexed:
        return [Fault('mask-mode', path, f'its mode is {facts.mode!r}, stored as '
                      f'{facts.bits or facts.mode}', 'Convert the folder, as index masks.')]
    return []


def of_sizes(path: Path, mask: tuple[int, int], image: ImageFacts) -> Fault:
    """The fault of a mask of another size than its image."""
    what = '{}x{} (height x width), its image {}x{}'.format(*mask, *image.size)
    if mask == image.upright:
        return Fault('size', path, what + ' as stored, and turned by its EXIF',
                     'Convert the folder, which turns the images.')
    return Fault('size', path, what, 'Give image and mask the same size.')


# ---- other layouts -------------------------------------------------------------------------------

def check_source(root: Path, colours: str | Path | None = None) -> Findings:
    """The Findings of a folder that would have to be converted."""
    table = None if colours is None else table_of(colours)
    try:
        source = open_source(root, colours=table)
    except FcnError as error:
        kind = error.facts.get('kind', 'layout')
        return Findings(root, 'none', [], [Fault.of(kind, error, root)])
    made = in_threads(lambda item: of_item(source, item), source.items, 'checking')
    faults = [Fault('layout', root, f'{len(source.items)} pairs that are not in the layout of VOC',
                    f"Convert them: fcn_repro.data.convert.convert(folder, out, '{source.kind}').")]
    faults += source.faults + [fault for _, found in made for fault in found]
    return Findings(root, source.kind if source.kind in ('coco', 'labelme', 'cityscapes')
                    else 'pairs', [record for record, _ in made], faults, source.names,
                    source.kind, tuple(source.notes))


def of_item(source: Source, item: Item) -> tuple[Record, list[Fault]]:
    """The record and the faults of one item of a Source."""
    faults: list[Fault] = []
    image = facts_of(item.image, image_facts, faults)
    if image:
        faults += of_any_image(item.image, image)
        if image.mode != 'RGB':
            faults.append(Fault('converted', item.image, f'its mode is {image.mode!r}',
                                'Their copies are RGB.'))
        if image.turned != 1:
            faults.append(Fault('turned', item.image, f'its EXIF orientation is {image.turned}',
                                'Their copies are upright.'))
    try:
        label = source.label(item)
    except FcnError as error:
        faults.append(Fault.of(error.facts.get('kind', 'unreadable'), error, item.file))
        return Record(item.id, item.split, item.file, image), faults
    if image and label.shape not in (image.size, image.upright):
        faults.append(of_sizes(item.file, label.shape, image))
    counts = np.bincount(label.reshape(-1), minlength=256)
    ids = np.flatnonzero(counts)
    return Record(item.id, item.split, item.file, image, label.shape, source.kind, ids,
                  counts[ids]), faults

