"""Checks of the losses that a log of training records."""

import math
from collections.abc import Iterator

from .finding import DOUBT, FAULT, Finding
from .subject import Subject

ROWS = 5                # of a log, from which on it is judged
FEW = 20                # rows from which on a rise is judged, quarter against quarter
SAME = 1e-6             # relative: losses that differ by less are one number, %.6g of Caffe
RISE = 1.5              # of the last quarter's mean over the first's: noise of one image at a time
#                         averages out over a quarter of a run
SATURATED = 87.3        # -log of the smallest float: what a pixel adds when its class got 0


def losses(subject: Subject) -> Iterator[Finding]:
    """Losses of a log that are not finite, constant, saturated, or rise."""
    if subject.log is None:
        return
    rows = [row['loss'] for row in subject.log.losses if 'loss' in row]
    iterations = [int(row['NumIters']) for row in subject.log.losses if 'loss' in row]
    place = str(subject.sources.log)
    bad = [i for i, loss in zip(iterations, rows, strict=True) if not math.isfinite(loss)]
    if bad:
        yield Finding(FAULT, 'log-not-finite', 'the loss became NaN or infinite', f'from iteration '
                      f'{bad[0]} on, of {iterations[-1]}', 'Lower base_lr, and check the data.',
                      place)
        return
    if len(rows) < ROWS:
        return
    first, last = (sum(part) / len(part) for part in (rows[:len(rows) // 4 or 1],
                                                      rows[-(len(rows) // 4 or 1):]))
    if max(rows) - min(rows) <= SAME * max(map(abs, rows)):
        yield from constant(subject, rows, iterations, place)
    elif len(rows) >= FEW and last > RISE * first and last > 0:
        yield Finding(DOUBT, 'log-rises', 'the loss rose', f'{first:.4g} in the first quarter, '
                      f'{last:.4g} in the last', 'Lower base_lr.', place)


def constant(subject: Subject, rows: list[float], iterations: list[int],
             place: str) -> Iterator[Finding]:
    """The finding of a loss that never moved, with what the number means."""
    classes = subject.anatomy.classes if subject.usable else 0
    meaning = ''
    if abs(rows[0] - SATURATED) < 0.1:
        meaning = ': that of a class whose probability is 0, so scores have exploded'
    elif classes > 1 and abs(rows[0] - math.log(classes)) < 1e-3:
        meaning = f': ln {classes}, that of {classes} equal scores: the output is zero'
    elif rows[0] == 0:
        meaning = ': no pixel counts, or all are of one class'
    yield Finding(FAULT, 'log-constant', f'the loss never changed{meaning}', f'{rows[0]:.6g} at '
                  f'iteration {iterations[0]} and {rows[-1]:.6g} at {iterations[-1]}',
                  'Check that the weights were copied, that the upsampling is bilinear, and the '
                  'labels; then the rate.', place)
