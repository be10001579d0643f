"""Parse the prototxt text that people and programs usually write, ten times as fast as text_format.

Plain text has `name: value` and `name { ... }` with numbers in decimal, strings in one piece and
lists of numbers. Whatever else a text holds, and every fault, is left to text_format and scan,
which define the result: here it is the same message and the same places, or nothing.
"""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from google.protobuf import text_encoding, text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from .scan import ESCAPE, ESCAPES, LAYER, Occurrence

_INT = r'-?(?:0|[1-9][0-9]*+)'
_FLOAT = r'-?(?:(?:0|[1-9][0-9]*+)(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?'
_END = r'(?=[\s,;}\#]|\Z)'

# The group that matched last says what was found
TOKEN = re.compile(rf'''
    (?:[ \t\r\n]++|\#[^\n]*+)*+
    (?: ([A-Za-z_][A-Za-z_0-9]*+) [ \t\r\n]*+                           # 1: name {{
        (?: : [ \t\r\n]*+ (?: ({_INT}){_END} | ({_FLOAT}){_END}         # 2: int, 3: float
                            | "((?:[^"\\\n]++|\\[^\n])*+)"{_END}            # 4, 5: string
                            | '((?:[^'\\\n]++|\\[^\n])*+)'{_END}
                            | ([A-Za-z_][A-Za-z_0-9]*+){_END}           # 6: word
                            | \[ ( [ \t\r\n]*+ {_FLOAT} [ \t\r\n]*+     # 7: list of numbers
                                   (?: , [ \t\r\n]*+ {_FLOAT} [ \t\r\n]*+ )*+ ) \] )
            [ \t\r\n]*+ [,;]?+
          | :?+ [ \t\r\n]*+ \{{ )
      | (\}}) [ \t\r\n]*+ [,;]?+                                        # 8: end of a block
      | \Z
      | (.) )                                                           # 9: not plain
    ''', re.VERBOSE | re.DOTALL)
BLOCK, INT, FLOAT, DOUBLE_QUOTED, QUOTED, WORD, LIST, END, OTHER = range(1, 10)

BOOLS = {'true': True, 'false': False, '1': True, '0': False}
Convert = dict[int, Callable[[str], Any]]


class Field(NamedTuple):
    """How a field of a message is read: {group of TOKEN: its text to a value}, or as a block."""
    repeated: bool
    block: Descriptor | None
    convert: Convert


@cache
def fields_of(message: Descriptor) -> dict[str, Field]:
    """{name: Field} of a message type."""
    return {field.name: Field(field.is_repeated, field.message_type, _converters(field))
            for field in message.fields}


def _converters(field: FieldDescriptor) -> Convert:
    cpp = field.cpp_type
    if field.enum_type:
        numbers = {name: value.number for name, value in field.enum_type.values_by_name.items()}
        return {WORD: numbers.__getitem__}
    if cpp == field.CPPTYPE_BOOL:
        return {WORD: BOOLS.__getitem__, INT: BOOLS.__getitem__}
    if cpp == field.CPPTYPE_STRING:
        return {DOUBLE_QUOTED: _unescaped, QUOTED: _unescaped} \
            if field.type == field.TYPE_STRING else {}
    if cpp in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
        return {INT: float, FLOAT: float, LIST: float}
    return {} if field.message_type else {INT: int, LIST: int}


def _unescaped(text: str) -> str:
    """The value of a string between its quotes. ValueError for an escape that is none."""
    if '\\' not in text:
        return text
    if any(escape[1] not in ESCAPES for escape in ESCAPE.finditer(text)):
        raise ValueError(text)
    return text_encoding.CUnescape(text).decode()


def parse_plain(text: str, message: Any) -> tuple[list[Occurrence], str]:
    """Fill an empty message from a text; returns (what scan returns, '').

    ([], rest) where the text is not plain; the message is then empty again. rest: a text that has
    the first fault of `text` on the same line, if it has one: what stands before is left out.
    """
    parser, match = _Parser(text, message), None
    try:
        for match in TOKEN.finditer(text):
            if match.lastindex is None:     # the end
                break
            parser.take(match)
        if not parser.around and parser.found:
            return parser.found, ''
    except (LookupError, ValueError):       # also an unknown name, and a number out of range
        pass
    # a mark that ends the field before, or goes on with its string, cannot stand alone
    whole = match is None or (match[OTHER] or ' ') in ',;"\''
    rest = text if whole else parser.rest(len(text[:match.start()].rstrip(' \t\r\n')))
    message.Clear()
    return [], rest


def _singular(message: Any, but: str = '') -> str:
    """The fields of a message that it can have once, as text: numbers and strings as they are,
    blocks empty, without the block `but`."""
    scalars, blocks = type(message)(), []
    for field, value in message.ListFields():
        if field.is_repeated or field.name == but:
            continue
        if field.message_type:
            blocks.append(f'{field.name} {{ }} ')
        else:
            setattr(scalars, field.name, value)
    blocks.append(text_format.MessageToString(scalars, as_one_line=True) + ' ')
    return ''.join(blocks).lstrip(' ')


class _Parser:
    """The open message, those around it, and the places found so far."""

    def __init__(self, text: str, message: Any) -> None:
        self.text, self.message, self.fields = text, message, fields_of(message.DESCRIPTOR)
        self.around: list[tuple[Any, dict[str, Field], str]] = []
        self.found: list[Occurrence] = []
        self.line, self.counted = 1, 0          # `counted` is a position on this line

    def take(self, match: re.Match[str]) -> None:
        """Read one match of TOKEN; LookupError or ValueError where it is not plain."""
        kind = match.lastindex
        if kind == END:
            self.message, self.fields, _ = self.around.pop()
            return
        name = match[1]
        field = self.fields[name]
        if not self.around or (name == LAYER and len(self.around) == 1):
            self.place(name, match.start(1))
        if kind == BLOCK:
            self.open(name, field)
        elif field.repeated:
            values, convert = getattr(self.message, name), field.convert[kind]
            if kind == LIST:
                values.extend(map(convert, match[LIST].split(',')))
            else:
                values.append(convert(match[kind]))
        elif kind == LIST or self.message.HasField(name):
            raise ValueError(name)
        else:
            setattr(self.message, name, field.convert[kind](match[kind]))

    def open(self, name: str, field: Field) -> None:
        if field.block is None:
            raise ValueError(name)
        inner = getattr(self.message, name)
        if field.repeated:
            inner = inner.add()
        elif self.message.HasField(name):
            raise ValueError(name)
        else:
            inner.SetInParent()
        self.around.append((self.message, self.fields, name))
        self.message, self.fields = inner, fields_of(field.block)

    def rest(self, cut: int) -> str:
        """The text from a position on, at which a field or a block has ended, within the blocks
        that are open there; of all before only what a later field can contradict."""
        opened = ''.join(f'{_singular(message, name)}{name} {{ '
                         for message, _, name in self.around)
        return '\n' * self.text.count('\n', 0, cut) + opened + _singular(self.message) \
            + self.text[cut:]

    def place(self, name: str, start: int) -> None:
        """Note the line of a field as scan does."""
        path = (self.around[0][2], name) if self.around else (name,)
        self.line += self.text.count('\n', self.counted, start)
        self.counted = start
        self.found.append(Occurrence(path, self.line))
