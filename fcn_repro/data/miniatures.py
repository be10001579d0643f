"""Miniatures of NYUDv2, SIFT Flow and PASCAL-Context: rooms with digits (rooms.py) in the folders
and files of those data sets, so that their readers, nets and experiments have something small."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_repro.data import hha
from fcn_repro.data.digits import DIGIT_SIZES, NAMES, SPLITS, load_digits
from fcn_repro.data.examine import in_threads
from fcn_repro.data.hha_files import CAMERA, DEPTH, HHA, RAW, write_camera
from fcn_repro.data.image import VOID
from fcn_repro.data.rooms import (
    CLASSES,
    OUTDOORS,
    Room,
    camera_of,
    draw_room,
    orientation,
    without_holes,
)
from fcn_repro.data.scenes import FOLDER, check_stamp, make_folder
from fcn_repro.errors import FcnError, nearest

VERSION = 1         # of the drawing; raise it when the same seed gives other rooms
HEADER = b'MATLAB 5.0 MAT-file, written by fcn_repro'.ljust(116)


class Miniature:
    """The layout of a data set. classes: by label index. size: (height, width) by default.
    folders: those of its files. tasks: the classes of each task, of a data set with several."""

    classes: tuple[str, ...] = CLASSES
    tasks: tuple[tuple[str, ...], ...] = ()
    size = (256, 320)
    folders: tuple[str, ...] = ()

    def name(self, number: int) -> str:
        """The id of a room; number: from 1 on, those of val after those of train."""
        raise NotImplementedError(f'{type(self).__name__} has no name()')

    def write(self, folder: Path, id_: str, room: Room) -> None:
        """Write the files of a room."""
        raise NotImplementedError(f'{type(self).__name__} has no write()')

    def lists(self, train: list[str], val: list[str]) -> dict[str, list[str]]:
        """{path of a split file: ids}."""
        raise NotImplementedError(f'{type(self).__name__} has no lists()')

    def finish(self, folder: Path, size: Sequence[int]) -> None:
        """Write what there is once."""
        write_lines(folder / 'classes.txt', self.classes)


class Nyud(Miniature):
    """NYUDv2 in the layout of the release's nyud.tar.gz: data/images, data/depth (16 bits,
    millimetres), data/hha, segmentation/img_ID.mat; and data/rawdepth, as Gupta et al. have it, in
    which the holes are 0 that are filled in data/depth, and camera.txt.

    The last fifth of trainval is val; test has digits of its own. An empty split has no file.
    """

    images = 'data/images'
    folders = images, DEPTH, RAW, HHA, 'segmentation'

    def name(self, number: int) -> str:
        return str(5000 + number)           # NYUDv2's begin there, too

    def write(self, folder: Path, id_: str, room: Room) -> None:
        raw = np.round(1000 * room.measured).astype(np.uint16)
        depth = without_holes(raw)
        encoded = hha.encode(depth / 1000, room.camera, raw == 0).image
        for name, picture in (self.images, room.image), (DEPTH, depth), (RAW, raw), (HHA, encoded):
            Image.fromarray(picture).save(folder / name / f'img_{id_}.png')
        write_mat(folder / f'segmentation/img_{id_}.mat', segmentation=from_1(room.label))

    def lists(self, train: list[str], val: list[str]) -> dict[str, list[str]]:
        cut = len(train) - max(len(train) // 5, len(train) > 1)
        return {'train.txt': train[:cut], 'val.txt': train[cut:], 'trainval.txt': train,
                'test.txt': val}

    def finish(self, folder: Path, size: Sequence[int]) -> None:
        super().finish(folder, size)
        write_camera(folder / CAMERA, camera_of(*size))


class SiftFlow(Miniature):
    """SIFT Flow: Images, SemanticLabels (0: void) and GeoLabels (-1: void), in each a folder of the
    original's name; trainval and test."""

    classes, size = OUTDOORS, (256, 256)
    folders = tuple(f'{name}/spatial_envelope_256x256_static_8outdoorcategories'
                    for name in ('Images', 'SemanticLabels', 'GeoLabels'))
    geometric = 'sky', 'horizontal', 'vertical'

    def name(self, number: int) -> str:
        return f'room_dig{number}'          # after coast_art1 and street_urb506

    def write(self, folder: Path, id_: str, room: Room) -> None:
        images, semantic, geometric = (folder / name for name in self.folders)
        Image.fromarray(room.image).save(images / f'{id_}.jpg', quality=90)
        write_mat(semantic / f'{id_}.mat', S=from_1(room.label), names=cell(self.classes))
        orientations = orientation(room.surface).astype(np.int16) + 1
        orientations[room.label == VOID] = -1
        write_mat(geometric / f'{id_}.mat', S=orientations, names=cell(self.geometric))

    def lists(self, train: list[str], val: list[str]) -> dict[str, list[str]]:
        return {'trainval.txt': train, 'test.txt': val}


class Context(Miniature):
    """PASCAL-Context: VOC2010/JPEGImages and ImageSets/Main; trainval/ID.mat with ids of
    labels.txt, no void; train and val. Two tasks: 12_labels.txt, everything but the wall, which is
    the background, and 10_labels.txt, the digits alone. One folder is both voc_dir and
    context_dir."""

    known = (*CLASSES[1:], CLASSES[0])
    tasks = CLASSES[1:], NAMES
    classes = ('background', *tasks[0])
    splits = 'VOC2010/ImageSets/Main'
    folders = 'VOC2010/JPEGImages', splits, 'trainval'

    def name(self, number: int) -> str:
        return f'2010_{number:06d}'

    def write(self, folder: Path, id_: str, room: Room) -> None:
        Image.fromarray(room.image).save(folder / f'VOC2010/JPEGImages/{id_}.jpg', quality=90)
        ids = np.array([1 + self.known.index(name) for name in CLASSES], np.uint16)
        write_mat(folder / f'trainval/{id_}.mat', LabelMap=ids[room.solid])

    def lists(self, train: list[str], val: list[str]) -> dict[str, list[str]]:
        return {f'{self.splits}/{split}.txt': ids for split, ids in (
            ('train', train), ('val', val), ('trainval', train + val))}

    def finish(self, folder: Path, size: Sequence[int]) -> None:
        for name, classes in (('labels', self.known),
                              *((f'{len(task)}_labels', task) for task in self.tasks)):
            write_lines(folder / f'{name}.txt', (f'{i}: {each}' for i, each in
                                                 enumerate(classes, 1)))


KINDS: dict[str, Miniature] = {'nyud': Nyud(), 'siftflow': SiftFlow(), 'context': Context()}


def folder_of(kind: str) -> Path:
    """The folder of a miniature by default, beside that of the scenes."""
    return FOLDER.with_name(kind)


def make_miniature(kind: str, out_dir: str | Path, seed: int = 1337, train: int = 600,
                   val: int = 100, size: Sequence[int] | None = None,
                   digits: Sequence[int] = (2, 3), digit_sizes: Sequence[int] = DIGIT_SIZES,
                   mnist: str | Path | None = None) -> bool:
    """Write a miniature of KINDS into out_dir, whole or not at all; True if it was drawn, False if
    it was there.

    train, val: number of rooms, drawn from digits that they do not share; those of val are the test
    split where the data set has one. size: (height, width) in pixels. digits: minimum and maximum
    per room; digit_sizes: their heights; mnist: folder of IDX files to use instead of the bundled
    digits. Each room has its own random stream, keyed by seed, split and number. FcnError for an
    unknown kind, numbers that do not fit together, and a folder that holds something else.
    """
    if kind not in KINDS:
        raise FcnError(f"unknown kind of scenes '{kind}'{nearest(kind, KINDS)}",
                       do=f'Known are: {", ".join(KINDS)}.')
    stamp = {'kind': kind, 'version': VERSION, 'seed': seed, 'train': train, 'val': val,
             'size': list(KINDS[kind].size if size is None else size), 'digits': list(digits),
             'digit_sizes': list(digit_sizes),
             'mnist': None if mnist is None else os.path.abspath(mnist)}
    check_stamp(stamp)
    return make_folder(Path(out_dir), stamp, lambda part: write_rooms(part, stamp))


def write_rooms(folder: Path, stamp: Mapping[str, Any]) -> None:
    """Write a miniature into an existing empty folder."""
    kind = KINDS[stamp['kind']]
    for name in kind.folders:
        (folder / name).mkdir(parents=True)
    ids: dict[str, list[str]] = {}
    for split in SPLITS:
        before = sum(map(len, ids.values()))
        ids[split] = [kind.name(before + i + 1) for i in range(stamp[split])]
        digits = load_digits(split, stamp['mnist'])
        in_threads(partial(write_room, folder, stamp, split, digits), list(enumerate(ids[split])),
                   f'rooms of {split}')
    for path, listed in kind.lists(**ids).items():
        if listed:
            write_lines(folder / path, listed)
    kind.finish(folder, stamp['size'])


def write_room(folder: Path, stamp: Mapping[str, Any], split: str,
               digits: tuple[np.ndarray, np.ndarray], room: tuple[int, str]) -> None:
    """Draw and write a room, given as its number in the split, from 0 on, and id."""
    number, id_ = room
    rng = np.random.default_rng((stamp['seed'], SPLITS.index(split), number))
    KINDS[stamp['kind']].write(folder, id_, draw_room(rng, *digits, stamp))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text(''.join(f'{line}\n' for line in lines))


def write_mat(path: Path, **variables: Any) -> None:
    """Write a compressed MAT-file of level 5, as MATLAB's save -v7 does; the same bytes at any time
    of day."""
    from scipy.io import savemat  # slow to import
    file = io.BytesIO()
    savemat(file, variables, do_compression=True)
    path.write_bytes(HEADER + file.getvalue()[len(HEADER):])


def cell(names: Sequence[str]) -> np.ndarray:
    """A cell of texts in one row, for write_mat."""
    values = np.empty((1, len(names)), object)
    values[0] = names
    return values


def from_1(label: np.ndarray) -> np.ndarray:
    """A label (H, W) uint8 with the classes from 1 on and void as 0."""
    return label + np.uint8(1)
