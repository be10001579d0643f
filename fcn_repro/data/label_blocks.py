"""Principal components of blocks of labels, from which DUpsampling makes scores (Tian et al. 2019,
section 3.1)."""

from collections.abc import Iterable

import numpy as np

from ..errors import FcnError
from ..sizes import check_room
from .image import VOID

PASSES = 200            # at most, of the power iteration
SETTLED = 1e-12         # relative change of what the components hold, below which it ends


def second_moment(labels: Iterable[np.ndarray], classes: int, side: int) -> np.ndarray:
    """The sum of v v' over all blocks, float64 (classes side side, the same).

    labels: maps (H, W) of [0, classes) and void, each read once. A block is side x side pixels, the
    first one at the top left; pixels beyond the last whole one are left out. v: the block as
    (classes, side, side), 1 where a pixel has the class, else 0; a void pixel has none.
    FcnError where that is more than this machine's memory, and for labels without a whole block or
    with void alone.
    """
    cells = side * side
    check_room(8 * (classes * cells) ** 2, f'products of blocks of {classes} classes and '
               f'{side}x{side} pixels')
    moment = np.zeros((classes, cells, classes, cells))
    for label in labels:
        rows, columns = (size // side for size in label.shape)
        whole = label[:rows * side, :columns * side].reshape(rows, side, columns, side)
        blocks = whole.transpose(0, 2, 1, 3).reshape(rows * columns, cells)
        present = [int(c) for c in np.unique(blocks) if c != VOID]
        for i, first in enumerate(present):
            ones = (blocks == first).astype(np.float64).T
            for second in present[i:]:
                product = ones @ (blocks == second)
                moment[first, :, second] += product
                if second != first:
                    moment[second, :, first] += product.T
    if not moment.any():
        raise FcnError(f'no label has {side}x{side} pixels of which one has a class',
                       do='Give larger images with labels.')
    return moment.reshape(classes * cells, -1)


def components(moment: np.ndarray, count: int) -> tuple[np.ndarray, float]:
    """(the `count` leading eigenvectors of a second moment as rows, orthonormal, float64; the share
    of its trace that they hold).

    They are the W of the least sum of |v - W P v|² over all blocks: nothing is centred, since that
    sum knows no mean. By power iteration of twice as many vectors; their signs make the largest
    value of each positive. FcnError for more of them than a block has values.
    """
    size = len(moment)
    if count > size:
        raise FcnError(f'{count} components of blocks with {size} values',
                       do=f'Take at most {size} channels.')
    basis = np.random.default_rng(0).standard_normal((size, min(2 * count, size)))
    held = 0.0
    for _ in range(PASSES):
        basis = np.linalg.qr(moment @ basis)[0]
        values, turn = np.linalg.eigh(basis.T @ moment @ basis)
        before, held = held, values[::-1][:count].sum()
        if held - before <= SETTLED * held:
            break
    rows = (basis @ turn[:, ::-1][:, :count]).T
    signs = np.sign(rows[np.arange(count), np.abs(rows).argmax(1)])
    return rows * signs[:, None], float(held / np.trace(moment))
