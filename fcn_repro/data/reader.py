"""The one reader: a list of ids, and for each an image and a label of the same size."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fcn_repro.data.image import check_label, read_image, read_label
from fcn_repro.errors import FcnError


class Sample(NamedTuple):
    """id: name of the sample. image: (H, W, 3) uint8 RGB. label: (H, W) uint8, 255 void."""

    id: str
    image: np.ndarray
    label: np.ndarray


class Reader:
    """Samples of one split of a folder, each at its own size.

    A data set sets `images`, `labels` and `splits` (where its files lie in the folder) and,
    if its labels are not PNG files, `read_label`.

    folder: root of the data set. split: name of the split file, without '.txt'.
    n_classes: when given, a label id in [n_classes, 255) is an error.
    ids: the split's ids, in file order. classes: class names by label index, or None.
    """

    images, labels, splits = '{}.jpg', '{}.png', '{}.txt'
    layout = ''                         # one line for error messages: what the folder holds
    read_label = staticmethod(read_label)

    def __init__(self, folder, split, n_classes=None):
        self.folder, self.split, self.n_classes = Path(folder), split, n_classes
        if not self.folder.is_dir():
            raise FcnError('there is no such folder', file=self.folder,
                           do=f'Give {self.layout} (relative paths start at {os.getcwd()}).')
        self.split_file = self.folder / self.splits.format(split)
        self.ids = self.read_split()
        self.classes = self.class_names()

    def read_split(self):
        return read_ids(self.split_file, self.layout)

    def class_names(self):
        """Names from classes.txt, one a line in label order up to a blank line, or None."""
        path = self.folder / 'classes.txt'
        if not path.is_file():
            return None
        lines = [line.strip() for line in _read_text(path).splitlines()]
        return tuple(lines[:lines.index('')] if '' in lines else lines)

    def __len__(self):
        return len(self.ids)

    def fingerprint(self):
        """SHA-256 of the split: its ids, and of each the size of image and label in bytes. It does
        not depend on where the folder lies."""
        digest = hashlib.sha256()
        for id_ in self.ids:
            sizes = [(self.folder / form.format(id_)).stat().st_size
                     for form in (self.images, self.labels)
                     if (self.folder / form.format(id_)).is_file()]
            digest.update(f'{id_} {sizes}\n'.encode())
        return digest.hexdigest()

    def image(self, i):
        """The i-th image, (H, W, 3) uint8 RGB; for splits that have no labels."""
        return read_image(self._path(self.images, i, 'image'))

    def label(self, i):
        """The i-th label, (H, W) uint8, its ids checked against n_classes."""
        path = self._path(self.labels, i, 'label')
        label = self.read_label(path)
        if self.n_classes is not None:
            check_label(label, self.n_classes, path)
        return label

    def load(self, i):
        """The i-th sample of the split; FcnError names the file that is missing or wrong."""
        image, label = self.image(i), self.label(i)
        if image.shape[:2] != label.shape:
            (h, w), (label_h, label_w) = image.shape[:2], label.shape
            raise FcnError(f'the label is {label_h}x{label_w} (height x width), its image '
                           f"'{self.images.format(self.ids[i])}' is {h}x{w}",
                           file=self.folder / self.labels.format(self.ids[i]),
                           do='Both have to be of the same size.')
        return Sample(self.ids[i], image, label)

    def _path(self, pattern, i, kind):
        path = self.folder / pattern.format(self.ids[i])
        if not path.is_file():
            raise FcnError(
                f"the {kind} of '{self.ids[i]}' is missing, which the split '{self.split}' lists",
                file=path, do=f'Add the file, or take the id out of {self.split_file}.')
        return path


def read_ids(path, layout):
    """The ids in a split file, one a line; blank lines are skipped."""
    path = Path(path)
    if not path.is_file():
        others = sorted(p.stem for p in path.parent.glob('*.txt') if p.stem != 'classes')
        raise FcnError(
            f"there is no split '{path.stem}'", file=path,
            do=f'Splits found: {", ".join(others)}.' if others else f'Give {layout}.')
    ids = [line.strip() for line in _read_text(path).splitlines() if line.strip()]
    if not ids:
        raise FcnError('the split file is empty', file=path, do='Write one image id a line.')
    return ids


def _read_text(path):
    try:
        return path.read_text(encoding='utf-8-sig')
    except OSError as error:
        raise FcnError(f'the file cannot be read: {error.strerror}', file=path,
                       do='Check its rights.') from error
    except UnicodeDecodeError as error:
        raise FcnError(f'the file is not text: {error}', file=path,
                       do='Write one name a line, in UTF-8.') from error
