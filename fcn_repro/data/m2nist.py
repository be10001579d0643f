"""M2NIST: grey scenes of up to three digits, drawn here or read from the published arrays.

The published set (F. Ahmad, M2NIST, CC BY-SA 4.0) is 5000 scenes of 64x84 pixels, up to three of
MNIST's 28x28 images each, white on black, in two files of NumPy: combined.npy (N,64,84) and
segmented.npy (N,64,84,11), a mask of 0 and 1 for each digit and, last, for the background. Without
them such scenes are drawn from the bundled digits, or from MNIST's files, by the same rule: a pixel
with any ink belongs to the digit. Drawn train and val scenes share no digit.
"""

import hashlib
import tokenize
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageFilter

from fcn_repro.data import digits
from fcn_repro.data.layer import DataLayer
from fcn_repro.data.order import SampleOrder
from fcn_repro.data.reader import Sample
from fcn_repro.errors import FcnError, short
from fcn_repro.files import check_regular
from fcn_repro.paths import as_path

MOST_HEADER = 1024                          # bytes of a .npy header, which numpy parses as Python
BACKGROUND = 10                             # channel k is digit k, as in the published arrays
CLASSES = (*(str(digit) for digit in range(10)), 'background')
SIZE, BOX = (64, 84), 28                    # of a scene, and of a digit's box in it
HEIGHTS = (17, 21)                          # of a bundled digit in its box; MNIST's fit 20 pixels
SCENES = {'train': 4500, 'val': 500}        # drawn ones, as many as are published
TRIES = 30                                  # positions tried for a digit before it is left out
THIN = 5            # quarter pixels, window of the filter that thins strokes to MNIST's
SHIFT = 3                                   # maximum shift of the classifier's digits, pixels
VERSION = 1         # of the drawing; raise it when the same seed gives other scenes
PARAMS: dict[str, Any] = {'split': None, 'batch_size': 16, 'seed': 1337, 'order_seed': None,
                          'mnist': None}


class Digits:
    """The digits of a split in boxes of 28x28 pixels: MNIST's unchanged, the bundled ones drawn.

    labels: (N,) uint8 0..9. images: (N,h,w) uint8 of load_digits.
    """

    def __init__(self, split: str, mnist: str | Path | None = None):
        self.images, self.labels = digits.load_digits(split, mnist, bold=False)
        self.drawn: dict[tuple[int, int], np.ndarray] = {}
        if mnist is not None and self.images.shape[1:] != (BOX, BOX):
            height, width = self.images.shape[1:]
            raise FcnError(f'the images are {height}x{width} instead of {BOX}x{BOX}', file=mnist,
                           do="Give MNIST's own image files.")

    def __len__(self) -> int:
        return len(self.images)

    def box(self, rng: np.random.Generator, i: int) -> np.ndarray:
        """Digit i as (28,28) uint8, ink bright on 0; rng draws the height of a bundled one."""
        if self.images.shape[1:] == (BOX, BOX):
            return self.images[i]
        low, high = HEIGHTS
        key = int(i), int(rng.integers(low, high + 1))
        if key not in self.drawn:
            self.drawn[key] = boxed(self.images[i], key[1])
        return self.drawn[key]


def boxed(image: np.ndarray, height: int) -> np.ndarray:
    """Draw a digit (h,w) uint8 at this height in the middle of a box (28,28) uint8.

    It is drawn four times as large, thinned and averaged down, which gives grey edges like
    MNIST's."""
    alpha = digits.render(image, 4 * height)[:, :4 * BOX]
    width = max(1, round(alpha.shape[1] / 4))
    large = Image.fromarray(digits.to_uint8(255 * alpha)).filter(ImageFilter.MinFilter(THIN))
    box, top, left = np.zeros((BOX, BOX), np.uint8), (BOX - height) // 2, (BOX - width) // 2
    box[top:top + height, left:left + width] = np.asarray(
        large.resize((width, height), Image.Resampling.BOX))
    return box


def draw_scene(rng: np.random.Generator, source: Digits) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: image (64,84) uint8, ink bright on 0, and label (64,84) uint8, the digit
    where there is ink and BACKGROUND elsewhere. One to three digits whose ink does not overlap; a
    digit that does not fit is left out."""
    image, label = np.zeros(SIZE, np.uint8), np.full(SIZE, BACKGROUND, np.uint8)
    for _ in range(rng.integers(1, 4)):
        index = int(rng.integers(len(source)))
        box = source.box(rng, index)
        for _ in range(TRIES):
            top, left = (int(rng.integers(n - BOX + 1)) for n in SIZE)
            place = np.s_[top:top + BOX, left:left + BOX]
            if not ((image[place] > 0) & (box > 0)).any():
                image[place] |= box
                label[place][box > 0] = source.labels[index]
                break
    return image, label


class DrawnScenes:
    """Scenes drawn from the bundled digits or, with `mnist`, from a folder of MNIST's IDX files.
    Scene i is a pure function of seed, split and i."""

    def __init__(self, split: str, seed: int = 1337, mnist: str | Path | None = None):
        self.split, self.seed = split, seed
        self.digits = Digits(split, mnist)
        self.label_file = Path(mnist or digits.__file__)

    def __len__(self) -> int:
        return SCENES[self.split]

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the drawing's version, the seed and the digits."""
        return sha256(str((VERSION, self.seed)).encode(), self.digits.images, self.digits.labels)

    def load(self, i: int) -> Sample:
        """The i-th Sample, its image (64,84,3) uint8 with three equal channels."""
        rng = np.random.default_rng((self.seed, digits.SPLITS.index(self.split), i))
        image, label = draw_scene(rng, self.digits)
        return Sample(f'{self.split}_{i + 1:04d}', np.stack([image] * 3, 2), label)


class PublishedScenes:
    """The scenes of combined.npy and segmented.npy in a folder: the last tenth is val.

    Scenes are read on demand. FcnError for a missing or damaged file, for other shapes and, when a
    scene is read, for values outside 0 to 255 or masks other than 0 and 1.
    """

    def __init__(self, split: str, folder: str | Path):
        self.folder = as_path(folder, "the folder of M2NIST's files", 'Give its path.')
        self.label_file = self.folder / 'segmented.npy'
        self.images = open_array(self.folder / 'combined.npy', SIZE)
        self.masks = open_array(self.label_file, (*SIZE, len(CLASSES)))
        count = len(self.images)
        if count != len(self.masks):
            raise FcnError(f'{len(self.masks)} scenes, but combined.npy in the same folder has '
                           f'{count}', file=self.label_file, do='Take both files of one release.')
        if count < 2:
            raise FcnError(f'{count} scene(s); a train and a val part need at least 2',
                           file=self.folder / 'combined.npy', do='Get the file again.')
        first_val = count - max(1, count // 10)
        self.range = range(first_val) if split == 'train' else range(first_val, count)

    def __len__(self) -> int:
        return len(self.range)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the split's images."""
        return sha256(self.images[self.range.start:self.range.stop])

    def load(self, i: int) -> Sample:
        """The i-th Sample of the split, named by its number in the files (from 0). A pixel set in
        several masks gets the lowest of their classes."""
        k = self.range[i]
        image, masks = self.images[k], self.masks[k]
        if (image != image.astype(np.uint8)).any():
            raise FcnError(f'scene {k} has values from {image.min()} to {image.max()} instead '
                           'of whole numbers from 0 to 255', file=self.folder / 'combined.npy',
                           do='Get the file again.')
        unclaimed = (masks.sum(2) == 0).sum()
        if unclaimed or ((masks != 0) & (masks != 1)).any():
            raise FcnError(f'scene {k} has {unclaimed} pixels in none of its 11 masks'
                           if unclaimed else f'the masks of scene {k} have values from '
                           f'{masks.min()} to {masks.max()} instead of 0 and 1',
                           file=self.label_file, do='Get the file again.')
        return Sample(f'scene_{k:04d}', np.stack([image.astype(np.uint8)] * 3, 2),
                      masks.argmax(2).astype(np.uint8))


def open_array(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Memory-map the array (N, *shape) of numbers in a .npy file; FcnError for anything else."""
    check_regular(path, 'a .npy file', do="Give the folder with M2NIST's combined.npy and "
                  'segmented.npy.')
    try:
        array = np.lib.format.open_memmap(path, mode='r', max_header_size=MOST_HEADER)
    except (OSError, ValueError, TypeError, EOFError, OverflowError, SyntaxError,
            tokenize.TokenError, MemoryError, RecursionError) as error:
        raise FcnError(f'not a complete .npy file: {error}', file=path,
                       do='Get the file again.') from error
    if array.shape[1:] != shape or array.ndim != 1 + len(shape) or array.dtype.kind not in 'buif':
        wanted = ', '.join(map(str, shape))
        raise FcnError(f'the array is {array.shape} {array.dtype} instead of (N, {wanted}) '
                       'numbers', file=path, do="Give M2NIST's own file here.")
    return array


def sha256(*parts: bytes | np.ndarray) -> str:
    """SHA-256 (hex) of bytes and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(np.ascontiguousarray(part).data if isinstance(part, np.ndarray) else part)
    return digest.hexdigest()


def checked(layer: type, params: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """The params of param_str with the defaults of `known`; FcnError, with the layer's class name,
    for an unknown or wrong one."""
    name = layer.__name__
    for key in params:
        if key not in known:
            raise FcnError(f"unknown parameter '{key}'", type=name,
                           do=f"Known are: {', '.join(known)}.")
    if params.get('split') not in digits.SPLITS:
        raise FcnError(f"split is {params.get('split')!r}; the splits are "
                       f"{', '.join(digits.SPLITS)}", type=name, do="Give 'split' in param_str.")
    settings = {**known, **params}
    if settings['order_seed'] is None:
        settings['order_seed'] = settings['seed']
    for key, least in (('batch_size', 1), ('seed', 0), ('order_seed', 0)):
        value = settings[key]
        if type(value) is not int or value < least:
            raise FcnError(f'{key} is {value!r}, not a whole number of at least {least}',
                           type=name, do='Change it in param_str.')
    if settings['batch_size'] > digits.MOST_BATCH:
        raise FcnError(f'batch_size is {short(str(settings["batch_size"]), 80)}; the maximum is '
                       f'{digits.MOST_BATCH}', type=name, do='Change it in param_str.')
    return settings


class M2nistDigitDataLayer(DataLayer):
    """Single digits for the classifier: batch k is a pure function of the parameters and k.

    params: split ('train': drawn with replacement, or 'val': in order), batch_size (default 16),
    seed (default 1337), order_seed (of train's draws; default: seed), mnist (folder of MNIST's
    IDX files, instead of the bundled digits).
    batch(k) gives data (B,1,28,28) float32 in 0..1, the digit up to SHIFT pixels off the centre,
    and label (B,) float32. len() is the number of batches that it takes to see every digit once;
    the last one of val is filled up with the first digits.
    """

    module, seed_param = 'm2nist_layers', 'order_seed'      # the scenes stay, their order changes
    options: ClassVar = {'mnist': 'mnist'}
    batch_size = PARAMS['batch_size']

    def __init__(self, params: Mapping[str, Any]):
        p = checked(type(self), params, PARAMS)
        self.split, self.batch_size = p['split'], p['batch_size']
        self.seed, self.order_seed = p['seed'], p['order_seed']
        self.digits = Digits(self.split, p['mnist'])

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]]:
        batch = params.get('batch_size', cls.batch_size)
        return [(batch, 1, 28, 28), (batch,)]

    def __len__(self) -> int:
        return -(-len(self.digits) // self.batch_size)

    def fingerprint(self) -> str:
        """SHA-256 (hex) of the digits and their labels."""
        return sha256(self.digits.images, self.digits.labels)

    def batch(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(data (B,1,28,28), label (B,)) of batch k >= 0."""
        count, train = self.batch_size, self.split == 'train'
        rng = np.random.default_rng((self.order_seed if train else self.seed, int(not train), k))
        chosen = rng.integers(len(self.digits), size=count) if train else \
            (k * count + np.arange(count)) % len(self.digits)
        data = np.zeros((count, 1, BOX, BOX), np.float32)
        for place, i in zip(data[:, 0], chosen, strict=True):
            box = np.pad(self.digits.box(rng, i), SHIFT)
            top, left = rng.integers(2 * SHIFT + 1, size=2)
            place[:] = box[top:top + BOX, left:left + BOX] / np.float32(255)
        return data, self.digits.labels[chosen].astype(np.float32)


class M2nistDataLayer(DataLayer):
    """Scenes: batch k is a pure function of the parameters and k.

    params: those of M2nistDigitDataLayer, and
    m2nist: folder of combined.npy and segmented.npy, instead of scenes drawn from digits.
    batch(k) gives data (B,1,64,84) float32 in 0..1 and label (B,1,64,84) float32, 0 to 9 the digits
    and 10 background. len() is the number of batches that hold the split once.
    """

    module, seed_param = 'm2nist_layers', 'order_seed'
    options: ClassVar = {'mnist': 'mnist', 'm2nist': 'm2nist'}
    batch_size = PARAMS['batch_size']
    classes = CLASSES

    def __init__(self, params: Mapping[str, Any]):
        p = checked(type(self), params, {**PARAMS, 'm2nist': None})
        if p['m2nist'] is not None and p['mnist'] is not None:
            raise FcnError('both mnist and m2nist are given', type=type(self).__name__,
                           do='Give the folder of one of them.')
        self.batch_size = p['batch_size']
        self.reader = DrawnScenes(p['split'], p['seed'], p['mnist']) if p['m2nist'] is None else \
            PublishedScenes(p['split'], p['m2nist'])
        self.order = SampleOrder(len(self.reader), p['order_seed'], p['split'] == 'train')

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...]:
        return CLASSES

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]]:
        batch = params.get('batch_size', cls.batch_size)
        return [(batch, 1, 64, 84), (batch, 1, 64, 84)]

    def __len__(self) -> int:
        return -(-len(self.reader) // self.batch_size)

    def fingerprint(self) -> str:
        """That of the scenes."""
        return self.reader.fingerprint()

    def label_file(self, sample: Sample, name: str = '') -> Path:
        """The file that holds the sample's label, or that it was drawn from, for messages."""
        return self.reader.label_file

    def sample(self, k: int) -> Sample:
        """The Sample of the k-th batch, if a batch is one scene (as in a val net)."""
        if self.batch_size != 1:
            raise FcnError(f'batch_size is {self.batch_size}; scenes are scored one by one',
                           type=type(self).__name__, do="Give 'batch_size': 1 in param_str.")
        return self.reader.load(self.order[k])

    def samples(self, k: int) -> list[Sample]:
        """The Samples of batch k >= 0."""
        first = k * self.batch_size
        return [self.reader.load(self.order[first + i]) for i in range(self.batch_size)]

    def blobs(self, scenes: list[Sample]) -> tuple[np.ndarray, np.ndarray]:
        """(data (B,1,64,84), label (B,1,64,84)) of the Samples of a batch."""
        data = np.stack([scene.image[None, :, :, 0] for scene in scenes])
        label = np.stack([scene.label[None] for scene in scenes])
        return data / np.float32(255), label.astype(np.float32)

    def batch(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The blobs of batch k."""
        return self.blobs(self.samples(k))


LAYERS = (M2nistDataLayer, M2nistDigitDataLayer)
