"""Check the paper's other data sets in their original layouts: SBD, NYUDv2, SIFT Flow and
PASCAL-Context."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcn_repro.data.context import YEAR, ContextFolder, tasks_in
from fcn_repro.data.examine import Fault, ImageFacts, image_facts, in_threads
from fcn_repro.data.findings import Findings, Record
from fcn_repro.data.nyud import DEPTH, HHA, LABEL, MAKE_HHA, TOPS, NyudFolder
from fcn_repro.data.published import difference
from fcn_repro.data.reader import Reader, listed_classes
from fcn_repro.data.sbd import SbdFolder
from fcn_repro.data.siftflow import SiftFlowFolder
from fcn_repro.errors import FcnError

MAT = 'MAT-file'        # as the mode of a label


@dataclass(frozen=True)
class Layout:
    """The layout of a data set. kind: of Findings. name: a key of published.KNOWN. marks: patterns,
    one of which a folder has. splits: those that are checked, where there are lists of them. open:
    takes the folder, a split and the folder of VOC's images."""

    kind: str
    name: str
    marks: tuple[str, ...]
    splits: tuple[str, ...]
    lists: str
    open: Callable[[Path, str, Path | None], Reader]

    def splits_in(self, folder: Path) -> tuple[str, ...]:
        """The splits whose lists are in the folder; the first one where none is."""
        found = tuple(split for split in self.splits
                      if os.path.isfile(folder / self.lists.format(split)))
        return found or self.splits[:1]


def open_nyud(folder: Path, split: str, pascal: Path | None) -> Reader:
    """All of NYUDv2 that has a folder."""
    there = [name for name in TOPS if name == LABEL or os.path.isdir((folder / TOPS[name]).parent)]
    return NyudFolder(folder, split, listed_classes(folder), tuple(there))


def open_context(folder: Path, split: str, pascal: Path | None) -> Reader:
    """PASCAL-Context, with VOC2010 in a folder that is given, in its own or in one beside it."""
    beside = (folder, folder.parent / 'pascal', folder.parent / 'VOCdevkit', folder.parent)
    found = pascal or next((place for place in beside if os.path.isdir(place / YEAR)), None)
    if found is None:
        raise FcnError(f"the images of PASCAL-Context are those of {YEAR}, of which there is no "
                       'folder beside it', file=folder,
                       facts={'kind': 'no-pascal'},
                       do='Give the folder that VOC2010 is in as pascal.')
    tasks = tasks_in(folder)
    return ContextFolder(found, folder, split, 59 if 59 in tasks or not tasks else tasks[-1])


LAYOUTS = (
    Layout('nyud', 'NYUDv2', ('segmentation/img_*.mat', 'data/images/img_*'),
           ('train', 'val', 'test'), NyudFolder.splits, open_nyud),
    Layout('siftflow', 'SIFT Flow', ('SemanticLabels', 'GeoLabels'), ('trainval', 'test'),
           SiftFlowFolder.splits,
           lambda folder, split, _: SiftFlowFolder(folder, split, listed_classes(folder))),
    Layout('sbd', 'SBD', ('cls/*.mat',), ('train', 'val'), SbdFolder.splits,
           lambda folder, split, _: SbdFolder(folder, split, 21)),
    Layout('context', 'VOC2010 for PASCAL-Context', ('trainval/*.mat',), ('train', 'val'), '',
           open_context),
)


def layout_of(folder: Path) -> Layout | None:
    """The Layout that a folder has; None for none of them."""
    return next((layout for layout in LAYOUTS
                 if any(next(folder.glob(mark), None) for mark in layout.marks)), None)


def checked_original(root: Path, layout: Layout, splits: Sequence[str] | None = None,
                     pascal: Path | None = None) -> Findings:
    """The Findings of a data set in its original layout."""
    readers: list[Reader] = []
    faults: list[Fault] = []
    wanted = splits or (layout.splits_in(root) if layout.lists else layout.splits)
    for split in wanted:
        try:
            readers.append(layout.open(root, split, pascal))
        except FcnError as error:
            kind = error.facts.get('kind', 'split')
            faults.append(Fault.of(kind, error, root))
            if kind != 'split':
                break
    tasks: dict[str, tuple[Reader, int]] = {}
    for reader in readers:
        faults += of_list(reader, layout.name)
        for i, id_ in enumerate(reader.ids):
            tasks.setdefault(id_, (reader, i))
    records: dict[str, Record] = {}
    for record, found in in_threads(lambda task: of_sample(*task), list(tasks.values()),
                                    'checking'):
        records[record.id] = record
        faults += found
    if layout.kind == 'nyud':
        faults += without_folder(readers)
    return Findings(root, layout.kind, [
        replace(records[id_], split=reader.split) for reader in readers
        for id_ in dict.fromkeys(reader.ids)], faults,
        (readers[0].classes or ()) if readers else (), notes=notes_of(readers),
        pascal=next((reader.folder.parent for reader in readers
                     if isinstance(reader, ContextFolder)), None))


def of_list(reader: Reader, name: str) -> Iterator[Fault]:
    """Faults of a split's list: ids twice, and how it differs from the published one, unless the
    folder is a miniature with classes of its own."""
    for id_ in (id_ for id_, n in Counter(reader.ids).items() if n > 1):
        yield Fault('twice', reader.split_file, f"'{id_}'", 'Remove the second line.')
    if reader.is_published:
        kind, what = difference(name, reader.split, reader.ids)
        if kind:
            yield Fault(kind, reader.split_file, what, 'Take the list of the data set, unless a '
                        'part of it is wanted.')


def of_sample(reader: Reader, i: int) -> tuple[Record, list[Fault]]:
    """The record and the faults of one sample: all of its files are decoded."""
    id_, faults = reader.ids[i], list[Fault]()
    image = fetched(reader, reader.images, i, 'image', image_facts, faults)
    if image and image.mode != 'RGB' and reader.images != TOPS[DEPTH]:
        faults.append(Fault('image-mode', reader.image_file(id_), f'its mode is {image.mode!r}',
                            'Save the image as RGB.'))
    label = fetched(reader, reader.labels, i, 'label', reader.read_label, faults)
    more = {name: fetched(reader, pattern, i, name,
                          lambda path, name=name: reader.read_more(name, path), faults)
            for name, pattern in reader.more.items()}
    for name, array in {'': label, **more}.items():
        if image and array is not None and array.shape[:2] != image.size:
            faults.append(of_size(reader.label_file(id_, name), array, image, name or 'label'))
    if (depth := more.get(DEPTH)) is not None and not depth.all():
        faults.append(Fault('depth-holes', reader.label_file(id_, DEPTH),
                            f'{int((depth == 0).sum()):,} pixels have no depth, 0; the mean is '
                            'taken there', 'Fill the holes, as the data set itself has done.'))
    record = Record(id_, reader.split, reader.label_file(id_), image)
    if label is None:
        return record, faults
    counts = np.bincount(label.reshape(-1), minlength=256)
    ids = np.flatnonzero(counts)
    return Record(id_, reader.split, reader.label_file(id_), image, label.shape, MAT, ids,
                  counts[ids]), faults


def fetched(reader: Reader, pattern: str, i: int, what: str, read: Callable,
            faults: list[Fault]):
    """What a sample's file is; None, and a fault, where it is missing or cannot be read."""
    try:
        path = reader.sample_path(pattern, reader.ids[i])
    except FcnError as error:
        faults.append(Fault.of('clash', error, reader.split_file))
        return None
    if not os.path.isfile(path):
        kind = f'no-{what}' if what in ('image', DEPTH, HHA) else 'no-label'
        faults.append(Fault(kind, path, f'the {what} is missing', MAKE_HHA if what == HHA else
                            f'Add the file, or remove the id from {reader.split_file.name}.',
                            {'folder': str(reader.folder)}))
        return None
    try:
        return read(path)
    except FcnError as error:
        kind = 'too-large' if error.code == 'too-many-pixels' else \
            'unreadable' if what == 'image' else 'label-values'
        faults.append(Fault.of(kind, error, path))
        return None


def of_size(path: Path, array: np.ndarray, image: ImageFacts, what: str) -> Fault:
    """The fault of a file of another size than its image."""
    (height, width), (h, w) = array.shape[:2], image.size
    return Fault('size', path, f'the {what} is {height}x{width} (height x width), its image '
                 f'{h}x{w}', f'Give image and {what} the same size.')


def without_folder(readers: Sequence[Reader]) -> Iterator[Fault]:
    """A warning for depth and HHA of which NYUDv2's folder has nothing."""
    if not readers:
        return
    for name, do in ((HHA, MAKE_HHA),
                     (DEPTH, "Take data/depth/ of the release's nyud.tar.gz.")):
        folder = (readers[0].folder / TOPS[name]).parent
        if not os.path.isdir(folder):
            yield Fault(f'no-{name}-at-all', folder, f'nets that read {name} cannot be trained',
                        do, {'folder': str(readers[0].folder)})


def read_by(found: Findings, tops: Collection[str]) -> Findings:
    """The findings of NYUDv2's folder without those about images that nets of these tops do not
    read; others as they are."""
    if found.layout != 'nyud':
        return found
    unread = {found.folder / Path(pattern).parent for top, pattern in TOPS.items()
              if top not in tops}
    return replace(found, faults=[fault for fault in found.faults
                                  if fault.file not in unread and fault.file.parent not in unread])


def notes_of(readers: Sequence[Reader]) -> tuple[str, ...]:
    """What is there beside images and labels."""
    return tuple(f'with {name}' for name in readers[0].more) if readers else ()
