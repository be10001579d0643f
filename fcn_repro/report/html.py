"""An evaluation, and the training before it, as one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_repro.data.image import VOID
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.errors import FcnError
from fcn_repro.files import open_regular
from fcn_repro.formats.atomic import make_folder, write_text
from fcn_repro.report.charts import Axis, axis, bar_chart, line_chart
from fcn_repro.report.curves import METRICS, Point
from fcn_repro.report.paper import seg11valid, tables
from fcn_repro.report.pictures import known
from fcn_repro.report.results import Evaluation, Example, spread_of
from fcn_repro.report.tables import of_bound, rules_line
from fcn_repro.sizes import size

FILE = 'report.html'
MARK = '<!doctype html><!-- fcn-repro report -->'
PAGE = Path(__file__).with_name('page')
TITLES = 'pixel acc.', 'mean acc.', 'mean IU', 'f.w. IU'
CELLS = 32              # classes up to which the confusion matrix is a table with numbers
CONFUSED = 12           # pairs of classes that are listed
LISTED = 20000          # images in the table of all
QUALITY = 82            # of the JPEGs
RIGHT, WRONG, UNCOUNTED = (0, 0, 0, 0), (230, 40, 40, 235), (128, 128, 128, 150)


@dataclass(frozen=True)
class RunFacts:
    """What is known of the training. name, folder: of the run, or of the weights. curves: of
    curves.csv. facts: (label, value). ancestors: (file of weights, what it is), the newest first.
    net: Stage.net, to find the paper's score of the same net; '' if unknown."""
    name: str
    folder: str
    curves: Sequence[Point]
    facts: Sequence[tuple[str, str]]
    ancestors: Sequence[tuple[str, str]]
    net: str = ''


def write_report(path: str | Path, found: Evaluation, run: RunFacts | None = None) -> None:
    """Write the report of an evaluation, and of the run that it scores, into one file; of a net
    with several heads those of the others beside it, report-BLOB.html. FcnError where that cannot
    be written, and for a file of this name that is no report."""
    check_report(path)
    make_folder(Path(path).parent)
    write_text(page(found, run), path)
    for blob, other in found.others.items():
        beside = f'{Path(path).stem}-{blob}{Path(path).suffix}'.replace(os.sep, '_')
        write_report(Path(path).with_name(beside), other, run)


def check_report(path: str | Path) -> None:
    """FcnError where something else than a report would be overwritten."""
    if os.path.lexists(path):
        with open_regular(path, 'a report') as file:
            begins = file.read(len(MARK))
        if begins != MARK.encode():
            raise FcnError('there is a file of this name that is not a report', file=str(path),
                           do='Give another name, or remove it.')


def page(found: Evaluation, run: RunFacts | None) -> str:
    """The whole page."""
    name = run.name if run else Path(found.net).name or 'net'
    sections = [('scores', 'Scores', scores(found, run)), ('classes', 'Classes', classes(found)),
                ('confusion', 'Confusion', confusion(found)),
                ('boundary', 'Boundaries', boundary(found)), ('images', 'Images', images(found)),
                ('training', 'Training', training(found, run)),
                ('provenance', 'Provenance', provenance(found, run))]
    return document(f'{escape(name)}: mean IU {100 * found.metrics.mean_iu:.1f}', subtitle(found),
                    [section for section in sections if section[2]], warnings(found),
                    '<kbd>1</kbd>…<kbd>7</kbd> sections, <kbd>j</kbd> <kbd>k</kbd> next and '
                    'previous image, <kbd>o</kbd> overlays on and off, arrows in the matrix, '
                    '<kbd>t</kbd> light or dark', swatch_style(found))


def document(headline: str, subtitle: str, sections: Sequence[tuple[str, str, str]],
             before: str = '', keys: str = '<kbd>1</kbd>… sections, <kbd>t</kbd> light or dark',
             more_style: str = '') -> str:
    """A page that needs nothing but itself. headline, subtitle, before (what precedes the
    sections), keys (what they do): as HTML; more_style: CSS; sections: [(id, title as HTML, content
    as HTML)]."""
    style, script = (PAGE / 'style.css').read_text() + more_style, (PAGE / 'page.js').read_text()
    links = ''.join(f'<a href="#{id_}"><kbd>{i}</kbd> {title}</a>'
                    for i, (id_, title, _) in enumerate(sections, 1))
    body = ''.join(f'<section id="{id_}"><h2 tabindex="-1">{title}</h2>{text}</section>'
                   for id_, title, text in sections)
    return (f'{MARK}\n<html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"img-src data:; style-src 'unsafe-inline'; script-src '{digest(script)}'\">"
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>{headline}</title><style>{style}</style></head><body>'
            f'<header><h1>{headline}</h1><p>{subtitle}</p></header>'
            f'<nav aria-label="sections">{links}<button id="theme" type="button" '
            'title="light or dark (t)">light / dark</button></nav>'
            f'<main>{before}{body}</main><footer>Keys: {keys}</footer>'
            f'<script>{script}</script></body></html>\n')


def digest(script: str) -> str:
    """The hash by which a page's security policy admits its one script."""
    return 'sha256-' + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def subtitle(found: Evaluation) -> str:
    split = f'split <b>{escape(found.split)}</b> of ' if found.split else ''
    folder = f'<code>{escape(found.folder) or "its data"}</code>'
    return f'{len(found.images):,} images, {split}{folder}; rule of the {escape(found.rule)}'


def warnings(found: Evaluation) -> str:
    return ''.join(f'<p class="warning" role="alert">Warning: {escape(text)}.</p>'
                   for text in found.warnings)


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction in percent; a dash for none."""
    return '–' if value is None or math.isnan(value) else f'{100 * value:.{digits}f}'


# ---- scores --------------------------------------------------------------------------------------

def scores(found: Evaluation, run: RunFacts | None) -> str:
    m = found.metrics
    values = m.pixel_accuracy, m.mean_accuracy, m.mean_iu, m.fw_iu
    cards = ''.join(f'<div class="card"><b>{percent(value)}</b>{title}</div>'
                    for title, value in zip(TITLES, values, strict=True))
    head = ''.join(f'<th class="n">{title}</th>' for title in TITLES)
    mine = found.split or 'its data'
    rows = [score_row('this net', [100 * v for v in values],
                      f'{mine}; {found.shown}' if found.shown else mine, 'mine')]
    same = run.net if run else ''
    rows += [score_row(stated.name, stated.scores, stated.source,
                       'same' if stated.key == same else '') for stated in seg11valid()]
    note = '' if is_voc(found) else ('<p class="note">The paper\'s rows are PASCAL VOC\'s '
                                     'seg11valid: these are other data, so they compare with '
                                     'each other alone.</p>')
    if found.other is not None and (both := rules_line(found.hist, m, found.other, found.rule,
                                                       found.names)):
        note += f'<p class="note">Classes {escape(both)}.</p>'
    if bound := found.bound:
        note += (f'<p class="note">The ground truth itself, sampled at this net\'s stride '
                 f'{found.stride} by nearest neighbour (the paper\'s appendix A): mean IU '
                 f'{percent(bound)}; {of_bound(float(m.mean_iu), bound)}.</p>')
    return (f'<div class="cards">{cards}</div><div class="wide"><table class="scores"><thead><tr>'
            f'<th></th>{head}<th>on</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>{note}'
            f'{times(found)}')


def score_row(name: str, scores: Sequence[float | None], source: str, kind: str) -> str:
    """A row of the table of scores; what it is on stands in a column, or, on a narrow screen,
    below the name."""
    return (f'<tr class="{kind}"><th>{escape(name)}<small>{escape(source)}</small></th>'
            f'{cells(scores)}<td>{escape(source)}</td></tr>')


def is_voc(found: Evaluation) -> bool:
    return tuple(found.classes) == VOC_CLASSES


def cells(values: Sequence[float | None]) -> str:
    return ''.join('<td class="n">' + ('–' if v is None else f'{v:.1f}') + '</td>' for v in values)


def times(found: Evaluation) -> str:
    """Table 3: inference times and memory, beside the paper's."""
    net, whole = spread_of(found.times.net), spread_of(found.times.whole)
    rows = [('net and CRF' if found.crf else 'net alone', net),
            ('end to end, with reading the files', whole)]
    table = ''.join(f'<tr><th>{title}</th>' + ''.join(
        f'<td class="n">{1000 * value[key]:.1f} ms</td>' for key in ('median', 'p95')) + '</tr>'
        for title, value in rows)
    sizes = sorted(image.size for image in found.images)
    height, width = sizes[len(sizes) // 2]
    rate = f', {len(found.images) / found.times.wall:.1f} images/s in all' if found.times.wall \
        else ''
    paper = tables()['table3']
    stated = ''.join(f'<tr><th>{row.name}</th>' + ''.join(
        f'<td class="n">{row.text(column)}</td>' for column in paper.columns) + '</tr>'
        for row in paper.rows)
    return (f'<h3>Time and memory</h3><div class="columns"><div class="wide"><table><thead><tr>'
            '<th>inference</th><th class="n">median</th><th class="n">95 % within</th></tr></thead>'
            f'<tbody>{table}</tbody></table><p class="note">{escape(found.device)}, '
            f'{escape(found.precision)}; images of about {height}x{width} (height x width){rate};'
            f' peak memory {size(found.memory)}.</p></div><div class="wide"><table><thead><tr>'
            '<th>paper, Table 3</th><th class="n">VOC2011 test</th><th class="n">VOC2012 test</th>'
            f'<th class="n">time</th></tr></thead><tbody>{stated}</tbody></table>'
            '<p class="note">mean IU; FCN on a K40c, images of 500x500</p></div></div>')


# ---- classes -------------------------------------------------------------------------------------

def swatch(index: int) -> str:
    """A square in the colour of a class."""
    return f'<i class="swatch c{index}"></i>'


def swatch_style(found: Evaluation) -> str:
    """The colours of the swatches of all classes and of void."""
    colours = known(found.colours).tolist()
    return ''.join('.swatch.c{}{{background:#{:02x}{:02x}{:02x}}}'.format(i, *colours[i])
                   for i in (*range(len(found.classes)), VOID))


def classes(found: Evaluation) -> str:
    m, hist = found.metrics, found.hist
    total = hist.sum()
    rows = []
    for i, name in enumerate(found.classes):
        iu, accuracy = float(m.class_iu[i]), float(m.class_accuracy[i])
        width = 0 if math.isnan(iu) else 100 * iu
        bar = f'<div class="hbar" style="width:{width:.2f}%"></div>' if width else ''
        share = hist[i].sum() / total
        rows.append(
            f'<tr><th>{swatch(i)}{escape(name)}</th><td class="n" data-v="{width:.4f}">'
            f'{percent(iu)}</td><td class="barcell">{bar}</td>'
            f'<td class="n" data-v="{accuracy:.6f}">'
            f'{percent(accuracy)}</td><td class="n" data-v="{share:.8f}">{share_text(share)}</td>'
            '</tr>')
    absent = sum(math.isnan(float(v)) for v in m.class_iu)
    note = (f'<p class="note">{absent} class{"es" * (absent > 1)} without a pixel of ground truth: '
            'left out of the means (–).</p>') if absent else ''
    return ('<div class="wide"><table class="sortable" id="per-class"><thead><tr><th>class</th>'
            '<th class="n">IU</th><th class="barcell"></th><th class="n">accuracy</th>'
            '<th class="n">pixels</th></tr></thead>'
            f'<tbody>{"".join(rows)}</tbody></table></div>{note}')


def share_text(share: float) -> str:
    return '0' if not share else '&lt;0.01 %' if share < 0.0001 else f'{100 * share:.2f} %'


# ---- confusion -----------------------------------------------------------------------------------

def confusion(found: Evaluation) -> str:
    names, hist = found.classes, found.hist
    rates = hist / np.maximum(hist.sum(1, keepdims=True), 1)
    matrix = table_of(names, hist, rates) if len(names) <= CELLS else (
        f'<p class="note">{len(names)} classes: darker is more, rows are ground truth.</p>'
        f'<img class="matrix" alt="confusion matrix" src="{uri(matrix_png(rates), "png")}">')
    return (f'{matrix}<h3>Most confused</h3>{most_confused(names, hist, rates)}')


def table_of(names: Sequence[str], hist: np.ndarray, rates: np.ndarray) -> str:
    """The matrix as a table of percentages of each row."""
    head = ''.join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in names)
    rows = []
    for i, name in enumerate(names):
        row = [f'<tr><th scope="row">{swatch(i)}{escape(name)}</th>']
        for j, other in enumerate(names):
            rate = float(rates[i, j])
            text = '' if rate < 0.005 else f'{100 * rate:.0f}'
            row.append(f'<td tabindex="{0 if i == j == 0 else -1}" style="--v:{rate:.3f}"'
                       f'{" class=hi" if rate > 0.55 else ""} title="{escape(name)} as '
                       f'{escape(other)}: {100 * rate:.2f} % ({int(hist[i, j]):,} pixels)">{text}'
                       '</td>')
        rows.append(''.join(row) + '</tr>')
    return ('<p class="note">Percent of each class of the ground truth (rows) that is predicted as '
            'each class (columns). <output id="cell"></output></p><div class="wide">'
            f'<table class="confusion" id="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>'
            f'{"".join(rows)}</tbody></table></div>')


def matrix_png(rates: np.ndarray) -> bytes:
    """The matrix as a grey picture, white is 0, of about 512 pixels."""
    grey = np.rint(255 * (1 - np.sqrt(rates))).astype(np.uint8)
    factor = max(1, 512 // len(rates))
    return png(Image.fromarray(grey.repeat(factor, 0).repeat(factor, 1)))


def most_confused(names: Sequence[str], hist: np.ndarray, rates: np.ndarray) -> str:
    """The pairs of classes with the most wrong pixels."""
    wrong = hist.copy()
    np.fill_diagonal(wrong, 0)
    order = [divmod(int(at), len(names)) for at in np.argsort(-wrong, axis=None, kind='stable')]
    rows = ''.join(f'<tr><th>{swatch(i)}{escape(names[i])}</th><th>{swatch(j)}{escape(names[j])}'
                   f'</th><td class="n">{wrong[i, j]:,}</td><td class="n">{percent(rates[i, j])} %'
                   '</td></tr>' for i, j in order[:CONFUSED] if wrong[i, j])
    if not rows:
        return '<p class="note">No pixel is wrong.</p>'
    return ('<div class="wide"><table><thead><tr><th>ground truth</th><th>taken for</th>'
            '<th class="n">pixels</th><th class="n">of the class</th></tr></thead>'
            f'<tbody>{rows}</tbody></table></div>')


# ---- boundaries ----------------------------------------------------------------------------------

def boundary(found: Evaluation) -> str:
    bands = found.by_distance
    if len(bands) < 2:
        return ''
    texts = [f'up to {end}' if end else 'farther' for end, _, _ in bands]
    x = Axis('distance from the nearest boundary, pixels', -0.5, len(bands) - 0.5,
             list(enumerate(texts)))
    points = [(float(i), 100 * iu) for i, (_, iu, _) in enumerate(bands)]
    y = axis('mean IU', [0, *(v for _, v in points)], zero=True)
    rows = ''.join(f'<tr><th>{text}</th><td class="n">{percent(iu)}</td><td class="n">'
                   f'{100 * share:.1f} %</td></tr>'
                   for text, (_, iu, share) in zip(texts, bands, strict=True))
    return ('<p class="note">Mean IU of the pixels at a distance from the nearest boundary of the '
            'ground truth (a trimap, in bands).</p><div class="columns"><figure>'
            f'{line_chart("mean IU against distance", x, y, [("mean IU", points)])}</figure>'
            '<div class="wide"><table><thead><tr><th>pixels</th><th class="n">mean IU</th>'
            f'<th class="n">share</th></tr></thead><tbody>{rows}</tbody></table></div></div>')


# ---- images --------------------------------------------------------------------------------------

def images(found: Evaluation) -> str:
    values = [image.mean_iu for image in found.images if not math.isnan(image.mean_iu)]
    counts, _ = np.histogram(values, 10, (0, 1))
    chart = bar_chart('images by mean IU', 'mean IU of an image', 'images',
                      [str(10 * i) for i in range(11)], counts.tolist())
    shown = [('Worst', found.worst), ('Best', found.best)]
    number, parts = 0, []
    for title, examples in shown:
        if examples:
            parts.append(f'<h3>{title}</h3>')
        for example in examples:
            parts.append(figure(example, number, found))
            number += 1
    return (f'<div class="columns"><figure>{chart}</figure><p class="note">The mean IU of an image '
            'is over the classes that its ground truth or its prediction has. In the pictures of '
            'errors <i class="swatch" style="background:#e62828"></i> is wrong and <i '
            'class="swatch" style="background:#808080"></i> does not count (void).</p></div>'
            f'{"".join(parts)}{table_of_images(found)}')


def figure(example: Example, number: int, evaluation: Evaluation) -> str:
    """One image: itself, ground truth, prediction and errors over it, with a legend."""
    names, colours = evaluation.classes, known(evaluation.colours)
    height, width = example.label.shape
    plain = 0 if names[0] in ('background', '0') else None
    layers = {'i': jpeg(example.image), 'g': indexed(example.label, plain, colours),
              'p': indexed(example.prediction, plain, colours), 'e': errors_png(example)}
    defs = ''.join(f'<image id="{key}{number}" width="{width}" height="{height}" href="{data}" '
                   'preserveAspectRatio="none"/>' for key, data in layers.items())
    panels = ''.join(panel(title, key, number, width, height) for title, key in (
        ('image', ''), ('ground truth', 'g'), ('prediction', 'p'), ('errors', 'e')))
    found = np.union1d(example.label, example.prediction)
    keys = ''.join(f'<span>{swatch(int(c))}{escape(names[c])}</span>' for c in found
                   if c < len(names)) + (f'<span>{swatch(VOID)}void</span>' * (VOID in found))
    return (f'<figure class="example" tabindex="0"><figcaption><b>{escape(example.id)}</b> mean IU '
            f'{percent(example.mean_iu)}, pixel acc. {percent(example.pixel_accuracy)}'
            f'</figcaption><svg width="0" height="0" aria-hidden="true"><defs>{defs}</defs></svg>'
            f'<div class="panels">{panels}</div><p class="legend">{keys}</p></figure>')


def panel(title: str, key: str, number: int, width: int, height: int) -> str:
    """A picture of layers that the page has once."""
    over = f'<use class="over {key}" href="#{key}{number}"/>' if key else ''
    under = '<use class="under" ' if key == 'e' else '<use '
    return (f'<div><svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{under}'
            f'href="#i{number}"/>{over}</svg><small>{title}</small></div>')


def table_of_images(found: Evaluation) -> str:
    """All images, in order, to sort and to search."""
    rows = ''.join(
        f'<tr><th>{escape(image.id)}</th><td class="n" data-v="{image.mean_iu:.6f}">'
        f'{percent(image.mean_iu)}</td><td class="n" data-v="{image.pixel_accuracy:.6f}">'
        f'{percent(image.pixel_accuracy)}</td><td class="n">{image.size[0]}x{image.size[1]}</td>'
        f'<td class="n" data-v="{image.seconds:.6f}">{1000 * image.seconds:.1f}</td></tr>'
        for image in found.images[:LISTED])
    more = f'<p class="note">The first {LISTED:,}; images.csv has all.</p>' \
        if len(found.images) > LISTED else ''
    return ('<h3>All images</h3><p class="screen"><label>id <input id="filter" type="search">'
            '</label></p><div class="scroll" tabindex="0"><table class="sortable" id="per-image">'
            '<thead><tr><th>image</th><th class="n">mean IU</th><th class="n">pixel acc.</th>'
            '<th class="n">size</th><th class="n">ms</th></tr></thead>'
            f'<tbody>{rows}</tbody></table></div>{more}')


# ---- pictures as data ----------------------------------------------------------------------------

def uri(data: bytes, kind: str) -> str:
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def png(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, 'PNG', **options)
    return file.getvalue()


def jpeg(image: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(image).save(file, 'JPEG', quality=QUALITY)
    return uri(file.getvalue(), 'jpeg')


def indexed(labels: np.ndarray, plain: int | None, colours: np.ndarray) -> str:
    """A label map as a palette PNG, transparent where it is `plain`."""
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(colours.reshape(-1).tolist())
    return uri(png(image, **({} if plain is None else {'transparency': plain})), 'png')


def errors_png(example: Example) -> str:
    """Where the prediction is wrong, and where it does not count."""
    kinds = np.where(example.label == VOID, 2, example.label != example.prediction).astype(np.uint8)
    image = Image.fromarray(kinds)
    table = RIGHT, WRONG, UNCOUNTED
    image.putpalette([value for *colour, _ in table for value in colour])
    return uri(png(image, transparency=bytes(alpha for *_, alpha in table)), 'png')


# ---- training ------------------------------------------------------------------------------------

def training(found: Evaluation, run: RunFacts | None) -> str:
    """Loss, rate and val scores against the iteration; '' without curves."""
    points = run.curves if run else []
    losses = series(points, 'loss')
    if not losses:
        return ''
    x = axis('iteration', [0, *(i for i, _ in losses)])
    charts = [chart_of('loss', x, losses, log=spans_decades([v for _, v in losses]))]
    scored = [(name.replace('_', ' '), [(i, 100 * v) for i, v in series(points, name)])
              for name in METRICS]
    if scored[0][1]:
        y = axis('val, percent', [v for _, curve in scored for _, v in curve], zero=True)
        charts.append(f'<figure><h3>Val scores</h3>{line_chart("val scores", x, y, scored)}'
                      '</figure>')
    rates = series(points, 'lr')
    if len({v for _, v in rates}) > 1:
        charts.append(chart_of('learning rate', x, rates,
                               log=spans_decades([v for _, v in rates])))
    elif rates:
        charts.append(f'<p class="note">Learning rate {rates[0][1]:g} throughout.</p>')
    seconds = points[-1].get('seconds')
    took = f' in {seconds / 60:.1f} minutes' if seconds else ''
    return (f'<p class="note">{int(points[-1]["iteration"]):,} iterations{took}; curves.csv has '
            f'the numbers.</p><div class="columns">{"".join(charts)}</div>')


def series(points: Sequence[Point], name: str) -> list[tuple[float, float]]:
    return [(p['iteration'], p[name]) for p in points if name in p and math.isfinite(p[name])]


def spans_decades(values: Sequence[float]) -> bool:
    return min(values) > 0 and max(values) > 20 * min(values)


def chart_of(name: str, x: Axis, points: Sequence[tuple[float, float]], log: bool) -> str:
    y = axis(name, [v for _, v in points], log=log, zero=not log)
    return (f'<figure><h3>{name.capitalize()}</h3>{line_chart(name, x, y, [(name, points)])}'
            '</figure>')


# ---- provenance ----------------------------------------------------------------------------------

def provenance(found: Evaluation, run: RunFacts | None) -> str:
    rows = [('net', found.net), ('after the net', found.crf), ('weights', found.weights),
            ('data', found.folder),
            ('split', found.split), ('split (SHA-256)', found.fingerprint),
            ('mean pixel, BGR', '' if found.mean is None else
             ', '.join(f'{float(v):g}' for v in found.mean)),
            ('device', f'{found.device}, {found.precision}'), *(run.facts if run else ())]
    table = ''.join(f'<tr><th>{escape(label)}</th><td>{escape(str(value))}</td></tr>'
                    for label, value in rows if value)
    chain = ''.join(f'<li><code>{escape(file)}</code> {escape(what)}</li>'
                    for file, what in (run.ancestors if run else ()))
    chain = f'<h3>Trained from</h3><ol>{chain}</ol>' if chain else ''
    return f'<div class="wide"><table class="facts"><tbody>{table}</tbody></table></div>{chain}'
