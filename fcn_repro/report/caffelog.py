"""Training logs of Caffe, and of this project, as tables (tools/extra/parse_log.py in Caffe)."""

import csv
import datetime
import io
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fcn_repro.errors import FcnError
from fcn_repro.files import read_regular
from fcn_repro.formats.atomic import make_folder, write_text

FilePath = str | os.PathLike
Row = dict[str, float]

NUMBER = r'([-+]?(?:nan|inf|1\.#[A-Z]+|\d*\.?\d+(?:[eE][-+]?\d+)?|\d+\.))'
HEAD = re.compile(r'\b[IWEF](\d{4})?(\d\d)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{1,6}) ')
CREATED = re.compile(r'Log file created at: (\d{4})/')
COUNT = r'(\d{1,15})'            # a longer one is none of Caffe's
ITERATION = re.compile(rf'Iteration {COUNT}(?!\d)')
NET = re.compile(rf'Iteration \d+, Testing net \(#{COUNT}\)')
OUTPUT = re.compile(rf'(Train|Test) net output #{COUNT}: (\S+) = ' + NUMBER)
RATE = re.compile(r'\blr = ' + NUMBER)
LOSS = re.compile(r'Iteration \d+.*, loss = ' + NUMBER)
SHARED = 'NumIters', 'Seconds', 'LearningRate'


@dataclass
class TrainingLog:
    """The tables of a log. Each row has NumIters, Seconds since training began (nan in a log
    without times), LearningRate and the outputs by name.

    train: a row per display; test: {number of the test net: its rows}; losses: rows with `loss`
    alone, the smoothed one; rates: rows without outputs, one per line that says the rate. All in
    the log's order: after a restart the iterations go back.
    """
    train: list[Row] = field(default_factory=list)
    test: dict[int, list[Row]] = field(default_factory=dict)
    losses: list[Row] = field(default_factory=list)
    rates: list[Row] = field(default_factory=list)


def read_log(path: FilePath) -> TrainingLog:
    """The tables of a log file, of any version of Caffe. Of a top with several values the second is
    called name[1]. FcnError for a file that cannot be read, is empty or is no such log.

    As in Caffe's parser LearningRate is the last one logged before the row, in the first row the
    second row's.
    """
    reader = _Reader()
    for seconds, line in _timed(_lines(path)):
        reader.add(seconds, line)
    log = reader.log
    if not (log.train or log.test or log.losses):
        raise FcnError('is no training log of Caffe: it has no loss and no output of a net',
                       file=str(path), do="Give what Caffe's train wrote to stderr, or its "
                                          'caffe.INFO file.')
    for rows in (log.train, *log.test.values(), log.losses):
        if len(rows) > 1 and math.isnan(rows[0]['LearningRate']):
            rows[0]['LearningRate'] = rows[1]['LearningRate']
    return log


class _Reader:
    """Fills a TrainingLog from the lines, one after another."""

    def __init__(self) -> None:
        self.log = TrainingLog()
        self.iteration, self.rate, self.net = -1, math.nan, 0
        self.open: dict[str, tuple[int, int]] = {}  # {phase: (net, last output) of its last row}

    def add(self, seconds: float, line: str) -> None:
        if found := ITERATION.search(line):
            self.iteration = int(found[1])
        if self.iteration < 0:
            return
        if found := NET.search(line):
            self.net = int(found[1])
        if found := RATE.search(line):
            self.rate = number(found[1])
            self.log.rates.append(self.row(seconds))
        if found := LOSS.search(line):
            self.log.losses.append(self.row(seconds) | {'loss': number(found[1])})
        if found := OUTPUT.search(line):
            self.output(seconds, *found.groups())

    def row(self, seconds: float) -> Row:
        return dict(zip(SHARED, (float(self.iteration), seconds, self.rate), strict=True))

    def output(self, seconds: float, phase: str, index: str, name: str, value: str) -> None:
        """Put one output into the last row of its table, or into a new one where that is of
        another iteration or has this output already."""
        net = self.net if phase == 'Test' else 0
        rows = self.log.test.setdefault(net, []) if phase == 'Test' else self.log.train
        last_net, last = self.open.get(phase, (-1, -1))
        if not rows or rows[-1]['NumIters'] != self.iteration or int(index) <= last \
                or net != last_net:
            rows.append(self.row(seconds))
        self.open[phase] = net, int(index)
        again = sum(each == name or each.startswith(f'{name}[') for each in rows[-1])
        rows[-1][f'{name}[{again}]' if again else name] = number(value)


def number(text: str) -> float:
    """A number as printf writes it on any system; Windows' 1.#QNAN and 1.#INF are nan and inf."""
    if '#' in text:
        return math.copysign(math.inf if 'INF' in text else math.nan, -(text[0] == '-') or 1)
    return float(text)


def _lines(path: FilePath) -> list[str]:
    text = read_regular(path, 'a log').decode('utf-8', errors='replace')
    if not text.strip():
        raise FcnError('the log is empty', file=str(path), do='Check the path; a run that has '
                       'just begun has written nothing yet.')
    return text.splitlines()


def _timed(lines: list[str]) -> Iterator[tuple[float, str]]:
    """(seconds since training began, line) of each line with glog's head, from the line 'Solving'
    on, or from the first where there is none; where no line has a head, (nan, line) of all."""
    heads = [HEAD.search(line) for line in lines]
    if not any(heads):
        yield from ((math.nan, line) for line in lines)
        return
    clock = _Clock(lines, heads)
    begin = next((i for i, line in enumerate(lines) if heads[i] and 'Solving' in line), 0)
    start = None
    for head, line in zip(heads[begin:], lines[begin:], strict=True):
        if head:
            time = clock.time(head)
            start = start or time
            yield (time - start).total_seconds(), line


class _Clock:
    """Times of glog's heads, which have no year in its older versions: it is the log's own, then
    one more whenever the month goes back."""

    def __init__(self, lines: list[str], heads: list[re.Match[str] | None]):
        created = next((found for line in lines[:20] if (found := CREATED.search(line))), None)
        self.year = int(created[1]) if created else 2001
        if any(head and head[2] + head[3] == '0229' for head in heads) and not created:
            self.year = 2000
        self.month = 0

    def time(self, head: re.Match[str]) -> datetime.datetime:
        month, day, hour, minute, second = (int(text) for text in head.groups()[1:6])
        if month < self.month:
            self.year += 1
        self.month = month
        year = min(max(int(head[1] or self.year), 1), 9998)     # what datetime takes
        return datetime.datetime(year, 1, 1) + datetime.timedelta(
            _day_of_year(year, month, day), 3600 * hour + 60 * minute + second,
            int(head[7].ljust(6, '0')))


def _day_of_year(year: int, month: int, day: int) -> int:
    """Days from 1 January; a day that the month lacks in this year runs on into the next."""
    return (datetime.date(year, min(max(month, 1), 12), 1) - datetime.date(year, 1, 1)).days \
        + day - 1


# ---- files -----------------------------------------------------------------------------------


def save_tables(log: TrainingLog, name: str, folder: FilePath, delimiter: str = ',') -> list[Path]:
    """Write the tables as NAME.train and NAME.test, NAME.test1 … for further test nets, into a
    folder; a table without rows is not written. Returns the paths. Where a log has no outputs of
    the train net, as the oldest, its table has the smoothed loss."""
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise FcnError(f'the delimiter is {delimiter!r}', do='Give one character.')
    make_folder(Path(folder))
    tables = {'train': log.train or log.losses} | {
        f'test{net or ""}': rows for net, rows in sorted(log.test.items())}
    paths = []
    for suffix, rows in tables.items():
        if rows:
            paths.append(Path(folder, f'{name}.{suffix}'))
            write_text(csv_text(rows, delimiter), paths[-1])
    return paths


def csv_text(rows: list[Row], delimiter: str) -> str:
    """Rows as CSV, a column for each name in any of them; a value that a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)),
                            delimiter=delimiter, restval='')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
