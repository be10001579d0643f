"""Label maps in MAT-files: a matrix of whole numbers, as SBD, NYUDv2, SIFT Flow and PASCAL-Context
have them."""

from pathlib import Path
from typing import Any

import numpy as np

from fcn_repro.data import matfile
from fcn_repro.data.image import most_pixels
from fcn_repro.errors import FcnError


def read_matrix(path: str | Path, *names: str, high: int, low: int = 0, do: str) -> np.ndarray:
    """The matrix (H, W) of whole numbers that a variable of a MAT-file is, or a field of it
    (matfile.read), in the type in which it is stored.

    FcnError for a file without it, whose remedy is `do`, and for anything but whole numbers from
    low to high: MAT-files of another layout, and labels outside the list of classes.
    """
    try:
        found = matfile.read(path, *names, most=8 * most_pixels() + 2 ** 20)
    except matfile.NoVariable as error:
        raise error.with_remedy(do) from None
    check_matrix(found, '.'.join(names), low, high, path)
    return found


def check_matrix(found: Any, what: str, low: int, high: int, path: str | Path) -> None:
    """FcnError for what is no matrix of whole numbers from low to high."""
    numbers = isinstance(found, np.ndarray) and found.ndim == 2 and found.dtype.kind in 'buif'
    if not numbers:
        kind = f'shape {found.shape} and type {found.dtype}' if isinstance(found, np.ndarray) \
            else f'the type {type(found).__name__}'
        raise FcnError(f'{what} has {kind}, not a matrix of whole numbers from {low} to {high}',
                       file=path, do='Take the file of the data set itself.')
    if not found.size or (found.dtype.kind != 'f' and low <= found.min() and found.max() <= high):
        return
    wrong = ~((found >= low) & (found <= high) & (found == np.floor(found)))
    if wrong.any():
        first = found[wrong][0]
        raise FcnError(f'{what} holds {first:g} ({wrong.sum():,} of {found.size:,} pixels are '
                       f'outside), not whole numbers from {low} to {high}', file=path,
                       do='Take the file of the data set itself, or correct its labels.')


def shifted(labels: np.ndarray) -> np.ndarray:
    """Labels (H, W) of which 0 and below are void and the classes begin at 1, as uint8 with the
    classes from 0 and void 255."""
    return (np.maximum(labels, 0).astype(np.int16) - 1).astype(np.uint8)
