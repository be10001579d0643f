"""Scenes of handwritten digits in the layout of PASCAL VOC, made from a seed.

A scene is a coloured textured ground with two or three large digits that do not overlap. Its label
image holds 0 for ground, 1 + digit inside, and 255 in a rim about every outline, as VOC's do.
Train and val are made of disjoint digits.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from fcn_repro.data.digits import (
    DIGIT_SIZES,
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

CLASSES = ('background', 'zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight',
           'nine')
RIM = 7             # window in pixels that makes the rim: 3 out, 3 in, about as wide as VOC's
STAMP = 'scenes.json'
VERSION = 1         # of the drawing; raise it when the same seed gives other scenes


def make_scenes(out_dir, seed=1337, train=600, val=100, size=(256, 320), digits=(2, 3),
                digit_sizes=DIGIT_SIZES, mnist=None):
    """Write the scenes into out_dir; returns True if they were made, False if they were there.

    train, val: how many scenes; size: (height, width) in pixels; digits: least and most a scene;
    digit_sizes: least and most height of a digit; mnist: folder of IDX files instead of the
    bundled digits. The folder is written beside and renamed, so it is whole or absent. A folder
    that holds these very scenes is kept; other scenes of this function are replaced; a folder that
    it did not make is an error.
    """
    out_dir = Path(out_dir)
    stamp = {'version': VERSION, 'seed': seed, 'train': train, 'val': val, 'size': list(size),
             'digits': list(digits), 'digit_sizes': list(digit_sizes),
             'mnist': None if mnist is None else os.path.abspath(mnist)}
    check_stamp(stamp)
    if out_dir.exists() and any(out_dir.iterdir()) and read_stamp(out_dir) == stamp:
        return False
    parent = out_dir.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=out_dir.name + '.', dir=parent) as beside:
            part = Path(beside, 'scenes')
            part.mkdir()
            write_scenes(part, stamp)
            replace_folder(part, out_dir)
    except OSError as error:
        raise FcnError(f'the scenes cannot be written: {error.strerror or error}', file=out_dir,
                       do='Check the folder, its rights and the space on the disk.') from error
    return True


def check_stamp(stamp):
    """Raise FcnError where counts or sizes make no sense together."""
    (height, width), (low, high), (few, many) = (
        stamp[name] for name in ('size', 'digit_sizes', 'digits'))
    for name, value, least in (('seed', stamp['seed'], 0), ('train', stamp['train'], 0),
                               ('val', stamp['val'], 0), ('least digit size', low, 16),
                               ('most digit size', high, low), ('least digits', few, 1),
                               ('most digits', many, few),
                               ('scene height', height, high + 2 * RIM),
                               ('scene width', width, high + 2 * RIM)):
        if value < least:
            raise FcnError(f'{name} is {value}, at least {least} is needed',
                           do='Give a larger one.')


def read_stamp(folder):
    """What the scenes in this folder were made with; FcnError if it is not a folder of scenes."""
    try:
        return json.loads((folder / STAMP).read_text())
    except (OSError, ValueError) as error:
        raise FcnError(f'the folder is not empty and has no valid {STAMP}, so it was not made here',
                       file=folder, do='Name another folder, or remove this one.') from error


def replace_folder(new, old):
    """Rename folder `new` to `old`; what `old` was is removed after the renaming."""
    if old.exists():
        trash = Path(tempfile.mkdtemp(prefix=old.name + '.', dir=new.parent))
        os.replace(old, trash / 'old')
        os.replace(new, old)
        shutil.rmtree(trash)
    else:
        os.replace(new, old)


def write_scenes(folder, stamp):
    """Write images, labels, lists, class names and the stamp into an existing empty folder.

    Each scene has a random stream of its own, keyed by seed, split and number, so asking for more
    scenes leaves the first ones as they are.
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
    (folder / STAMP).write_text(json.dumps(stamp, indent=1) + '\n')


def write_label(path, label):
    """A label image (H,W) uint8 as PNG with VOC's palette."""
    image = Image.fromarray(label)
    image.putpalette(palette().tobytes())
    image.save(path)


def draw_scene(rng, images, labels, stamp):
    """One scene: image (H,W,3) uint8 RGB and label (H,W) uint8."""
    few, many = stamp['digits']
    count = int(rng.integers(few, many + 1))
    for _ in range(100):                    # again where the first digits stood in the way
        label, placed = place_digits(rng, images, labels, count, stamp)
        if len(placed) >= few:
            break
    else:
        raise FcnError(f'{few} digits of {stamp["digit_sizes"]} pixels found no place in a scene '
                       f'of {stamp["size"]}', do='Ask for fewer or smaller ones.')
    ground, *inks = colours(rng, 1, len(placed))
    canvas = texture(rng, *stamp['size'], ground, 1)
    for (alpha, top, left), ink in zip(placed, inks):
        paint(canvas, alpha, top, left, texture(rng, *alpha.shape, ink, 1))
    return to_uint8(canvas), label


def place_digits(rng, images, labels, count, stamp, tries=30):
    """Up to `count` digits where they overlap with no other: the label image (H,W) uint8 and a
    list of (alpha (h,w), top, left)."""
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
                placed.append((alpha, top + RIM, left + RIM))
                break
    return label, placed


def rimmed(alpha, value):
    """Label patch (h + 2 RIM, w + 2 RIM) uint8: `value` inside the outline of alpha (h,w), VOID in
    the rim about it, 0 outside."""
    mask = Image.fromarray(np.pad(np.uint8(alpha > 0.5), RIM))
    inside, reach = (np.asarray(mask.filter(f(RIM))) for f in (ImageFilter.MinFilter,
                                                               ImageFilter.MaxFilter))
    return np.where(inside, value, np.where(reach, VOID, 0)).astype(np.uint8)
