"""What an experiment gives: tables with the paper's numbers and ours, curves, findings; as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..report.paper import UNITS, Stated, shown


@dataclass(frozen=True)
class Measured:
    """What was measured once: a seed of a run, or a time. values: {column of report.paper.UNITS, or
    of the table: number}, in its unit. facts: (what, value) of data, weights, seed, commit and
    hardware."""
    values: Mapping[str, float]
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Row:
    """A row of a table. stated: what the paper has; None for a control of ours. ours: one for each
    seed. needs: what is missing where it was not run. notes: of this row, in brackets."""
    label: str
    stated: Stated | None = None
    ours: tuple[Measured, ...] = ()
    needs: str = ''

    def values(self, column: str) -> list[float]:
        """Our numbers of a column, one a seed."""
        return [each.values[column] for each in self.ours if column in each.values]

    def text(self, column: str) -> str:
        """Our number of a column: the mean over the seeds and their standard deviation."""
        values = self.values(column)
        return spread_text(column, values) if values else ''


@dataclass(frozen=True)
class Table:
    """A table. columns: of its numbers, paper's and ours; more: columns that only ours have,
    {column: heading}. on: what the paper's were measured on; ours_on: what ours were."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    on: str = ''
    ours_on: str = ''
    more: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def row(self, label: str) -> Row | None:
        """The row of a label."""
        return next((row for row in self.rows if row.label == label), None)

    def heading(self, column: str) -> str:
        """A column's heading, with its unit where the numbers do not say it."""
        return self.more[column] if column in self.more else UNITS[column][0]


@dataclass(frozen=True)
class Chart:
    """Curves: [(name, [(x, y)])]."""
    title: str
    x: str
    y: str
    curves: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    log: bool = False


@dataclass(frozen=True)
class Finding:
    """What the paper found, and what came out here. measured: in words; '' if it was not. holds:
    None where it was not measured, or where the spread decides nothing. why: what explains it if it
    does not hold."""
    claim: str
    measured: str
    holds: bool | None
    why: str = ''

    @property
    def verdict(self) -> str:
        """In one or two words."""
        if not self.measured:
            return 'not run'
        return {True: 'holds', False: 'does not hold', None: 'undecided'}[self.holds]


@dataclass(frozen=True)
class Outcome:
    """The outcome of one experiment. source: of the paper's numbers. pictures: files that it wrote
    beside its own picture. failed: the error that ended it."""
    name: str
    title: str
    source: str
    mini: bool
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    pictures: tuple[Path, ...] = ()
    failed: str = ''
    made: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec='seconds'))

    @property
    def measured(self) -> bool:
        """Whether there is any number of ours."""
        return bool(self.charts) or any(row.ours for table in self.tables for row in table.rows)


def spread_text(column: str, values: Sequence[float]) -> str:
    """The mean of a column's numbers as it is printed, and the standard deviation of several."""
    text = shown(column, mean(values)) if column in UNITS else f'{mean(values):.4g}'
    if len(values) < 2 or stdev(values) == 0:
        return text
    return f'{text} ±{stdev(values):.1f}' if abs(mean(values)) < 1e4 else text


def as_json(outcome: Outcome) -> str:
    """The outcome as JSON: every number with what it was measured on; null where none was."""
    return json.dumps({
        'experiment': outcome.name, 'title': outcome.title, 'source': outcome.source,
        'miniature': outcome.mini, 'made': outcome.made, 'failed': outcome.failed or None,
        'tables': [_table(table) for table in outcome.tables],
        'charts': [{'title': chart.title, 'x': chart.x, 'y': chart.y,
                    'curves': [{'name': name, 'points': [list(map(_finite, point))
                                                         for point in points]}
                               for name, points in chart.curves]} for chart in outcome.charts],
        'findings': [{'claim': each.claim, 'measured': each.measured, 'holds': each.holds,
                      'why': each.why or None} for each in outcome.findings],
        'notes': list(outcome.notes), 'pictures': [path.name for path in outcome.pictures],
    }, indent=1, ensure_ascii=False) + '\n'


def _table(table: Table) -> dict[str, Any]:
    return {'title': table.title, 'paper_on': table.on, 'ours_on': table.ours_on,
            'columns': {column: {'heading': table.heading(column),
                                 'unit': UNITS[column][1] if column in UNITS else ''}
                        for column in (*table.columns, *table.more)},
            'rows': [_row(row) for row in table.rows], 'notes': list(table.notes)}


def _row(row: Row) -> dict[str, Any]:
    stated = row.stated
    return {'label': row.label,
            'paper': None if stated is None else {
                'source': stated.source, **stated.values, 'approximate': sorted(stated.about)},
            'ours': [{'values': {name: _finite(value) for name, value in each.values.items()},
                      **dict(each.facts)} for each in row.ours],
            'not_run': f'needs {row.needs}' if row.needs else None}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
