"""How names, shapes and numbers of a net are shown, in a terminal and in a picture."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..sizes import size
from .describe import FLOAT, Blob, Drawn, Item
from .reading import Note

UNITS = '', 'k', 'M', 'G', 'T', 'P', 'E'


def plain(text: str) -> str:
    """A text of one line; what cannot be printed is written as an escape."""
    return ''.join(c if c.isprintable() else f'\\u{ord(c):04x}' if ord(c) > 255 else
                   f'\\x{ord(c):02x}' for c in text)


def named(name: str) -> str:
    """A layer's or blob's name; Caffe allows an empty one."""
    return plain(name) or '(no name)'


def several(text: str) -> str:
    """A text of several lines, with only what XML can hold."""
    return '\n'.join(plain(line.expandtabs(4)) for line in text.splitlines())


def shaped(blob: Blob) -> str:
    """A blob's shape: '1×64×500×500', after ~ if something was assumed; '?' if unknown."""
    if blob.shape is None:
        return '?'
    return ('' if blob.sure else '~') + ('×'.join(map(str, blob.shape)) or 'scalar')


def counted(count: int | None) -> str:
    """A large number in three digits: '181 G'; '?' if unknown."""
    if count is None:
        return '?'
    power = min(max((len(str(count)) - 1) // 3, 0), len(UNITS) - 1)
    return f'{count / 1000 ** power:.3g} {UNITS[power]}'.strip() if power else str(count)


def field_size(blob: Blob) -> str:
    """The receptive field: '404', '3×5' (height and width), 'all', or '?'."""
    if blob.field is None:
        return 'all' if blob.whole else '?' if blob.shape is None else '-'
    return pair([axis.size for axis in blob.field])


def strides(blob: Blob) -> str:
    """Pixels of the input from one cell to the next."""
    return pair([axis.stride for axis in blob.field]) if blob.field else '-'


def starts(blob: Blob) -> str:
    """The pixel of the input at the centre of cell 0, from 0."""
    return pair([axis.start for axis in blob.field]) if blob.field else '-'


def pair(values: Sequence[int | Fraction]) -> str:
    return '×'.join(dict.fromkeys(f'{float(v):.6g}'.replace('-', '−') for v in values))


def memory_of(item: Item, drawn: Drawn) -> int | None:
    """Bytes of a layer's tops; 0 for those in its bottoms' memory, None if unknown."""
    blobs = [drawn.blobs[v] for v in item.tops]
    if any(blob.shape is None for blob in blobs):
        return None
    return FLOAT * sum(blob.count for blob in blobs if blob.new)


def parameters_of(item: Item) -> str:
    """How many parameters of its own a layer has: '' for none, '?' for an unknown type."""
    return counted(item.count) if item.params else '' if item.known else '?'


def products_of(item: Item) -> str:
    """A layer's multiply-adds: '' for none, '?' if unknown."""
    return '' if item.macs == 0 else counted(item.macs)


def bytes_of(count: int | None) -> str:
    return '?' if count is None else size(count) if count else '0'


def totals(drawn: Drawn) -> list[tuple[str, str]]:
    """The totals of a net, each with its name; those that are not all known say so."""
    least = '' if drawn.whole else 'at least '
    inputs = [drawn.blobs[v] for item in drawn.items if not item.bottoms for v in item.tops]
    images = ', '.join(f'{named(blob.name)} {shaped(blob)}' for blob in inputs[:3])
    found = [
        ('layers', str(len(drawn.items))),
        ('input', images + (', …' if len(inputs) > 3 else '') or 'none'),
        ('parameters', f'{least}{drawn.params:,} ({bytes_of(FLOAT * drawn.params)})'),
        ('multiply-adds', f'{least}{counted(drawn.macs)}'),
        ('blobs', f'{least}{bytes_of(drawn.activations)}'),
    ]
    if drawn.inference is not None:
        found.append(('memory, forward', bytes_of(drawn.inference)))
    if drawn.training is not None and drawn.phase == 'TRAIN':
        found.append(('memory, forward and backward', bytes_of(drawn.training)))
    if drawn.unknown:
        found.append(('blobs of unknown shape', str(drawn.unknown)))
    return found


def gathered(notes: Sequence[Note], file: str) -> list[str]:
    """The notes as lines, those of many layers that say the same as one."""
    found: dict[str, list[Note]] = {}
    for note in notes:
        found.setdefault(note.what, []).append(note)
    out = []
    for (first, *more) in found.values():
        also = f' (and {len(more)} more layer{"s" * (len(more) > 1)})' if more else ''
        out.append(plain(first.at(file)) + also)
    return out
