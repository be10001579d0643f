"""A net's text for drawing: what a strict reader refuses in a layer is left out and noted.

`proto.prototxt` refuses fields and enum values that the schema lacks, as Caffe does. A drawing is
also wanted of a net of a fork whose caffe.proto is not here: bottoms and tops are enough for the
graph. So such fields are blanked, lines and all else staying where they are, and the text is read
again; the layer they were in is remembered, since nobody here knows what it computes.
"""

import re
from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from os import PathLike
from types import MappingProxyType
from typing import Any

from ..errors import FcnError, nearest
from ..proto.define import defined
from ..proto.dialects import (
    Dialect,
    dialect_of,
    dialects_with,
    find_dialect,
    use_dialect,
)
from ..proto.prototxt import NetText, filter_net, parse_net, read_text
from ..proto.scan import TOKEN
from ..proto.union import union

DEPTH = 100                             # protobuf's own limit on nested messages
LAYERS = 'layer', 'layers'
INPUTS = 'input', 'input_dim', 'input_shape'


@dataclass(frozen=True)
class Note:
    """Something that a reader of the drawing should know. line: in the net's file; layer: the name
    of the layer that it is about; index: its number in Drawn.layers, once known."""
    what: str
    line: int | None = None
    layer: str | None = None
    index: int | None = None

    def at(self, file: str) -> str:
        """The note as a line of text, with its place in the file."""
        place = f'{file}:{self.line}: ' if self.line else f'{file}: '
        return place + (f"layer '{self.layer}': " if self.layer else '') + self.what


@dataclass(frozen=True)
class Source:
    """A net's text as it was read. texts[i]: that of net.message.layer[i]; odd: {i: what in it is
    not in the schema}; notes: about the net's own fields."""
    net: NetText
    texts: tuple[str, ...]
    odd: dict[int, list[Note]]
    notes: tuple[Note, ...]


def read_source(path: str | PathLike, dialect: Dialect | str | None = None,
                define: Mapping[str, object] = MappingProxyType({})) -> Source:
    """The net of a prototxt file, as parse_source."""
    return parse_source(defined(read_text(path), define, str(path)), str(path), dialect)


def parse_source(text: str, file: str = '<text>', dialect: Dialect | str | None = None) -> Source:
    """The net of a prototxt text in a dialect (None: the one that its words tell, else that
    of all forks' words). FcnError with file and line for a text that is not prototxt, for one
    without a layer, and for what no reader can leave out."""
    found = ''
    if dialect is None:
        try:
            net = parse_net(text, file)
            dialect, found = dialect_of(net.message), net.found
        except FcnError:                # what follows says which words, and leaves them out
            dialect = union()
    outline = Outline(text, find_dialect(dialect))
    try:
        net = parse_net(text, file, dialect)
        outline.odd.clear()
    except FcnError:
        if not outline.blocks or not (outline.odd or outline.types):
            raise
        net = parse_net(outline.blanked(), file, dialect)
    net = replace(outline.typed(net), found=found)
    count = len(net.message.layer)
    first = count - len(outline.blocks)         # Input layers that the upgrade made of `input`
    inputs = '\n'.join(text[a:b] for a, b in outline.inputs)
    texts = [inputs] * first + [text[a:b] for a, b in outline.blocks]
    odd: dict[int, list[Note]] = {}
    for block, note in outline.odd:
        if block is not None:
            odd.setdefault(first + block, []).append(note)
    return Source(net, tuple(texts[:count]), odd,
                  tuple(note for block, note in outline.odd if block is None))


def filtered(source: Source, phase: int | str, level: int = 0, stages=()) -> list[int]:
    """The numbers, in source.net, of the layers that take part in a phase, level and stages."""
    kept, out = filter_net(source.net, phase, level, stages), []
    every, lines = source.net.message.layer, source.net.lines
    i = 0
    for layer, line in zip(kept.message.layer, kept.lines, strict=True):
        while lines[i] != line or content(every[i]) != content(layer):
            i += 1
        out.append(i)
        i += 1
    return out


def content(message: Any) -> bytes:
    """A message as bytes; unlike messages, those with a NaN equal themselves."""
    return message.SerializeToString(deterministic=True)


class Outline:
    """The places of a net's layers in its text, and of what its schema lacks.

    blocks: (start, end) of each layer's text, in order; inputs: those of the net's input fields;
    odd: (number of the layer or None, Note) of each field or value that the schema does not have;
    types: {number of the layer: its V1 type, which the schema lacks}.
    """

    def __init__(self, text: str, dialect: Dialect):
        self.text, self.dialect = text, dialect
        self.tokens = [m for m in TOKEN.finditer(text) if m.lastgroup != 'skip']
        self.blocks: list[tuple[int, int]] = []
        self.inputs: list[tuple[int, int]] = []
        self.odd: list[tuple[int | None, Note]] = []
        self.types: dict[int, str] = {}
        self._blanks: list[tuple[int, int, str]] = []
        self._ends = [m.start() for m in re.finditer('\n', text)]
        self._at = 0
        self._fields(dialect['NetParameter'].DESCRIPTOR, '', 0)

    # ---- walking the text --------------------------------------------------------------------

    def _token(self) -> str:
        return self.tokens[self._at].group() if self._at < len(self.tokens) else ''

    def _fields(self, descriptor, path, depth):
        """Walk the fields of a message up to its closing bracket, or to the end of the text."""
        while self._at < len(self.tokens) and self._token() not in ('}', '>'):
            start = self._at
            if self.tokens[start].lastgroup != 'word':
                self._at += 1                       # a separator, or what the parser will refuse
                continue
            name = self._token()
            self._at += 1
            field = descriptor.fields_by_name.get(name) if descriptor else None
            if self._token() == ':':
                self._at += 1
            self._value(field, name, path, depth)
            if descriptor is not None:
                self._found(descriptor, field, name, start, path, depth)

    def _value(self, field, name, path, depth):
        """Walk a field's value: a block, a list or a scalar."""
        if self._token() == '[':
            self._at += 1
            while self._at < len(self.tokens) and self._token() != ']':
                self._one(field, name, path, depth)
            self._at += 1
        else:
            self._one(field, name, path, depth)

    def _one(self, field, name, path, depth):
        start = self._at
        if self._token() in ('{', '<') and depth < DEPTH:
            self._at += 1
            inner = field.message_type if field is not None else None
            layer = not path and name in LAYERS
            if layer:
                self.blocks.append((self.tokens[start].start(), 0))
            self._fields(inner, f'{path}{name}.', depth + 1)
            self._at += 1
            if layer:
                self.blocks[-1] = self.blocks[-1][0], self._end()
            return
        self._at += 1
        while self._token()[:1] in ('"', "'") and self.tokens[start].group()[:1] in ('"', "'"):
            self._at += 1                           # adjacent strings are one
        if field is not None and field.enum_type and start < len(self.tokens):
            self._enum(field, start, path)

    def _end(self) -> int:
        return self.tokens[min(self._at, len(self.tokens)) - 1].end()

    # ---- what is found -----------------------------------------------------------------------

    def _found(self, descriptor, field, name, start, path, depth):
        """A field was walked: remember the text of a layer or an input, note an unknown one."""
        begin = self.tokens[start].start()
        if field is None:
            self._blanks.append((begin, self._end(), ''))
            self._note(f"{descriptor.name} has no field '{name}'{self._hint(descriptor, name)}",
                       start, depth)
        elif depth == 0 and name in LAYERS and self.blocks and self._token_before(start) != '[':
            first = self.blocks[-1]
            if begin < first[0] and '[' not in self.text[begin:first[0]]:
                self.blocks[-1] = begin, first[1]
        elif depth == 0 and name in INPUTS:
            self.inputs.append((begin, self._end()))

    def _token_before(self, at: int) -> str:
        return self.tokens[at - 1].group() if at else ''

    def _hint(self, descriptor, name) -> str:
        hint = use_dialect(dialects_with(descriptor.name, name)) \
            or nearest(name, list(descriptor.fields_by_name))
        return f'. {hint}' if hint else ''

    def _enum(self, field, start, path):
        """An enum's value was walked: note one that the schema lacks, and blank its field."""
        token = self.tokens[start]
        word = token.group()
        if token.lastgroup != 'word' or word in field.enum_type.values_by_name:
            return
        if path == 'layers.' and field.name == 'type':
            self.types[len(self.blocks) - 1] = word
            self._blanks.append((token.start(), token.end(), 'RELU'))
            return
        begin = token.start()
        head = re.search(r'\w+\s*:?\s*\Z', self.text[:begin][-200:])
        self._blanks.append((begin - (len(head.group()) if head else 0), token.end(), ''))
        self._note(f'{field.name} has no value {word}', start, path.count('.'))

    def _note(self, what, start, depth):
        layer = len(self.blocks) - 1 if depth else None
        self.odd.append((layer, Note(what, self._line_of(self.tokens[start].start()))))

    def _line_of(self, position: int) -> int:
        return bisect(self._ends, position) + 1

    # ---- results -----------------------------------------------------------------------------

    def blanked(self) -> str:
        """The text without what the schema lacks, each line in its place."""
        out, at = [], 0
        for begin, end, instead in sorted(self._blanks):
            if begin < at:                          # inside of another that goes
                continue
            out += [self.text[at:begin], instead, re.sub(r'[^\n]', '', self.text[begin:end])]
            at = end
        return ''.join([*out, self.text[at:]])

    def typed(self, net: NetText) -> NetText:
        """The net with the V1 types that the schema lacks as they are written."""
        if not self.types:
            return net
        message: Any = type(net.message)()
        message.CopyFrom(net.message)
        for block, name in self.types.items():
            message.layer[block - len(self.blocks)].type = name
        return replace(net, message=message)
