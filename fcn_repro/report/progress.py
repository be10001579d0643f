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
RECENT = 101            # iterations by which the time of one is estimated
SETTLED = 5.0           # seconds of iterations after which an estimate is worth printing
STEADY = 10             # iterations of which the second half has to be about as fast as the first
FASTER = 1.25           # how many times as fast it may be
SLOW = 60.0             # seconds after which slow iterations, fewer than STEADY, are believed
FEW = 3                 # but not fewer than these, unless no more are left
CHANGED = 1.5           # an estimate so many times off is corrected,
LITTLE = 60.0           # unless it is only so many seconds off


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
    estimated, and again where they turn out to be others. pause: iterations between two calls of
    print_line, 0 for none.

    Time left is the median time of the last RECENT iterations for each one to come, and that of
    print_line for each of its calls, once there was one. The first iteration of this process, which
    also makes room and plans, is left out; and nothing is said of the time left while iterations
    become faster, as the first ones do (see `settled`)."""

    def __init__(self, solver, images: int = 1, every: int = 50,
                 announce: Callable[[float], None] | None = None, pause: int = 0):
        self.solver, self.images, self.every, self.announce = solver, images, every, announce
        self.pause = pause
        self.last: float | None = None
        self.times: deque[float] = deque(maxlen=RECENT)
        self.pauses: list[float] = []
        self.measured = 0.
        self.known = False
        self.told: float | None = None
        self.again = SETTLED
        total = solver.param.max_iter
        self.bar = tqdm(total=total, initial=solver.iter, unit='it', dynamic_ncols=True,
                        disable=None if solver.processes.first else True,
                        bar_format='{percentage:3.0f}%|{bar}| iteration {n}/{total}{postfix}')

    def update(self) -> None:
        """Show the iteration that the solver has just finished."""
        s = self.solver
        self.measure(time.perf_counter())
        rate = f', {self.images / median(self.times):.1f} images/s' if self.times else ''
        if self.known:
            rate += f', {human(self.seconds_left)} left'
        text = f'loss {s.smoothed_loss:.4g}, lr {s.rate:.3g}{rate}'
        if not self.bar.disable:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif s.iter % self.every == 0 or s.iter == s.param.max_iter:
            print(f'iteration {s.iter}/{s.param.max_iter}: {text}', flush=True)

    def measure(self, now: float) -> None:
        """Take the time of the iteration that has ended now."""
        if self.last is not None:
            self.times.append(now - self.last)
            self.measured += now - self.last
        self.last = now
        if not self.known and self.settled:
            self.known = True
            while len(self.times) > STEADY:         # those that were slower
                self.times.popleft()
        if self.announce is not None and self.known and self.is_news(now):
            self.bar.clear()
            self.announce(self.seconds_left)
            self.bar.refresh()
            self.told, self.again = now + self.seconds_left, self.measured + self.again

    @property
    def settled(self) -> bool:
        """Whether the iterations that were measured tell the time of those to come: they are
        SETTLED seconds and the last STEADY of them do not become faster any more; or as much time
        as is left; or SLOW seconds, where iterations are slow."""
        times, half = list(self.times), STEADY // 2
        if not times or self.measured >= self.seconds_left:
            return bool(times)
        if len(times) < STEADY:
            return len(times) >= FEW and self.measured >= SLOW
        return self.measured >= SETTLED and \
            median(times[-STEADY:-half]) < FASTER * median(times[-half:])

    def is_news(self, now: float) -> bool:
        """Whether the time left is to be announced: the first time, and where the end that was
        announced is no longer to be expected; each time after twice as many seconds."""
        if self.measured < self.again or self.solver.iter >= self.solver.param.max_iter:
            return False
        if self.told is None:
            return True
        before, left = max(self.told - now, 1.), max(self.seconds_left, 1.)
        return abs(left - before) > LITTLE and max(before, left) > CHANGED * min(before, left)

    @property
    def seconds_left(self) -> float:
        """The time of the iterations that are left, and of what is printed between them."""
        s = self.solver
        last = s.param.max_iter
        pauses = (last - 1) // self.pause - s.iter // self.pause if self.pause else 0
        return median(self.times) * (last - s.iter) + \
            (median(self.pauses) * max(0, pauses) if self.pauses else 0.)

    def print_line(self, function: Callable[..., str], *args) -> None:
        """Print the line that a function returns, leaving its time out of that of iterations."""
        start = time.perf_counter()
        line = function(*args)
        took = time.perf_counter() - start
        self.pauses.append(took)
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
