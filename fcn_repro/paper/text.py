"""An outcome as text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from .outcome import Outcome, Row, Table

NONE = '–'


def text_of(outcome: Outcome) -> str:
    """Tables, findings and notes of an outcome."""
    kind = ', in miniature' if outcome.mini else ''
    parts = [f'{outcome.title} ({outcome.source}){kind}']
    parts += [table_text(table) for table in outcome.tables]
    if found := [each for each in outcome.findings if each.measured]:
        parts.append('findings\n' + '\n'.join(
            f'- {each.claim}: {each.verdict}. {each.measured} {each.why}'.rstrip()
            for each in found))
    parts += outcome.notes
    if outcome.failed:
        parts.append(f'not run to its end: {outcome.failed}')
    return '\n\n'.join(parts)


def table_text(table: Table) -> str:
    """A table: the paper's number and ours side by side under each heading; facts and notes."""
    lines = [table.title] if table.title else []
    lines += [f'paper: {table.on}'] if table.on else []
    lines += [f'ours:  {table.ours_on}'] if table.ours_on else []
    lines += [*grid([heads(table), subheads(table), *(cells(row, table) for row in table.rows)]),
              *not_run(table), *facts(table.rows), *table.notes]
    return '\n'.join(line.rstrip() for line in lines)


def heads(table: Table) -> list[str]:
    row = ['']
    for column in table.columns:
        row += [table.heading(column), '']
    return row + list(table.more.values())


def subheads(table: Table) -> list[str]:
    return ['', *(['paper', 'ours'] * len(table.columns)), *(['ours'] * len(table.more))]


def cells(row: Row, table: Table) -> list[str]:
    """A row's numbers; ours of a row that was not run are empty."""
    out = [row.label]
    for column in table.columns:
        out += [row.stated.text(column) if row.stated else '', row.text(column)]
    return out + [row.text(column) for column in table.more]


def not_run(table: Table) -> list[str]:
    """One line for all rows that need the same."""
    missing: dict[str, list[str]] = {}
    for row in table.rows:
        if row.needs:
            missing.setdefault(row.needs, []).append(row.label)
    return [f'not run: {"; ".join(labels)}: needs {needs}' for needs, labels in missing.items()]


def facts(rows: Sequence[Row]) -> list[str]:
    """What each of our numbers was measured on; one line for rows and seeds with the same facts,
    and what all have alike once."""
    found = [(row.label, dict(each.facts)) for row in rows for each in row.ours if each.facts]
    if not found:
        return []
    alike = {key: value for key, value in found[0][1].items()
             if all(other.get(key) == value for _, other in found)}
    lines: dict[str, list[str]] = {}
    for label, each in found:
        own = ', '.join(f'{key} {value}' for key, value in each.items() if key not in alike)
        lines.setdefault(own, []).append(label)
    out = [f'{", ".join(dict.fromkeys(labels))}: {own}' for own, labels in lines.items() if own]
    return ([f'all: {", ".join(f"{key} {value}" for key, value in alike.items())}']
            if alike else []) + out


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as aligned lines, the first column to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ['  '.join(f'{cell:<{width}}' if i == 0 else f'{cell:>{width}}'
                      for i, (cell, width) in enumerate(zip(row, widths, strict=True)))
            for row in rows]
