"""Handwritten digits: the bundled ones or MNIST's, each drawn large on a textured background.

The digits are the 1,797 images of the UCI Optical Recognition of Handwritten Digits (DIGITS.md).
`DigitDataLayer` feeds the classifier of single digits that the mini nets start from; `scenes.py`
composes whole scenes with the same drawing functions, so that both see the same kind of image.
"""

import gzip
import hashlib
import io
import math
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageFilter

from fcn_repro.data.image import MEAN, check_mean, to_blob
from fcn_repro.data.layer import DataLayer
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.paths import as_path

NAMES = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
DIGIT_SIZES = (130, 190)                    # height of a digit in pixels, minimum and maximum
MOST_BATCH, MOST_SIZE = 4096, 8192          # images of a batch; pixels of a side
HELD_OUT = 5                                # every fifth bundled digit of a class is for val
SPLITS = ('train', 'val')
MOST_IDX = 2 ** 29                          # bytes of an IDX file; MNIST's largest has 47 million
MNIST_FILES = {'train': ('train-images-idx3-ubyte', 'train-labels-idx1-ubyte'),
               'val': ('t10k-images-idx3-ubyte', 't10k-labels-idx1-ubyte')}


def load_digits(split: str, mnist: str | Path | None = None,
                bold: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Images (N,h,w) uint8, ink bright, 0..255, and labels (N,) uint8 0..9 of 'train' or 'val'.

    Without `mnist` the bundled digits, of which every fifth of a class is held out for val; with
    `mnist` the IDX files of that folder, plain or .gz, in the split that they come in, with bolder
    strokes unless `bold` is False. Train and val share no digit either way. FcnError for another
    split and for missing or damaged files.
    """
    if split not in SPLITS:
        raise FcnError(f"unknown split '{split}'", do=f"Use {' or '.join(SPLITS)}.")
    if mnist is not None:
        return load_mnist(split, mnist, bold)
    with np.load(Path(__file__).with_name('digits.npz')) as file:
        images, labels = file['images'], file['labels']     # (1797,8,8) 0..16, (1797,)
    rank = np.zeros(len(labels), int)                       # its number within its class
    for digit in range(10):
        rank[labels == digit] = np.arange((labels == digit).sum())
    chosen = (rank % HELD_OUT == HELD_OUT - 1) == (split == 'val')
    return np.round(images[chosen] * (255 / 16)).astype(np.uint8), labels[chosen]


def load_mnist(split: str, folder: str | Path,
               bold: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """MNIST's images (N,28,28) and labels (N,), both uint8; bold: strokes thickened to UCI's."""
    images, labels = (read_idx(find_idx(folder, name), dims)
                      for name, dims in zip(MNIST_FILES[split], (3, 1), strict=True))
    if len(images) != len(labels):
        raise FcnError(f'{len(images)} images but {len(labels)} labels', file=folder,
                       do='Take the image and the label file of the same release.')
    if labels.max(initial=0) > 9:
        raise FcnError(f'label {labels.max()} is not a digit from 0 to 9', file=folder,
                       do="Give MNIST's own label files.")
    if bold:
        images = np.stack([np.asarray(Image.fromarray(image).filter(ImageFilter.MaxFilter(3)))
                           for image in images])
    return images, labels


def find_idx(folder: str | Path, name: str) -> Path:
    """The path of an IDX file in the folder, under its plain name or with .gz."""
    folder = as_path(folder, "the folder of MNIST's files", 'Give the path of the folder.')
    for path in (folder / name, folder / f'{name}.gz'):
        if os.path.isfile(path):
            return path
    raise FcnError(f"the folder has neither '{name}' nor '{name}.gz'", file=folder,
                   do="Put MNIST's four IDX files into one folder and give its path.")


def read_idx(path: str | PathLike[str], dims: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes with `dims` axes, plain or .gz, as a uint8 array. FcnError
    for one of more than MOST_IDX bytes, stored or unpacked, and for a damaged one."""
    data = read_regular(path, 'an IDX file', MOST_IDX)
    if data[:2] == b'\x1f\x8b':
        data = unpack(data, path)
    magic, head = bytes((0, 0, 8, dims)), 4 + 4 * dims
    if data[:4] != magic:
        raise FcnError(f'the file starts with {data[:4].hex(" ")}, an IDX file of bytes with '
                       f'{dims} axes with {magic.hex(" ")}', file=path,
                       do="Give MNIST's own file here.")
    if len(data) < head:
        raise FcnError(f'the file has {len(data)} bytes, its header alone needs {head}', file=path,
                       do='Get the file again.')
    shape = struct.unpack_from(f'>{dims}I', data, 4)
    if len(data) - head != math.prod(shape):
        raise FcnError(f'{len(data) - head} bytes after the header, {math.prod(shape)} expected '
                       f'for shape {shape}', file=path, do='Get the file again.')
    if math.prod(shape) == 0:
        raise FcnError('the file holds no image or label', file=path,
                       do="Give MNIST's own file here.")
    return np.frombuffer(data, np.uint8, -1, head).reshape(shape)


def unpack(data: bytes, path: str | PathLike[str]) -> bytes:
    """The bytes in a gzip file of at most MOST_IDX; no more memory is taken than they need."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            unpacked = file.read(MOST_IDX + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise FcnError(f'damaged gzip file ({error})', file=path,
                       do='Get the file again.') from error
    if len(unpacked) > MOST_IDX:
        raise FcnError(f'more than {MOST_IDX:,} bytes unpacked, an IDX file has at most that many',
                       file=path, do="Give MNIST's own file here.")
    return unpacked


def render(image: np.ndarray, height: int) -> np.ndarray:
    """Alpha (height,w) float32 in 0..1 of one digit (h,w) uint8, scaled up smoothly.

    The ink's bounding box is stretched to `height` with its own proportions; alpha rises from 0
    to 1 within about two pixels around a third of the full ink, so alpha > 0.5 is the label mask.
    """
    rows, cols = np.nonzero(image > 48)
    if len(rows) == 0:
        raise FcnError('an image of a digit is blank', do='Remove blank images from the files.')
    ink = image[rows.min():rows.max() + 1, cols.min():cols.max() + 1].astype(np.float32) / 255
    ink = np.pad(ink, 2)
    scale = 1.05 * height / (ink.shape[0] - 4)
    smooth = resize(ink, *(round(n * scale) for n in ink.shape))
    alpha = np.clip((smooth - 0.33) * (0.25 * scale) + 0.5, 0, 1)
    rows, cols = np.nonzero(alpha > 0.5)
    alpha = alpha[rows.min():rows.max() + 1, cols.min():cols.max() + 1]
    return resize(alpha, height, max(1, round(alpha.shape[1] * height / alpha.shape[0])))


def resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize a float32 field (h,w) with PIL's bicubic filter."""
    return np.asarray(Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC))


def texture(rng: np.random.Generator, size: Sequence[int], colour: np.ndarray,
            strength: float) -> np.ndarray:
    """An RGB texture (height,width,3) float32 of this size around `colour`: two octaves of noise
    and stripes.

    strength 0 gives the plain colour, 1 a variation of about +-40 grey levels.
    """
    height, width = size
    field = np.zeros((height, width), np.float32)
    for cell, weight in ((40, 0.7), (12, 0.35)):
        grid = rng.standard_normal((height // cell + 3, width // cell + 3)).astype(np.float32)
        field += weight * resize(grid, height, width)
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(8, 24), rng.uniform(0, 2 * np.pi)
    rows = np.arange(height, dtype=np.float32)[:, None] * np.float32(np.sin(angle))
    cols = np.arange(width, dtype=np.float32) * np.float32(np.cos(angle))
    field += np.float32(rng.uniform(0, 0.6)) * np.sin((rows + cols) * np.float32(6.2832 / period)
                                                      + np.float32(phase))
    tint = (rng.uniform(8, 32, 3) * rng.choice((-1, 1), 3)).astype(np.float32)
    shade = np.asarray(colour, np.float32)
    planes = (tint * np.float32(strength))[:, None, None] * field       # by channels: quicker
    planes += shade[:, None, None]
    return planes.transpose(1, 2, 0)


def colours(rng: np.random.Generator, strength: float, inks: int = 1) -> np.ndarray:
    """Random colours (1 + inks,3) of a background and of lighter inks; strength 0: grey and white.

    On the mean grey the net's input is zero outside the digit, which helps it to start learning.
    """
    dark = rng.uniform(70, 150)
    light = rng.uniform(dark + 90, 245, inks)
    muted = np.array((dark, *light))[:, None] + rng.uniform(-45, 45, (1 + inks, 3))
    plain = np.array((MEAN[::-1], *[(240,) * 3] * inks))
    return plain + strength * (muted - plain)


def paint(canvas: np.ndarray, alpha: np.ndarray, top: int, left: int, ink: np.ndarray) -> None:
    """Blend ink (h,w,3) into the canvas (H,W,3) at (top,left) with alpha (h,w), in place."""
    height, width = alpha.shape
    place = canvas[top:top + height, left:left + width]
    place += alpha[..., None] * (ink - place)


def to_uint8(canvas: np.ndarray) -> np.ndarray:
    """Round and clip to 0..255."""
    rounded = np.rint(canvas)
    return np.clip(rounded, 0, 255, out=rounded).astype(np.uint8)


class DigitDataLayer(DataLayer):
    """Single digits for a classifier: batch k is a pure function of the parameters and k.

    params:
    - split: 'train' (drawn with replacement) or 'val' (the held-out digits in order)
    - batch_size: images per batch (default 32)
    - size: height and width of an image (default 224)
    - seed: (default 1337)
    - mean: BGR values to subtract
    - curriculum: batches over which train goes from plain and centred to shifted and textured
      (default 0: hard from the start); val is always hard
    - digit_sizes: minimum and maximum height of a digit in pixels
    - mnist: folder of MNIST's IDX files, instead of the bundled digits

    batch(k) gives data (B,3,size,size) float32, BGR minus mean, and label (B,) float32.
    len() is the number of batches that it takes to see every digit once; the last one of val is
    filled up with the first digits.
    """

    module = 'digit_layers'
    options: ClassVar = {'mnist': 'mnist'}
    batch_size = 32
    split: str                              # the params, under their names
    size: int
    seed: int
    mean: Any
    curriculum: float
    digit_sizes: tuple[int, int]
    mnist: str | Path | None

    def __init__(self, params: Mapping[str, Any]):
        known = {'split': None, 'batch_size': self.batch_size, 'size': 224, 'seed': 1337,
                 'mean': MEAN, 'curriculum': 0, 'digit_sizes': DIGIT_SIZES, 'mnist': None}
        unknown = sorted(map(str, set(params) - set(known)))
        if unknown:
            raise FcnError(f"unknown parameter '{unknown[0]}'", type='DigitDataLayer',
                           do=f"Known are: {', '.join(known)}.")
        if params.get('split') not in SPLITS:
            raise FcnError(f"split is {params.get('split')!r}; the splits are {', '.join(SPLITS)}",
                           type='DigitDataLayer', do="Give 'split' in param_str.")
        for name, value in {**known, **params}.items():
            setattr(self, name, value)
        check_sizes(self)
        self.images, self.labels = load_digits(self.split, self.mnist)
        self.mean = check_mean(self.mean)

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        return NAMES

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]]:
        batch, side = params.get('batch_size', cls.batch_size), params.get('size', 224)
        return [(batch, 3, side, side), (batch,)]

    def __len__(self) -> int:
        return -(-len(self.images) // self.batch_size)

    def fingerprint(self) -> str:
        """SHA-256 of the digits and their labels."""
        return hashlib.sha256(self.images.tobytes() + self.labels.tobytes()).hexdigest()

    def batch(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(data (B,3,size,size), label (B,)) of batch k >= 0, both float32."""
        rng = np.random.default_rng((self.seed, SPLITS.index(self.split), k))
        hard = 1.0
        if self.split == 'train':
            chosen = rng.integers(len(self.images), size=self.batch_size)
            hard = min(1.0, k / self.curriculum) if self.curriculum else 1.0
        else:
            chosen = (k * self.batch_size + np.arange(self.batch_size)) % len(self.images)
        data = np.empty((len(chosen), 3, self.size, self.size), np.float32)
        for place, i in zip(data, chosen, strict=True):
            place[:] = self.draw(rng, self.images[i], hard)
        return data, self.labels[chosen].astype(np.float32)

    def draw(self, rng: np.random.Generator, image: np.ndarray, hard: float) -> np.ndarray:
        """One digit as data (3,size,size) float32; hard: from 0, plain and centred, to 1, shifted
        and textured as in a scene."""
        low, high = self.digit_sizes
        height = (low + high) / 2 + hard * rng.uniform(low - high, high - low) / 2
        alpha = render(image, round(height))
        if alpha.shape[1] > self.size:
            alpha = alpha[:, :self.size]
        room = np.array((self.size, self.size)) - alpha.shape
        top, left = (int(n) for n in room // 2 + hard * rng.uniform(-0.5, 0.5, 2) * (room - 1))
        ground, ink = colours(rng, hard)
        canvas = texture(rng, (self.size, self.size), ground, hard)
        paint(canvas, alpha, top, left, texture(rng, alpha.shape, ink, hard))
        return to_blob(to_uint8(canvas), self.mean)


def check_sizes(layer: DigitDataLayer) -> None:
    """FcnError for a batch size, image size, seed, curriculum or digit size that is no number, or
    is below its minimum."""
    sizes = layer.digit_sizes
    if not isinstance(sizes, (tuple, list)) or len(sizes) != 2:
        raise FcnError(f'digit_sizes is {short(repr(sizes), 80)}, not a minimum and a maximum',
                       type='DigitDataLayer', do='Give (130, 190), for example.')
    low, high = sizes
    whole, real = (int,), (int, float)
    for name, value, kinds, least in (
            ('batch_size', layer.batch_size, whole, 1), ('seed', layer.seed, whole, 0),
            ('curriculum', layer.curriculum, real, 0), ('minimum of digit_sizes', low, real, 16),
            ('maximum of digit_sizes', high, real, low), ('size', layer.size, whole, high)):
        if type(value) not in kinds or not value < math.inf:
            raise FcnError(f'{name} is {short(repr(value), 80)}, not a '
                           f'{"whole" if kinds == whole else "finite"} number',
                           type='DigitDataLayer', do='Change it in param_str.')
        if value < least:
            raise FcnError(f'{name} is {value}; the minimum is {least}',
                           type='DigitDataLayer', do='Change it in param_str.')
    for name, value, most in (('batch_size', layer.batch_size, MOST_BATCH),
                              ('size', layer.size, MOST_SIZE)):
        if value > most:
            raise FcnError(f'{name} is {short(str(value), 80)}; the maximum is {most}',
                           type='DigitDataLayer', do='Change it in param_str.')


LAYERS = (DigitDataLayer,)
