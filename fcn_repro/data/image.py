"""Read image and label files as arrays, and turn an image into the blob that the nets read."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from fcn_repro.errors import FcnError

VOID = 255      # label of the pixels that neither train nor count
MEAN = (104.00699, 116.66877, 122.67892)    # BGR, the mean pixel that the VGG16 nets subtract

_MODES = {'1': 'black and white', 'L': 'grey', 'LA': 'grey with alpha', 'P': 'indexed colour',
          'CMYK': 'CMYK', 'RGBA': 'RGB with alpha', 'I': '32-bit grey', 'I;16': '16-bit grey', 'F': 'floating-point grey',
          'PA': 'indexed colour with alpha'}

# Remedies; tests run each on files of every mode. f and other stand for the two files' names.
_TO_RGB = ('Convert it once, into another file that takes its place in the data set: import numpy '
           'as np; from PIL import Image; from fcn_repro.predict.photos import read_photo; '
           'Image.fromarray(read_photo(f).image).save(other).')
TO_8_BITS = ('Scale it to 8 bits, into another file, with the values that are to be black and '
             'white: import numpy as np; from PIL import Image; a = np.array(Image.open(f), '
             'float); a = ((a - black) * 255 / (white - black)).clip(0, 255); '
             "Image.fromarray(a.astype(np.uint8)).convert('RGB').save(other).")
_COLOURS = ('Map each colour to its class index, 255 where there is none, and save one 8-bit '
            'channel, into another file, with the RGB colour of each class in a list: import numpy '
            "as np; from PIL import Image; a = np.array(Image.open(f).convert('RGB')); same = "
            '(a[:, :, None] == np.array(colours)).all(3); Image.fromarray(np.where(same.any(2), '
            'same.argmax(2), 255).astype(np.uint8)).save(other).')
_INDICES = ("Save the class indices as one 8-bit channel, mode 'L', into another file: import "
            'numpy as np; from PIL import Image; a = np.array(Image.open(f){channel}); assert '
            'a.min() >= 0 and a.max() < 256; Image.fromarray(a.astype(np.uint8){divided})'
            '.save(other).')


def known_range(image: Image.Image) -> bool:
    """Whether a grey image of mode F, I or I;16 has whole values of 16 bits."""
    low, high = image.getextrema()
    return image.mode != 'F' and low >= 0 and high <= 65535


def open_image(file: str | Path | BinaryIO, kind: str) -> tuple[Image.Image, str]:
    """The decoded Pillow image of a path or a binary file and its stored bit format ('' if
    unknown); FcnError for a missing or damaged file, which messages call `kind`."""
    path = None if isinstance(file, io.IOBase) else cast(str | Path, file)
    try:
        with Image.open(file) as image:
            bits = str(image.tile[0][3]) if image.tile else ''
            image.load()
    except FileNotFoundError:
        raise FcnError(f'no such {kind}', file=path, do='Check the path.') from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise FcnError(f'the {kind} cannot be read: {error}', file=path,
                       do='The file is damaged or incomplete; copy it again.') from error
    return image, bits


def read_image(path: str | Path) -> np.ndarray:
    """Read an RGB image file as (H, W, 3) uint8, RGB.

    FcnError for grey, CMYK and other modes, whose channels mean something else.
    """
    image, _ = open_image(path, 'image')
    if image.mode != 'RGB':
        raise FcnError(
            f'the image is {_MODES.get(image.mode, image.mode)} (mode {image.mode!r}), '
            'not RGB with three channels', file=path, do=TO_8_BITS
            if image.mode[0] in 'IF' and not known_range(image) else _TO_RGB)
    return np.array(image)


def read_label(path: str | Path) -> np.ndarray:
    """Read a label PNG as (H, W) uint8 class indices, 255 void.

    These are the indices of a palette PNG or the values of an 8-bit grey one; FcnError for colours
    and for other bits.
    """
    image, bits = open_image(path, 'label')
    if image.mode in ('RGB', 'RGBA', 'CMYK'):
        raise FcnError(
            f'the label holds colours (mode {image.mode!r}) instead of class indices',
            file=path, do=_COLOURS)
    if image.mode not in ('P', 'L') or bits in ('L;2', 'L;4'):   # Pillow rescales 2 and 4 bits
        raise FcnError(
            f'the label is {_MODES.get(image.mode, image.mode)} (mode {image.mode!r}, stored as '
            f"{bits or image.mode}) instead of 8-bit class indices", file=path,
            do=_INDICES.format(channel='.getchannel(0)' if image.mode in ('LA', 'PA') else '',
                               divided={'L;2': ' // 85', 'L;4': ' // 17'}.get(bits, '')))
    return np.array(image)


def check_label(label: np.ndarray, classes: int, path: str | Path) -> None:
    """FcnError if a label holds an id that is neither void nor in [0, classes)."""
    wrong = label[(label >= classes) & (label != VOID)]
    if wrong.size:
        raise FcnError(
            f'the label holds id {wrong.max()} ({wrong.size} pixels are out of range), the net '
            f'has {classes} classes, 0 to {classes - 1}', file=path,
            do=f'Mark void pixels with {VOID}, or use a net with {wrong.max() + 1} classes.')


def check_mean(mean: Sequence[float] | np.ndarray) -> np.ndarray:
    """The mean pixel as (3,) float64, BGR; FcnError unless it is three finite numbers."""
    try:
        pixel = np.array(mean, dtype=np.float64)
    except (TypeError, ValueError):
        pixel = np.empty(0)
    if pixel.shape != (3,) or not np.isfinite(pixel).all():
        raise FcnError(f'the mean is {mean!r}, not three numbers',
                       do='Give the mean pixel as (blue, green, red), in 0 to 255.')
    return pixel


def to_blob(image: np.ndarray, mean: Sequence[float] | np.ndarray) -> np.ndarray:
    """Convert (H, W, 3) uint8 RGB to (3, H, W) float32 BGR minus the mean pixel (BGR).

    Subtracted in float64 and rounded once, which is what numpy does in the release's
    float32 array minus float64 mean (voc_layers.py).
    """
    mean = check_mean(mean)
    blob = np.empty((3, *image.shape[:2]), np.float32)
    for c in range(3):
        np.subtract(image[:, :, 2 - c], mean[c], out=blob[c], dtype=np.float64,
                    casting='same_kind')
    return blob


def from_blob(blob: np.ndarray, mean: Sequence[float] | np.ndarray) -> np.ndarray:
    """Invert to_blob, for pictures: (3, H, W) BGR to (H, W, 3) uint8 RGB."""
    image = np.asarray(blob, np.float64) + check_mean(mean)[:, None, None]
    return np.rint(image[::-1]).clip(0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
