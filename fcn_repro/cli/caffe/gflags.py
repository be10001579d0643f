"""Flags in the grammar of gflags, which Caffe's programs use.

`--name=value`, `--name value`, with one dash or two; `--name` and `--noname` of a switch; words
and flags in any order; a hyphen in a name is an underscore; what follows a bare `--` are words.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...data.image import MOST_PIXELS
from ...errors import FcnError, nearest, short
from ...glog import SETTINGS

HELP = 'help', 'h', 'helpshort', 'helpfull'
INT32 = range(-2 ** 31, 2 ** 31)


@dataclass(frozen=True)
class Flag:
    """A flag, of the type of its default: bool, int, float or str. repeats: a str that may be given
    several times; its value has commas between them."""
    name: str
    default: bool | int | float | str
    help: str
    repeats: bool = False

    def after(self, earlier: Any, text: str) -> bool | int | float | str:
        """The value of a further text, after that of earlier ones."""
        return self.value(f'{earlier},{text}' if self.repeats and earlier else text)

    def value(self, text: str) -> bool | int | float | str:
        """The value that a text stands for; FcnError where it stands for none."""
        try:
            if isinstance(self.default, bool):
                return {'true': True, 't': True, 'yes': True, 'y': True, '1': True,
                        'false': False, 'f': False, 'no': False, 'n': False,
                        '0': False}[text.lower()]
            value = type(self.default)(text)
            if value not in INT32 if isinstance(value, int) else \
                    isinstance(value, float) and not math.isfinite(value):
                raise ValueError
            return value
        except (KeyError, ValueError):
            kind = {bool: 'true or false', int: 'a whole number of 32 bits',
                    float: 'a finite number'}
            raise FcnError(f"illegal value '{short(text, 80)}' for the flag '{self.name}'",
                           do=f'Give {kind[type(self.default)]}.') from None


# Of the actions that read images or databases of them; the limit of data.image
MAX_PIXELS = Flag('max_pixels', MOST_PIXELS, 'largest image that is read')

# glog's further flags, of all its versions, and their defaults: taken, without effect
WITHOUT_EFFECT: dict[str, bool | int | float | str] = {
    'v': 0, 'vmodule': '', 'colorlogtostderr': False, 'colorlogtostdout': False,
    'logtostdout': False, 'log_prefix': True, 'log_year_in_prefix': True, 'log_utc_time': False,
    'log_file_header': True, 'timestamp_in_logfile_name': True, 'log_link': '', 'logbufsecs': 30,
    'logbuflevel': 0, 'logcleansecs': 300, 'max_log_size': 1800, 'drop_log_memory': True,
    'stop_logging_if_full_disk': False, 'log_backtrace_at': '', 'symbolize_stacktrace': True,
    'alsologtoemail': '', 'logemaillevel': 999, 'logmailer': ''}
GLOG = tuple(Flag(name, default, "glog's")
             for name, default in (SETTINGS | WITHOUT_EFFECT).items())


def parse(words: Sequence[str], flags: Sequence[Flag]) -> tuple[argparse.Namespace, list[str]]:
    """(values of the flags, the other words) of a command line. glog's flags are taken as well;
    those not given are None, so that the environment decides. A help flag gives help=True.

    FcnError for a flag that is unknown, has no value or a wrong one.
    """
    known = {flag.name: flag for flag in (*flags, *GLOG)}
    found = argparse.Namespace(help=False, **{flag.name: None for flag in GLOG},
                               **{flag.name: flag.default for flag in flags})
    rest: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == '--':
            rest += left
            break
        if not word.startswith('-') or word == '-':
            rest.append(word)
            continue
        name, equals, text = word.lstrip('-').partition('=')
        name = name.replace('-', '_')
        if name in HELP:
            found.help = True
            continue
        off = name.removeprefix('no')
        if name not in known and off in known and isinstance(known[off].default, bool):
            name, equals, text = off, '=', 'false'
        if name not in known:
            hint = nearest(name, [flag.name for flag in flags])
            raise FcnError(f"unknown command line flag '{name}'",
                           do=hint or f"Known: {', '.join(sorted(f.name for f in flags))}, and "
                                      "glog's.")
        if not equals:
            if isinstance(known[name].default, bool):
                text = 'true'
            elif left:
                text = left.pop(0)
            else:
                raise FcnError(f"flag '{name}' is missing its argument", do=f'Give -{name}=….')
        setattr(found, name, known[name].after(getattr(found, name), text))
    return found, rest


def usage(flags: Sequence[Flag]) -> str:
    """The flags with their help and defaults, one a line."""
    width = max((len(flag.name) for flag in flags), default=0)
    return '\n'.join(f'  -{flag.name:{width}}  {flag.help} (default: {default_text(flag)})'
                     for flag in flags)


def default_text(flag: Flag) -> str:
    if isinstance(flag.default, bool):
        return str(flag.default).lower()
    return f'"{flag.default}"' if isinstance(flag.default, str) else str(flag.default)
