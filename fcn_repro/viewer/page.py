"""A net as one HTML page: the picture, every layer's numbers and text, no network.

Everything that comes from the net's file is data: it goes into the page as escaped text or as JSON,
which the script puts there as text. A content security policy allows this page's own script alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from .describe import FLOAT, KINDS, Blob, Drawn, Item
from .fusions import alike, summary
from .svg import MARGIN, MARKER, STYLE, Picture, draw
from .words import (
    bytes_of,
    counted,
    field_size,
    gathered,
    memory_of,
    named,
    parameters_of,
    plain,
    products_of,
    several,
    shaped,
    starts,
    strides,
    totals,
)

HERE = Path(__file__).parent
EMPTY = '<td></td>' * 3
MADE = '<!-- made by fcn-repro draw -->'


def page_of(drawn: Drawn) -> str:
    """The page of a net."""
    picture, script = draw(drawn), (HERE / 'page.js').read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    data = json.dumps(data_of(drawn, picture), ensure_ascii=True, separators=(',', ':'))
    parts: Mapping[str, str] = {
        'digest': digest, 'made': MADE,
        'title': escape(plain(drawn.name)),
        'style': STYLE.read_text() + (HERE / 'page.css').read_text(),
        'subtitle': escape(f'{plain(Path(drawn.graph.file).name)} · {plain(drawn.state)}'),
        'path': escape(plain(drawn.graph.file)),
        'totals': ''.join(f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
                          for name, value in totals(drawn)),
        'width': f'{picture.width + 2 * MARGIN:.0f}',
        'height': f'{picture.height + 2 * MARGIN:.0f}',
        'margin': f'{-MARGIN:g}', 'marker': MARKER, 'body': picture.body,
        'legend': ''.join(f'<span class="k k-{kind}">{escape(words)}</span>'
                          for kind, words in KINDS.items()
                          if any(item.kind == kind for item in drawn.items)),
        'rows': ''.join(table_rows(i, item, drawn) for i, item in enumerate(drawn.items)),
        'notes': listed('Notes', gathered(drawn.notes, Path(drawn.graph.file).name)),
        'data': data.replace('<', '\\u003c').replace('>', '\\u003e').replace('&', '\\u0026'),
        'script': script,
    }
    page = (HERE / 'page.html').read_text()
    head, *rest = page.split('{{')
    return head + ''.join(parts[name] + tail for name, tail in
                          (piece.split('}}', 1) for piece in rest))


def listed(title: str, lines: list[str]) -> str:
    """A headed list; nothing without lines."""
    rows = ''.join(f'<li>{escape(line)}</li>' for line in lines)
    return f'<h2>{title} <small>{len(lines)}</small></h2><ul>{rows}</ul>' if lines else ''


# ---- the table -------------------------------------------------------------------------------

def table_rows(i: int, item: Item, drawn: Drawn) -> str:
    """The rows of a layer, one for each top."""
    most = max((each.macs or 0 for each in drawn.items), default=0)
    share = 100 * (item.macs or 0) / most if most else 0
    head = (f'<td class="l">{escape(named(item.name))}</td>'
            f'<td class="l">{escape(plain(item.node.type))}</td>'
            f'<td class="l set">{escape(plain(item.settings))}</td>')
    tail = (f'<td>{parameters_of(item)}</td>'
            f'<td>{bytes_of(memory_of(item, drawn)) if memory_of(item, drawn) != 0 else ""}</td>'
            f'<td class="bar"><i style="--share:{share:.1f}%"></i>{products_of(item)}</td>')
    rows = []
    for k, v in enumerate(item.tops or (None,)):
        cells, top = '<td></td>' * 4, ''
        if v is not None:
            blob = drawn.blobs[v]
            top, cells = escape(named(blob.name)), ''.join(f'<td>{escape(cell)}</td>' for cell in (
                shaped(blob), field_size(blob), strides(blob), starts(blob)))
        rows.append(f'<tr class="k-{item.kind}" data-i="{i}">'
                    f'{head if k == 0 else EMPTY}{cells}{tail if k == 0 else EMPTY}'
                    f'<td class="l">{top}</td></tr>')
    return ''.join(rows)


# ---- the data of the script ------------------------------------------------------------------

def data_of(drawn: Drawn, picture: Picture) -> dict[str, Any]:
    """What the script shows of each layer, and where the boxes are."""
    makers = {v: i for i, item in enumerate(drawn.items) for v in item.tops}
    readers: dict[int, list[int]] = {}
    for i, item in enumerate(drawn.items):
        for v in dict.fromkeys(item.bottoms):
            readers.setdefault(v, []).append(i)
    numbers = {item.node.key: i for i, item in enumerate(drawn.items)}
    fusions = [{'of': fusion.of, 'request': plain(fusion.request), 'what': plain(fusion.what),
                'layers': [numbers[key] for key in fusion.layers if key in numbers]}
               for fusion in drawn.fusions]
    boxes = [[round(n, 1) for n in (*corner, box.width, box.height)] + [list(group.items)]
             for group, box, corner in zip(picture.groups, picture.boxes, picture.placed.corners,
                                           strict=True)]
    return {'file': plain(Path(drawn.graph.file).name), 'macs': drawn.macs, 'params': drawn.params,
            'width': round(picture.width), 'height': round(picture.height), 'margin': MARGIN,
            'boxes': boxes, 'fusions': fusions,
            'alike': [[plain(summary([drawn.fusions[k] for k in group])), group]
                      for group in alike(drawn.fusions)],
            'layers': [layer_data(i, item, drawn, makers, readers)
                       for i, item in enumerate(drawn.items)]}


def layer_data(i: int, item: Item, drawn: Drawn, makers: Mapping[int, int],
               readers: Mapping[int, list[int]]) -> dict[str, Any]:
    """One layer as the script shows it; everything a text of one line but `text`."""
    cut = drawn.cuts.get(i)
    found: dict[str, Any] = {
        'name': named(item.name), 'type': plain(item.node.type), 'kind': item.kind,
        'settings': plain(item.settings), 'line': item.node.line, 'text': several(item.text),
        'bottoms': [{**blob_data(drawn.blobs[v]), 'layer': makers[v], 'light': k >= item.content}
                    for k, v in enumerate(item.bottoms)],
        'tops': [{**blob_data(drawn.blobs[v]), 'readers': readers.get(v, [])}
                 for v in item.tops],
        'params': [{'shape': '×'.join(map(str, p.shape)) or 'scalar',
                    'owner': None if p.owner is None else named(p.owner), 'learned': p.learned}
                   for p in item.params],
        'count': item.count, 'known': item.known, 'macs': item.macs, 'macsText': counted(item.macs),
        'paramBytes': bytes_of(FLOAT * item.count), 'memory': bytes_of(memory_of(item, drawn)),
        'inPlace': item.in_place, 'notes': [plain(note.what) for note in item.notes]}
    if cut is not None:
        found['cut'] = {'words': plain(cut.words), 'common': named(cut.common), 'fits': cut.fits,
                        'ways': [[(named(step.layer), step.map, step.so_far) for step in way]
                                 for way in (cut.way, cut.reference)]}
    return found


def blob_data(blob: Blob) -> dict[str, str]:
    return {'name': named(blob.name), 'shape': shaped(blob), 'field': field_size(blob),
            'stride': strides(blob), 'start': starts(blob)}
