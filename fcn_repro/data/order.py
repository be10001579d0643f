"""Order of consumed samples: the release's random draws, or sequential; batches of one size; and
what of them is one process's share."""

import array
import functools
import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

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


# 4 bytes a sample besides the 8 of its draw; the two newest tables are kept.
@functools.lru_cache(maxsize=2)
def _batches(sizes: bytes, seed: int, batch: int, count: int) -> np.ndarray:
    """(K, batch) int32, the batches that the first `count` draws fill. sizes: the int32 number of
    each sample's size."""
    codes = np.frombuffer(sizes, np.int32)
    draws = np.frombuffer(_draws(len(codes), seed, count), np.int64)
    of_size = codes[draws]
    positions = np.argsort(of_size, kind='stable')      # of the draws: size by size, in order
    totals = np.bincount(of_size, minlength=codes.max() + 1)
    within = np.arange(count) - np.repeat(np.cumsum(totals) - totals, totals)
    filled = within < np.repeat(totals - totals % batch, totals)
    batches = positions[filled].reshape(-1, batch)
    return draws[batches[np.argsort(batches[:, -1])]].astype(np.int32)


class BatchOrder:
    """order[k] holds the indices (batch,), int32, of the k-th batch of samples of one size.

    Each sample of the random SampleOrder of this seed waits, in its turn, among those of its size;
    as soon as `batch` of them wait they are a batch, and batches are numbered in the order in which
    they fill up. So each drawn sample is in one batch, in the proportions of the draws; a size that
    only one sample has makes batches of `batch` times that sample. A pure function of (sizes, seed,
    batch, k). sizes: (height, width) of each sample; seed: as SampleOrder's.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], seed: int, batch: int):
        numbers: dict[tuple[int, ...], int] = {}
        codes = [numbers.setdefault(tuple(size), len(numbers)) for size in sizes]
        self.sizes, self.groups = np.array(codes, np.int32).tobytes(), len(numbers)
        self.seed, self.batch = seed, batch

    def __getitem__(self, k: int) -> np.ndarray:
        k = operator.index(k)
        if k < 0:
            raise IndexError(f'batch {k}: batches count from 0')
        # At most batch - 1 samples of each size wait; powers of two, as above.
        enough = (k + 1) * self.batch + self.groups * (self.batch - 1)
        return _batches(self.sizes, self.seed, self.batch, max(1024, 1 << enough.bit_length()))[k]


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
