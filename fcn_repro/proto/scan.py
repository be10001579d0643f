"""Where things stand in a text: the fields of a protobuf text with their lines.

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


class Occurrence(NamedTuple):
    """One field in a text: the names of the blocks around it and its own, and its line."""
    path: tuple
    line: int


@dataclass
class Block:
    """An open block: the field being read, how many blocks it has had, whether in a [list]."""
    name: str = ''
    blocks: int = 0
    in_list: bool = False


def check_utf8(text, file):
    """FcnError where bytes that are no UTF-8 (read as surrogates) stand outside of comments:
    protobuf's parser takes them for a fault of its own."""
    odd = re.compile('[\udc80-\udcff]')
    for match in TOKEN.finditer(text) if odd.search(text) else ():
        if match.lastgroup != 'skip' and odd.search(match.group()):
            raise FcnError('this line is not UTF-8', file=file, do='Save the file as UTF-8.',
                           line=text.count('\n', 0, match.start()) + 1)


def scan(text, file):
    """All fields of a protobuf text in order, [Occurrence]; each element of a list of blocks
    (`layer: [{...}, {...}]`) counts as one."""
    found, stack, before, line = [], [Block()], '', 1
    for match in TOKEN.finditer(text):
        kind, token = match.lastgroup, match.group()
        block = stack[-1]
        if kind == 'skip':
            line += token.count('\n')
            continue
        if kind == 'number' and not NUMBER.fullmatch(token):
            raise FcnError(f'{token} is not a number', file=file, line=line,
                           do='Write it in plain decimal digits.')
        if kind == 'string' and (
                bad := next((e[0] for e in ESCAPE.finditer(token) if e[1] not in ESCAPES), '')):
            raise FcnError(f'{bad} in {short(token, 100)} is not an escape', file=file, line=line,
                           do=r'Write a backslash as \\.')
        if kind == 'word' and before not in (':', '-') and not block.in_list:
            block.name, block.blocks = token, 0
            found.append(Occurrence(tuple(b.name for b in stack), line))
        elif kind == 'mark' and token in '{<':
            if block.blocks:
                found.append(Occurrence(tuple(b.name for b in stack), line))
            block.blocks += 1
            stack.append(Block())
        elif kind == 'mark' and token in '}>':
            stack.pop()
        elif kind == 'mark' and token in '[]':
            block.in_list = token == '['
            if before + token == '[]':
                found.pop()
        before = token
    return found
