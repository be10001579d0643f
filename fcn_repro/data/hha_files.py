"""The HHA images of a folder in NYUDv2's layout, from its depth images."""

import io
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fcn_repro.data import hha
from fcn_repro.data.examine import in_threads
from fcn_repro.data.hha import CAMERAS, Camera
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
    """What a depth image was, whose HHA was written. tilt: degrees between gravity and the image's
    vertical; margin: hha.Gravity's. missing, no_normal: parts of its pixels without a measured
    depth, and without a normal. median: depth in metres."""

    file: Path
    tilt: float
    margin: float
    missing: float
    no_normal: float
    median: float


@dataclass(frozen=True)
class Made:
    """What encode_folder did. written: a Record for each new file. there: how many were there
    already. faults: of the depth images that no HHA was made of. raw: whether there is RAW.
    cameras: {(height, width): the camera of images of this size}."""

    folder: Path
    written: tuple[Record, ...]
    there: int
    faults: tuple[FcnError, ...]
    raw: bool
    cameras: dict[tuple[int, int], Camera]

    @property
    def implausible(self) -> tuple[Record, ...]:
        """Those whose median depth no room has: their unit is another one."""
        low, high = PLAUSIBLE
        return tuple(record for record in self.written if not low <= record.median <= high)

    @property
    def undecided(self) -> tuple[Record, ...]:
        """Those that tell too little of gravity: of one wall alone, say."""
        return tuple(record for record in self.written if record.margin < LEAST_MARGIN)


def encode_folder(folder: str | os.PathLike[str], camera: Camera | None = None,
                  per_metre: float = PER_METRE, overwrite: bool = False) -> Made:
    """Write data/hha/NAME.png for each data/depth/NAME.png of a folder, each file whole.

    Where data/rawdepth/NAME.png is 0 nothing was measured; without that folder, where data/depth
    is. camera: by default that of camera.txt, else NYUDv2's for images of its sizes (hha.CAMERAS).
    per_metre: what the images hold for a depth of 1 m. overwrite: replace files that are there;
    else they stay as they are, so that an interrupted call can be repeated. FcnError where there
    are no depth images, and for a camera or unit that is none; a fault of one image is in `faults`.
    """
    root = as_path(folder, 'the folder of the data set', 'Give its path.')
    if not (math.isfinite(per_metre) and per_metre > 0):
        raise FcnError(f'per_metre is {per_metre}', do='Give what the depth images hold for 1 m: '
                       '1000 for millimetres.')
    if camera is not None:
        camera = checked_camera(camera)
    files = depth_images(root)
    if camera is None and os.path.lexists(root / CAMERA):
        camera = read_camera(root / CAMERA)
    try:
        (root / HHA).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'cannot make this folder: {error.strerror}', file=root / HHA,
                       code='no-folder', do='Fix its permissions or the free space.') from None
    todo = [file for file in files if overwrite or not os.path.lexists(root / HHA / file.name)]
    raw = (root / RAW).is_dir()
    cameras: dict[tuple[int, int], Camera] = {}
    done = in_threads(partial(encode_file, root, camera, per_metre, raw, cameras), todo, 'HHA')
    return Made(root, tuple(each for each in done if isinstance(each, Record)),
                len(files) - len(todo), tuple(each for each in done if isinstance(each, FcnError)),
                raw, cameras)


def depth_images(root: Path) -> list[Path]:
    """The depth images of a folder, by name; FcnError where there are none."""
    files = sorted((root / DEPTH).glob('*.png')) if (root / DEPTH).is_dir() else []
    if not files:
        raise FcnError('there are no depth images', file=root / DEPTH, do="Give a folder in "
                       f"NYUDv2's layout, with the depth images in {DEPTH}/, 16-bit PNG files such "
                       'as img_5001.png.')
    return files


def encode_file(root: Path, camera: Camera | None, per_metre: float, raw: bool,
                cameras: dict[tuple[int, int], Camera], file: Path) -> Record | FcnError:
    """Write the HHA of one depth image; the FcnError that hinders it is returned."""
    try:
        depth = read_depth(file)
        missing = ~valid(depth)
        if raw:
            measured = read_depth(root / RAW / file.name)
            if measured.shape != depth.shape:
                raise FcnError('has {}x{} pixels (height x width), the file of {} {}x{}'.format(
                    *measured.shape, DEPTH, *depth.shape), file=root / RAW / file.name,
                    do='Take both of the same frames.')
            missing |= ~valid(measured)
        used = cameras[depth.shape] = camera or camera_for(depth.shape, file)
        metres = np.where(valid(depth), depth / per_metre, 0)
        encoded = hha.encode(metres, used, missing)
        write_png(root / HHA / file.name, encoded.image)
    except FcnError as error:
        return error.at(file=file)
    tilt = np.degrees(np.arccos(np.clip(encoded.gravity @ hha.START, -1, 1)))
    return Record(file, float(tilt), encoded.margin, float(missing.mean()),
                  encoded.no_normal / missing.size, float(np.median(metres[metres > 0])))


def valid(depth: np.ndarray) -> np.ndarray:
    """Where a depth image (H, W) uint16 holds a depth."""
    return (depth > 0) & (depth < MOST)


def camera_for(size: tuple[int, int], file: Path) -> Camera:
    """NYUDv2's camera for images of this size; FcnError for another size."""
    if size not in CAMERAS:
        sizes = ' and '.join(f'{h}x{w}' for h, w in CAMERAS)
        raise FcnError(f'the camera of images of {size[0]}x{size[1]} pixels (height x width) is '
                       f'not known; that of NYUDv2 has {sizes}', file=file, code='no-camera',
                       do='Give camera=Camera(fx, fy, cx, cy), in pixels, or write these four '
                          f'numbers into {CAMERA} of the folder.')
    return CAMERAS[size]


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
