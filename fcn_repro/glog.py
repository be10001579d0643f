"""The log as Caffe writes it through glog: heads of lines, levels, environment variables.

Programs that read Caffe's logs take the time from the head and the words after it, and some look
for the source file that wrote a line. `at` names Caffe's file and line for a message.
"""

import getpass
import logging
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Any

from . import temporary
from .errors import FcnError

ROOT = logging.getLogger('fcn_repro')
# Lines of Caffe's log that this project's own tools do without: written after `setup` alone.
CAFFE = logging.getLogger('fcn_repro.caffe')
CAFFE.setLevel(logging.WARNING)
LETTERS = 'IWEF'
LEVELS = logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL     # glog's 0 to 3
# glog's settings and their defaults; each is a flag of `caffe` and a variable GLOG_<name>
SETTINGS: dict[str, bool | int | str] = {
    'logtostderr': False, 'alsologtostderr': False, 'minloglevel': 0, 'stderrthreshold': 2,
    'log_dir': ''}


def at(file: str, line: int, text: str | None = None) -> dict[str, Any]:
    """`extra` of a log call: the place in Caffe's sources, and the text there, where glog's line
    says more than this project's own log."""
    return {'caffe': (file, line, text)}


class Formatter(logging.Formatter):
    """Lines such as `I1126 20:05:11.123456  4242 solver.cpp:239] Iteration 0, loss = 2`.

    caffe: with the places and texts of `at`; False: with those of this project's own sources.
    """

    def __init__(self, caffe: bool = True) -> None:
        super().__init__()
        self.caffe = caffe

    def format(self, record: logging.LogRecord) -> str:
        here = record.filename, record.lineno, None
        file, line, text = getattr(record, 'caffe', here) if self.caffe else here
        stamp = datetime.fromtimestamp(record.created).strftime('%m%d %H:%M:%S.%f')
        return (f'{letter(record.levelno)}{stamp} {threading.get_native_id():5d} {file}:{line}] '
                f'{record.getMessage() if text is None else text}')


class StderrHandler(logging.Handler):
    """Writes to what sys.stderr is when a line comes: a program may replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


class LogFile(logging.FileHandler):
    """Appends to a file, which is no link; flags: more ones of os.open. OSError where it cannot be
    opened."""

    def __init__(self, path: str | os.PathLike, flags: int = 0) -> None:
        self.flags = flags
        super().__init__(path, encoding='utf-8')

    def _open(self) -> TextIOWrapper:
        opened = temporary.open_log(self.baseFilename, self.flags)
        return open(opened, 'a', encoding=self.encoding)


def letter(level: int) -> str:
    """glog's letter of a level of logging."""
    return LETTERS[max(0, sum(level >= each for each in LEVELS) - 1)]


def settings(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """glog's settings: those given, else GLOG_<name> of the environment, else the defaults.
    FcnError for a variable that is no number."""
    found: dict[str, Any] = {}
    for name, default in SETTINGS.items():
        text = os.environ.get(f'GLOG_{name}')
        if given and given.get(name) is not None:
            found[name] = given[name]
        elif text is None:
            found[name] = default
        elif isinstance(default, bool):
            found[name] = text[:1].lower() in ('', 't', 'y', '1')      # as glog: set, so true
        elif isinstance(default, int):
            if not re.fullmatch(r'\s*[-+]?[0-9]+\s*', text or '0'):
                raise FcnError(f"GLOG_{name} is '{text}', not a number",
                               do='Set it to 0 (INFO), 1 (WARNING), 2 (ERROR) or 3 (FATAL).')
            found[name] = int(text or 0)
        else:
            found[name] = text
    return found


def remove() -> None:
    """Undo setup: write no log of Caffe's kind any more."""
    for handler in [h for h in ROOT.handlers if isinstance(h.formatter, Formatter)]:
        ROOT.removeHandler(handler)
        handler.close()
    CAFFE.setLevel(logging.WARNING)


def setup(program: str, given: Mapping[str, Any] | None = None, to_stderr: bool = True) -> None:
    """Write the package's log as glog does; replaces what an earlier call set up.

    Lines from minloglevel on are written: to stderr all of them (to_stderr, logtostderr or
    alsologtostderr) or those from stderrthreshold on; and, where log_dir is set and logtostderr is
    not, to a file there. Without log_dir glog writes below /tmp; here no file is made.
    FcnError where that file cannot be made.
    """
    chosen = settings(given)
    remove()
    lowest = LEVELS[min(max(chosen['minloglevel'], 0), 3)]
    everything = to_stderr or chosen['logtostderr'] or chosen['alsologtostderr']
    handlers: list[tuple[logging.Handler, int]] = [
        (StderrHandler(),
         lowest if everything else LEVELS[min(max(chosen['stderrthreshold'], 0), 3)])]
    if chosen['log_dir'] and not chosen['logtostderr']:
        handlers.append((log_file(program, chosen['log_dir']), lowest))
    for handler, level in handlers:
        handler.setFormatter(Formatter())
        handler.setLevel(level)
        ROOT.addHandler(handler)
    ROOT.setLevel(lowest)
    CAFFE.setLevel(lowest)


def log_file(program: str, folder: str) -> logging.Handler:
    """The handler of glog's file PROGRAM.HOST.USER.log.INFO.DATE-TIME.PID, with its first lines;
    PROGRAM.INFO becomes a link to it."""
    now, host = datetime.now(), socket.gethostname()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):                 # no entry in the password file
        user = 'invalid-user'
    path = Path(folder, f'{program}.{host}.{user}.log.INFO.{now:%Y%m%d-%H%M%S}.{os.getpid()}')
    try:
        while path.is_symlink() or path.exists():      # a second log within a second
            path = path.with_name(f'{path.name}+')
        handler = LogFile(path, os.O_EXCL)
        handler.stream.write(f'Log file created at: {now:%Y/%m/%d %H:%M:%S}\n'
                             f'Running on machine: {host}\n'
                             'Log line format: [IWEF]mmdd hh:mm:ss.uuuuuu threadid file:line] '
                             'msg\n')
        handler.flush()
    except OSError as error:
        raise FcnError(f'the log cannot be written: {error.strerror}', file=str(path),
                       do='Set log_dir (GLOG_log_dir) to a folder that can be written.') from None
    with suppress(OSError):             # a file system without links, as in glog
        link = path.with_name(f'{program}.INFO')
        link.unlink(missing_ok=True)
        link.symlink_to(path.name)
    return handler


class Speed:
    """Iterations per second between the lines of a log, in Caffe's words."""

    def __init__(self, iteration: int = 0) -> None:
        self.since, self.iteration = time.perf_counter(), iteration

    def until(self, iteration: int, display: int) -> str:
        """`50.1 iter/s, 2s/100 iters`: the speed since the last call, or since the start."""
        seconds = time.perf_counter() - self.since
        rate = (iteration - self.iteration) / (seconds or 1)
        self.since, self.iteration = time.perf_counter(), iteration
        return f'{rate:.6g} iter/s, {seconds:.6g}s/{display} iters'
