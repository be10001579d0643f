"""Findings: what a check of a data set found, and what a training would make of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from fcn_repro.data.examine import Fault, ImageFacts
from fcn_repro.data.image import VOID
from fcn_repro.data.weighing import Pixels
from fcn_repro.errors import FcnError

SHOWN = 3                   # files of a kind of fault in a message
MOSTLY = 0.5                # share of void pixels from which on it is said
MANY_PIXELS = 4_000_000     # of an image, from which on training is slow

# Kinds of faults: which are errors, and what a list of them is headed by ({n}: files).
ERRORS = {
    'split': 'split files that cannot be used',
    'year': 'split files of another year',
    'layout': 'a layout that training does not read',
    'empty': 'no pairs of image and mask',
    'no-pascal': 'no folder of the images',
    'no-image': 'masks without an image',
    'no-mask': 'images without a mask',
    'no-label': 'images without a label',
    'no-depth': 'images without depth',
    'no-hha': 'images without HHA',
    'clash': 'names that several files have',
    'name': 'names that no list can hold',
    'twice': 'ids that are listed twice',
    'unreadable': 'files that cannot be read',
    'too-large': 'images above the limit on pixels',
    'image-mode': 'images that are not RGB',
    'label-values': 'labels of another layout, or with other values',
    'lossy': 'masks in a lossy format',
    'colours': 'masks of colours in place of class ids',
    'edges': 'masks with values or colours of no class',
    'mask-mode': 'masks that are not 8-bit class ids',
    'size': 'masks of another size than their image',
    'binary': 'masks of 0 and 255',
    'ids': 'ids that the net has no class for',
    'names': 'ids without a name in classes.txt',
    'table': 'a table of colours that cannot be read',
    'one-class': 'one class alone',
    'all-void': 'no labelled pixel',
    'no-scribble': 'images without a scribble',
    'no-stroke': 'classes without a scribble',
}
WARNINGS = {
    'partial': 'splits that are a part of the published ones',
    'list': 'splits that are not the published ones',
    'unlabelled': 'splits without labels',
    'no-hha-at-all': 'no HHA',
    'no-depth-at-all': 'no depth',
    'depth-holes': 'depth maps with holes',
    'void-files': 'masks that are all void',
    'mostly-void': 'mostly void',
    'whole-masks': 'masks where scribbles are expected',
    'fewer': 'more classes than the labels have',
    'absent': 'named classes without a pixel',
    'no-train': 'classes that val has and train has not',
    'no-val': 'classes that train has and val has not',
    'shared': 'ids in train and val',
    'turned': 'images turned by their EXIF',
    'animated': 'animated images, of which the first frame counts',
    'huge': 'large images',
    'converted': 'images that are not RGB, which are converted',
}
KINDS = ERRORS | WARNINGS


@dataclass(frozen=True)
class Record:
    """What a sample holds. mask: (height, width), None where it cannot be read; ids, pixels: the
    ids of its label and their pixels, (N,) each."""

    id: str
    split: str
    file: Path
    image: ImageFacts | None = None
    mask: tuple[int, int] | None = None
    mode: str = ''
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class Findings:
    """What is in a folder. layout: 'voc', another data set of the paper: 'sbd', 'nyud', 'siftflow',
    'context'; or what would be converted: 'pairs', 'coco', 'labelme', 'cityscapes'. masks: the kind
    of masks to convert as, '' for none. faults: as they are in any use. asked: the number of
    classes of the net, None where there is none yet. names: by index. notes: what was recognised,
    in words. pascal: of PASCAL-Context the folder that VOC2010 is in. scribbled: the labels of
    train are meant as scribbles, most of their pixels void."""

    folder: Path
    layout: str
    records: list[Record]
    faults: list[Fault]
    names: tuple[str, ...] = ()
    masks: str = ''
    notes: tuple[str, ...] = ()
    asked: int | None = None
    pascal: Path | None = None
    scribbled: bool = False

    # What is in it

    @property
    def splits(self) -> dict[str, int]:
        """{split: samples}."""
        return dict(Counter(record.split for record in self.records))

    @property
    def sizes(self) -> Counter[tuple[int, int]]:
        """{(height, width): images}."""
        return self.sizes_of(None)

    def sizes_of(self, split: str | None) -> Counter[tuple[int, int]]:
        """{(height, width): images} of a split; None: of all."""
        return Counter(record.image.size for record in self.records
                       if record.image and split in (None, record.split))

    @property
    def histogram(self) -> np.ndarray:
        """(256,) int64 pixels by id, VOID among them."""
        return self.histogram_of(None)

    def histogram_of(self, split: str | None) -> np.ndarray:
        """(256,) int64 pixels by id of a split; None: of all."""
        total = np.zeros(256, np.int64)
        for record in self.records:
            if split in (None, record.split):
                total[record.ids] += record.pixels
        return total

    def pixels_of(self, split: str) -> Pixels:
        """(256,) by id: its pixels of a split, and all those of the images that it is in."""
        around = np.zeros(256, np.int64)
        for record in self.records:
            if record.split == split:
                around[record.ids] += record.pixels.sum()
        return Pixels(self.histogram_of(split), around)

    def images_with(self, split: str) -> np.ndarray:
        """(256,) int64 images of a split in which an id is."""
        total = np.zeros(256, np.int64)
        for record in self.records:
            if record.split == split:
                total[record.ids] += 1
        return total

    @property
    def classes(self) -> int:
        """The number of classes that a net for these labels needs: of the names, or else up to the
        highest id."""
        found = np.flatnonzero(self.histogram[:VOID])
        return max(len(self.names), int(found[-1]) + 1 if found.size else 0)

    @property
    def void(self) -> float:
        """The share of void pixels, 0 to 1."""
        histogram = self.histogram
        return float(histogram[VOID] / max(1, histogram.sum()))

    # What is wrong with it

    def for_classes(self, classes: int | None) -> 'Findings':
        """These findings for a net of so many classes."""
        return replace(self, asked=classes)

    def for_scribbles(self) -> 'Findings':
        """These findings where the labels of train are meant as scribbles."""
        return replace(self, scribbled=True)

    @property
    def all(self) -> list[Fault]:
        """All faults: those of files, then those of the whole and of the number of classes."""
        return [*self.faults, *of_the_whole(self), *of_the_classes(self)]

    @property
    def errors(self) -> list[Fault]:
        """The faults for which training fails, or learns nothing."""
        return [fault for fault in self.all if fault.kind in ERRORS]

    @property
    def warnings(self) -> list[Fault]:
        """The others."""
        return [fault for fault in self.all if fault.kind in WARNINGS]

    def raise_for_training(self) -> None:
        """FcnError with all errors in one list, if there are any."""
        errors = self.errors
        if not errors:
            return
        asked = f' --classes {self.asked}' if self.asked else ''
        asked += ' --scribbles' * self.scribbled
        raise FcnError('training would fail on this data set', items=lines_of(errors),
                       file=self.folder, code='data-faults',
                       facts={'folder': str(self.folder), 'asked': asked},
                       do='See fcn_repro.data.check.check_folder(folder).errors for each file.')


def by_kind(faults: list[Fault]) -> dict[str, list[Fault]]:
    """The faults by kind, in the order of KINDS."""
    return {kind: found for kind in KINDS
            if (found := [fault for fault in faults if fault.kind == kind])}


def headed(kind: str, faults: list[Fault]) -> str:
    """How many faults of a kind there are, in words."""
    return f'{len(faults)} x {KINDS[kind]}'


def lines_of(faults: list[Fault]) -> list[str]:
    """Faults by kind: how many, and the first of each."""
    lines = []
    for kind, found in by_kind(faults).items():
        lines += [f'  {headed(kind, found)}', f'      {found[0].file}: {found[0].what}']
    return [*lines, f'{len(faults)} in all']


# ---- the whole -----------------------------------------------------------------------------------

def of_the_whole(found: Findings) -> Iterator[Fault]:
    """Faults that no single file has."""
    if not any(record.ids.size for record in found.records):
        return
    histogram = found.histogram
    present = np.flatnonzero(histogram[:VOID])
    if not present.size:
        yield Fault('all-void', found.folder, 'all pixels are 255, void',
                    'Number the classes from 0; 255 is what has no label.')
    elif present.size == 1 and histogram[VOID] and present[0] == 0 \
            and found.layout == 'voc':
        yield Fault('binary', found.folder, 'the labels hold only 0 and 255, which means void: '
                    'nothing but background would be learned, and scored as perfect',
                    'If 255 is the object, convert them as binary masks.')
    elif present.size == 1:
        yield Fault('one-class', found.folder, f'all labelled pixels are of class {present[0]}',
                    'A net learns to tell classes apart: give labels of two or more.')
    if found.scribbled and present.size:
        yield from of_the_scribbles(found)
    elif present.size and found.void > MOSTLY:
        yield Fault('mostly-void', found.folder, f'{100 * found.void:.0f} % of the pixels are 255, '
                    'which neither train nor count', 'Check that 255 is meant as void.')
    yield from of_void_files(found)
    yield from of_the_splits(found)


def of_the_scribbles(found: Findings) -> Iterator[Fault]:
    """Faults of train labels that are meant as scribbles."""
    train = found.histogram_of('train')
    for i in np.flatnonzero(train[:found.asked or found.classes] == 0):
        yield Fault('no-stroke', found.folder, f'no image of train has a stroke of class '
                    f'{name_of(found, int(i))}, which the net is to learn', 'Draw one, or take the '
                    'class out of the labels and of classes.txt.')
    share = 1 - train[VOID] / max(1, train.sum())
    if share > MOSTLY:
        yield Fault('whole-masks', found.folder, f'{100 * share:.0f} % of the train pixels are '
                    'labelled: these are masks', "The stage 'own' learns from masks, without the "
                    'Gated CRF loss; scribble_folder makes scribbles of them.')


def of_void_files(found: Findings) -> Iterator[Fault]:
    for record in found.records:
        if found.scribbled and record.split == 'train':
            if record.ids.size and record.ids[0] == VOID:
                yield Fault('no-scribble', record.file, 'all of it is 255, void: its image has no '
                            'stroke', 'Draw one, or remove the id from train.txt.')
        elif record.ids.size and record.ids[0] == VOID and found.void < 1:
            yield Fault('void-files', record.file, 'all of it is 255, void',
                        'Label something in it, or remove it.')


def of_the_splits(found: Findings) -> Iterator[Fault]:
    """Faults between train and val."""
    if not {'train', 'val'} <= found.splits.keys():
        return
    train, val = (found.histogram_of(split)[:VOID] > 0 for split in ('train', 'val'))
    for kind, missing, do in (
            ('no-train', val & ~train, 'Such a class is never learned: move an image with it to '
             'train.'),
            ('no-val', train & ~val, 'Such a class is never scored: move an image with it to '
             'val.')):
        if missing.any() and not (found.scribbled and kind == 'no-train'):
            ids = ', '.join(name_of(found, int(i)) for i in np.flatnonzero(missing))
            yield Fault(kind, found.folder, ids, do)
    in_train, in_val = ({record.id for record in found.records if record.split == split}
                        for split in ('train', 'val'))
    if shared := sorted(in_train & in_val):
        yield Fault('shared', found.folder, f"{len(shared)} ids, such as '{shared[0]}': the score "
                    'is that of images which were learned', 'Remove them from one of the two.')


def name_of(found: Findings, index: int) -> str:
    """A class by id and, if it has one, its name."""
    return f'{index} {found.names[index]}' if index < len(found.names) else f'{index}'


# ---- the number of classes -----------------------------------------------------------------------

def of_the_classes(found: Findings) -> Iterator[Fault]:
    """Faults of ids against the classes of the net and the names of classes.txt."""
    named = len(found.names)
    for limit, kind, what in ((found.asked, 'ids', 'the net has {n} classes, 0 to {last}'),
                              (named, 'names', 'classes.txt has {n} names')):
        if limit and (kind == 'ids' or not found.asked):
            yield from beyond(found, limit, kind, what.format(n=limit, last=limit - 1))
    if found.asked and any(record.ids.size for record in found.records):
        needed = found.classes
        if needed < found.asked:
            yield Fault('fewer', found.folder, f'the net has {found.asked} classes, the labels '
                        f'need {needed}', f'Give classes={needed}.', {'classes': needed})
    empty = [name_of(found, i) for i in range(named) if not found.histogram[i]]
    if empty and not found.scribbled and any(record.ids.size for record in found.records):
        yield Fault('absent', found.folder, ', '.join(empty[:10])
                    + (f' and {len(empty) - 10} more' if len(empty) > 10 else ''),
                    'Their IU is not defined and not counted.')


def beyond(found: Findings, limit: int, kind: str, what: str) -> Iterator[Fault]:
    """A fault for each label with ids from `limit` on."""
    for record in found.records:
        wrong = (record.ids >= limit) & (record.ids != VOID)
        if wrong.any():
            yield Fault(kind, record.file, f'it holds the id {record.ids[wrong].max()} '
                        f'({record.pixels[wrong].sum():,} pixels), {what}',
                        f'Give classes={found.classes}, or correct the ids; 255 is void.'
                        if kind == 'ids' else f'Name {found.classes} classes in classes.txt, or '
                        'correct the ids; 255 is void.', {'classes': found.classes})

