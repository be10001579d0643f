"""Read image and label files as arrays, and turn an image into the blob that the nets read."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import Image

from fcn_repro.data.decoding import DAMAGE, NotRead, decode
from fcn_repro.errors import FcnError, short
from fcn_repro.files import read_regular
from fcn_repro.sniff import recognise

VOID = 255      # label of the pixels that neither train nor count
MEAN = (104.00699, 116.66877, 122.67892)    # BGR, the mean pixel that the VGG16 nets subtract

# 8192 x 8192: of so many pixels a net's first 64 channels alone take 17 GB. Decoded and converted
# they take at most 1.5 GB in any reader.
MOST_PIXELS = 2 ** 26
BAND = 256          # rows that are converted at a time

_MODES = {'1': 'black and white', 'L': 'grey', 'LA': 'grey with alpha', 'P': 'indexed colour',
          'CMYK': 'CMYK', 'RGBA': 'RGB with alpha', 'I': '32-bit grey', 'I;16': '16-bit grey'}

KINDS = {'1': 'black and white', 'L': 'grey', 'LA': 'grey, laid on white', 'P': 'palette',
         'PA': 'palette, laid on white', 'RGBA': 'laid on white'}


_most = MOST_PIXELS


def limit_pixels(most: int = MOST_PIXELS) -> None:
    """Set the pixels that a picture or label may have in this process; every reader refuses larger
    ones before it decodes them. Pillow's own limit is raised with it, never lowered."""
    global _most
    if most < 1:
        raise FcnError(f'the limit on pixels is {most}', code='not-positive',
                       facts={'option': 'max-pixels'}, do='Give 1 or more.')
    _most = most
    if Image.MAX_IMAGE_PIXELS is not None:
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS, most)


def most_pixels() -> int:
    """The limit that is set."""
    return _most


def open_image(file: str | Path | BinaryIO, kind: str) -> tuple[Image.Image, str]:
    """The decoded Pillow image of a path or a binary file and its stored bit format ('' if
    unknown), of several frames the first. Read are PNG, JPEG, BMP, GIF, PGM and PPM, TIFF and WebP.

    FcnError for a missing file, one that is damaged, incomplete or of another format, and one of
    more pixels than limit_pixels allows; messages call it `kind`.
    """
    path = None if hasattr(file, 'read') else cast(str | Path, file)
    data = cast(BinaryIO, file).read() if path is None else picture_bytes(path, kind)
    try:
        return decode(data, _most)
    except FcnError as error:
        raise FcnError(f'the {kind} is too large: {error.what}', file=path, code=error.code,
                       facts=error.facts, do=error.do) from None
    except NotRead as error:
        raise FcnError(f'the {kind} cannot be read: {error}', file=path,
                       do='Save a copy as PNG.') from None
    except DAMAGE as error:
        other = recognise(data[:512])
        if other and 'picture' not in other[0]:
            raise FcnError(f'the {kind} cannot be read: it is {other[0]}', file=path,
                           do=other[1] or 'Give a picture.') from None
        reason = str(error) or type(error).__name__
        raise FcnError(f'the {kind} cannot be read: {reason}', file=path,
                       do='The file is damaged or incomplete; copy it again.') from error


def picture_bytes(path: str | Path, kind: str) -> bytes:
    """The bytes of a file, of at most 16 for each pixel that is allowed and 64 MiB."""
    if not os.path.exists(path):
        raise FcnError(f'no such {kind}', file=path, do='Check the path.')
    if os.path.isdir(path):
        raise FcnError(f'is a folder, no {kind}', file=path, do='Name a file.')
    return read_regular(path, f'the {kind}', 16 * _most + 2 ** 26)


def read_image(path: str | Path) -> np.ndarray:
    """Read an RGB image file as (H, W, 3) uint8, RGB.

    FcnError for grey, CMYK and other modes, whose channels mean something else.
    """
    image, _ = open_image(path, 'image')
    if image.mode != 'RGB':
        raise FcnError(
            f'the image is {_MODES.get(image.mode, image.mode)} (mode {image.mode!r}), '
            'not RGB with three channels', file=path,
            do=f'Save a copy: {copy_in_rgb(image)}')
    return np.array(image)


def as_rgb(image: Image.Image, path: str | Path | None) -> tuple[np.ndarray, str]:
    """Convert a Pillow image to (H, W, 3) uint8 RGB; also returns its kind in words, '' for RGB."""
    mode = image.mode
    if mode.startswith('I') or mode == 'F':
        grey = np.asarray(image)
        if mode == 'F' or grey.min() < 0 or grey.max() > 65535:
            raise FcnError(f'the grey values are {grey.min():g} to {grey.max():g} (mode {mode!r}), '
                           'their range is unknown', file=path,
                           do=f'Save a copy: {copy_in_rgb(image)}')
        grey = ((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)     # 65535 = 255 * 257
        return np.repeat(grey[:, :, None], 3, 2), '16-bit grey'
    if mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
        mode = mode if mode in KINDS else 'RGBA'
    return pixels_of(image), '' if mode == 'RGB' else KINDS.get(mode, mode)


def pixels_of(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image in RGB, (H, W, 3) uint8; in bands, of which Pillow makes further
    copies."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, BAND):
        below = min(top + BAND, image.height)
        band = image.crop((0, top, image.width, below))
        out[top:below] = np.asarray(band.convert('RGB'))
    return out


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of an image file from its header, without decoding its pixels; FcnError as
    open_image."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        opened, _ = open_image(path, 'image')       # which says what is wrong
        return opened.height, opened.width


def copy_in_rgb(image: Image.Image) -> str:
    """The Python commands that save a copy of an image file `f` in RGB as `other`, 16 bits scaled
    to 8, without transparency."""
    if not image.mode.startswith('I') and image.mode != 'F':
        return "from PIL import Image; Image.open(f).convert('RGB').save(other)"
    grey = np.asarray(image)
    scaled, words = '(a / 257)', ''
    if image.mode == 'F' or grey.min() < 0 or grey.max() > 65535:
        scaled = '((a - black) * 255 / (white - black)).clip(0, 255)'
        words = f'  (its values are {grey.min():g} to {grey.max():g}: choose black and white)'
    return ('from PIL import Image; import numpy as np; a = np.asarray(Image.open(f), float); '
            f"Image.fromarray({scaled}.round().astype(np.uint8)).convert('RGB').save(other){words}")


def copy_as_label(image: Image.Image, bits: str) -> str:
    """A remedy: the Python commands that save a copy of a label file `f` as 8-bit class indices
    `other`; in words where the values cannot be indices."""
    if image.mode in ('LA', 'PA'):
        return 'Save a copy: from PIL import Image; Image.open(f).getchannel(0).save(other)'
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
        return f'Map its values, {values.min():g} to {values.max():g}, to class indices, 0 to 255.'
    step = {'L;2': ' // 85', 'L;4': ' // 17'}.get(bits, '')     # Pillow spreads them over 8 bits
    return ('Save a copy: from PIL import Image; import numpy as np; '
            f'Image.fromarray((np.asarray(Image.open(f)){step}).astype(np.uint8)).save(other)')


COLOURS = ('from PIL import Image; import numpy as np; table = {(0, 0, 0): 0, (128, 0, 0): 1}; '
           "a = np.asarray(Image.open(f).convert('RGB')); "
           'Image.fromarray(np.select([(a == c).all(2) for c in table], list(table.values()), 255)'
           '.astype(np.uint8)).save(other)  '
           '(with your colours, each with its class index, in table; 255: no label)')


def read_label(path: str | Path) -> np.ndarray:
    """Read a label PNG as (H, W) uint8 class indices, 255 void.

    These are the indices of a palette PNG or the values of an 8-bit grey one; FcnError for colours.
    """
    image, bits = open_image(path, 'label')
    if image.format == 'JPEG':
        raise FcnError('the label is a JPEG picture, whose compression changes class indices',
                       file=path, do='Give the PNG that it was made from.')
    if image.mode in ('RGB', 'RGBA', 'CMYK'):
        raise FcnError(
            f'the label holds colours (mode {image.mode!r}) instead of class indices',
            file=path, do=f'Save a copy: {COLOURS}')
    if image.mode not in ('P', 'L') or bits in ('L;2', 'L;4'):   # Pillow rescales 2 and 4 bits
        raise FcnError(
            f'the label is {_MODES.get(image.mode, image.mode)} (mode {image.mode!r}, stored as '
            f"{bits or image.mode}) instead of 8-bit class indices", file=path,
            do=copy_as_label(image, bits))
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
    except (TypeError, ValueError, OverflowError):
        pixel = np.empty(0)
    if pixel.shape != (3,) or not np.isfinite(pixel).all():
        raise FcnError(f'the mean is {short(repr(mean), 100)}, not three numbers',
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
