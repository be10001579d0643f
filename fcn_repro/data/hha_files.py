"""The HHA images of a folder in NYUDv2's layout, from its depth images."""

import io
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_repro.data import hha
from fcn_repro.data.examine import in_threads
from fcn_repro.data.hha import CAMERAS, Camera, Encoded
from fcn_repro.data.image import read_image
from fcn_repro.data.nyud import TOPS, read_depth
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.paths import as_path
from fcn_repro.temporary import file_for

DEPTH, HHA = (os.path.dirname(TOPS[name]) for name in ('depth', 'hha'))
RAW = 'data/rawdepth'       # of Gupta et al.'s data, not of the release's
CAMERA = 'camera.txt'
PER_METRE = 1000.0          # of the numbers in a depth image: millimetres
MOST = 65535                # the largest number; sensors write it where they measure nothing
PLAUSIBLE = 0.5, 10.0       # metres, of the median depth of a room: what a Kinect sees
LEAST_MARGIN = 0.02         # of hha.Gravity; with less, gravity may be any direction in a wall


@dataclass(frozen=True)
class Record:
    """What a depth image was, whose HHA was made. size: (height, width). tilt: degrees between
    gravity and the image's vertical; margin: hha.Gravity's. missing, no_normal: parts of its pixels
    without a measured depth, and without a normal. median: depth in metres."""

    file: Path
    size: tuple[int, int]
    tilt: float
    margin: float
    missing: float
    no_normal: float
    median: float


@dataclass(frozen=True)
class Made:
    """What encode_folder did. written: a Record for each new file. there: how many were there
    already. faults: of the depth images that no HHA was made of."""

    folder: 'DepthFolder'
    written: tuple[Record, ...]
    there: int
    faults: tuple[FcnError, ...]

    @property
    def cameras(self) -> dict[tuple[int, int], Camera]:
        """{(height, width): the camera of images of this size}."""
        sizes = sorted({record.size for record in self.written})
        return {size: self.folder.camera_of(size) for size in sizes}

    @property
    def implausible(self) -> tuple[Record, ...]:
        """Those whose median depth no room has: their unit is another one."""
        low, high = PLAUSIBLE
        return tuple(record for record in self.written if not low <= record.median <= high)

    @property
    def undecided(self) -> tuple[Record, ...]:
        """Those that tell too little of gravity: of one wall alone, say."""
        return tuple(record for record in self.written if record.margin < LEAST_MARGIN)


@dataclass(frozen=True)
class Compared:
    """How an HHA image that was there differs from encode's. equal: part of the pixels with the
    same value; near: with one that differs by 1 at most; most: the largest difference. Three
    numbers each: disparity, height, angle."""

    file: Path
    equal: tuple[float, ...]
    near: tuple[float, ...]
    most: tuple[int, ...]


@dataclass(frozen=True)
class DepthFolder:
    """The depth images of a folder and what their HHA depends on.

    raw: whether it has RAW. camera: the one of all images; None for NYUDv2's. per_metre: what the
    images hold for a depth of 1 m. files: the depth images by name.
    """

    root: Path
    camera: Camera | None
    per_metre: float
    raw: bool
    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: str | os.PathLike[str], camera: Camera | None,
             per_metre: float) -> 'DepthFolder':
        """FcnError where there are no depth images, and for a camera or unit that is none."""
        root = as_path(folder, 'the folder of the data set', 'Give its path.')
        if not (math.isfinite(per_metre) and per_metre > 0):
            raise FcnError(f'per_metre is {per_metre}', do='Give what the depth images hold for '
                           '1 m: 1000 for millimetres.')
        if camera is not None:
            camera = checked_camera(camera)
        files = depth_images(root)
        if camera is None and os.path.lexists(root / CAMERA):
            camera = read_camera(root / CAMERA)
        return cls(root, camera, per_metre, (root / RAW).is_dir(), tuple(files))

    def camera_of(self, size: tuple[int, int]) -> Camera:
        """The camera of images of this size; FcnError where none is known."""
        if self.camera is None and size not in CAMERAS:
            sizes = ' and '.join(f'{h}x{w}' for h, w in CAMERAS)
            raise FcnError(f'the camera of images of {size[0]}x{size[1]} pixels (height x width) '
                           f'is not known; that of NYUDv2 has {sizes}', code='no-camera',
                           do='Give camera=Camera(fx, fy, cx, cy), in pixels, or write these four '
                              f'numbers into {CAMERA} of the folder.')
        return self.camera or CAMERAS[size]

    def target(self, file: Path) -> Path:
        """The HHA image of a depth image."""
        return self.root / HHA / file.name

    def encode(self, file: Path) -> tuple[Encoded, Record]:
        """The HHA of a depth image, and what this was."""
        depth = read_depth(file)
        measured = valid(depth)
        metres = np.where(measured, depth / self.per_metre, 0)
        if self.raw:
            raw = read_depth(self.root / RAW / file.name)
            if raw.shape != depth.shape:
                raise FcnError('has {}x{} pixels (height x width), the file of {} {}x{}'.format(
                    *raw.shape, DEPTH, *depth.shape), file=self.root / RAW / file.name,
                    do='Take both of the same frames.')
            measured &= valid(raw)
        encoded = hha.encode(metres, self.camera_of(depth.shape), ~measured)
        tilt = np.degrees(np.arccos(np.clip(encoded.gravity @ hha.START, -1, 1)))
        return encoded, Record(file, depth.shape, float(tilt), encoded.margin,
                               1 - float(measured.mean()), encoded.no_normal / depth.size,
                               float(np.median(metres[metres > 0])))

    def write(self, file: Path) -> Record | FcnError:
        """Write the HHA of a depth image; the FcnError that hinders it is returned."""
        try:
            encoded, record = self.encode(file)
            write_png(self.target(file), encoded.image)
        except FcnError as error:
            return error.at(file=file)
        return record

    def compare(self, file: Path) -> Compared | FcnError:
        """Compare the HHA that is there with encode's; the FcnError that hinders it is returned."""
        try:
            found, made = read_image(self.target(file)), self.encode(file)[0].image
            if found.shape != made.shape:
                raise FcnError('has {}x{} pixels (height x width), its depth image {}x{}'.format(
                    *found.shape[:2], *made.shape[:2]), file=self.target(file),
                    do='Take both of the same frames.')
        except FcnError as error:
            return error.at(file=file)
        off = np.abs(found.astype(np.int16) - made).reshape(-1, 3)
        return Compared(file, *(tuple(each.tolist()) for each in (
            (off == 0).mean(0), (off <= 1).mean(0), off.max(0))))


def encode_folder(folder: str | os.PathLike[str], camera: Camera | None = None,
                  per_metre: float = PER_METRE, overwrite: bool = False) -> Made:
    """Write data/hha/NAME.png for each data/depth/NAME.png of a folder, each file whole.

    Where data/rawdepth/NAME.png is 0 nothing was measured; without that folder, where data/depth
    is. camera: by default that of camera.txt, else NYUDv2's for images of its sizes (hha.CAMERAS).
    per_metre: what the images hold for a depth of 1 m. overwrite: replace files that are there;
    else they stay as they are, so that an interrupted call can be repeated. FcnError as by
    DepthFolder.open; a fault of one image is in `faults`.
    """
    found = DepthFolder.open(folder, camera, per_metre)
    try:
        (found.root / HHA).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'cannot make this folder: {error.strerror}', file=found.root / HHA,
                       code='no-folder', do='Fix its permissions or the free space.') from None
    todo = [file for file in found.files if overwrite or not os.path.lexists(found.target(file))]
    done = in_threads(found.write, todo, 'HHA')
    records, faults = parted(done, Record)
    return Made(found, records, len(found.files) - len(todo), faults)


def compare_folder(folder: str | os.PathLike[str], camera: Camera | None = None,
                   per_metre: float = PER_METRE) -> tuple[tuple[Compared, ...],
                                                          tuple[FcnError, ...]]:
    """How the images of data/hha, another program's, say, differ from encode's, and the faults of
    those that cannot be compared. Arguments as of encode_folder; nothing is written."""
    found = DepthFolder.open(folder, camera, per_metre)
    return parted(in_threads(found.compare, found.files, 'HHA'), Compared)


def parted(results: Sequence[Any], kind: type) -> tuple[tuple[Any, ...], tuple[FcnError, ...]]:
    """The results of a kind, and the errors."""
    return (tuple(each for each in results if isinstance(each, kind)),
            tuple(each for each in results if isinstance(each, FcnError)))


def depth_images(root: Path) -> list[Path]:
    """The depth images of a folder, by name; FcnError where there are none."""
    folder = root / DEPTH
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == '.png') \
        if folder.is_dir() else []
    if not files:
        raise FcnError('there are no depth images', file=folder, do="Give a folder in "
                       f"NYUDv2's layout, with the depth images in {DEPTH}/, 16-bit PNG files such "
                       'as img_5001.png.')
    return files


def valid(depth: np.ndarray) -> np.ndarray:
    """Where a depth image (H, W) uint16 holds a depth."""
    return (depth > 0) & (depth < MOST)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a PNG whole or not at all."""
    data = io.BytesIO()
    Image.fromarray(image).save(data, 'PNG')
    try:
        with file_for(path) as (made, file):
            file.write(data.getvalue())
            file.flush()
            os.replace(made, path)
    except OSError as error:
        raise FcnError(f'cannot be written: {error.strerror}', file=path, do='Check the folder, '
                       'its permissions and the disk space.') from None


# ---- the camera in a file ------------------------------------------------------------------------

def write_camera(path: Path, camera: Camera) -> None:
    """Write a camera as read_camera reads it."""
    path.write_text(' '.join(repr(float(value)) for value in camera) + '\n')


def read_camera(path: str | os.PathLike[str]) -> Camera:
    """The camera in a text of four numbers, fx fy cx cy, in pixels, (1, 1) the first one; FcnError
    for any other text."""
    text = read_regular(path, 'a camera', 10_000).decode('utf-8', 'replace')
    try:
        return checked_camera(float(word) for word in text.split())
    except (ValueError, FcnError):
        raise FcnError(f'{short(repr(text), 80)} is no camera', file=path, do='Write four numbers: '
                       'focal lengths fx fy and principal point cx cy, in pixels.') from None


def checked_camera(numbers: Iterable[float]) -> Camera:
    """The camera of four numbers; FcnError for other ones, or focal lengths of 0 and less."""
    values = tuple(numbers)
    if len(values) != len(Camera._fields) or not all(map(math.isfinite, values)) or \
            min(values[:2]) <= 0:
        raise FcnError(f'{short(repr(values), 80)} is no camera', do='Give focal lengths fx fy, '
                       'above 0, and a principal point cx cy, in pixels.')
    return Camera(*values)
