"""Progress of training: a bar on the screen, Caffe's log lines in a file."""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median

from tqdm import tqdm

from fcn_repro import glog
from fcn_repro.errors import FcnError
from fcn_repro.formats.atomic import is_full

ROOT = logging.getLogger('fcn_repro')
SETTLED = 5.0                   # seconds of iterations after which an estimate is worth printing
RECENT = 101                    # iterations by which the time of one is estimated


class LogFile(glog.LogFile):
    """Log file that raises an FcnError for a line that cannot be written; for a full disk, which
    may have room again by the time of the next snapshot, it only says so, once."""

    told_full = False

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            if not is_full(error):
                raise

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            raise error
        if is_full(error):
            if not self.told_full:
                print(f'{self.baseFilename}: {error.strerror}; lines will be missing here until '
                      'there is room', file=sys.stderr, flush=True)
            self.told_full = True
            return
        stream, self.stream = self.stream, None
        with suppress(OSError):         # its buffer cannot be written either
            stream.close()
        raise FcnError(f'the log cannot be written: {error.strerror}', file=self.baseFilename,
                       do='Check the folder, its permissions and the disk space.') from error


def log_to(path: str | Path) -> logging.Handler:
    """Append the package's log lines to a file; returns the handler. FcnError if it cannot be
    opened, or is a symbolic link."""
    for old in list(ROOT.handlers):
        ROOT.removeHandler(old)
        old.close()
    try:
        handler = LogFile(path)
    except OSError as error:
        raise FcnError(f'the log cannot be opened: {error.strerror}', file=str(path),
                       do='Check the folder and its permissions, or remove it.') from None
    handler.setFormatter(glog.Formatter(caffe=False))
    ROOT.setLevel(logging.INFO)
    glog.CAFFE.setLevel(logging.WARNING)
    ROOT.addHandler(handler)
    return handler


class TrainingBar:
    """Progress bar: iteration, time left, images/s, smoothed loss and learning rate; plain lines
    if stderr is not a terminal. solver: a Solver. images: consumed by one iteration. every:
    iterations between plain lines. announce: takes the seconds that are left, once they can be
    estimated.

    Time left and images/s are by the median of the last RECENT iterations, without the first one of
    this process, which also makes room and plans, and without what print_line does: another job
    that begins or ends, or a snapshot, moves it soon or not at all. Time left is shown once it
    rests on SETTLED seconds, or on as much time as is left."""

    def __init__(self, solver, images: int = 1, every: int = 50,
                 announce: Callable[[float], None] | None = None):
        self.solver, self.images, self.every, self.announce = solver, images, every, announce
        self.last: float | None = None
        self.times: deque[float] = deque(maxlen=RECENT)
        self.start = time.perf_counter()
        total = solver.param.max_iter
        self.bar = tqdm(total=total, initial=solver.iter, unit='it', dynamic_ncols=True,
                        disable=None if solver.processes.first else True,
                        bar_format='{percentage:3.0f}%|{bar}| iteration {n}/{total}{postfix}')

    def update(self) -> None:
        """Show the iteration that the solver has just finished."""
        s = self.solver
        self.measure(time.perf_counter())
        rate = f', {self.images / median(self.times):.1f} images/s' if self.times else ''
        if self.times and self.measured >= min(SETTLED, self.seconds_left):
            rate += f', {human(self.seconds_left)} left'
        text = f'loss {s.smoothed_loss:.4g}, lr {s.rate:.3g}{rate}'
        if not self.bar.disable:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif s.iter % self.every == 0 or s.iter == s.param.max_iter:
            print(f'iteration {s.iter}/{s.param.max_iter}: {text}', flush=True)

    def measure(self, now: float) -> None:
        """Take the time of the iteration that has ended now."""
        if self.last is None:
            self.start = now            # of the second one
        else:
            self.times.append(now - self.last)
        self.last = now
        if self.announce is not None and self.times and self.measured >= SETTLED:
            self.bar.clear()
            self.announce(self.seconds_left)
            self.bar.refresh()
            self.announce = None

    @property
    def measured(self) -> float:
        """Seconds of the iterations that were measured."""
        return (self.last or self.start) - self.start

    @property
    def seconds_left(self) -> float:
        """The time of the iterations that are left."""
        return median(self.times) * (self.solver.param.max_iter - self.solver.iter)

    def print_line(self, function: Callable[..., str], *args) -> None:
        """Print the line that a function returns, leaving its time out of the bar's estimates."""
        start = time.perf_counter()
        line = function(*args)
        took = time.perf_counter() - start
        self.start += took
        if self.last is not None:
            self.last += took
        self.bar.clear()
        print(line, flush=True)
        self.bar.refresh()

    def __enter__(self) -> 'TrainingBar':
        return self

    def __exit__(self, *error) -> None:
        self.bar.close()


def human(seconds: float) -> str:
    """Format a duration: 42 s, 3 min 20 s, 5 h 10 min, 12 days."""
    s = round(seconds)
    if s < 60:
        return f'{s} s'
    if s < 3600:
        return f'{s // 60} min {s % 60:02d} s'
    if s < 48 * 3600:
        return f'{s // 3600} h {s % 3600 // 60:02d} min'
    return f'{s / 86400:.0f} days'
