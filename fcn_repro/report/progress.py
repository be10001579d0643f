"""What a person sees while a net trains: a bar on the screen, Caffe's lines in a file."""

import logging
import sys
import time
from contextlib import suppress

from tqdm import tqdm

from fcn_repro.errors import FcnError

ROOT = logging.getLogger('fcn_repro')


class CaffeFormatter(logging.Formatter):
    """glog's line head, so that parsers of Caffe's logs find time, file and message."""

    def format(self, record):
        clock = time.strftime('%m%d %H:%M:%S', time.localtime(record.created))
        micro = int(record.created % 1 * 1e6)
        return (f'{record.levelname[0]}{clock}.{micro:06d} {record.process:5d} '
                f'{record.filename}:{record.lineno}] {record.getMessage()}')


class LogFile(logging.FileHandler):
    """A file in which no line is lost: FcnError where one cannot be written."""

    def handleError(self, record):
        error = sys.exception()
        if not isinstance(error, OSError):
            raise error
        stream, self.stream = self.stream, None
        with suppress(OSError):         # what it still holds cannot be written either
            stream.close()
        raise FcnError(f'the log cannot be written: {error.strerror}', file=self.baseFilename,
                       do='Check the folder, its rights and the space on the disk.') from error


def log_to(path):
    """Send the project's log lines to a file, added at its end; returns the handler."""
    for old in list(ROOT.handlers):
        ROOT.removeHandler(old)
        old.close()
    try:
        handler = LogFile(path, encoding='utf-8')
    except OSError as error:
        raise FcnError(f'the log cannot be opened: {error.strerror}', file=str(path),
                       do='Check the folder and its rights.') from None
    handler.setFormatter(CaffeFormatter())
    ROOT.setLevel(logging.INFO)
    ROOT.addHandler(handler)
    return handler


class TrainingBar:
    """iteration, time left, images/s, smoothed loss, learning rate; plain lines where the screen
    is no terminal. images: those that one iteration consumes."""

    def __init__(self, solver, images=1, every=50):
        self.solver, self.images, self.every = solver, images, every
        self.start, self.first = time.perf_counter(), solver.iter
        total = solver.param.max_iter
        self.bar = tqdm(total=total, initial=solver.iter, unit='it', dynamic_ncols=True,
                        disable=None, bar_format='{percentage:3.0f}%|{bar}| iteration {n}/{total}'
                        '{postfix}, {remaining} left')

    def update(self):
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

    def aside(self, function, *args):
        """Print the line that a function returns; its time is not that of an iteration."""
        start = time.perf_counter()
        line = function(*args)
        self.start += time.perf_counter() - start
        self.bar.clear()
        print(line, flush=True)
        self.bar.refresh()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()


def human(seconds):
    """A duration for people: 42 s, 3 min 20 s, 5 h 10 min, 12 days."""
    s = round(seconds)
    if s < 60:
        return f'{s} s'
    if s < 3600:
        return f'{s // 60} min {s % 60:02d} s'
    if s < 48 * 3600:
        return f'{s // 3600} h {s % 3600 // 60:02d} min'
    return f'{s / 86400:.0f} days'
