"""How a command shows an error: one line on stderr, its remedy in the words of the command line."""

import argparse
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from string import Formatter
from typing import Any, NoReturn

from ..errors import FcnError, Stopped
from ..files import unreadable
from .remedies import REMEDIES

OPTION = re.compile(r'(?<![\w-])--(?:[a-z][a-z0-9-]*|{\w+})')
COMMAND = re.compile(r'`fcn-repro ([a-z-]+)([^`]*)`')
MAKE = re.compile(r' \(make: [^)]*\)')
IN_CHECKOUT = Path(__file__).parents[2].joinpath('Makefile').is_file()


@contextmanager
def report_errors(parser: argparse.ArgumentParser | None = None) -> Iterator[None]:
    """Turn errors into a line on stderr and an exit status; also a decorator of a script's main.

    FcnError, and what the system says of a path: 1. Ctrl-C, SIGTERM and SIGHUP: 130, 143 and 129.
    A closed stdout (`| head`): 141, the shell's status after SIGPIPE. parser: that of the command,
    for remedies in its own options.
    """
    try:
        with signals_raise():
            yield
        sys.stdout.flush()
    except FcnError as error:
        show(error.with_remedy(remedy(error, parser)))
        sys.exit(1)
    except KeyboardInterrupt as stopped:
        say_stopped(Stopped(signal.SIGINT), stopped)
    except Stopped as stopped:
        say_stopped(stopped, stopped)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (OSError, UnicodeEncodeError) as error:      # of a name, where nothing says more
        show(unreadable(error, getattr(error, 'filename', None) or 'a name', 'Check the paths.'))
        sys.exit(1)


@contextmanager
def signals_raise() -> Iterator[None]:
    """Have the first SIGTERM or SIGHUP raise Stopped, and further ones wait for the end; a signal
    that is ignored (nohup) or has another handler stays so."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        for each in taken:
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)
    taken = [number for number in (signal.SIGTERM, signal.SIGHUP)
             if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def say_stopped(stopped: Stopped, raised: BaseException) -> NoReturn:
    """End with a line that names the signal, and what is left: the notes of what was raised, if it
    has any. The terminal may be gone."""
    left = '; '.join(getattr(raised, '__notes__', ())) or 'what was half-written is removed'
    with suppress(OSError):
        print(f'{stopped}; {left}', file=sys.stderr, flush=True)
    sys.exit(stopped.status)


def show(error: FcnError) -> None:
    """Print an error; bytes of a file's name that are no text as escapes."""
    text = f'error: {error}'
    print(text.encode('utf-8', 'backslashreplace').decode(), file=sys.stderr)


def remedy(error: FcnError, parser: argparse.ArgumentParser | None) -> str:
    """Return the first text for the error's code that fits: the command has its options and the
    error its facts; else the error's own remedy. Texts for make are shown in a checkout only.
    """
    if parser is None:
        return error.do
    texts = REMEDIES.get(error.code, ())
    known = set(OPTION.findall(parser.format_usage()))
    for text in (texts,) if isinstance(texts, str) else texts:
        if facts_of(text) <= error.facts.keys() and options_of(text, error.facts) <= known:
            return for_this_place(text).format(**error.facts)
    return error.do


def for_this_place(text: str) -> str:
    """Return a text, outside a checkout without its parts for make, `(make: ...)`."""
    return text if IN_CHECKOUT else MAKE.sub('', text)


def facts_of(text: str) -> set[str]:
    """Names of the facts that a remedy quotes."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def options_of(text: str, facts: Mapping[str, Any]) -> set[str]:
    """Options of the running command that a remedy names, also as --{fact}; those inside a
    `fcn-repro COMMAND ...` are that command's."""
    return {option.format(**facts) for option in OPTION.findall(COMMAND.sub('', text))}
