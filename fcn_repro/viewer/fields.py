"""Receptive fields: which pixels of the input a cell of each blob depends on, exactly.

Along an axis cell j of a blob reads the pixels first[j] … last[j] of the input. Both repeat: cell
j + period reads the pixels that lie period * stride further on. A layer says which cells of its
bottom it reads (Layer.reads), so the recursion runs forward through the net. Pixels beyond the
image count: they are padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

LONGEST = 4096          # a period beyond this is not followed: no net has one
NOTHING = math.inf, -math.inf
Reads = tuple[int, int, int, int]       # (kernel, stride, pad, up) of Layer.reads


@dataclass(frozen=True)
class Axis:
    """The pixels that the cells of a blob read along one axis.

    stride: pixels from one cell to the next. start: the pixel at the centre of cell 0, by the
    coordinate maps. first, last: of the cells 0 … period - 1; whole numbers, or infinite for a
    cell that reads nothing.
    """
    stride: Fraction
    start: Fraction
    first: tuple[float, ...]
    last: tuple[float, ...]

    @property
    def size(self) -> int:
        """The most pixels that a cell reads."""
        return int(max(0, *(b - a + 1 for a, b in zip(self.first, self.last, strict=True))))

    def span(self, cell: int) -> tuple[float, float]:
        """The first and the last pixel that a cell reads; any whole number is a cell."""
        turns, j = divmod(cell, len(self.first))
        shift = int(turns * len(self.first) * self.stride)
        return self.first[j] + shift, self.last[j] + shift

    def through(self, reads: Reads) -> Axis | None:
        """The axis of a layer's top, for what its cells read; None for too long a period."""
        kernel, stride, pad, up = reads
        period = len(self.first) * up // math.gcd(len(self.first) * up, stride)
        if period > LONGEST:
            return None
        spans, turn = [], len(self.first)
        for j in range(period):
            begin = j * stride - pad
            cells = range(-(-begin // up), (begin + kernel - 1) // up + 1)
            ends = (*cells[:turn], *cells[-turn:])      # of the others none reads further
            spans.append(union([self.span(i) for i in ends]))
        first, last = zip(*spans, strict=True)
        centre = Fraction(2 * -pad + kernel - 1, 2 * up)
        return Axis(self.stride * stride / up, self.start + self.stride * centre, first, last)


PIXELS = Axis(Fraction(1), Fraction(0), (0,), (0,))     # of the input itself
Field = tuple[Axis, Axis]                               # y and x
INPUT: Field = (PIXELS, PIXELS)


def union(spans: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The smallest span that holds all of these."""
    return (min((a for a, _ in spans), default=NOTHING[0]),
            max((b for _, b in spans), default=NOTHING[1]))


def merged(axes: Sequence[Axis]) -> Axis | None:
    """The axis of a blob whose cells read the same cells of several; None where their strides
    differ. Its start is the first one's."""
    one, *others = axes
    period = math.lcm(*(len(axis.first) for axis in axes))
    if any(axis.stride != one.stride for axis in others) or period > LONGEST:
        return None
    if not others:
        return one
    first, last = zip(*(union([axis.span(j) for axis in axes]) for j in range(period)),
                      strict=True)
    return Axis(one.stride, one.start, first, last)


def field_of(bottoms: Sequence[Field | None], reads: Sequence[Reads] | None) -> Field | None:
    """The field of a layer's tops from those of the bottoms that give them their values; None
    where it is the whole input or not known."""
    known = [field for field in bottoms if field is not None]
    if reads is None or len(known) < len(bottoms) or not known:
        return None
    axes = [merged([field[i] for field in known]) for i in (0, 1)]
    through = [axis and axis.through(each) for axis, each in zip(axes, reads, strict=True)]
    return (through[0], through[1]) if through[0] and through[1] else None


def misaligned(bottoms: Sequence[Field | None]) -> Fraction:
    """The most pixels by which cell 0 of one bottom lies off that of another; 0 where strides
    differ or nothing is known."""
    known = [field for field in bottoms if field is not None]
    off = Fraction(0)
    for i in (0, 1):
        starts = [field[i].start for field in known]
        if starts and len({field[i].stride for field in known}) == 1:
            off = max(off, max(starts) - min(starts))
    return off
