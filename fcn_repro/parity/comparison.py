"""One case: what was compared, how far each array is off, and the verdict."""

from typing import NamedTuple

import numpy as np

OK, DEPARTS, UNSUPPORTED = 'ok', 'DEPARTS', 'NOT SUPPORTED'


class Limits(NamedTuple):
    """The largest error that each kind of array may have: those of the goldens' README."""
    activations: float = 1e-5
    gradients: float = 1e-4         # of whole nets; those of single layers have `activations`
    losses: float = 1e-5
    params: float = 1e-4            # after iterations of a solver, and its history


class Gap(NamedTuple):
    """An array's error and its limit; note: what is to be said of it."""
    what: str
    error: float
    limit: float
    note: str = ''

    @property
    def departs(self):
        return not self.error <= self.limit             # NaN departs


class Case:
    """name: its path; gaps: one for every array that was compared; refused: why it cannot be
    checked, or None."""

    def __init__(self, name):
        self.name, self.gaps, self.refused = name, [], None

    @property
    def verdict(self):
        if self.refused is not None or not self.gaps:
            return UNSUPPORTED
        return DEPARTS if any(gap.departs for gap in self.gaps) else OK

    @property
    def worst(self):
        """The gap that is largest beside its limit, or None."""
        return max(self.gaps, default=None, key=lambda gap: (
            gap.departs, gap.error / gap.limit if gap.limit else gap.error))

    def compare(self, what, ours, golden, limit, room=0, sums=('sum', 'abs_sum')):
        """Compare with an Array. room: what each entry may differ by on top of that, of the shape
        of `ours` or 0; sums: those of the whole array that must agree too."""
        ours = np.asarray(ours)
        if ours.shape != golden.shape:
            return self.differ(what, f'has shape {ours.shape}, the golden {golden.shape}')
        room = np.broadcast_to(room, ours.shape).reshape(-1)[::golden.step]
        found = [(error(ours.reshape(-1)[::golden.step], golden.values.reshape(-1), room), '')]
        for name in sums if golden.step > 1 else ():
            if name in golden.sums:
                total = float((np.abs(ours) if name == 'abs_sum' else ours).sum(dtype=np.float64))
                gap = abs(total - golden.sums[name]) / (golden.sums.get('abs_sum') or 1)
                found.append((np.inf if np.isnan(gap) else gap, f'by its {name}'))
        self.gaps.append(Gap(what, max(found)[0], limit, max(found)[1]))

    def number(self, what, ours, golden, limit):
        """Compare numbers, or arrays entry by entry: each error is relative to its own golden."""
        if np.shape(ours) != np.shape(golden):
            return self.differ(what, f'has shape {np.shape(ours)}, the golden {np.shape(golden)}')
        found = [error(a, b) for a, b in zip(np.ravel(ours), np.ravel(golden))]
        self.gaps.append(Gap(what, max(found, default=0.0), limit))

    def equal(self, what, ours, golden):
        """What must be the same, whatever it is."""
        if ours == golden:
            self.gaps.append(Gap(what, 0.0, 0.0))
        else:
            self.differ(what, f'is {ours}, the golden {golden}')

    def exact(self, what, ours, golden):
        """Arrays that must be the same, shape and all."""
        self.near(what, ours, golden, 0.0)

    def near(self, what, ours, golden, limit):
        """Arrays by the measure of `error`."""
        if np.shape(ours) != np.shape(golden):
            return self.differ(what, f'has shape {np.shape(ours)}, the golden {np.shape(golden)}')
        self.gaps.append(Gap(what, error(ours, golden), limit))

    def spread(self, what, ours, golden, room):
        """Numbers that chance makes: they may be `room` apart."""
        self.gaps.append(Gap(what, abs(float(ours) - golden), room))

    def differ(self, what, note):
        self.gaps.append(Gap(what, np.inf, 0.0, note))

    def expect(self, what, ours, golden):
        """Names that both sides must have: what one of them lacks departs."""
        for name in golden:
            if name not in ours:
                self.differ(f'{what}/{name}', 'the net lacks it')
        for name in ours:
            if name not in golden:
                self.differ(f'{what}/{name}', 'the golden lacks it')
        return [name for name in golden if name in ours]


def error(ours, golden, room=0):
    """max|ours - golden| / max|golden|, or the gap itself where golden is 0; of each gap `room`
    is taken off. NaN, infinities and -FLT_MAX (what no value is, in Caffe's pooling) must stand at
    the same places, else the error is infinite; they are left out of the maxima."""
    ours, golden = np.asarray(ours, np.float64), np.asarray(golden, np.float64)
    odd = [~(np.abs(x) < np.finfo(np.float32).max) for x in (ours, golden)]
    same = (ours == golden) | (np.isnan(ours) & np.isnan(golden))
    if ((odd[0] | odd[1]) & ~same).any():
        return np.inf
    ours, golden = np.where(odd[0], 0, ours), np.where(odd[1], 0, golden)
    gap = np.maximum(np.abs(ours - golden) - room, 0).max(initial=0)
    return float(gap / (np.abs(golden).max(initial=0) or 1))
