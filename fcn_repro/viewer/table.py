"""A net as aligned columns, for a terminal."""

from __future__ import annotations

from .describe import Drawn, Item
from .words import (
    bytes_of,
    counted,
    field_size,
    gathered,
    memory_of,
    named,
    plain,
    shaped,
    starts,
    strides,
    totals,
)

HEAD = ('layer', 'type', 'settings', 'top', 'shape', 'field', 'stride', 'offset', 'parameters',
        'memory', 'multiply-adds')
RIGHT = HEAD.index('field')         # columns of numbers, from here on
WIDEST = 40


def text_of(drawn: Drawn) -> str:
    """The net as a text: a line for each top of each layer, the totals, why crops have their
    offsets, what passes fused, and the notes."""
    lines = [f'{plain(drawn.name)} ({plain(drawn.graph.file)}, {plain(drawn.state)})', '']
    lines += aligned([HEAD, *(row for item in drawn.items for row in rows(item, drawn))])
    lines += ['', *aligned_pairs(totals(drawn))]
    lines += section('crops', [f'{named(drawn.items[i].name)}: {plain(cut.words)}'
                               for i, cut in drawn.cuts.items()])
    lines += section('passes', [f'{fusion.of} ({plain(fusion.request)}): {plain(fusion.what)}'
                                for fusion in drawn.fusions])
    lines += section('notes', gathered(drawn.notes, drawn.graph.file))
    return '\n'.join(line.rstrip() for line in lines) + '\n'


def rows(item: Item, drawn: Drawn) -> list[tuple[str, ...]]:
    """The rows of a layer: its own numbers are in the first one."""
    first = (named(item.name), plain(item.node.type), plain(item.settings))
    last = (counted(item.count) if item.params else '-', bytes_of(memory_of(item, drawn)),
            counted(item.macs) if item.macs != 0 else '-')
    out = []
    for i, v in enumerate(item.tops):
        blob = drawn.blobs[v]
        middle = (named(blob.name), shaped(blob), field_size(blob), strides(blob), starts(blob))
        out.append((*first, *middle, *last) if i == 0 else ('', '', '', *middle, '', '', ''))
    return out or [(*first, '-', '-', '-', '-', '-', *last)]


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines; texts to the left, cut where they are long, numbers to the right."""
    table = [tuple(cell if len(cell) <= WIDEST or not i else f'{cell[:WIDEST - 1]}…'
                   for i, cell in enumerate(row)) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ['  '.join(f'{cell:>{w}}' if i >= RIGHT else f'{cell:<{w}}'
                      for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            for row in table]


def aligned_pairs(pairs: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in pairs)
    return [f'{name:<{width}}  {value}' for name, value in pairs]


def section(title: str, lines: list[str]) -> list[str]:
    """A headed list, or nothing."""
    return ['', f'{title}:', *(f'  {line}' for line in lines)] if lines else []
