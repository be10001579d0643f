"""Charts of training logs: the eight types of Caffe's tools/extra/plot_training_log.py.example."""

import io
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import write_bytes

from .caffelog import SHARED, Row, TrainingLog, read_log

FilePath = str | os.PathLike
CHARTS = tuple((what, along) for what in ('Test accuracy', 'Test loss', 'Train learning rate',
                                          'Train loss') for along in ('Iters', 'Seconds'))
COLUMNS = {'Iters': 'NumIters', 'Seconds': 'Seconds'}
AXES = {'Iters': 'iteration', 'Seconds': 'seconds since the start'}
FORMATS = '.png', '.pdf', '.svg'
MARKED = 40             # points of a curve up to which each is marked


def plot_logs(chart: int, output: FilePath, logs: Sequence[FilePath]) -> None:
    """Draw a chart of one or several logs to a .png, .pdf or .svg file.

    chart: an index into CHARTS, Caffe's numbers. A log gives one curve, or one for each test net
    and each accuracy or loss; a restart begins a new piece of it in the same colour. FcnError for
    an unknown chart or file type, and for a log that lacks what is to be drawn.
    """
    if not 0 <= chart < len(CHARTS):
        raise FcnError(f'there is no chart type {chart}', do='Known are: ' + '; '.join(
            f'{i} {what} vs. {along}' for i, (what, along) in enumerate(CHARTS)) + '.')
    if Path(output).suffix.lower() not in FORMATS:
        raise FcnError("the picture's name does not end in .png, .pdf or .svg", file=str(output),
                       do='Name it so.')
    what, along = CHARTS[chart]
    curves = {}
    for path, name in zip(logs, labels(logs), strict=True):
        for part, points in curves_of(read_log(path), what, along, path).items():
            curves[f'{name}{part}'] = points
    write_bytes(draw(curves, what, along, Path(output).suffix[1:].lower()), output)


def labels(logs: Sequence[FilePath]) -> list[str]:
    """Names for the legend: those of the files without '.log', or whole paths where two agree."""
    short = [Path(path).name.removesuffix('.log') for path in logs]
    return short if len(set(short)) == len(short) else [os.fspath(path) for path in logs]


def curves_of(log: TrainingLog, what: str, along: str,
              path: FilePath) -> dict[str, list[tuple[float, float]]]:
    """{what to add to the log's name: [(x, y), …]} of one log: a curve for each test net and each
    output that the chart is about. A point (nan, nan) where training starts again."""
    if what == 'Train loss':
        tables = {'': [(row, row['loss']) for row in log.losses]}
    elif what == 'Train learning rate':
        tables = {'': [(row, row['LearningRate']) for row in log.rates]}
    else:
        tables = {}
        for net, rows in sorted(log.test.items()):
            names = chosen(rows, what)
            for name in names:
                part = (f', net #{net}' if len(log.test) > 1 else '') \
                    + (f', {name}' if len(names) > 1 else '')
                tables[part] = [(row, row[name]) for row in rows if name in row]
    curves = {part: broken([(row[COLUMNS[along]], y) for row, y in table], [
        row['NumIters'] for row, _ in table]) for part, table in tables.items() if table}
    if not any(math.isfinite(x) for points in curves.values() for x, _ in points):
        missing = 'times' if any(curves.values()) else what.lower()
        raise FcnError(f'the log has no {missing}', file=str(path), do='Draw another chart type.')
    return curves


def chosen(rows: list[Row], what: str) -> list[str]:
    """The outputs that are accuracies or losses by the last part of their names ('loss3/top-1' is
    an accuracy); where none is, the one at the place that Caffe's script takes: #0 or #1."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row)
             if name not in SHARED]
    losses = [name for name in names if 'loss' in last_part(name)]
    if what == 'Test loss':
        return losses or names[1:2]
    return [name for name in names if re.search('acc|top', last_part(name))] or [
        name for name in names[:1] if name not in losses]


def last_part(name: str) -> str:
    return name.rpartition('/')[2].lower()


def broken(points: list[tuple[float, float]],
           iterations: list[float]) -> list[tuple[float, float]]:
    """The points with a gap wherever the iterations go back, at a restart."""
    out = points[:1]
    for i in range(1, len(points)):
        if iterations[i] < iterations[i - 1]:
            out.append((math.nan, math.nan))
        out.append(points[i])
    return out


def draw(curves: dict[str, list[tuple[float, float]]], what: str, along: str,
         kind: str) -> bytes:
    """The picture's file. Values that are not finite leave gaps."""
    from matplotlib.figure import Figure  # not pyplot, which looks for a display

    figure = Figure(figsize=(8, 5), dpi=120, layout='constrained')
    axes = figure.add_subplot()
    for name, points in curves.items():
        x, y = zip(*points, strict=True)
        axes.plot(x, y, label=name, linewidth=1.5, marker='o' if len(x) <= MARKED else None,
                  markersize=3.5)
    rates = [y for points in curves.values() for _, y in points if math.isfinite(y)]
    if what == 'Train learning rate' and rates and min(rates) > 0 and max(rates) > 8 * min(rates):
        axes.set_yscale('log')
    axes.set_title(f'{what} vs. {along}')
    axes.set_xlabel(AXES[along])
    axes.set_ylabel(what.lower())
    axes.grid(True, alpha=0.3)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='lower right' if what == 'Test accuracy' else 'upper right', framealpha=0.8,
                edgecolor='none')
    file = io.BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()
