"""A net as aligned columns, for a terminal."""

from __future__ import annotations

from .describe import Drawn, Item
from .fusions import Fusion, alike, summary
from .words import (
    bytes_of,
    field_size,
    gathered,
    memory_of,
    named,
    parameters_of,
    plain,
    products_of,
    shaped,
    starts,
    strides,
    totals,
)

HEAD = ('layer', 'type', 'settings', 'shape', 'field', 'stride', 'offset', 'parameters', 'memory',
        'multiply-adds', 'top')
RIGHT = HEAD[HEAD.index('field'):-1]        # columns of numbers
WIDEST = 40


def text_of(drawn: Drawn) -> str:
    """The net as a text: a line for each top of each layer, the totals, why crops have their
    offsets, what passes fused, and the notes."""
    lines = [f'{plain(drawn.name)} ({plain(drawn.graph.file)}, {plain(drawn.state)})', '']
    lines += aligned([HEAD, *(row for item in drawn.items for row in rows(item, drawn))])
    lines += ['', *aligned_pairs(totals(drawn))]
    lines += section('crops', [f'{named(drawn.items[i].name)}: {plain(cut.words)}'
                               for i, cut in drawn.cuts.items()])
    lines += section('passes', [told([drawn.fusions[k] for k in group])
                                for group in alike(drawn.fusions)])
    lines += section('notes', gathered(drawn.notes, drawn.graph.file))
    return '\n'.join(line.rstrip() for line in lines) + '\n'


def told(group: list[Fusion]) -> str:
    """Fusions of one kind as a line: of many the names of their first layers."""
    first = group[0]
    what = first.what if len(group) == 1 else \
        f"{summary(group)}: {', '.join(fusion.layers[0][0] for fusion in group)}"
    return f'{first.of} ({plain(first.request)}): {plain(what)}'


def rows(item: Item, drawn: Drawn) -> list[tuple[str, ...]]:
    """The rows of a layer: its own numbers are in the first one."""
    first = (named(item.name), plain(item.node.type), plain(item.settings))
    last = parameters_of(item) or '-', bytes_of(memory_of(item, drawn)), products_of(item) or '-'
    out: list[tuple[str, ...]] = []
    for i, v in enumerate(item.tops):
        blob = drawn.blobs[v]
        middle = shaped(blob), field_size(blob), strides(blob), starts(blob)
        out.append((*(first if i == 0 else ('', '', '')), *middle,
                    *(last if i == 0 else ('', '', '')), named(blob.name)))
    return out or [(*first, '-', '-', '-', '-', *last, '-')]


def aligned(table: list[tuple[str, ...]]) -> list[str]:
    """Rows as lines; texts to the left, cut where they are long, numbers to the right."""
    table = [tuple(cell if len(cell) <= WIDEST or not i else f'{cell[:WIDEST - 1]}…'
                   for i, cell in enumerate(row)) for row in table]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ['  '.join(f'{cell:>{w}}' if name in RIGHT else f'{cell:<{w}}'
                      for name, cell, w in zip(HEAD, row, widths, strict=True))
            for row in table]


def aligned_pairs(pairs: list[tuple[str, str]]) -> list[str]:
    width = max(len(name) for name, _ in pairs)
    return [f'{name:<{width}}  {value}' for name, value in pairs]


def section(title: str, lines: list[str]) -> list[str]:
    """A headed list, or nothing."""
    return ['', f'{title}:', *(f'  {line}' for line in lines)] if lines else []
