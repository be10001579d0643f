"""Line numbers in a protobuf text: its outermost fields in order, each with its line.

text_format gives no positions. This scan knows comments, strings and nesting and nothing of the
schema, so it runs on text that text_format has accepted.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

from ..errors import FcnError, short

TOKEN = re.compile(r'''
    (?P<skip>\s+|\#[^\n]*)
  | (?P<string>"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+')
  | (?P<number>\.?[0-9](?:[eE][+-](?=[0-9])|[\w.])*)
  | (?P<word>[A-Za-z_]\w*)
  | (?P<mark>.)''', re.VERBOSE | re.DOTALL)
# Python also reads 1_000, 0b11, 0o17 and "\q", which protobuf's C++ parser, and so Caffe, rejects
NUMBER = re.compile(
    r'0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*'
    r'|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?')

ESCAPE = re.compile(r'\\(.)', re.DOTALL)
ESCAPES = 'abfnrtvxXuU01234567?\'"\\'


LAYER = 'layer'


class Occurrence(NamedTuple):
    """One field in a text: the names of the blocks around it and its own, and its line."""
    path: tuple[str, ...]
    line: int


@dataclass
class Block:
    """An open block: the field being read, how many blocks it has had, whether in a [list]."""
    name: str = ''
    blocks: int = 0
    in_list: bool = False


def check_utf8(text: str, file: str) -> None:
    """Raise FcnError for bytes other than UTF-8 (read as surrogates) outside of comments.

    protobuf's own parser reports them as an internal error.
    """
    odd = re.compile('[\udc80-\udcff]')
    for match in TOKEN.finditer(text) if odd.search(text) else ():
        if match.lastgroup != 'skip' and odd.search(match.group()):
            raise FcnError('this line is not UTF-8', file=file, do='Save the file as UTF-8.',
                           line=text.count('\n', 0, match.start()) + 1)


def scan(text: str, file: str) -> list[Occurrence]:
    """The outermost fields of a protobuf text, and the layers in one of them, in order; each
    element of a list of blocks (`layer: [{...}, {...}]`) counts as one. FcnError for a number or
    an escape that Caffe's own parser rejects."""
    scanner = _Scanner()
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        if kind == 'skip':
            scanner.line += token.count('\n')
            continue
        if kind in ('number', 'string'):
            _check_value(kind, token, file, scanner.line)
        elif kind == 'word':
            scanner.word(token)
        else:
            scanner.mark(token)
        scanner.before = token
    return scanner.found


def _check_value(kind: str, token: str, file: str, line: int) -> None:
    if kind == 'number' and not NUMBER.fullmatch(token):
        raise FcnError(f'{token} is not a number', file=file, line=line,
                       do='Write it in plain decimal digits.')
    bad = [e[0] for e in ESCAPE.finditer(token) if e[1] not in ESCAPES] if kind == 'string' else []
    if bad:
        raise FcnError(f'{bad[0]} in {short(token, 100)} is not an escape', file=file, line=line,
                       do=r'Write a backslash as \\.')


class _Scanner:
    """The fields found so far, the open blocks, and the token before."""

    def __init__(self) -> None:
        self.found: list[Occurrence] = []
        self.stack, self.before, self.line = [Block()], '', 1

    def is_outer(self) -> bool:
        """Whether the field being read is one of those that are asked for."""
        return len(self.stack) == 1 or (len(self.stack) == 2 and self.stack[1].name == LAYER)

    def add(self) -> None:
        if self.is_outer():
            self.found.append(Occurrence(tuple(block.name for block in self.stack), self.line))

    def word(self, token: str) -> None:
        block = self.stack[-1]
        if self.before not in (':', '-') and not block.in_list:
            block.name, block.blocks = token, 0
            self.add()

    def mark(self, token: str) -> None:
        block = self.stack[-1]
        if token in '{<':
            if block.blocks:
                self.add()
            block.blocks += 1
            self.stack.append(Block())
        elif token in '}>':
            self.stack.pop()
        elif token in '[]':
            block.in_list = token == '['
            if self.before + token == '[]' and self.is_outer():
                self.found.pop()
