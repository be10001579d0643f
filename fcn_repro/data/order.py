"""Order of consumed samples: the release's random draws, or sequential; and a process's share."""

import array
import functools
import operator
import random
from dataclasses import dataclass

from fcn_repro.errors import FcnError


@functools.lru_cache(maxsize=64)
def _draws(n: int, seed: int, count: int) -> array.array:
    """The first `count` draws of the release: Python 2's randint(0, n - 1) after seed(seed)."""
    draw = random.Random(seed).random
    return array.array('q', (int(draw() * n) for _ in range(count)))


class SampleOrder:
    """order[k] is the index of the k-th consumed sample, a pure function of (n, seed, k).

    n: number of samples. randomize: draw with replacement; otherwise 0 … n - 1 cyclically.
    seed: an int; None is 0 here (the release seeds from the clock, so its runs cannot be repeated).
    Python 3's randint draws other numbers, hence int(random() * n). FcnError for n < 1 and a seed
    of another type.
    """

    def __init__(self, n: int, seed: int | None = None, randomize: bool = False):
        if n < 1:
            raise FcnError('the data set has no samples', do='Check the split file.')
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int)):
            raise FcnError(f'the seed is {seed!r}, not a whole number',
                           do='Give an int; the release uses 1337.')
        self.n, self.seed, self.randomize = n, seed or 0, bool(randomize)

    def __getitem__(self, k: int) -> int:
        k = operator.index(k)
        if k < 0:
            raise IndexError(f'sample {k}: samples count from 0')
        if not self.randomize:
            return k % self.n
        # Powers of two: each table is computed once, whatever the order of requests.
        return _draws(self.n, self.seed, max(1024, 1 << k.bit_length()))[k]


@dataclass(frozen=True)
class Share:
    """Which forward passes are this process's, where several share the passes of an iteration.

    An iteration has `passes` of them; pass j is that of the process of rank j % size. origin: a
    position at which an iteration begins. The default is one process, whose passes are all.
    """
    rank: int = 0
    size: int = 1
    passes: int = 1
    origin: int = 0

    def next(self, k: int) -> int:
        """The position of this process's pass after that at position k."""
        j = (k - self.origin) % self.passes
        return k + self.size if j + self.size < self.passes else k - j + self.passes + self.rank

    def after(self, k: int, count: int) -> list[int]:
        """The positions of the `count` passes of this process after that at position k."""
        found: list[int] = []
        while len(found) < count:
            k = self.next(k)
            found.append(k)
        return found
