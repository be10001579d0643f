#!/usr/bin/env python3
"""The tables and the plot of docs/performance.md, from the JSON of benchmarks/bench.py.

    python benchmarks/report.py RESULTS.json [--out docs]

Writes performance-tables.md and performance.svg: no figure there is typed by hand.
"""

import argparse
import json
from pathlib import Path
from xml.sax.saxutils import escape

import gpu_targets
from plot import chart, page
from targets import verdicts
from timing import OURS, headline

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError

OPS = {'op 1 forward': 'upsampling and crop', 'op 4 labels': 'to the label map',
       'op 5 loss forward + backward': 'loss and its gradient'}
AXES = {'image': ('pixels of the image', lambda c: c['height'] * c['width']),
        'batch': ('images in the batch', lambda c: c['batch']),
        'classes': ('classes (94x125)', lambda c: c['classes']),
        'stride': ('stride', lambda c: c['stride']),
        'threads': ('threads', lambda c: c['threads'])}
LINES = {'dense': '#b03a2e', 'depthwise': '#ca8a04', 'F.interpolate': '#7d7d7d', OURS: '#1f618d',
         'floor': '#a9cce3'}


WORDS = {'met': 'met', 'NOT MET': '**not met**', 'BELOW THE FLOOR': '**below the floor**'}


def tables(result):
    """The page as Markdown."""
    lines = ['# Figures', '', '<!-- written by benchmarks/report.py -->', '',
             headline(result['machine']) + '.',
             '**A short run: its figures mean nothing.**' if result.get('short') else '', '',
             '## What is wanted, and what is reached', '', *wanted(result)]
    groups = {}
    for row in result['rows']:
        if 'curve' not in row:
            case = ', '.join(f'{name} {value}' for name, value in row['case'].items())
            groups.setdefault((row['group'], case), []).append(row)
    for (group, case), rows in groups.items():
        gpu = any('called' in row for row in rows)
        lines += ['', f'## {group[0].upper()}{group[1:]}', '', case + '.', '',
                  '| | median | best | times ours |' + ' a call of Python |' * gpu,
                  '|---|---|---|---|' + '---|' * gpu]
        lines += [f'| {row["way"]} | {1e3 * row["median"]:.3f} ms | {1e3 * row["best"]:.3f} ms | '
                  f'{row["ratio"]:.2f} |' + called(row) * gpu for row in rows]
    return '\n'.join([*lines, '']).replace('\n\n\n', '\n\n')


def wanted(result):
    """The lines of the table of targets: a GPU's, or a processor's."""
    machine, rows = result['machine'], result['rows']
    if machine.get('device') == 'cuda':
        return gpu_targets.table(rows, machine['processor'])
    lines = ['*Reached*: how many times ours a peer takes, the median over the rounds; of the '
             'floor for op 6, of float32 for bf16. *Floor*: its share of our time. '
             '*Below the floor*: the floor by itself takes longer than what is wanted.', '',
             '| | against | case | wanted | reached | floor | |', '|---|---|---|---|---|---|---|']
    for v in verdicts(rows):
        share = '' if v['floor'] is None else f'{v["floor"]:.0f} %'
        lines.append(f'| {v["what"]} | {v["against"]} | {v["case"]} | {v["wanted"]} | '
                     f'{v["reached"]:.2f} | {share} | {WORDS[v["verdict"]]} |')
    return lines


def called(row):
    """The cell of what a call costs; with a star where the GPU's time is that of calls too."""
    return f' {1e3 * row["called"]:.3f} ms{"*" * (row["timed"] == "calls")} |' \
        if 'called' in row else ' |'


def lines_of(rows, group, curve):
    """{line: [(x, milliseconds)]}: the better memory format of each peer."""
    found, (_, axis) = {}, AXES[curve]
    for row in rows:
        if row['group'] == group and row.get('curve') == curve:
            name = row['way'].split(':')[0].split(',')[0]
            points = found.setdefault(name, {})
            x = axis(row['case'])
            points[x] = min(points.get(x, float('inf')), 1e3 * row['median'])
    return {name: sorted(points.items()) for name, points in found.items()}


def plot(result):
    """The plot as SVG: a row an op, a column an axis."""
    panels = [[chart(f'{words}: ms', label, lines_of(result['rows'], group, curve), LINES)
               for curve, (label, _) in AXES.items()] for group, words in OPS.items()]
    return page(panels, LINES, escape(headline(result['machine'])))


@report_errors()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('results', metavar='RESULTS.json')
    parser.add_argument('--out', default='docs', metavar='DIR')
    args = parser.parse_args()
    try:
        result = json.loads(Path(args.results).read_text())
    except (OSError, ValueError) as error:
        raise FcnError(f'no results can be read: {error}', file=args.results,
                       do='Write them by benchmarks/bench.py --json.') from None
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, 'performance-tables.md').write_text(tables(result))
    Path(args.out, 'performance.svg').write_text(plot(result))


if __name__ == '__main__':
    main()
