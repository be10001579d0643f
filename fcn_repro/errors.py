"""The error class of the project, and helpers for writing good messages."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any

CONTROL = re.compile(r'[\0-\x1f\x7f-\x9f]')
LONGEST = 2000                  # characters of a sentence; a longer one is cut in the middle
NO_MEMORY = ('allocate memory', 'enough memory', 'out of memory', 'size calculation overflowed',
             'bad_alloc')       # torch's and the C++ library's words


class FcnError(Exception):
    """A fault that the user can correct: what is wrong, where, and what to do about it.

    what: one sentence with both numbers (found, expected) where there are two.
    items: lines that follow it, where there is a list to show.
    do: the remedy, one sentence in the words of the Python API: parameters, never options of a
    command line.
    code: a stable name of the fault ('run-stopped'), by which a front end looks up a remedy in its
    own words; facts: {name: value} that such a remedy may quote.
    file, line: the place in a text; line counts from 1.
    layer, type: the layer's name and its Caffe type.
    origin: 'FILE:LINE' of the layer in a text, where `file` is what it reads.
    """

    def __init__(self, what: str, *, do: str = '', code: str = '',
                 facts: Mapping[str, Any] | None = None, file: str | PathLike[str] | None = None,
                 line: int | None = None, layer: str | None = None,
                 type: str | None = None, origin: str = '', items: Sequence[str] = ()) -> None:
        self.what, self.do = escaped(short(what)), escaped(short(do), lines=True)
        self.file, self.line = file, line
        self.code, self.facts = code, dict(facts or {})
        self.layer, self.type = (text and escaped(short(text, 200)) for text in (layer, type))
        self.origin = escaped(origin)
        self.items = tuple(escaped(short(item)) for item in items)
        super().__init__(str(self))

    def __str__(self) -> str:
        where = ''
        if self.file is not None:
            where += escaped(f'{self.file}:{self.line}: ' if self.line else f'{self.file}: ')
        if self.layer is not None:
            where += f"layer '{self.layer}'" + (f' ({self.type})' if self.type else '')
            where += (f' of {self.origin}' if self.origin else '') + ': '
        text = '\n'.join([where + self.what + ':' * bool(self.items), *self.items])
        if self.do:
            text += ('' if text.endswith('.') else '.') + ' ' + self.do
        return text

    def at(self, *, file: str | PathLike[str] | None = None, line: int | None = None,
           layer: str | None = None, type: str | None = None, origin: str = '') -> FcnError:
        """Return a copy, of the same class, with the parts of its place that it lacks."""
        return self.__class__(self.what, do=self.do, code=self.code, facts=self.facts,
                              file=self.file or file, line=self.line or line,
                              layer=self.layer or layer, type=self.type or type,
                              origin=self.origin or origin, items=self.items)

    def with_remedy(self, do: str) -> FcnError:
        """Return a copy, of the same class, with another remedy."""
        return self.__class__(self.what, do=do, code=self.code, facts=self.facts, file=self.file,
                              line=self.line, layer=self.layer, type=self.type,
                              origin=self.origin, items=self.items)


class Stopped(BaseException):
    """A signal that ends the process in order, as KeyboardInterrupt does: what is half-written is
    removed on the way out. status: the shell's, 128 + the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(f'stopped by {signal.Signals(number).name}')
        self.status = 128 + number


class located:
    """Context manager that gives an FcnError without a file this file, and the line, layer and type
    of a node of it, and one of a file that the node reads the node's place as its origin; out of
    memory becomes an FcnError too.

    node: may be set anew inside, so that one `with` serves a loop over the nodes.
    """

    def __init__(self, file: str | PathLike[str] | None, node: Any = None) -> None:
        self.file, self.node = file, node

    def __enter__(self) -> located:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if error is None:
            return
        place = {} if self.node is None else {'line': self.node.line, 'layer': self.node.name,
                                              'type': self.node.type}
        if isinstance(error, FcnError) and error.file is None:
            raise error.at(file=self.file, **({} if error.layer else place)) from None
        if isinstance(error, FcnError) and self.reads(error):
            raise error.at(origin=f'{self.file}:{self.node.line}') from None
        if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(
                words in str(error) for words in NO_MEMORY)):
            raise FcnError(f'out of memory: {str(error).partition(chr(10))[0]}',
                           do='Make the input or the net smaller, or free memory.',
                           file=self.file, **place) from error

    def reads(self, error: FcnError) -> bool:
        """Whether an error is about a file that the node reads, and does not say so yet."""
        return bool(self.file and self.node and self.node.line and not error.origin and
                    error.layer == self.node.name and str(error.file) != str(self.file))


def escaped(text: str, lines: bool = False) -> str:
    """Return the text with its control characters as Python writes them, \\x00: names come from
    files, and would be obeyed by a terminal. lines: the text may have several."""
    return CONTROL.sub(lambda found: found[0] if lines and found[0] == '\n' else
                       ascii(found[0])[1:-1], text)


def short(text: str, longest: int = LONGEST) -> str:
    """Return the text, or its beginning and end where it is longer than that."""
    if len(text) <= longest:
        return text
    return f'{text[:longest // 2]} … ({len(text)} characters) … {text[-longest // 4:]}'


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'x'?" with the known name that an unknown one misspells; '' without one.

    A misspelling differs in case and underscores, or in one character of 3 to 7 (two of 8 or more;
    a swap of neighbours is one) and not in the first: names that are merely alike may mean another
    thing, as DepthwiseConvolution and Deconvolution do, or fc6 and fc7.
    """
    def plain(text: str) -> str:
        return text.lower().replace('_', '')

    def digits(text: str) -> str:
        return ''.join(filter(str.isdigit, text))

    short_name, best = plain(name)[:200], None
    for each in known:
        other = plain(each)
        same_number = digits(other) == digits(short_name)
        allowed = 0 if len(short_name) < 3 + (not same_number) else 1 if len(short_name) < 8 else 2
        distance = 0 if other == short_name else edits(short_name, other, allowed)
        alike = distance == 0 or other[:1] == short_name[:1]
        if distance <= allowed and alike and (best is None or distance < best[0]):
            best = distance, each
    return f"Did you mean '{best[1]}'?" if best else ''


def known_names(known: Iterable[str], most: int = 10) -> str:
    """Return a sentence that lists the names that there are, at most the first `most`."""
    names = list(dict.fromkeys(known))
    more = len(names) - most
    return f'Known: {", ".join(names[:most]) or "none"}{f" and {more} more" if more > 0 else ""}.'


def edits(a: str, b: str, most: int) -> int:
    """The number of insertions, deletions, replacements and swaps of neighbours that make one text
    of the other; more than `most` is most + 1."""
    if abs(len(a) - len(b)) > most:
        return most + 1
    before, row = list(range(len(b) + 1)), list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return min(row[-1], most + 1)
