"""Bilinear resizing of images and probabilities as MATLAB's imresize does it, which PSPNet's
evaluation calls: pixel centres at halves, a triangle widened by the factor where the result is
smaller (so nothing is skipped), and the image mirrored at its edges."""

import math

import numpy as np
import torch


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(..., H, W) -> (..., *size), in the type of `values`: float32, or uint8, which is rounded
    after each of the two axes. The axis that is reduced most comes first."""
    out = torch.from_numpy(np.ascontiguousarray(values))
    for axis in sorted((0, 1), key=lambda axis: size[axis] / values.shape[axis - 2]):
        out = along(out, axis - 2, size[axis])
    return out.numpy()


def along(values: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """A tensor with `size` cells along one of its last two axes."""
    length = values.shape[axis]
    if size == length:
        return values
    cells, weights = taps(length, size)
    shape = (-1, 1) if axis == -2 else (-1,)
    wide = torch.float64 if values.dtype == torch.uint8 else values.dtype
    out: torch.Tensor | None = None
    for k in range(len(cells)):
        part = values.index_select(values.dim() + axis, torch.from_numpy(cells[k])).to(wide)
        part *= torch.from_numpy(weights[k]).to(wide).reshape(shape)
        out = part if out is None else out.add_(part)
    assert out is not None
    return out.add_(0.5).floor_().clamp_(0, 255).byte() if values.dtype == torch.uint8 else out


def taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(cells, weights), each (taps, size): what each of `size` results reads of `length` cells."""
    scale = size / length
    narrow = min(scale, 1.)             # of the triangle
    width = 2 / narrow
    count = math.ceil(width) + 2
    centre = (np.arange(size) + 0.5) / scale - 0.5
    cells = np.floor(centre + 1 - width / 2).astype(np.int64) - 1 + np.arange(count)[:, None]
    weights = np.maximum(0, 1 - np.abs(narrow * (centre - cells)))
    weights /= weights.sum(0)
    used = weights.any(1)
    cells %= 2 * length                 # the image, then its mirror image
    return np.where(cells < length, cells, 2 * length - 1 - cells)[used], weights[used]
