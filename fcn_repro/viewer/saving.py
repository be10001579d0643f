"""Write a drawing, over an earlier drawing or nothing: never over another kind of file."""

from __future__ import annotations

import os
from os import PathLike

from ..errors import FcnError
from ..formats.atomic import write_text

MARKS = b'made by fcn-repro draw', b'<svg xmlns="http://www.w3.org/2000/svg" class="net"'
FIRST = 1000            # bytes in which the mark is


def save(text: str, path: str | PathLike) -> None:
    """Write a page or an SVG. FcnError (code 'not-a-drawing') where a file that is no drawing has
    this name, and where it cannot be written."""
    if os.path.isfile(path):
        with open(path, 'rb') as file:
            head = file.read(FIRST)
        if head and not any(mark in head for mark in MARKS):
            raise FcnError('there is a file of this name, and it is no drawing', file=path,
                           code='not-a-drawing', do='Give another name, or remove it first.')
    write_text(text, path)
