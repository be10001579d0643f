"""The measure of every comparison with a golden: error and limit of an array, verdict on a case.

The error of an array is max|ours - golden| / max|golden|. Tests and tools all use this definition,
these limits and these rules for NaN.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
import torch

from .golden import Array

OK, DEPARTS, UNSUPPORTED = 'ok', 'DEPARTS', 'NOT SUPPORTED'
KNOWN, AGREES = 'known difference', 'AGREES NOW'        # of cases with a known difference

LARGEST = np.finfo(np.float32).max


class Limits(NamedTuple):
    """The largest error allowed for each kind of array."""
    activations: float = 1e-5       # also gradients of single layers
    gradients: float = 1e-4         # of whole nets
    losses: float = 1e-5
    params: float = 1e-4            # after iterations of a solver, and its history


# By precision (docs/numerics.md). Beyond fp32 rounding decides at many maxima and ReLUs of a net,
# and a run drifts away: of gradients and params these limits tell little more than their size.
FP32 = Limits()
COARSE = Limits(1e-2, 3e-1, 1e-2, 5e-1)
LIMITS = {'fp32': FP32, 'tf32': COARSE, 'fp16': COARSE, 'bf16': Limits(5e-2, 1.0, 1e-1, 2.0)}


class Gap(NamedTuple):
    """The error of one array, its limit, and a remark such as 'has shape (2, 3), ...'."""
    what: str
    error: float
    limit: float
    note: str = ''

    @property
    def departs(self) -> bool:
        return not self.error <= self.limit             # NaN departs


class KnownDifference(NamedTuple):
    """Why a case departs, and which of its arrays may: shell patterns of their names, and the
    largest error that each excuses, all by default. Arrays with a largest error differ by rounding,
    on some machines and not on others. No patterns: the case cannot be checked."""
    reason: str
    arrays: tuple[str, ...] = ('*',)
    largest: tuple[float, ...] = ()

    @property
    def limits(self) -> Sequence[tuple[str, float]]:
        """(pattern, the largest error that it excuses) of each."""
        largest = self.largest or (np.inf,) * len(self.arrays)
        return list(zip(self.arrays, largest, strict=True))

    def excuses(self, gap: Gap) -> bool:
        return any(fnmatchcase(gap.what, pattern) and gap.error <= most
                   for pattern, most in self.limits)


class Comparison:
    """The arrays of one case, each compared with its golden.

    name: path of the case in its folder. gaps: one for each array compared. refusal: why the case
    cannot be checked, or None. known: its known difference, or None.
    """

    def __init__(self, name: str, known: KnownDifference | None = None):
        self.name, self.known = name, known
        self.gaps: list[Gap] = []
        self.refusal: str | None = None

    @property
    def departing(self) -> list[Gap]:
        """The gaps beyond their limits that no known difference explains."""
        return [gap for gap in self.gaps
                if gap.departs and not (self.known and self.known.excuses(gap))]

    @property
    def verdict(self) -> str:
        if self.refusal is not None or not self.gaps:
            return KNOWN if self.known and not self.known.arrays else UNSUPPORTED
        if self.departing:
            return DEPARTS
        if self.known is None:
            return OK
        differing = [gap.what for gap in self.gaps if gap.departs]
        still = all(any(fnmatchcase(what, pattern) for what in differing) or most < np.inf
                    for pattern, most in self.known.limits)
        if not still or not self.known.arrays:
            return AGREES
        return KNOWN if differing else OK

    @property
    def worst(self) -> Gap | None:
        """The gap that is largest in relation to its limit; of those that depart, if any do."""
        return max(self.departing or self.gaps, default=None, key=lambda gap: (
            gap.departs, gap.error / gap.limit if gap.limit else gap.error))

    def compare(self, what: str, ours: Any, golden: Array, limit: float, allowance: Any = 0,
                sums: Iterable[str] = ('sum', 'abs_sum')) -> None:
        """Compare an array or tensor with a golden, which may be stored in part.

        allowance: by how much each entry may differ on top of the limit, of the shape of `ours`, or
        a number. sums: the sums of the whole array to compare where only a part is stored.
        """
        ours = to_array(ours)
        if ours.shape != golden.shape:
            return self.fail(what, f'has shape {ours.shape}, the golden {golden.shape}')
        found = [(error(golden.sample(ours), golden.values.reshape(-1),
                        golden.sample(np.broadcast_to(to_array(allowance), ours.shape))), '')]
        for name in sums if golden.step > 1 else ():
            if name in golden.sums:
                total = float((np.abs(ours) if name == 'abs_sum' else ours).sum(dtype=np.float64))
                gap = abs(total - golden.sums[name]) / (golden.sums.get('abs_sum') or 1)
                found.append((np.inf if np.isnan(gap) else gap, f'by its {name}'))
        worst, note = max(found)
        self.gaps.append(Gap(what, worst, limit, note))

    def compare_numbers(self, what: str, ours: Any, golden: Any, limit: float) -> None:
        """Compare numbers entry by entry, each relative to its own golden."""
        if self._same_shape(what, ours, golden):
            found = [error(a, b) for a, b in zip(np.ravel(ours), np.ravel(golden), strict=True)]
            self.gaps.append(Gap(what, max(found, default=0.0), limit))

    def near(self, what: str, ours: Any, golden: Any, limit: float) -> None:
        """Compare whole arrays by `error`; a limit of 0 asks for equal values."""
        ours = to_array(ours)
        if self._same_shape(what, ours, golden):
            self.gaps.append(Gap(what, error(ours, golden), limit))

    def exact(self, what: str, ours: Any, golden: Any) -> None:
        """Compare arrays that must be equal."""
        self.near(what, ours, golden, 0.0)

    def equal(self, what: str, ours: Any, golden: Any) -> None:
        """Compare values of any type by ==."""
        if ours == golden:
            self.gaps.append(Gap(what, 0.0, 0.0))
        else:
            self.fail(what, f'is {ours}, the golden {golden}')

    def within(self, what: str, ours: float, golden: float, distance: float) -> None:
        """Compare numbers that may lie an absolute distance apart, such as random statistics."""
        self.gaps.append(Gap(what, abs(float(ours) - golden), distance))

    def fail(self, what: str, note: str) -> None:
        """Record a difference that no number measures."""
        self.gaps.append(Gap(what, np.inf, 0.0, note))

    def common(self, what: str, ours: Collection[str],
               golden: Mapping[str, Any] | Collection[str]) -> list[str]:
        """The names that both sides have; each name that one of them lacks departs."""
        for name in golden:
            if name not in ours:
                self.fail(f'{what}/{name}', 'the net lacks it')
        for name in ours:
            if name not in golden:
                self.fail(f'{what}/{name}', 'the golden lacks it')
        return [name for name in golden if name in ours]

    def _same_shape(self, what: str, ours: Any, golden: Any) -> bool:
        if np.shape(ours) != np.shape(golden):
            self.fail(what, f'has shape {np.shape(ours)}, the golden {np.shape(golden)}')
        return np.shape(ours) == np.shape(golden)


def error(ours: Any, golden: Any, allowance: Any = 0) -> float:
    """max|ours - golden| / max|golden|, or max|ours - golden| where the golden is all 0.

    allowance: subtracted from each gap. NaN, infinities and -FLT_MAX (an empty window of Caffe's
    max pooling) must be at the same places, else the error is infinite; they do not enter the
    maxima. Two empty arrays have the error 0. ValueError for arrays of different shapes.
    """
    ours, golden = (to_array(x).astype(np.float64) for x in (ours, golden))
    if ours.shape != golden.shape:
        raise ValueError(f'shapes {ours.shape} and {golden.shape} cannot be compared')
    special = [~(np.abs(x) < LARGEST) for x in (ours, golden)]
    same = (ours == golden) | (np.isnan(ours) & np.isnan(golden))
    if ((special[0] | special[1]) & ~same).any():
        return np.inf
    ours, golden = (np.where(odd, 0, x) for odd, x in zip(special, (ours, golden), strict=True))
    gap = np.maximum(np.abs(ours - golden) - to_array(allowance), 0).max(initial=0)
    return float(gap / (np.abs(golden).max(initial=0) or 1))


def to_array(x: Any) -> np.ndarray:
    """The NumPy array of a tensor on any device, an array or a number; bfloat16 as float32."""
    if isinstance(x, torch.Tensor):
        x = x.detach().cpu()
        x = (x.float() if x.dtype == torch.bfloat16 else x).numpy()
    return np.asarray(x)
