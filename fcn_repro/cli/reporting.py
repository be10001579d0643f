"""How a command shows an error: one line on stderr, its remedy in the words of the command line."""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import FcnError
from .remedies import REMEDIES

OPTION = re.compile(r'(?<![\w-])--[a-z][a-z0-9-]*')
MAKE = re.compile(r' \(make: [^)]*\)')
IN_CHECKOUT = Path(__file__).parents[2].joinpath('Makefile').is_file()


@contextmanager
def report_errors(parser: argparse.ArgumentParser | None = None) -> Iterator[None]:
    """Turn errors into a line on stderr and an exit status; also a decorator of a script's main.

    FcnError: 1. KeyboardInterrupt: 130. A reader of stdout that has gone (`| head`): 141, as the
    signal would have it. parser: that of the command, for remedies in its own options.
    """
    try:
        yield
        sys.stdout.flush()
    except FcnError as error:
        print(f'error: {error.with_remedy(remedy(error, parser))}', file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def remedy(error: FcnError, parser: argparse.ArgumentParser | None) -> str:
    """Return the first text for the error's code whose options the command has, else the error's
    own remedy. What make does instead is mentioned in a checkout alone."""
    if parser is None:
        return error.do
    texts = REMEDIES.get(error.code, ())
    known = set(OPTION.findall(parser.format_usage()))
    for text in (texts,) if isinstance(texts, str) else texts:
        if set(OPTION.findall(text)) <= known:
            text = text if IN_CHECKOUT else MAKE.sub('', text)
            return text.format(**error.facts)
    return error.do
