"""What an image file and a mask file are: size, mode, ids or colours, from one decoding of each."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image
from tqdm import tqdm

from fcn_repro.data.colours import Colour
from fcn_repro.data.decoding import DAMAGE
from fcn_repro.data.image import open_image
from fcn_repro.errors import FcnError

MOST_COLOURS = 256      # of a mask; one with more has smoothed edges, or is a photograph
LOSSY = 'JPEG', 'WEBP'  # formats that change class indices
ORIENTATION = 0x0112    # of EXIF
ASIDE = 5, 6, 7, 8      # orientations that exchange height and width

MOST_THREADS = 16

Work = TypeVar('Work')
Done = TypeVar('Done')


@dataclass(frozen=True)
class Fault:
    """One fault of one file. kind: a key of findings.KINDS, by which faults are grouped. what, do:
    as of an FcnError; facts: those that a front end's remedy may quote."""

    kind: str
    file: Path
    what: str
    do: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, error: FcnError, file: Path) -> 'Fault':
        """The fault that an FcnError tells about a file."""
        return cls(kind, Path(error.file or file), error.what, error.do)

    def error(self) -> FcnError:
        """The fault as an error."""
        return FcnError(self.what, file=self.file, do=self.do, facts=self.facts,
                        code=f'data-{self.kind}')


@dataclass(frozen=True)
class ImageFacts:
    """size: (height, width) as stored. mode: Pillow's. turned: the EXIF orientation, 1 for upright.
    animated: it has several frames."""

    size: tuple[int, int]
    mode: str
    format: str
    turned: int = 1
    animated: bool = False

    @property
    def upright(self) -> tuple[int, int]:
        """(height, width) as a viewer shows it."""
        return self.size[::-1] if self.turned in ASIDE else self.size


@dataclass(frozen=True)
class MaskFacts:
    """size: (height, width). bits: as open_image gives them. counts: (256,) int64 pixels by value
    of a mask with one channel; colours: {RGB: pixels} of one with several, of a palette's too; None
    where it has more than MOST_COLOURS, or no such values. Of one with transparency the colours
    are those on black."""

    size: tuple[int, int]
    mode: str
    bits: str
    format: str
    counts: np.ndarray | None = None
    colours: dict[Colour, int] | None = None

    @property
    def indexed(self) -> bool:
        """Whether the reader of labels takes it as it is."""
        return self.mode in ('P', 'L') and self.bits not in ('L;2', 'L;4') and \
            self.format not in LOSSY


def image_facts(path: Path) -> ImageFacts:
    """What an image file is; FcnError where it cannot be read. All of it is decoded."""
    image, _ = open_image(path, 'image')
    return ImageFacts((image.height, image.width), image.mode, str(image.format),
                      orientation(image), animated(image))


def orientation(image: Image.Image) -> int:
    """The orientation in an image's EXIF; 1, upright, where it has none that can be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except DAMAGE:                  # of what is beside the pixels, which are read already
        return 1
    return found if found in range(1, 9) else 1


def animated(image: Image.Image) -> bool:
    """Whether a file has a second frame that can be read."""
    try:
        return bool(getattr(image, 'is_animated', False))
    except DAMAGE:
        return False


def mask_facts(path: Path) -> MaskFacts:
    """What a mask file is; FcnError where it cannot be read."""
    image, bits = open_image(path, 'mask')
    size, form = (image.height, image.width), str(image.format)
    counts: np.ndarray | None = None
    colours: dict[Colour, int] | None = None
    if image.mode in ('P', 'L', '1'):
        counts = np.array(image.histogram()[:256], np.int64)
    elif image.mode in ('LA', 'PA'):
        counts = np.array(image.getchannel(0).histogram()[:256], np.int64)
    elif image.mode.startswith('I') or image.mode == 'F':
        counts = counts_of(np.asarray(image))
    if image.mode == 'P' and counts is not None:
        table = palette_of(image)
        colours = {}
        for value in np.flatnonzero(counts):
            colours[table[value]] = colours.get(table[value], 0) + int(counts[value])
    elif counts is None:
        found = rgb(image).getcolors(MOST_COLOURS)
        colours = {colour: n for n, colour in found} if found else None     # type: ignore[misc]
    return MaskFacts(size, image.mode, bits, form, counts, colours)


def counts_of(values: np.ndarray) -> np.ndarray | None:
    """(256,) int64 pixels by value; None for values that are not whole or not in 0 to 255."""
    if values.min() < 0 or values.max() > 255 or (values != np.floor(values)).any():
        return None
    return np.bincount(values.astype(np.uint8).ravel(), minlength=256)


def palette_of(image: Image.Image) -> list[Colour]:
    """The 256 colours of a palette image's indices; black where its palette ends earlier."""
    flat = (image.getpalette('RGB') or [])[:768]
    flat += [0] * (768 - len(flat))
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, 768, 3)]


def rgb(image: Image.Image) -> Image.Image:
    """An image in RGB; what is transparent is black."""
    if image.mode in ('RGBA', 'LA', 'PA', 'La', 'RGBa'):
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, (0, 0, 0, 255)), image)
    return image.convert('RGB')


def in_threads(work: Callable[[Work], Done], tasks: Sequence[Work], what: str) -> list[Done]:
    """The results of a work for all tasks, in order, by one thread for each core, up to
    MOST_THREADS; with a bar, named `what`, on a terminal. After an error or an interrupt no further
    task is begun."""
    cores = os.sched_getaffinity(0) if hasattr(os, 'sched_getaffinity') else \
        range(os.cpu_count() or 1)
    pool = ThreadPoolExecutor(min(MOST_THREADS, len(cores)), what)
    try:
        return list(tqdm(pool.map(work, tasks), what, len(tasks), leave=False, disable=None,
                         delay=1, dynamic_ncols=True))
    finally:
        pool.shutdown(cancel_futures=True)
