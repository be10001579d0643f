"""Charts as SVG text for a page whose style sheet has their colours (page/style.css)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 480, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44       # margins around the plot
MOST = 400                                      # points of a curve
MARKED = 40                                     # points up to which each is marked

Point = tuple[float, float]


class Axis(NamedTuple):
    """An axis: its label, its ends, [(value, text)] of its ticks, and whether it is logarithmic."""
    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, 0 at the low end and 1 at the high one."""
        scale = math.log10 if self.log else float
        low, high = scale(self.low), scale(self.high)
        return (scale(value) - low) / (high - low)


def axis(label: str, values: Sequence[float], log: bool = False, zero: bool = False) -> Axis:
    """An axis for finite values, all above 0 if `log`; zero: begin at 0. Ticks are at 1, 2 or 5
    times a power of ten, or at powers of ten."""
    low, high = min(values), max(values)
    if log and high > 0 and low > 0:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        last += first == last
        step = max(1, (last - first) // 5)
        return Axis(label, 10. ** first, 10. ** last,
                    [(10. ** k, f'{10. ** k:g}') for k in range(first, last + 1, step)], True)
    low = min(low, 0) if zero else low
    if high - low < 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    step = nice((high - low) / 5)
    low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    first, count = round(low / step), round((high - low) / step)
    return Axis(label, low, high, [(low + i * step, f'{(first + i) * step:.6g}')
                                   for i in range(count + 1)])


def nice(step: float) -> float:
    """The number of 1, 2, 5, 10, … times a power of ten at or above `step`."""
    power = 10. ** math.floor(math.log10(step))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= step * (1 - 1e-9))


def line_chart(title: str, x: Axis, y: Axis, curves: Sequence[tuple[str, Sequence[Point]]]) -> str:
    """An SVG of curves, [(name, points)], whose points that are not finite are left out."""
    parts = [head(title), grid(x, y)]
    for i, (name, points) in enumerate(curves):
        kept = thinned([(a, b) for a, b in points if drawable(a, x) and drawable(b, y)])
        places = [(a, b, *xy(x, y, a, b)) for a, b in kept]
        path = ' '.join(f'{px:.1f},{py:.1f}' for _, _, px, py in places)
        parts.append(f'<polyline class="curve c{i}" points="{path}"/>')
        if len(places) <= MARKED:
            parts += [f'<circle class="mark c{i}" cx="{px:.1f}" cy="{py:.1f}" r="3.5"><title>'
                      f'{escape(name)}: {b:.4g} at {a:g}</title></circle>'
                      for a, b, px, py in places]
    return ''.join(parts) + '</svg>' + legend([name for name, _ in curves])


def bar_chart(title: str, x_label: str, y_label: str, edges: Sequence[str],
              heights: Sequence[float]) -> str:
    """An SVG of upright bars between edges, of which there is one more."""
    y = axis(y_label, heights, zero=True)
    x = Axis(x_label, 0, len(heights), list(enumerate(edges)))
    parts = [head(title), grid(x, y, lines=False)]
    for i, height in enumerate(heights):
        (left, top), (right, bottom) = xy(x, y, i + 0.06, height), xy(x, y, i + 0.94, 0)
        parts.append(f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                     f'height="{max(0, bottom - top):.1f}"><title>{escape(edges[i])} to '
                     f'{escape(edges[i + 1])}: {height:g}</title></rect>')
    return ''.join(parts) + '</svg>'


def head(title: str) -> str:
    return (f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
            f'aria-label="{escape(title)}">')


def legend(names: Sequence[str]) -> str:
    """A legend of several curves; '' for one."""
    if len(names) < 2:
        return ''
    return '<p class="legend">' + ''.join(f'<span><i class="key c{i}"></i>{escape(name)}</span>'
                                          for i, name in enumerate(names)) + '</p>'


def grid(x: Axis, y: Axis, lines: bool = True) -> str:
    """Axes with ticks and labels; lines: vertical ones at the ticks of x."""
    bottom, right, parts = HEIGHT - BOTTOM, WIDTH - RIGHT, []
    for value, text in y.ticks:
        at = xy(x, y, x.low, value)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>'
                     f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in x.ticks:
        at = xy(x, y, value, y.low)[0]
        if lines:
            parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" '
                         f'y2="{bottom}"/>')
        parts.append(f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(text)}'
                     '</text>')
    middle = (TOP + bottom) / 2
    parts.append(f'<text class="label" x="{(LEFT + right) / 2}" y="{HEIGHT - 6}" '
                 f'text-anchor="middle">{escape(x.label)}</text>'
                 f'<text class="label" transform="translate(12 {middle}) rotate(-90)" '
                 f'text-anchor="middle">{escape(y.label)}</text>')
    return ''.join(parts)


def xy(x: Axis, y: Axis, a: float, b: float) -> Point:
    """The pixels of a point."""
    return (LEFT + x.place(a) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - y.place(b) * (HEIGHT - TOP - BOTTOM))


def drawable(value: float, along: Axis) -> bool:
    return math.isfinite(value) and not (along.log and value <= 0)


def thinned(points: Sequence[Point]) -> list[Point]:
    """At most about MOST points: every k-th, and the last."""
    step = -(-len(points) // MOST) or 1
    return [*points[:-1:step], *points[-1:]]
