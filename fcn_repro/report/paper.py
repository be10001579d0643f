"""What the papers and the release state: paper.toml, the one place of these numbers, as tables."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).with_name('paper.toml')
MISSING = '-'           # in the file: the source states no such number
ABOUT = '~'             # in the file, before a number: the source states it as approximate
# {column: (heading, unit)}; percent unless said otherwise
UNITS = {
    'pixel_accuracy': ('pixel acc.', '%'), 'mean_accuracy': ('mean acc.', '%'),
    'mean_iu': ('mean IU', '%'), 'fw_iu': ('f.w. IU', '%'),
    'geometric_accuracy': ('geom. acc.', '%'), 'figure_iu': ('figure IU', '%'),
    'mean_iu_2011': ('VOC2011 test', '%'), 'mean_iu_2012': ('VOC2012 test', '%'),
    'milliseconds': ('forward', 'ms'), 'backward_milliseconds': ('backward', 'ms'),
    'times_faster': ('times faster', 'times'),
    'conv_layers': ('conv. layers', ''), 'parameters': ('parameters', 'M'),
    'receptive_field': ('rec. field', 'pixels'), 'stride': ('max stride', 'pixels'),
}
METRICS = 'pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu'


@dataclass(frozen=True)
class Stated:
    """A row of a table. key: by which others find it; in Table 2, Stage.net. values: {column:
    number}, only those that the source states. source: where it is stated, in words. about: the
    columns whose numbers it states as approximate."""
    key: str
    name: str
    values: Mapping[str, float]
    source: str
    about: frozenset[str] = frozenset()

    def text(self, column: str) -> str:
        """The number of a column as it is printed; a dash for none."""
        return ABOUT * (column in self.about) + shown(column, self.values.get(column))

    @property
    def scores(self) -> tuple[float | None, ...]:
        """The four metrics in the paper's order, in percent; None where none is stated."""
        return tuple(self.values.get(name) for name in METRICS)


@dataclass(frozen=True)
class Table:
    """A table. where: its place in its source. on: what was measured on what. columns: of UNITS,
    in order."""
    name: str
    where: str
    on: str
    columns: tuple[str, ...]
    rows: tuple[Stated, ...]

    def row(self, key: str) -> Stated | None:
        """The row of a key; None if nothing is stated."""
        return next((row for row in self.rows if row.key == key), None)


@cache
def tables() -> dict[str, Table]:
    """{name: table} of all that is stated."""
    found = tomllib.loads(FILE.read_text(encoding='utf-8'))
    sources = found.pop('sources')
    found.pop('titles')
    return {name: Table(name, each['where'], each['on'], tuple(each['columns']), tuple(
        _stated(row, each, sources) for row in each['rows'])) for name, each in found.items()}


@cache
def titles() -> dict[str, str]:
    """{source: what it is}, in full."""
    found = tomllib.loads(FILE.read_text(encoding='utf-8'))
    return {found['sources'][key]: text for key, text in found['titles'].items()}


def _stated(row: Mapping, table: Mapping, sources: Mapping[str, str]) -> Stated:
    """A row of the file."""
    there = {column: str(value) for column, value in
             zip(table['columns'], row['values'], strict=True) if value != MISSING}
    where = '' if 'source' in row else f', {table["where"]}'
    return Stated(row['key'], row['name'],
                  {column: float(value.lstrip(ABOUT)) for column, value in there.items()},
                  sources[row.get('source', table['source'])] + where,
                  frozenset(column for column, value in there.items() if value[0] == ABOUT))


def seg11valid() -> tuple[Stated, ...]:
    """All that is stated for PASCAL VOC's seg11valid."""
    return tables()['table2'].rows + tables()['released'].rows


def shown(column: str, value: float | None) -> str:
    """A number of a column as it is printed, with its unit where that is not percent."""
    unit = UNITS[column][1]
    if value is None:
        return '–'
    if unit == 'M':
        return f'{value / 1e6:.3g}M' if value < 1e8 else f'{value / 1e6:.0f}M'
    if unit == 'ms':
        return f'{value / 1000:.3g} s' if value >= 1e3 else f'{value:.3g} ms'
    return f'{value:.1f}' if unit in ('%', 'times') else f'{value:g}'
