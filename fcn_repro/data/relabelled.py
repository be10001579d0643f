"""Folders in VOC's layout with other train labels, made of the images and masks of another one:
scribbles (scribbles.py), or the seeds of a net that learned from tags (recipe/localising.py)."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from fcn_repro.data.colours import FILE, as_text
from fcn_repro.data.examine import in_threads
from fcn_repro.data.image import VOID
from fcn_repro.data.reader import Reader
from fcn_repro.data.scenes import write_label
from fcn_repro.data.voc import VocFolder
from fcn_repro.data.whole import whole_folder
from fcn_repro.errors import FcnError
from fcn_repro.paths import as_path

# The new label (H, W) of the i-th sample of train, and what is to be summed up of it; called by
# several threads
Relabel = Callable[[Reader, int], tuple[np.ndarray, Any]]
SPLITS = 'train', 'val'


@dataclass(frozen=True)
class Relabelled:
    """What relabel_folder() wrote. images: {split: images}; labelled: the share of the train pixels
    that have a label; total: the sum over the train images of what Relabel gave."""

    folder: Path
    images: Mapping[str, int]
    labelled: float
    total: Any


def relabel_folder(voc_dir: str | Path, out: str | Path, relabel: Relabel, kind: str,
                   classes: int | None = None) -> Relabelled:
    """Write a folder in VOC's layout into `out` whose train labels are those of `relabel`; images
    and the masks of val are copied.

    kind: of labels, in words. classes: as many as ids may have. The folder appears when it is
    complete. FcnError for a folder `out` that holds something, and for splits that share an image.
    """
    root = as_path(voc_dir, 'the folder of the data set', 'Give its path.')
    target = as_path(out, 'the folder to write', 'Give its path.')
    readers = {split: VocFolder(root, split, None, classes) for split in SPLITS}
    if shared := sorted(set(readers['train'].ids) & set(readers['val'].ids)):
        raise FcnError(f"{len(shared)} ids are in train and val, such as '{shared[0]}': its mask "
                       f'cannot be both whole and {kind}', file=readers['val'].split_file,
                       do='Remove them from one of the two lists.')
    with whole_folder(target, root) as part:
        labelled, total = write_relabelled(part, readers, relabel)
    return Relabelled(target, {split: len(reader) for split, reader in readers.items()}, labelled,
                      total)


def write_relabelled(part: Path, readers: Mapping[str, Reader],
                     relabel: Relabel) -> tuple[float, Any]:
    """Write the splits of these readers into an empty folder, train relabelled; `labelled` and
    `total` of Relabelled."""
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (part / name).mkdir(parents=True)
    found = {}
    for split, reader in readers.items():
        (part / reader.splits.format(split)).write_text(''.join(f'{id_}\n' for id_ in reader.ids))
        found[split] = in_threads(
            partial(write_sample, part, reader, relabel if split == 'train' else whole),
            range(len(reader)), split)
    names, colours = readers['train'].classes, readers['train'].colours
    if names:
        (part / 'classes.txt').write_text(''.join(f'{name}\n' for name in names))
        (part / FILE).write_text(as_text(colours, names))
    labelled, pixels, total = (sum(each) for each in zip(*found['train'], strict=True))
    return labelled / pixels, total


def whole(reader: Reader, i: int) -> tuple[np.ndarray, None]:
    """The mask as it is."""
    return reader.label(i), None


def write_sample(part: Path, reader: Reader, relabel: Relabel, i: int) -> tuple[int, int, Any]:
    """Write the i-th image of a split and its new label; how many pixels have one, and are there,
    and what is to be summed up."""
    id_ = reader.ids[i]
    source, (label, more) = reader.image_file(id_), relabel(reader, i)
    for path in (part / 'JPEGImages' / f'{id_}{source.suffix}',
                 part / reader.labels.format(id_)):
        path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, part / 'JPEGImages' / f'{id_}{source.suffix}')
    write_label(part / reader.labels.format(id_), label, reader.colours)
    return int((label != VOID).sum()), label.size, more
