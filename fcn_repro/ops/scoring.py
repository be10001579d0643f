"""Counting what an evaluation counts of a label map, on the CPU, without Python's lock."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import checked


@checked
def pair_counts(labels: Tensor, predictions: Tensor, classes: int, groups: Tensor | None = None,
                number: int = 1) -> Tensor:
    """How many pixels have each label and prediction, in each group.

    labels, predictions: uint8 of one shape. classes: 1 to 256. groups: the number of each pixel's
    group, uint8 of that shape, below `number`, which is 1 to 256; None: all are in one. Returns
    (number, classes + 1, classes + 1) int64, rows are labels; values that are no class share the
    last row and column. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.pair_counts(labels, predictions, groups, classes, number)


def pair_counts_ref(labels, predictions, classes, groups=None, number=1):
    """The twin of pair_counts that defines it."""
    group = 0 if groups is None else groups.long()
    rows, columns = (each.long().clamp(max=classes) for each in (labels, predictions))
    cells = (group * (classes + 1) + rows) * (classes + 1) + columns
    counts = torch.bincount(cells.flatten(), minlength=number * (classes + 1) ** 2)
    return counts.view(number, classes + 1, classes + 1)


@checked
def boundary_bands(labels: Tensor, ends: Sequence[int]) -> Tensor:
    """The band of each pixel's distance (chessboard, in pixels) from the nearest boundary.

    labels: (H, W) uint8. ends: the upper ends of 1 to 255 bands, rising from at least 1. A pixel
    that touches one of another label above, below, left or right is at distance 1. Returns (H, W)
    uint8, len(ends) where the boundary is farther or there is none. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.boundary_bands(labels, ends)


def boundary_bands_ref(labels, ends):
    """The twin of boundary_bands that defines it."""
    edge = torch.zeros(labels.shape, dtype=torch.bool)
    for axis, size in enumerate(labels.shape):
        one, other = (labels.narrow(axis, start, max(0, size - 1)) for start in (min(1, size), 0))
        differs = one != other
        edge.narrow(axis, min(1, size), max(0, size - 1)).logical_or_(differs)
        edge.narrow(axis, 0, max(0, size - 1)).logical_or_(differs)
    bands = torch.full(labels.shape, len(ends), dtype=torch.uint8)
    for end in ends if edge.any() else ():
        bands -= F.max_pool2d(edge.float()[None], 2 * end - 1, 1, end - 1)[0].byte()
    return bands
