"""A net as an SVG: a box for each layer, in-place layers in their bottom's box, edges for blobs."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path

from ..errors import located
from .describe import Drawn, Item
from .layout import Box, Edge, Placed, place
from .words import named, plain, shaped

STYLE = Path(__file__).with_name('svg.css')
HEAD, ROW, FOOT, PAD = 36.0, 18.0, 17.0, 9.0        # heights of a box's parts, and its margin
NARROW, WIDE = 128.0, 250.0                         # of a box
BIG, SMALL = 7.0, 6.0                               # width of a character in the two sizes
MARGIN = 20.0


@dataclass(frozen=True)
class Group:
    """The layers of one box: the one that makes a blob, and those that then write over it."""
    items: tuple[int, ...]


@dataclass(frozen=True)
class Picture:
    """A drawn net: the SVG's content and size, and for the page where everything is. groups: the
    boxes; placed: their corners, without the margin."""
    body: str
    width: float
    height: float
    groups: list[Group]
    boxes: list[Box]
    placed: Placed


def draw(drawn: Drawn) -> Picture:
    """Lay out a net and draw it."""
    groups = grouped(drawn)
    boxes = [box_of(group, drawn) for group in groups]
    edges = edges_of(groups, drawn)
    with located(drawn.graph.file):
        placed = place(boxes, [Edge(source, target, light) for source, target, light, _ in edges])
    marks = fused_marks(drawn)
    lines = [line_of(line, edge, drawn, groups) for line, edge in
             zip(placed.lines, edges, strict=True)]
    drawings = [group_of(group, box, corner, drawn, marks) for group, box, corner in
                zip(groups, boxes, placed.corners, strict=True)]
    body = f'<g class="edges">{"".join(lines)}</g><g class="boxes">{"".join(drawings)}</g>'
    return Picture(body, placed.width, placed.height, groups, boxes, placed)


def svg_of(drawn: Drawn) -> str:
    """The net as an SVG file of its own, light or dark as the viewer is."""
    picture = draw(drawn)
    width, height = picture.width + 2 * MARGIN, picture.height + 2 * MARGIN
    return ('<?xml version="1.0" encoding="UTF-8"?>\n'
            '<svg xmlns="http://www.w3.org/2000/svg" class="net" role="img" '
            f'width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="{-MARGIN:g} {-MARGIN:g} {width:.0f} {height:.0f}">\n'
            f'<title>{escape(plain(drawn.name))}</title>\n'
            f'<style>{STYLE.read_text()}</style>\n{MARKER}\n'
            f'<rect class="ground" x="{-MARGIN:g}" y="{-MARGIN:g}" width="{width:.0f}" '
            f'height="{height:.0f}"/>\n{picture.body}\n</svg>\n')


MARKER = ('<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
          'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto">'
          '<path d="M0 1L8 4L0 7z" class="head"/></marker></defs>')


# ---- boxes -----------------------------------------------------------------------------------

def grouped(drawn: Drawn) -> list[Group]:
    """The boxes in the order of their first layers."""
    readers: dict[int, int] = {}
    for item in drawn.items:
        for v in set(item.bottoms):
            readers[v] = readers.get(v, 0) + 1
    groups: list[list[int]] = []
    last: dict[int, list[int]] = {}         # {value: the box whose last layer wrote it}
    for i, item in enumerate(drawn.items):
        bottom = item.bottoms[0] if len(item.bottoms) == 1 and item.in_place else None
        group = last.get(bottom) if bottom is not None and readers[bottom] == 1 else None
        if group is None:
            group = []
            groups.append(group)
        group.append(i)
        for v in item.tops:
            last[v] = group
        if bottom is not None:
            last.pop(bottom, None)
    return [Group(tuple(group)) for group in groups]


def edges_of(groups: list[Group], drawn: Drawn) -> list[tuple[int, int, bool, int]]:
    """(source box, target box, whether the blob only gives a size, value) of each bottom that comes
    from another box."""
    where = {i: g for g, group in enumerate(groups) for i in group.items}
    maker = {v: where[i] for i, item in enumerate(drawn.items) for v in item.tops}
    return [(maker[v], where[i], k >= item.content, v)
            for i, item in enumerate(drawn.items) for k, v in enumerate(item.bottoms)
            if maker[v] != where[i]]


def box_of(group: Group, drawn: Drawn) -> Box:
    """The size that a box's texts need."""
    first, *rest = (drawn.items[i] for i in group.items)
    texts = [BIG * (len(named(first.name)) + 3), SMALL * len(second_line(first)),
             SMALL * len(foot_of(group, drawn)),
             *(SMALL * (len(row_line(item)) + 2) for item in rest)]
    width = min(max(NARROW, max(texts) + 2 * PAD + 6), WIDE)
    return Box(width, HEAD + ROW * len(rest) + FOOT)


def second_line(item: Item) -> str:
    return f'{plain(item.node.type)}  {plain(item.settings)}'.strip()


def row_line(item: Item) -> str:
    return f'{named(item.name)}  {plain(item.node.type)}'


def foot_of(group: Group, drawn: Drawn) -> str:
    """The shapes of what a box makes; equal ones once."""
    tops = drawn.items[group.items[-1]].tops
    return ', '.join(dict.fromkeys(shaped(drawn.blobs[v]) for v in tops))


def fused_marks(drawn: Drawn) -> dict[int, str]:
    """{number of an item: the numbers of the Fusions that it takes part in, from 1}."""
    numbers = {item.node.key: i for i, item in enumerate(drawn.items)}
    marks: dict[int, list[str]] = {}
    for k, fusion in enumerate(drawn.fusions, 1):
        for key in fusion.layers:
            if key in numbers:
                marks.setdefault(numbers[key], []).append(str(k))
    return {i: ','.join(found) for i, found in marks.items()}


def group_of(group: Group, box: Box, corner: tuple[float, float], drawn: Drawn,
             marks: dict[int, str]) -> str:
    """One box with its layers."""
    out, y = [], 0.0
    for k, i in enumerate(group.items):
        item = drawn.items[i]
        height = ROW if k else HEAD
        foot = FOOT if i == group.items[-1] else 0.0
        out.append(row_of(i, item, y, height + foot, box.width, k == 0, marks.get(i, '')))
        y += height
    shapes = cut(foot_of(group, drawn), SMALL, box.width - 2 * PAD)
    out.append(text('shape', PAD, y + 11, shapes))
    x, y = corner
    return (f'<g class="box" transform="translate({x:.1f} {y:.1f})">'
            f'<rect class="shadow" width="{box.width:.1f}" height="{box.height:.1f}" rx="2"/>'
            f'{"".join(out)}<rect class="frame" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" rx="2"/></g>')


def row_of(i: int, item: Item, y: float, height: float, width: float, first: bool,
           mark: str) -> str:
    """One layer in its box."""
    room = width - 2 * PAD - (14 if item.notes else 0) - (SMALL * len(mark) + 8 if mark else 0)
    if first:
        lines = text('name', PAD, y + 15, cut(named(item.name), BIG, room)) \
            + text('type', PAD, y + 29, cut(second_line(item), SMALL, width - 2 * PAD))
    else:
        lines = text('type', PAD, y + 13, cut(row_line(item), SMALL, room))
    right = width - PAD
    if item.notes:
        lines += f'<text class="warn" x="{right:.1f}" y="{y + 14:.1f}">!</text>'
        right -= 12
    if mark:
        lines += f'<text class="fused" x="{right:.1f}" y="{y + 14:.1f}">{mark}</text>'
    title = f'{named(item.name)} ({plain(item.node.type)}) {plain(item.settings)}'
    return (f'<g class="layer k-{item.kind}" data-i="{i}"><title>{escape(title)}</title>'
            f'<rect y="{y:g}" width="{width:.1f}" height="{height:g}"/>{lines}</g>')


def text(kind: str, x: float, y: float, content: str) -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(content)}</text>'


def cut(content: str, each: float, room: float) -> str:
    """A text that fits into `room`, its middle left out where it is too long."""
    most = max(int(room / each), 4)
    if len(content) <= most:
        return content
    head = (most - 1) * 2 // 3
    return f'{content[:head]}…{content[len(content) - (most - 1 - head):]}'


# ---- edges -----------------------------------------------------------------------------------

def line_of(points: list[tuple[float, float]], edge: tuple[int, int, bool, int], drawn: Drawn,
            groups: list[Group]) -> str:
    """One edge: straight down within ranks, a curve between them."""
    source, target, light, value = edge
    blob = drawn.blobs[value]
    path = [f'M{points[0][0]:.1f} {points[0][1]:.1f}']
    for k, ((x1, y1), (x2, y2)) in enumerate(pairwise(points)):
        if k % 2 == 0 or abs(x1 - x2) < 0.05:
            path.append(f'L{x2:.1f} {y2:.1f}')
        else:
            middle = (y1 + y2) / 2
            path.append(f'C{x1:.1f} {middle:.1f} {x2:.1f} {middle:.1f} {x2:.1f} {y2:.1f}')
    title = f'{named(blob.name)} {shaped(blob)}' + (' (size only)' if light else '')
    return (f'<path class="edge{" light" if light else ""}" data-a="{groups[source].items[-1]}" '
            f'data-b="{groups[target].items[0]}" d="{"".join(path)}" '
            f'marker-end="url(#arrow)"><title>{escape(title)}</title></path>')
