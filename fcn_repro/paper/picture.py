"""The picture of an outcome: curves, or bars of the paper's numbers and ours."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev

from ..formats.atomic import write_bytes
from ..report.paper import UNITS
from .outcome import Chart, Outcome, Row, Table

WIDTH = 9               # inches
PAPER, OURS = '#9aa4b0', '#0b63c5'
MAIN = 'mean_iu'        # the column that is drawn, where a table has it


def draw(outcome: Outcome, path: Path) -> bool:
    """Write the picture, a PNG; False where there is nothing of ours to draw."""
    panels: list[Chart | Table] = [*outcome.charts, *drawable(outcome)]
    if not panels:
        return False
    from matplotlib.figure import Figure  # not pyplot, which looks for a display

    heights = [3.6 if isinstance(panel, Chart) else 0.9 + 0.42 * len(bars_of(panel))
               for panel in panels]
    figure = Figure(figsize=(WIDTH, 0.5 + sum(heights)), dpi=110, layout='constrained')
    figure.suptitle(outcome.title + (', in miniature' if outcome.mini else ''), fontsize=11)
    grid = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for panel, axes in zip(panels, grid[:, 0], strict=True):
        curves(panel, axes) if isinstance(panel, Chart) else bars(panel, axes)
        axes.spines[['top', 'right']].set_visible(False)
    file = io.BytesIO()
    figure.savefig(file, format='png')
    write_bytes(file.getvalue(), path)
    return True


def drawable(outcome: Outcome) -> Iterator[Table]:
    """The tables with numbers of ours."""
    return (table for table in outcome.tables if any(row.ours for row in table.rows))


def column_of(table: Table) -> str:
    """The column of a table that is drawn."""
    columns = (*table.columns, *table.more)
    return MAIN if MAIN in columns else columns[0]


def bars_of(table: Table) -> list[Row]:
    """The rows that have a number in the drawn column."""
    column = column_of(table)
    return [row for row in table.rows if row.values(column) or (
        row.stated is not None and column in row.stated.values)]


def bars(table: Table, axes) -> None:
    """Two horizontal bars a row: the paper's number and ours, with its spread."""
    column, rows = column_of(table), bars_of(table)
    for i, row in enumerate(reversed(rows)):
        if row.stated is not None and column in row.stated.values:
            axes.barh(i + 0.2, row.stated.values[column], 0.36, color=PAPER)
            axes.text(row.stated.values[column], i + 0.2, f' {row.stated.text(column)}',
                      va='center', fontsize=8, color='#555')
        if values := row.values(column):
            axes.barh(i - 0.2, mean(values), 0.36, color=OURS,
                      xerr=stdev(values) if len(values) > 1 else None)
            axes.text(mean(values), i - 0.2, f' {row.text(column)}', va='center', fontsize=8)
    axes.set_yticks(range(len(rows)), [row.label for row in reversed(rows)], fontsize=8)
    unit = UNITS[column][1] if column in UNITS else ''
    axes.set_xlabel(f'{table.heading(column)}{f", {unit}" if unit else ""}; grey: paper, blue: '
                    'ours' + (' (other data)' if table.ours_on not in ('', 'the same') else ''),
                    fontsize=8)
    axes.margins(x=0.12)
    if table.title:
        axes.set_title(table.title, fontsize=9, loc='left')


def curves(chart: Chart, axes) -> None:
    """The curves of a chart."""
    for name, points in chart.curves:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, label=name, linewidth=1.2)
    if chart.log:
        axes.set_yscale('log')
    axes.set_xlabel(chart.x, fontsize=9)
    axes.set_ylabel(chart.y, fontsize=9)
    axes.set_title(chart.title, fontsize=9, loc='left')
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize=8, edgecolor='none')
