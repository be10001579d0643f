"""curves.csv: the loss, the rate and the val scores of a training run, written while it trains."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_repro.errors import FcnError
from fcn_repro.files import read_regular
from fcn_repro.formats.atomic import write_text

FILE = 'curves.csv'
METRICS = 'pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu'
COLUMNS = 'iteration', 'seconds', 'loss', 'lr', *METRICS
POINTS = 1000           # rows of a run, about
Point = dict[str, float]


class Curves:
    """The file of a run, open to append rows. Rows beyond the iteration `start`, of an earlier
    process that went on from there without a snapshot, are dropped. FcnError where it cannot be
    written.

    path: of the file, or None to write nothing. start: the iteration that training begins after.
    """

    def __init__(self, path: Path | None, start: int = 0):
        self.path = path
        self.before = 0.
        if path is not None:
            kept = [point for point in read_curves(path) if point['iteration'] <= start]
            self.before = max((point.get('seconds', 0.) for point in kept), default=0.)
            write_curves(kept, path)

    def add(self, iteration: int, seconds: float, **values: float) -> None:
        """Append a row; seconds: of training, in this process. Values that are missing are
        empty."""
        if self.path is None:
            return
        point = {'iteration': iteration, 'seconds': self.before + seconds, **values}
        try:
            opened = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(opened, 'w') as file:
                file.write(line_of(point) + '\n')
        except OSError as error:
            raise FcnError(f'the curves cannot be written: {error.strerror}', file=str(self.path),
                           do='Check the folder, its permissions and the disk space.') from None


def line_of(point: Mapping[str, float]) -> str:
    """A row of the file, without its line end."""
    return ','.join('' if name not in point else f'{point[name]:.6g}' if name != 'iteration'
                    else str(int(point[name])) for name in COLUMNS)


def read_curves(path: Path) -> list[Point]:
    """The rows of a file of curves, [{column: value}] without the empty ones; [] where there is no
    such file. Rows that are cut short or damaged are left out. FcnError for what cannot be read."""
    if not os.path.lexists(path):
        return []
    text = read_regular(path, 'a file of curves').decode('utf-8', errors='replace')
    points = []
    for row in csv.DictReader(text.replace('\0', '').splitlines()):
        try:
            point = {name: float(row[name]) for name in COLUMNS if row.get(name)}
        except ValueError:
            continue
        whole = len(row) == len(COLUMNS) and None not in row.values()
        if whole and 0 <= point.get('iteration', -1) < math.inf:
            points.append(point)
    return points


def write_curves(points: Sequence[Point], path: Path) -> None:
    """Write a whole file of curves."""
    write_text(''.join(f'{line}\n' for line in (','.join(COLUMNS), *map(line_of, points))), path)


def complete_curves(path: Path, iteration: int, scores: Mapping[str, float]) -> None:
    """Put the val scores of a run's last iteration into its row; nothing where there is none."""
    points = read_curves(path)
    if points and points[-1]['iteration'] == iteration and METRICS[0] not in points[-1]:
        write_curves([*points[:-1], {**points[-1], **scores}], path)
