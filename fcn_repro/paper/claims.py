"""The paper's findings as comparisons of two rows, and whether they come out here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import mean, stdev

from ..report.paper import UNITS
from .outcome import Finding, Row, Table

NOTICEABLE = 1.0        # points of a metric: a smaller gain is none
UNKNOWN = 'Why is not known.'


@dataclass(frozen=True)
class Claim:
    """A finding about two rows: that `better` is above `than` in a column; with no_gain, that it is
    not noticeably above it; with same, that neither is. why: what is known about why it may not
    come out in miniature; shown only if it does not. Without it a finding that does not hold says
    that nothing is known."""
    text: str
    better: str
    than: str
    column: str = 'mean_iu'
    no_gain: bool = False
    same: bool = False
    why: str = ''


def findings(claims: Sequence[Claim], tables: Sequence[Table], mini: bool) -> tuple[Finding, ...]:
    """What came out of each claim whose rows are there."""
    rows = {row.label: row for table in tables for row in table.rows}
    return tuple(judged(claim, rows[claim.better], rows[claim.than], mini) for claim in claims
                 if claim.better in rows and claim.than in rows)


def judged(claim: Claim, better: Row, than: Row, mini: bool) -> Finding:
    """Compare the two rows seed by seed. A difference counts if it is more than two standard errors
    of its mean; with one seed, which has none, if it is noticeable."""
    pairs = list(zip(better.values(claim.column), than.values(claim.column), strict=False))
    if not pairs:
        return Finding(claim.text, '', None)
    gains = [a - b for a, b in pairs]
    gain = mean(gains)
    error = stdev(gains) / sqrt(len(gains)) if len(gains) > 1 else None
    if claim.no_gain or claim.same:
        holds = below(abs(gain) if claim.same else gain, error or 0.)
    else:
        holds = is_gain(gain, NOTICEABLE if error is None else 2 * error)
    why = claim.why or (UNKNOWN if holds is False else '')
    return Finding(claim.text, words(claim, pairs, gain, error), holds,
                   why if mini and not holds else '')


def is_gain(gain: float, least: float) -> bool | None:
    """Whether there is a gain; None for a difference of at most `least`, either way."""
    return gain > 0 if abs(gain) > least else None


def below(gain: float, error: float) -> bool | None:
    """Whether a gain is below what is noticeable; None where twice the error hides it."""
    if gain + 2 * error <= NOTICEABLE:
        return True
    return False if gain - 2 * error > NOTICEABLE else None


def words(claim: Claim, pairs: Sequence[tuple[float, float]], gain: float,
          error: float | None) -> str:
    """The two numbers and their difference."""
    name, unit = UNITS[claim.column]
    first, second = (mean(values) for values in zip(*pairs, strict=True))
    seeds = f'{len(pairs)} seeds, standard error {error:.1f}' if error is not None else \
        'one seed, so the spread is not known'
    return (f'{claim.better} {first:.1f}, {claim.than} {second:.1f} ({name}, {unit}): '
            f'{gain:+.1f}; {seeds}.')
