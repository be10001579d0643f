"""Mirroring and jitter of whole images, as the paper tried them (CVPR 2015, section 4.3)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fcn_repro.data.reader import Sample
from fcn_repro.errors import FcnError, short

MOST_JITTER = 4096      # pixels


class Move(NamedTuple):
    """Whether an image is mirrored, left to right, and by how many pixels it is then moved down
    and to the right."""

    mirror: bool
    down: int
    right: int


class Moves:
    """The moves of a training: the k-th is a pure function of (seed, k), k the number of the
    consumed sample, and independent of the order of samples.

    mirror: whether half of the images are mirrored. jitter: pixels by which an image is moved at
    most, drawn evenly along each axis.
    """

    def __init__(self, mirror: bool, jitter: int, seed: int):
        self.mirror, self.jitter, self.seed = mirror, jitter, seed

    def __getitem__(self, k: int) -> Move:
        if not (self.mirror or self.jitter):
            return Move(False, 0, 0)
        rng = np.random.default_rng((abs(self.seed), k))
        down, right = rng.integers(-self.jitter, self.jitter, 2, endpoint=True)
        return Move(self.mirror and bool(rng.random() < 0.5), int(down), int(right))

    def apply(self, sample: Sample, k: int, fill: Callable[[str], Any]) -> Sample:
        """The sample as it is consumed at k: all its arrays alike. fill(name): what is behind the
        edges of 'image', 'label' and each of Sample.more."""
        move = self[k]
        if move == Move(False, 0, 0):
            return sample
        return Sample(sample.id, moved(sample.image, move, fill('image')),
                      moved(sample.label, move, fill('label')),
                      {name: moved(array, move, fill(name)) for name, array in sample.more.items()})


def moved(array: np.ndarray, move: Move, fill: Any) -> np.ndarray:
    """An array (H, W) or (H, W, C), mirrored and moved; what comes from behind its edges is
    `fill`."""
    if move.mirror:
        array = array[:, ::-1]
    made = np.empty_like(array, order='C')
    made[:] = fill
    (to_y, from_y), (to_x, from_x) = map(span, array.shape[:2], (move.down, move.right))
    made[to_y, to_x] = array[from_y, from_x]
    return made


def span(size: int, by: int) -> tuple[slice, slice]:
    """Along one axis: where what is moved by so many pixels goes, and where it comes from."""
    return slice(max(by, 0), max(size + min(by, 0), 0)), slice(max(-by, 0), max(size - by, 0))


def check_moves(mirror: Any, jitter: Any) -> None:
    """FcnError unless mirror is True or False and jitter a whole number of pixels."""
    if type(mirror) is not bool:
        raise FcnError(f'mirror is {short(repr(mirror), 80)}, not True or False',
                       do='Write True or False.')
    if type(jitter) is not int or not 0 <= jitter <= MOST_JITTER:
        raise FcnError(f'jitter is {short(repr(jitter), 80)}, not a whole number of pixels from 0 '
                       f'to {MOST_JITTER}', do='Give 32, for example, or leave it out.')
