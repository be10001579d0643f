"""Progress of training: a bar on the screen, Caffe's log lines in a file."""

import logging
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from fcn_repro import glog
from fcn_repro.errors import FcnError

ROOT = logging.getLogger('fcn_repro')


class LogFile(glog.LogFile):
    """Log file that raises an FcnError for a line that cannot be written."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):
            raise error
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
    iterations between plain lines."""

    def __init__(self, solver, images: int = 1, every: int = 50):
        self.solver, self.images, self.every = solver, images, every
        self.start, self.first = time.perf_counter(), solver.iter
        total = solver.param.max_iter
        self.bar = tqdm(total=total, initial=solver.iter, unit='it', dynamic_ncols=True,
                        disable=None if solver.processes.first else True,
                        bar_format='{percentage:3.0f}%|{bar}| iteration {n}/{total}{postfix}, '
                        '{remaining} left')

    def update(self) -> None:
        """Show the iteration that the solver has just finished."""
        s = self.solver
        done = s.iter - self.first
        seconds = time.perf_counter() - self.start
        text = (f'loss {s.smoothed_loss:.4g}, lr {s.rate:.3g}, '
                f'{done * self.images / seconds:.1f} images/s')
        if not self.bar.disable:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif s.iter % self.every == 0 or s.iter == s.param.max_iter:
            left = seconds / done * (s.param.max_iter - s.iter)
            print(f'iteration {s.iter}/{s.param.max_iter}: {text}, '
                  f'{human(left)} left', flush=True)

    def print_line(self, function: Callable[..., str], *args) -> None:
        """Print the line that a function returns, leaving its time out of the bar's estimates."""
        start = time.perf_counter()
        line = function(*args)
        self.start += time.perf_counter() - start
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
