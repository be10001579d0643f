"""Outcomes as one HTML page that needs nothing else."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ..formats.atomic import make_folder, write_text
from ..report.charts import axis, line_chart
from ..report.html import check_report, document
from ..report.paper import titles
from .outcome import Chart, Finding, Outcome, Row, Table
from .text import facts, not_run

VERDICTS = {True: '✓', False: '✗', None: '?'}


def write_page(path: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the page of outcomes. FcnError where it cannot be written, and for a file of this name
    that is no report."""
    check_report(path)
    make_folder(path.parent)
    write_text(page(outcomes), path)


def page(outcomes: Sequence[Outcome]) -> str:
    """The whole page."""
    mini = any(outcome.mini for outcome in outcomes)
    title = "The paper's experiments" + (' in miniature' if mini else '')
    words = ('Narrow nets on generated data: compare rows of ours with each other, not with the '
             'paper\'s, which are of other data. ' if mini else '') + \
        f'Made {max(outcome.made for outcome in outcomes)}.'
    sections = [(outcome.name, escape(heading(outcome)), section(outcome))
                for outcome in outcomes]
    found = [(outcome, each) for outcome in outcomes for each in outcome.findings]
    if found:
        sections.insert(0, ('findings', 'Findings', summary(found)))
    sections.append(('sources', 'Sources', '<ul>' + ''.join(
        f'<li><b>{escape(source)}</b>: {escape(text)}</li>'
        for source, text in titles().items()) + '</ul>'))
    return document(title, escape(words), sections)


def heading(outcome: Outcome) -> str:
    """What the navigation calls an experiment."""
    return outcome.title.partition(':')[0]


def summary(found: Sequence[tuple[Outcome, Finding]]) -> str:
    """All findings as one table."""
    rows = ''.join(
        f'<tr><td class="n">{VERDICTS[each.holds]} {each.verdict}</td>'
        f'<th>{escape(each.claim)}</th><td>{escape(f"{each.measured} {each.why}")}</td>'
        f'<td class="n"><a href="#{outcome.name}">{escape(heading(outcome))}</a></td></tr>'
        for outcome, each in found)
    return ('<div class="wide"><table><thead><tr><th></th><th>the paper found</th>'
            f'<th>measured here</th><th></th></tr></thead><tbody>{rows}</tbody></table>'
            '</div>')


def section(outcome: Outcome) -> str:
    """One experiment."""
    parts = [f'<p>{escape(outcome.title)} ({escape(outcome.source)}).</p>']
    if outcome.failed:
        parts.append('<p class="warning" role="alert">Not run to its end: '
                     f'{escape(outcome.failed)}</p>')
    parts += [table_html(table) for table in outcome.tables]
    if outcome.charts:
        parts.append(f'<div class="columns">{"".join(map(chart_html, outcome.charts))}</div>')
    if outcome.findings:
        parts.append('<ul>' + ''.join(
            f'<li>{VERDICTS[each.holds]} <b>{escape(each.claim)}: {each.verdict}.</b> '
            f'{escape(f"{each.measured} {each.why}")}</li>' for each in outcome.findings) + '</ul>')
    parts += [f'<p class="note">{escape(note)}</p>' for note in outcome.notes]
    parts += [picture_html(path) for path in outcome.pictures]
    return ''.join(parts)


def table_html(table: Table) -> str:
    """A table, what its numbers are on, and what each of ours was measured on."""
    head = '<th></th>' + ''.join(f'<th class="n" colspan="2">{escape(table.heading(column))}</th>'
                                 for column in table.columns) + ''.join(
        f'<th class="n">{escape(heading)}</th>' for heading in table.more.values())
    second = '<th></th>' + '<th class="n">paper</th><th class="n">ours</th>' * len(table.columns) \
        + '<th class="n">ours</th>' * len(table.more)
    rows = ''.join(row_html(row, table) for row in table.rows)
    on = ''.join(f'<p class="note">{who}: {escape(text)}</p>' for who, text in
                 (('Paper', table.on), ('Ours', table.ours_on)) if text)
    notes = ''.join(f'<p class="note">{escape(line)}</p>'
                    for line in (*not_run(table), *table.notes))
    listed = ''.join(f'<li>{escape(line)}</li>' for line in facts(table.rows))
    listed = f'<details><summary>data, weights, seeds, commits, hardware</summary><ul>{listed}' \
        '</ul></details>' if listed else ''
    title = f'<h3>{escape(table.title)}</h3>' if table.title else ''
    return (f'{title}{on}<div class="wide"><table><thead><tr>{head}</tr><tr>{second}</tr></thead>'
            f'<tbody>{rows}</tbody></table></div>{notes}{listed}')


def row_html(row: Row, table: Table) -> str:
    """A row; ours in bold."""
    cells = ''.join(
        f'<td class="n">{escape(row.stated.text(column) if row.stated else "")}</td>'
        f'<td class="n"><b>{escape(row.text(column))}</b></td>' for column in table.columns)
    cells += ''.join(f'<td class="n"><b>{escape(row.text(column))}</b></td>'
                     for column in table.more)
    return f'<tr><th>{escape(row.label)}</th>{cells}</tr>'


def chart_html(chart: Chart) -> str:
    """A chart."""
    values = [point for _, points in chart.curves for point in points]
    x = axis(chart.x, [a for a, _ in values], zero=True)
    y = axis(chart.y, [b for _, b in values], log=chart.log, zero=not chart.log)
    return f'<figure><h3>{escape(chart.title)}</h3>' \
        f'{line_chart(chart.title, x, y, chart.curves)}</figure>'


def picture_html(path: Path) -> str:
    """A PNG, inside the page."""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img src="data:image/png;base64,{data}" alt="{escape(path.stem)}" ' \
        'style="max-width:100%"></p>'
