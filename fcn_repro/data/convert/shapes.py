"""Shapes as pixels: polygons, and the run lengths of COCO."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Point = tuple[float, float]


def fill_polygon(label: np.ndarray, points: list[Point], value: int) -> None:
    """Set the pixels of a label map, (H, W), whose centres are inside of a polygon; pixel (x, y)
    covers x to x + 1 and y to y + 1, and what lines enclose twice is outside, as in COCO."""
    height, width = label.shape
    x, y = np.array(points or [(0.0, 0.0)]).T
    top, bottom = (int(np.clip(np.ceil(each - 0.5), 0, height)) for each in (y.min(), y.max()))
    left, right = (int(np.clip(np.ceil(each - 0.5), 0, width)) for each in (x.min(), x.max()))
    flips = np.zeros((bottom - top, right - left + 1), np.uint8)
    for x0, y0, x1, y1 in zip(x, y, np.roll(x, -1), np.roll(y, -1), strict=True):
        first, last = (int(np.clip(np.ceil(each - 0.5), top, bottom))
                       for each in sorted((y0, y1)))
        if first < last:                            # rows whose centres the edge crosses
            rows = np.arange(first, last)
            crossed = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            columns = np.clip(np.ceil(crossed - 0.5), left, right).astype(int)
            flips[rows - top, columns - left] ^= 1
    inside = np.bitwise_xor.accumulate(flips, axis=1)[:, :-1]
    label[top:bottom, left:right][inside > 0] = value


def fill_circle(label: np.ndarray, centre: Point, radius: float, value: int) -> None:
    """Set the pixels whose centres are in a circle."""
    y, x = (np.arange(n) + 0.5 for n in label.shape)
    label[(x[None, :] - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2 <= radius ** 2] = value


def stroke(label: np.ndarray, points: list[Point], value: int) -> None:
    """Set the pixels under a line of one pixel's width, or a point."""
    image = Image.new('1', label.shape[::-1])
    ImageDraw.Draw(image).line([(int(x), int(y)) for x, y in (*points, points[-1])], fill=1)
    label[np.asarray(image)] = value


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
    if lengths.size and not 0 <= lengths.min() <= lengths.max() < 2 ** 40:
        raise ValueError('a run has less than 0 pixels, or too many')
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
