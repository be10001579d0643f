"""Shapes as pixels: polygons, and the run lengths of COCO."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


def polygon(draw: ImageDraw.ImageDraw, points: list[Point], value: int) -> None:
    """Fill a polygon; pixel (x, y) covers x to x + 1 and y to y + 1, as in COCO."""
    if len(points) >= 3:
        draw.polygon([(x - 0.5, y - 0.5) for x, y in points], fill=value)
    elif points:                                    # a point or a line has no inside
        draw.line([(x - 0.5, y - 0.5) for x, y in points], fill=value)


def canvas(size: tuple[int, int], value: int = 0) -> Image.Image:
    """A label map of one value; size: (height, width)."""
    return Image.new('L', size[::-1], value)


def runs(counts: Any) -> np.ndarray:
    """The run lengths of an RLE: a list, or COCO's text of them. ValueError for anything else.

    Source: rleFrString in cocoapi's common/maskApi.c: groups of 5 bits, the sixth says that there
    is more; from the third length on, the difference to the last but one.
    """
    if isinstance(counts, list):
        made = counts
    elif isinstance(counts, str):
        made = unpacked(counts)
    else:
        raise ValueError(f'counts is a {type(counts).__name__}')
    lengths = np.array(made, np.int64).reshape(-1)
    if lengths.size and lengths.min() < 0:
        raise ValueError('a run has less than 0 pixels')
    return lengths


def unpacked(text: str) -> list[int]:
    """The numbers in COCO's text of run lengths."""
    made: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 40:
            raise ValueError(f'{character!a} in run lengths')
        value |= (code & 0x1f) << shift
        shift += 5
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        made.append(value + made[-2] if len(made) > 2 else value)
        value, shift = 0, 0
    return made


def filled(lengths: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of run lengths, (H, W) bool, columns first, beginning with 0; ValueError where
    they do not make size (height, width)."""
    height, width = size
    if int(lengths.sum()) != height * width:
        raise ValueError(f'runs of {int(lengths.sum()):,} pixels, the image has '
                         f'{height * width:,}')
    values = np.arange(lengths.size) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T
