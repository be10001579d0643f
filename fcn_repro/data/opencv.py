"""Resizing of 8-bit images to the same bits as OpenCV's cv::resize on the CPU.

Linear: factors in 1/2048, rows first, sums cut as its SIMD code cuts them; halving both sides of
an image takes means of four. Nearest: the cell that the place falls into, rounded down.
"""

import numpy as np

ONE = 2048          # INTER_RESIZE_COEF_SCALE


def resize_linear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) uint8 -> (C, *size), bilinear between the centres of pixels (INTER_LINEAR)."""
    if image.shape[1:] == tuple(size):
        return image
    wide = image.astype(np.int64)
    if all(side == 2 * half for side, half in zip(image.shape[1:], size, strict=True)):
        pairs = wide[:, 0::2] + wide[:, 1::2]
        return ((pairs[:, :, 0::2] + pairs[:, :, 1::2] + 2) >> 2).astype(np.uint8)
    top, bottom, down = neighbours(image.shape[1], size[0])
    left, right, along = neighbours(image.shape[2], size[1])
    outside = (left == right)[None]         # a column beyond the edge is the edge's
    along = np.where(outside, [[ONE], [0]], along)
    rows = wide[:, :, left] * along[0] + wide[:, :, right] * along[1]
    upper, lower = (rows[:, index] >> 4 for index in (top, bottom))
    total = (upper * down[0][:, None] >> 16) + (lower * down[1][:, None] >> 16)
    return (total + 2 >> 2).clip(0, 255).astype(np.uint8)


def neighbours(side: int, to: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The two cells along an axis that each new one lies between, the same one twice beyond the
    edges, and their factors (2, to)."""
    place = ((np.arange(to) + 0.5) * (1 / (to / side)) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    rest = place - first.astype(np.float32)
    factors = np.rint(np.stack([np.float32(1) - rest, rest]) * np.float32(ONE)).astype(np.int64)
    return first.clip(0, side - 1), (first + 1).clip(0, side - 1), factors


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) -> (C, *size) without new values (INTER_NEAREST)."""
    rows, columns = (
        np.minimum(np.floor(np.arange(to) * (1 / (to / side))).astype(np.int64), side - 1)
        for side, to in zip(image.shape[1:], size, strict=True))
    return image[:, rows][:, :, columns]
