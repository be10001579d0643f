"""Reader: the images of a split and their labels, each pair of one size; and lists of names."""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fcn_repro.data.colours import shown_in
from fcn_repro.data.image import VOID, check_label, image_size, read_image, read_label
from fcn_repro.data.palette import LONGEST_CLASS, palette
from fcn_repro.errors import CONTROL, FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.paths import as_path, confined

IMAGE_SUFFIXES = '.jpg', '.jpeg', '.png'        # of images, in any case


NOTHING: Mapping[str, np.ndarray] = MappingProxyType({})


class Sample(NamedTuple):
    """id: name of the sample. image: (H, W, 3) uint8 RGB. label: (H, W) uint8, 255 void. more: what
    else the data set has of it by name, a depth map or a second label, each (H, W) or (H, W, C)."""

    id: str
    image: np.ndarray
    label: np.ndarray
    more: Mapping[str, np.ndarray] = NOTHING

    def labelled(self, name: str) -> 'Sample':
        """This sample with one of `more` as its label; '' for its own."""
        return self._replace(label=self.more[name]) if name else self


class Reader:
    """Samples of one split of a folder, each at its own size.

    A data set sets `images`, `labels` and `splits` (the paths of its files in the folder) and,
    if its labels are not PNG files, `read_label`; `more` are the paths of a sample's further files
    by name, which `read_more` reads. An image may end in any of IMAGE_SUFFIXES, and the case of a
    suffix does not matter; FcnError for an id with several images or labels.

    folder: root of the data set. split: name of the split file, without '.txt'. Split and ids may
    have subfolders; FcnError for one that leaves the folder.
    n_classes: when given, a label id in [n_classes, 255) is an error.
    ids: the split's ids, in file order. classes: class names by label index, or None.
    """

    images, labels, splits = '{}.jpg', '{}.png', '{}.txt'
    more: Mapping[str, str] = MappingProxyType({})
    more_labels: tuple[str, ...] = ()   # those of `more` that are labels
    standard: tuple[str, ...] | None = None     # class names of the published data set
    layout = ''                         # what the folder holds, in one line for error messages

    def __init__(self, folder: str | Path, split: str, n_classes: int | None = None):
        self.folder = as_path(folder, 'the folder of the data set', f'Give {self.layout}.')
        self.split, self.n_classes = split, n_classes
        self._listings: dict[str, dict[str, list[str]]] = {}
        if not os.path.isdir(self.folder):
            raise FcnError('there is no such folder', file=self.folder,
                           code='no-data-set' if self.standard else '',
                           facts={'layout': self.layout, 'here': os.getcwd()},
                           do=f'Give {self.layout} (relative paths start at {os.getcwd()}).')
        self.split_file = self.split_path(split)
        self.ids = self.read_split()
        self.classes = self.class_names()

    def split_path(self, split: str) -> Path:
        """The path of a split's file. FcnError for a name that leads out of the folder."""
        confined(self.folder, split, 'split')
        return confined(self.folder, self.splits.format(split), 'split')

    def read_split(self) -> list[str]:
        """The ids of the split."""
        return read_ids(self.split_file, self.layout)

    def class_names(self) -> tuple[str, ...] | None:
        """Names by label index from classes.txt, or None where there is no such file."""
        return read_class_names(self.folder / 'classes.txt')

    @cached_property
    def colours(self) -> np.ndarray:
        """(256, 3) uint8 RGB, those in which classes are shown: of colours.txt, or else VOC's."""
        found = shown_in(self.folder)
        return palette() if found is None else found

    def __len__(self) -> int:
        return len(self.ids)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over the ids of the split and the sizes in bytes of their files, in the
        order of `patterns`. It does not depend on the path of the folder."""
        digest = hashlib.sha256()
        for id_ in self.ids:
            files = [self.sample_path(form, id_) for form in self.patterns]
            sizes = [file.stat().st_size for file in files if os.path.isfile(file)]
            digest.update(f'{id_} {sizes}\n'.encode())
        return digest.hexdigest()

    @property
    def is_published(self) -> bool:
        """Whether the folder is meant as the published data set, and is not one in its layout with
        classes of its own."""
        return self.standard is not None and self.classes == self.standard

    @property
    def patterns(self) -> tuple[str, ...]:
        """The paths of a sample's files: image, label, and the further ones."""
        return self.images, self.labels, *self.more.values()

    @cached_property
    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of each image of the split, from the headers of the files."""
        return [image_size(self._path(self.images, i, 'image')) for i in range(len(self))]

    def image(self, i: int) -> np.ndarray:
        """The i-th image, (H, W, 3) uint8 RGB, without reading its label."""
        return self.read_image(self._path(self.images, i, 'image'))

    def label(self, i: int) -> np.ndarray:
        """The i-th label, (H, W) uint8; FcnError for an id in [n_classes, 255)."""
        path = self._path(self.labels, i, 'label')
        label = self.read_label(path)
        if self.n_classes is not None:
            check_label(label, self.n_classes, path)
        return label

    def read_image(self, path: Path) -> np.ndarray:
        """Read an image file, (H, W, 3) uint8 RGB."""
        return read_image(path)

    def read_label(self, path: Path) -> np.ndarray:
        """Read a label file, (H, W) uint8 class indices, 255 void."""
        return read_label(path)

    def further(self, name: str, i: int) -> np.ndarray:
        """What `more` names of the i-th sample, as read_more gives it."""
        return self.read_more(name, self._path(self.more[name], i, name))

    def read_more(self, name: str, path: Path) -> np.ndarray:
        """Read a further file of a sample, (H, W) or (H, W, C)."""
        raise NotImplementedError(f'{type(self).__name__} reads no {name}')

    def label_file(self, id_: str, name: str = '') -> Path:
        """The path of a sample's label, or of what `more` names."""
        return self.sample_path(self.more[name] if name else self.labels, id_)

    def image_file(self, id_: str) -> Path:
        """The path of a sample's image."""
        return self.sample_path(self.images, id_)

    def sample_path(self, pattern: str, id_: str) -> Path:
        """The path of a sample's image or label; pattern: `images` or `labels`. That of the
        pattern where there is no such file; FcnError where there are several."""
        path = confined(self.root_of(pattern), pattern.format(id_), 'id', file=self.split_file)
        suffixes = IMAGE_SUFFIXES if pattern == self.images else (path.suffix,)
        found = [name for name in self.names_like(path)
                 if os.path.splitext(name)[1].lower() in suffixes]
        if len(found) > 1:
            raise FcnError(f"'{id_}' has {len(found)} files, {' and '.join(sorted(found))}",
                           file=path.parent,
                           do='Keep one of them, or give one another name.')
        return path.with_name(found[0]) if found else path

    def root_of(self, pattern: str) -> Path:
        """The folder in which the files of a pattern are."""
        return self.folder

    def names_like(self, path: Path) -> list[str]:
        """The names in the folder of a path that differ from its own in the suffix alone."""
        folder = os.fspath(path.parent)
        if folder not in self._listings:
            self._listings[folder] = names_by_stem(folder)
        return self._listings[folder].get(path.stem, [])

    def load(self, i: int) -> Sample:
        """The i-th sample of the split; FcnError names the file that is missing or wrong."""
        image, label = self.image(i), self.label(i)
        self.check_size(i, image, label, '')
        if not self.more:
            return Sample(self.ids[i], image, label)
        more = {name: self.further(name, i) for name in self.more}
        for name, array in more.items():
            self.check_size(i, image, array, name)
        return Sample(self.ids[i], image, label, more)

    def check_size(self, i: int, image: np.ndarray, array: np.ndarray, name: str) -> None:
        """FcnError unless the i-th sample's label, or what `more` names, is as large as its
        image."""
        if image.shape[:2] != array.shape[:2]:
            (h, w), (height, width) = image.shape[:2], array.shape[:2]
            raise FcnError(f'the {name or "label"} is {height}x{width} (height x width), its image '
                           f"'{os.path.relpath(self.image_file(self.ids[i]), self.folder)}' is "
                           f'{h}x{w}',
                           file=self.label_file(self.ids[i], name),
                           do=f'Give image and {name or "label"} the same size.')

    def load_unlabelled(self, i: int) -> Sample:
        """The i-th sample of a split without labels: void everywhere, in any further label too."""
        image = self.image(i)
        void = np.full(image.shape[:2], VOID, np.uint8)
        return Sample(self.ids[i], image, void, {
            name: void if name in self.more_labels else self.further(name, i)
            for name in self.more})

    def has_labels(self) -> bool:
        """Whether any sample of the split has a label file."""
        return any(os.path.isfile(self.label_file(id_)) for id_ in self.ids)

    def missing(self, pattern: str) -> list[Path]:
        """The files of a pattern that the split's samples lack."""
        paths = [self.sample_path(pattern, id_) for id_ in self.ids]
        return [path for path in paths if not os.path.isfile(path)]

    def check_files(self) -> None:
        """FcnError unless all samples of the split have all their files: before a training, which
        would end at the first one that is missing."""
        for what, pattern in zip(('images', 'labels', *self.more), self.patterns, strict=True):
            if lost := self.missing(pattern):
                raise FcnError(f"{len(lost):,} of {len(self):,} samples of the split "
                               f"'{self.split}' have no file of the {what}, such as {lost[0].name}",
                               file=lost[0].parent, do=f'Give {self.layout}.'
                               if len(lost) == len(self) else 'Add the files, or take the ids out '
                               f'of {self.split_file}.')

    def _path(self, pattern: str, i: int, kind: str) -> Path:
        path = self.sample_path(pattern, self.ids[i])
        if not os.path.isfile(path):
            others = ' and '.join(sorted(self.names_like(path)))
            raise FcnError(
                f"the {kind} of '{self.ids[i]}', listed in the split '{self.split}', is missing"
                + (f'; there is {others}' if others else ''), file=path,
                do=f'Add the file, or remove the id from {self.split_file}.')
        return path


def names_by_stem(folder: str | Path) -> dict[str, list[str]]:
    """{stem: the names of a folder that have it}; {} where there is no such folder."""
    names: dict[str, list[str]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            names.setdefault(os.path.splitext(entry.name)[0], []).append(entry.name)
    return names


def read_ids(path: str | Path, layout: str) -> list[str]:
    """The ids in a split file, one per line; blank lines are skipped. FcnError for a missing or
    empty file and for an id that would lead out of the folder of its files; layout: what to give
    instead, if the folder has no split file at all."""
    path = Path(path)
    if not os.path.isfile(path):
        others = sorted(p.stem for p in path.parent.glob('*.txt') if p.stem != 'classes')
        raise FcnError(
            f"there is no split '{path.stem}'", file=path,
            do=f'Splits found: {", ".join(others)}.' if others else f'Give {layout}.')
    lines = enumerate(map(str.strip, read_text(path).splitlines()), 1)
    ids = [checked_id(id_, path, line) for line, id_ in lines if id_]
    if not ids:
        raise FcnError('the split file is empty', file=path, do='Write one image id per line.')
    return ids


def checked_id(id_: str, path: Path, line: int) -> str:
    """The id of a line; FcnError where it would lead out of the folder of its files."""
    confined('', id_, 'id', file=path, line=line)
    return id_


def read_class_names(path: Path) -> tuple[str, ...] | None:
    """Class names by label index from a text file, one per line up to a blank line; None if there
    is no such file. FcnError if it cannot be read, and for a name with a control character or of
    more than LONGEST_CLASS characters: names go to the terminal and into pictures."""
    if not os.path.exists(path):
        return None
    lines = [line.strip() for line in read_text(path).splitlines()]
    names = lines[:lines.index('')] if '' in lines else lines
    return tuple(checked_class(name, path, i) for i, name in enumerate(names, 1))


def listed_classes(folder: Path) -> int | None:
    """How many classes a folder's classes.txt has; None without one, and for prose, of which one
    line comes before a blank one, as in the release's list of SIFT Flow."""
    names = read_class_names(folder / 'classes.txt') or ()
    return len(names) if len(names) > 1 else None


def checked_class(name: str, path: Path, line: int) -> str:
    """The class name of a line; FcnError as read_class_names."""
    if len(name) > LONGEST_CLASS or CONTROL.search(name):
        what = f'has {len(name)} characters, of at most {LONGEST_CLASS}' \
            if len(name) > LONGEST_CLASS else 'holds a control character'
        raise FcnError(f'the class name {short(ascii(name), 60)} {what}', file=path, line=line,
                       do='Write one name per line.')
    return name


def read_text(path: Path) -> str:
    """A text in UTF-8; FcnError for a file that cannot be read."""
    data = read_regular(path, 'a text file', do='Check its permissions.')
    try:
        return data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise FcnError(f'the file is not text: {error}', file=path,
                       do='Write one name per line, in UTF-8.') from error
