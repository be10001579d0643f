"""Scenes of handwritten digits in the layout of PASCAL VOC, generated from a seed.

A scene is a coloured textured background with two or three large digits that do not overlap. Its
label image holds 0 for background, 1 + digit inside, and 255 in a rim around every outline, as
VOC's do. Train and val are drawn from disjoint digits.
"""

import errno
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from fcn_repro.data.digits import (
    DIGIT_SIZES,
    NAMES,
    SPLITS,
    colours,
    load_digits,
    paint,
    render,
    texture,
    to_uint8,
)
from fcn_repro.data.image import VOID
from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError
from fcn_repro.files import read_regular
from fcn_repro.sizes import LARGEST
from fcn_repro.temporary import folder_for

FOLDER, MNIST_FOLDER = FOLDERS = Path('data/digits/VOC'), Path('data/mnist/VOC')    # by default
CLASSES = ('background', *NAMES)
RIM = 7             # filter window in pixels for the rim: 3 outside, 3 inside, about VOC's width
STAMP = 'scenes.json'
VERSION = 1         # of the drawing; raise it when the same seed gives other scenes


def make_scenes(out_dir: str | Path, seed: int = 1337, train: int = 600, val: int = 100,
                size: Sequence[int] = (256, 320), digits: Sequence[int] = (2, 3),
                digit_sizes: Sequence[int] = DIGIT_SIZES,
                mnist: str | Path | None = None) -> bool:
    """Write the scenes into out_dir; returns True if they were drawn, False if already present.

    train, val: number of scenes; size: (height, width) in pixels; digits: minimum and maximum per
    scene; digit_sizes: minimum and maximum height of a digit in pixels; mnist: folder of IDX files
    to use instead of the bundled digits. The folder is written under a temporary name and renamed,
    so it is complete or absent; where two processes draw it at once, one's is kept. A folder that
    holds exactly these scenes is kept; other scenes of this function are replaced; FcnError for a
    folder that this function did not make.
    """
    out_dir = Path(out_dir)
    stamp = {'version': VERSION, 'seed': seed, 'train': train, 'val': val, 'size': list(size),
             'digits': list(digits), 'digit_sizes': list(digit_sizes),
             'mnist': None if mnist is None else os.path.abspath(mnist)}
    check_stamp(stamp)
    return make_folder(out_dir, stamp, lambda part: write_scenes(part, stamp))


def make_folder(out_dir: Path, stamp: dict, write: Callable[[Path], None]) -> bool:
    """Make a folder of generated scenes by `write`, which gets an empty one, unless out_dir holds
    those of this stamp already; whether it was made. It has the stamp in a file STAMP."""
    try:
        if holds(out_dir, stamp):
            return False
        out_dir.absolute().parent.mkdir(parents=True, exist_ok=True)
        with folder_for(out_dir.absolute()) as part:
            write(part)
            (part / STAMP).write_text(json.dumps(stamp, indent=1) + '\n')
            return put_in_place(part, out_dir.absolute(), stamp)
    except OSError as error:
        raise FcnError(f'the scenes cannot be written: {error.strerror or error}', file=out_dir,
                       do='Check the folder, its permissions and the disk space.') from error


def holds(folder: Path, stamp: dict) -> bool:
    """Whether a folder holds the scenes of these settings; FcnError if it holds something else than
    scenes."""
    try:
        return any(folder.iterdir()) and read_stamp(folder) == stamp
    except FileNotFoundError:
        return False


def check_stamp(stamp: dict) -> None:
    """FcnError for counts or sizes that do not fit together."""
    (height, width), (low, high), (few, many) = (
        stamp[name] for name in ('size', 'digit_sizes', 'digits'))
    for name, value, least in (('seed', stamp['seed'], 0), ('train', stamp['train'], 0),
                               ('val', stamp['val'], 0), ('least digit size', low, 16),
                               ('most digit size', high, low), ('least digits', few, 1),
                               ('most digits', many, few),
                               ('scene height', height, high + 2 * RIM),
                               ('scene width', width, high + 2 * RIM)):
        if value < least:
            raise FcnError(f'{name} is {value}; the minimum is {least}',
                           do='Give a larger one.')
        if value > LARGEST:
            raise FcnError(f'{name} is above {LARGEST}', do='Give a smaller one.')
    if not stamp['train'] + stamp['val']:
        raise FcnError('train and val are both 0: there are no scenes to make',
                       do='Give at least one of them a larger number.')


def read_stamp(folder: Path) -> dict:
    """The settings that the scenes in this folder were made with; FcnError if it has none."""
    try:
        return json.loads(read_regular(folder / STAMP, 'a stamp'))
    except (FcnError, ValueError, RecursionError) as error:
        raise FcnError(f'the folder is not empty and has no valid {STAMP}: it does not hold '
                       'generated scenes', file=folder,
                       do='Give another folder, or remove this one.') from error


def put_in_place(new: Path, old: Path, stamp: dict) -> bool:
    """Rename folder `new` to `old`, whose earlier scenes are removed; False where another process
    has put these very scenes there meanwhile."""
    while True:
        with suppress(FileNotFoundError), folder_for(old) as trash:    # moved away by another one
            if holds(old, stamp):
                return False
            os.replace(old, trash / 'old')
        try:
            os.replace(new, old)        # onto nothing, or an empty folder
            return True
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def write_scenes(folder: Path, stamp: dict) -> None:
    """Write images, labels, split files and class names into an existing empty folder.

    Each scene has its own random stream, keyed by seed, split and number, so that asking for more
    scenes does not change the first ones.
    """
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (folder / name).mkdir(parents=True)
    (folder / 'classes.txt').write_text('\n'.join(CLASSES) + '\n')
    for split in SPLITS:
        images, labels = load_digits(split, stamp['mnist'])
        names = [f'{split}_{i + 1:04d}' for i in range(stamp[split])]
        for i, name in enumerate(names):
            rng = np.random.default_rng((stamp['seed'], SPLITS.index(split), i))
            image, label = draw_scene(rng, images, labels, stamp)
            Image.fromarray(image).save(folder / f'JPEGImages/{name}.jpg', quality=90)
            write_label(folder / f'SegmentationClass/{name}.png', label)
        (folder / f'ImageSets/Segmentation/{split}.txt').write_text(
            ''.join(name + '\n' for name in names))


def write_label(path: Path, label: np.ndarray, colours: np.ndarray | None = None) -> None:
    """Save a label image (H,W) uint8 as a PNG with these colours (256, 3), or VOC's."""
    image = Image.fromarray(label)
    image.putpalette((palette() if colours is None else colours).tobytes())
    image.save(path)


def draw_scene(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray,
               stamp: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """One scene: image (H,W,3) uint8 RGB and label (H,W) uint8."""
    label, placed = digits_of_scene(rng, images, labels, stamp)
    ground, *inks = colours(rng, 1, len(placed))
    canvas = texture(rng, stamp['size'], ground, 1)
    for (alpha, top, left, _), ink in zip(placed, inks, strict=True):
        paint(canvas, alpha, top, left, texture(rng, alpha.shape, ink, 1))
    return to_uint8(canvas), label


def digits_of_scene(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray,
                    stamp: Mapping[str, Any]) -> tuple[np.ndarray, list]:
    """Place as many digits as the stamp wants: as place_digits returns them. FcnError where they do
    not fit."""
    few, many = stamp['digits']
    count = int(rng.integers(few, many + 1))
    for _ in range(100):                    # retry if the first digits block the others
        label, placed = place_digits(rng, images, labels, count, stamp)
        if len(placed) >= few:
            return label, placed
    raise FcnError(f'{few} digits of {stamp["digit_sizes"]} pixels do not fit into a scene '
                   f'of {stamp["size"]}', do='Ask for fewer or smaller digits.')


def place_digits(rng: np.random.Generator, images: np.ndarray, labels: np.ndarray, count: int,
                 stamp: Mapping[str, Any], tries: int = 30) -> tuple[np.ndarray, list]:
    """Place up to `count` digits without overlap: the label image (H,W) uint8 and a list of
    (alpha (h,w), top, left, digit)."""
    low, high = stamp['digit_sizes']
    label, placed = np.zeros(stamp['size'], np.uint8), []
    for _ in range(count):
        index = rng.integers(len(images))
        alpha = render(images[index], int(rng.integers(low, high + 1)))
        patch = rimmed(alpha, labels[index] + 1)
        room = np.subtract(label.shape, patch.shape) + 1
        for _ in range(tries if room.min() > 0 else 0):
            top, left = (int(rng.integers(n)) for n in room)
            place = label[top:top + patch.shape[0], left:left + patch.shape[1]]
            if not (place[patch > 0] > 0).any():
                place[patch > 0] = patch[patch > 0]
                placed.append((alpha, top + RIM, left + RIM, int(labels[index])))
                break
    return label, placed


def rimmed(alpha: np.ndarray, value: int) -> np.ndarray:
    """Label patch (h + 2 RIM, w + 2 RIM) uint8: `value` inside the outline of alpha (h,w), VOID in
    the rim around it, 0 outside."""
    mask = Image.fromarray(np.pad(np.uint8(alpha > 0.5), RIM))
    inside, reach = (np.asarray(mask.filter(f(RIM))) for f in (ImageFilter.MinFilter,
                                                               ImageFilter.MaxFilter))
    return np.where(inside, value, np.where(reach, VOID, 0)).astype(np.uint8)
