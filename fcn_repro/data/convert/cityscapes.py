"""Cityscapes' folders: leftImg8bit/<split>/<city>/ and gtFine/<split>/<city>/."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fcn_repro.data.examine import Fault
from fcn_repro.data.image import VOID
from fcn_repro.data.layouts import SPLIT_WORDS, walk
from fcn_repro.errors import FcnError

from .colours import CITYSCAPES, cityscapes_table
from .masks import values_of
from .source import Item, Source

IMAGES, LABELS = 'leftImg8bit', ('gtFine', 'gtCoarse')
LABEL_IDS = '_labelIds'
HIGHEST = 33                # labelId; 255 and -1 (licence plate) are void
SPLITS = frozenset(('train', 'val'))        # test has no labels


@dataclass
class Cityscapes(Source):
    """Images of Cityscapes, their labelIds as the 19 classes of training; others are void."""

    kind = 'cityscapes'

    @cached_property
    def shown(self) -> np.ndarray:
        """Those of its pictures."""
        return cityscapes_table().shown()

    def label(self, item: Item) -> np.ndarray:
        ids = values_of(item.file)
        strange = ids[(ids > HIGHEST) & (ids != VOID)]
        if strange.size:
            raise FcnError(f'the label holds the id {strange.max()}, and labelIds go to {HIGHEST}',
                           file=item.file, facts={'kind': 'ids'},
                           do='Give the files whose names end in labelIds.')
        return TRAIN_IDS[ids]


TRAIN_IDS = np.full(256, VOID, np.uint8)
TRAIN_IDS[[label_id for label_id, _, _ in CITYSCAPES]] = range(len(CITYSCAPES))


def is_cityscapes(folder: Path) -> bool:
    """Whether a folder has Cityscapes' two."""
    return (folder / IMAGES).is_dir() and any((folder / name).is_dir() for name in LABELS)


def cityscapes_source(folder: Path) -> Cityscapes:
    """The Source of Cityscapes' folder; FcnError without its two folders."""
    if not is_cityscapes(folder):
        raise FcnError(f'there is no {IMAGES}/ with {" or ".join(LABELS)}/', file=folder,
                       do='Unpack leftImg8bit_trainvaltest and gtFine_trainvaltest into it.')
    labels = next(folder / name for name in LABELS if (folder / name).is_dir())
    items: list[Item] = []
    faults: list[Fault] = []
    for image in walk(folder / IMAGES, ('.png', '.jpg')):
        place = image.parent.relative_to(folder / IMAGES)
        split = SPLIT_WORDS.get(place.parts[0].lower(), '') if place.parts else ''
        if split not in SPLITS:
            continue
        stem = image.stem.removesuffix(f'_{IMAGES}')
        file = labels / place / f'{stem}_{labels.name}{LABEL_IDS}.png'
        if file.is_file():
            items.append(Item(stem, split, image, file))
        else:
            faults.append(Fault('no-mask', image, f'its {file.name} is missing',
                                f'Unpack {labels.name} too.'))
    return Cityscapes(folder, items, tuple(name for _, name, _ in CITYSCAPES), faults)
