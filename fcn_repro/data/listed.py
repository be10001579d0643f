"""Text files that list images with labels, and image files as OpenCV decodes them (ImageData)."""

import zlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from fcn_repro.errors import FcnError
from fcn_repro.files import read_regular
from fcn_repro.sniff import check_text

from .image import copy_in_rgb, open_image

LIBPNG_GREY = np.array([9797, 19234, 3737], np.uint32)      # of red, green and blue, in 1/32768

LIST_WANTED = "Give a text file with 'image label' lines."


class Lines:
    """lines[k] is the k-th consumed entry of a list, cyclically; see ImageList."""

    def __init__(self, entries: list, path: Path, key: str, shuffle: bool = False,
                 rand_skip: int = 0):
        self.lines, self.key, self.shuffle = entries, key, shuffle
        self._cached = lru_cache(2)(self.order)
        self.skip = int(torch.randint(rand_skip or 1, (), generator=self._draws('skip')))
        if self.skip >= len(self.lines):
            raise FcnError(f'rand_skip {rand_skip} for {len(self.lines)} images', file=path,
                           do='Lower rand_skip.')

    def __getitem__(self, k: int) -> tuple:
        epoch, i = divmod(self.skip + k, len(self.lines))
        if self.shuffle:
            i = self._cached(epoch)[i]
        return self.lines[i]

    def __len__(self) -> int:
        """Number of lines of the list."""
        return len(self.lines)

    def order(self, epoch: int) -> list[int]:
        """Indices of the lines in the order of an epoch."""
        return torch.randperm(len(self.lines), generator=self._draws(epoch)).tolist()

    def _draws(self, what: str | int) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f'{self.key}/{what}'.encode()))


class ImageList(Lines):
    """list[k] is the (image, label) of the k-th consumed line of a text file, cyclically.

    shuffle: use a new order in each epoch; rand_skip: skip a random number of lines below this at
    the start. Both are functions of `key`, a text. Several threads may read at once. FcnError for
    a file that is not such a list, and for a rand_skip that skips all of it.
    """

    def __init__(self, path: Path, key: str, shuffle: bool = False, rand_skip: int = 0):
        super().__init__(read_list(path), path, key, shuffle, rand_skip)


class PairList(Lines):
    """list[k] is the (image, label) of the k-th consumed line of a text file with names separated
    by blanks, as ImageList; labelled: each line has a second name, '' without."""

    def __init__(self, path: Path, key: str, shuffle: bool = False, rand_skip: int = 0,
                 labelled: bool = True):
        super().__init__(read_pairs(path, labelled), path, key, shuffle, rand_skip)


def read_pairs(path: Path, labelled: bool) -> list[tuple[str, str]]:
    """[(image, label), …] of a text file with one 'image label' per line, both without blanks;
    label '' where they are not labelled. Empty lines at the end are no lines. FcnError with file
    and line for anything else."""
    found = []
    for i, line in enumerate(text_lines(path, "Give a text file with one image a line."), 1):
        words = line.split()
        if len(words) < 1 + labelled:
            raise FcnError(f"'{line}' is not an image{' and a label' * labelled}", file=path,
                           line=i, do="Write 'image.jpg label.png'." if words else
                           'Remove the empty line.')
        found.append((words[0], words[1] if labelled else ''))
    return found


def text_lines(path: Path, wanted: str) -> list[str]:
    """The lines of a list, without empty ones at the end. FcnError for a file without any, or that
    is not text: then it says what is wanted."""
    data = read_regular(path, 'a list of images', do='Correct the path of the list.')
    try:
        if data:
            check_text(data[:512], path, wanted)
        lines = data.decode('utf-8-sig').rstrip().splitlines()
    except UnicodeDecodeError:
        raise FcnError('is not text', file=path, do=wanted) from None
    if not lines:
        raise FcnError('lists no image', file=path, do="Write one 'image label' per line.")
    return lines


def read_list(path: Path) -> list[tuple[str, int]]:
    """[(image, label), …] of a text file with one 'image label' per line; the label is a whole
    number after the last space. Empty lines at the end are no lines, nor is a byte order mark text.
    FcnError with file and line for anything else."""
    lines = text_lines(path, LIST_WANTED)
    return [_entry(line.rstrip(), path, i + 1) for i, line in enumerate(lines)]


def _entry(line: str, path: Path, number: int) -> tuple[str, int]:
    image, _, text = line.rpartition(' ')
    try:
        label = int(text)
    except ValueError:
        image = ''
    if not image.strip():
        do = "Write 'image 3'."
        if not line:
            do = 'Remove the empty line.'
        elif '\t' in line:
            do = "Write one space in place of the tab: 'image 3'."
        elif is_number(text):
            do = 'Caffe reads whole numbers here; give others as rows of an HDF5Data layer.'
        raise FcnError(f"'{line}' is not an image and a label", file=path, line=number, do=do)
    return image, label


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def load_image(path: str | Path, color: bool = True,
               size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image file as (3, H, W) uint8 BGR, or (1, H, W) grey; alpha is dropped.

    size: (H, W) to resize to, bilinear between pixel centres without smoothing, as cv::resize.
    Pillow decodes. Compared with OpenCV 5 on four photographs: colours equal; grey computed from
    colours within 1 level (of a PNG as OpenCV 4's; of a JPEG, 0.2% of the pixels up to 11, where
    OpenCV takes the file's own luma); resizing adds 1 level. Another JPEG library may differ more.
    EXIF orientation is not applied.
    """
    image, _ = open_image(path, 'image')
    try:
        array = pixels(image, color)
    except FcnError as error:
        raise error.at(file=path) from None
    if size in (None, array.shape[1:]):
        return array
    wide = torch.from_numpy(array)[None].float()
    return F.interpolate(wide, size, mode='bilinear')[0].round().byte().numpy()


def pixels(image: Image.Image, color: bool | None) -> np.ndarray:
    """A decoded image as OpenCV gives it to Caffe: uint8, (3, H, W) BGR or (1, H, W) grey.

    color: three channels, and False: one, without transparency (a transparent palette entry keeps
    its colour); None: as many as the file has, (4, H, W) BGRA of one with transparency. 16 bits are
    cut to the upper 8. Colours of a PNG become grey as libpng makes them, rounded down; those of
    other files to the nearest. FcnError for floating-point and 32-bit images, whose range is
    unknown.
    """
    if image.mode.startswith('I') or image.mode == 'F':
        grey = np.asarray(image)
        if image.mode == 'F' or grey.min() < 0 or grey.max() > 65535:
            raise FcnError(f'the image has mode {image.mode!r} with values {grey.min():g} to '
                           f'{grey.max():g}, not 8 or 16 bits',
                           do=f'Save a copy: {copy_in_rgb(image)}')
        image = Image.fromarray((grey.astype(np.uint32) >> 8).astype(np.uint8))
    png = image.format == 'PNG'
    clear = image.mode in ('RGBA', 'LA', 'PA') or (
        image.mode == 'P' and 'transparency' in image.info)
    if image.mode in ('P', 'PA'):
        image = image.convert('RGBA')
    if color is None and clear:
        return np.array(image.convert('RGBA')).transpose(2, 0, 1)[[2, 1, 0, 3]]
    if color is None:
        color = image.mode not in ('1', 'L', 'LA')
    if color:
        array = np.array(image.convert('RGB'))[:, :, ::-1].transpose(2, 0, 1)
    elif png and image.mode not in ('1', 'L', 'LA'):
        array = (np.array(image.convert('RGB')).astype(np.uint32) @ LIBPNG_GREY >> 15).astype(
            np.uint8)[None]
    else:
        array = np.array(image.convert('L'))[None]
    return np.ascontiguousarray(array)
