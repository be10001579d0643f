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
    (top, bottom, down), (left, right, along) = (
        neighbours(side, to) for side, to in zip(image.shape[1:], size, strict=True))
    rows = wide[:, :, left] * (along[0]) + wide[:, :, right] * along[1]
    upper, lower = (rows[:, index] >> 4 for index in (top, bottom))
    total = (upper * down[0][:, None] >> 16) + (lower * down[1][:, None] >> 16)
    return (total + 2 >> 2).clip(0, 255).astype(np.uint8)


def neighbours(side: int, to: int) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """The two cells along an axis that each new one lies between, and their factors."""
    place = ((np.arange(to) + 0.5) * (side / to) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int64)
    rest = place - first.astype(np.float32)
    rest[(first < 0) | (first >= side - 1)] = 0
    first = first.clip(0, side - 1)
    factors = tuple(np.rint(share * np.float32(ONE)).astype(np.int64)
                    for share in (np.float32(1) - rest, rest))
    return first, (first + 1).clip(max=side - 1), factors


def resize_nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(C, H, W) -> (C, *size) without new values (INTER_NEAREST)."""
    rows, columns = (np.minimum(np.floor(np.arange(to) * (side / to)).astype(np.int64), side - 1)
                     for side, to in zip(image.shape[1:], size, strict=True))
    return image[:, rows][:, :, columns]
