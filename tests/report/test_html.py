"""The HTML report: what it holds, that nothing in it comes from outside, that names from data are
text, and how it looks and works in a browser."""

import base64
import csv
import io
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.errors import FcnError
from fcn_repro.predict.metrics import Confusion
from fcn_repro.report import html
from fcn_repro.report.charts import axis, nice
from fcn_repro.report.curves import Curves, complete_curves, read_curves
from fcn_repro.report.html import RunFacts, write_report
from fcn_repro.report.results import Evaluation, Example, Image, Times, write_results

EVIL = '<script>alert("1")</script>&\'"><img src=x onerror=y>'
CHROMIUM = next(filter(None, map(shutil.which, (
    'chromium', 'chromium-browser', 'google-chrome', 'chrome'))), None)


def example(id_='a', size=(30, 40), n=21, seed=0):
    rng = np.random.default_rng(seed)
    label = np.zeros(size, np.uint8)
    label[5:20, 8:30] = 1 + seed % (n - 1)
    label[4] = 255
    prediction = np.roll(label, 3, 1)
    prediction[prediction == 255] = 0
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return Example(id_, image, label, prediction, 0.9, 0.5 + seed / 100)


def found(count=12, classes=VOC_CLASSES, examples=4, **changes):
    """An Evaluation of `count` images."""
    n = len(classes)
    confusion = Confusion(n)
    shown = [example(f'id {i}', n=n, seed=i) for i in range(examples)]
    for each in shown or [example(n=n)]:
        confusion.add(each.label, each.prediction)
    images = [Image(f'2008_{i:06d}', (375, 500), 0.9, (i % 100) / 100, 0.1) for i in range(count)]
    seconds = [0.1 + i / 1e4 for i in range(count)]
    fields = {'net': 'val.prototxt', 'weights': 'w.caffemodel', 'folder': 'VOC2011',
              'split': 'seg11valid', 'mean': (104.0, 117.0, 123.0), 'memory': 3 * 10 ** 8,
              'best': shown[examples // 2:], 'worst': shown[:examples // 2]}
    fields |= {'by_distance': [(1, 0.2, 0.1), (2, 0.4, 0.2), (None, 0.9, 0.7)], 'images': images,
               'names': classes}
    return Evaluation(metrics=confusion.metrics(), hist=confusion.hist, rule='paper', bound=0.9,
                      stride=8, times=Times(seconds, seconds, seconds, 2.), **(fields | changes))


def facts(points=50, name='voc-fcn8s'):
    curves = [{'iteration': i, 'seconds': i / 2, 'loss': 1000. / (i + 1), 'lr': 1e-3}
              | ({'pixel_accuracy': 0.8, 'mean_accuracy': 0.6, 'mean_iu': 0.5, 'fw_iu': 0.7}
                 if i % 10 == 9 else {}) for i in range(points)]
    return RunFacts(name, 'runs/voc-fcn8s', curves, [('solver', 'SGD, base_lr 1e-14')],
                    [('runs/voc-fcn8s/w.h5', 'stage voc-fcn8s'), ('vgg16.caffemodel', 'not here')],
                    'fcn8s')


class Reader(HTMLParser):
    """Elements, their attributes, the text, and that elements are closed in order."""

    VOID = frozenset(('meta', 'img', 'input'))

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def named(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def test_what_it_holds(tmp_path):
    path = tmp_path / 'new/report.html'
    write_report(path, found(), facts())
    text = path.read_text()
    page = Reader(text)
    assert not page.open
    assert [attrs['id'] for attrs in page.named('section')] == [
        'scores', 'classes', 'confusion', 'boundary', 'images', 'training', 'provenance']
    words = ' '.join(page.texts)
    for part in ('FCN-8s', '62.7', '83.2', 'CVPR 2015, Table 2', '~175 ms', 'tvmonitor',
                 'seg11valid', 'id 3', 'up to 2', 'farther', 'Val scores', 'base_lr 1e-14',
                 'vgg16.caffemodel', '300 MB'):
        assert part in words, part
    assert len(page.named('figure')) == 4 + 2 + 2       # examples; histogram, distance; curves
    assert len([a for a in page.named('td') if a.get('style', '').startswith('--v')]) == 21 * 21
    same = re.search(r'<tr class="same"><th>(.*?)<small>', text)
    assert same[1] == 'FCN-8s'
    assert len(re.findall('class="same"', text)) == 2     # the paper's and the release's


def test_the_users_own_colours_and_a_bound_that_is_passed(tmp_path):
    """In swatches and pictures; and why a net may pass the bound of nearest neighbour."""
    own = palette()
    own[1] = 1, 2, 3
    write_report(tmp_path / 'a.html', replace(found(), colours=own, bound=0.01), facts())
    text = (tmp_path / 'a.html').read_text()
    assert '.swatch.c1{background:#010203}' in text and '.swatch.c2{background:#008000}' in text
    assert 'of that (it interpolates between cells, which nearest neighbour does not)' in text
    picture = re.search(r'id="g0"[^>]*href="data:image/png;base64,([^"]+)', text)[1]
    with Picture.open(io.BytesIO(base64.b64decode(picture))) as image:
        assert image.getpalette()[3:6] == [1, 2, 3]


def test_without_a_run_curves_examples_names(tmp_path):
    write_report(tmp_path / 'a.html', found(3, range(3), 0, names=None, folder='', split='',
                                            mean=None, by_distance=[]))
    page = Reader((tmp_path / 'a.html').read_text())
    assert [attrs['id'] for attrs in page.named('section')] == [
        'scores', 'classes', 'confusion', 'images', 'provenance']


def test_nothing_from_outside(tmp_path):
    """No address but data and anchors; a policy that admits the page's own script alone."""
    write_report(tmp_path / 'a.html', found(), facts())
    text = (tmp_path / 'a.html').read_text()
    page = Reader(text)
    for tag, attrs in page.elements:
        for name in 'src', 'href', 'srcset', 'action', 'data', 'poster', 'xlink:href':
            assert attrs.get(name, '#').startswith(('#', 'data:image/')), (tag, attrs[name])
        assert not any(name.startswith('on') for name in attrs), tag
    assert not re.search(r'https?:|//[a-z]|@import|url\(', text)
    policy = page.named('meta')[1]['content']
    assert "default-src 'none'" in policy and html.digest(
        re.search('<script>(.*)</script>', text, re.S)[1]) in policy


@pytest.mark.parametrize('place', ['class', 'id', 'example', 'folder', 'run', 'warning'])
def test_names_from_data_are_text(tmp_path, place):
    """Class names, ids, paths and what weights record come from files."""
    result, run = found(), facts()
    if place == 'class':
        result = found(classes=(EVIL, *VOC_CLASSES[1:]))
    elif place == 'id':
        result = found(images=[Image(EVIL, (3, 4), 0.5, 0.5, 0.1)] * 2)
    elif place == 'example':
        result = found(best=[example(EVIL)])
    elif place == 'folder':
        result = found(folder=EVIL, split=EVIL, net=EVIL, weights=EVIL, device=EVIL,
                       precision=EVIL, fingerprint=EVIL)
    elif place == 'warning':
        result = found(warnings=[EVIL])
    else:
        run = RunFacts(EVIL, EVIL, run.curves, [(EVIL, EVIL)], [(EVIL, EVIL)], EVIL)
    write_report(tmp_path / 'a.html', result, run)
    page = Reader((tmp_path / 'a.html').read_text())
    assert not page.open and len(page.named('script')) == 1
    assert not [attrs for attrs in page.named('img') if not attrs['src'].startswith('data:')]
    assert any(EVIL in text for text in page.texts)


def test_many_classes(tmp_path):
    """No table of 200 by 200 numbers, but a picture; the colours go on."""
    names = tuple(f'class {i}' for i in range(200))
    write_report(tmp_path / 'a.html', found(classes=names), None)
    page = Reader((tmp_path / 'a.html').read_text())
    assert len(page.named('img')) == 1 and not [a for a in page.named('td') if 'style' in a]
    assert (tmp_path / 'a.html').stat().st_size < 500_000


def test_another_file_is_not_overwritten(tmp_path):
    path = tmp_path / 'thesis.html'
    path.write_text('<!doctype html>my thesis')
    with pytest.raises(FcnError, match='not a report'):
        write_report(path, found())
    assert path.read_text() == '<!doctype html>my thesis'
    path.unlink()
    write_report(path, found())
    write_report(path, found(), facts())
    assert 'Val scores' in path.read_text()
    (tmp_path / 'folder').mkdir()
    with pytest.raises(FcnError, match='folder'):
        write_report(tmp_path / 'folder', found())
    with pytest.raises(FcnError, match='cannot make this folder'):
        write_report(tmp_path / 'thesis.html/a.html', found())


def test_736_images_stay_small(tmp_path):
    """Of VOC's size, photographs as hard to compress as noise of 4 pixels; 8 MB is the limit."""
    rng = np.random.default_rng(0)
    shown = []
    for i in range(16):
        image = rng.integers(0, 256, (94, 125, 3), dtype=np.uint8).repeat(4, 0).repeat(4, 1)[:375]
        shown.append(example(f'{i}', (375, 500), seed=i)._replace(image=image))
    write_report(tmp_path / 'a.html', found(736, worst=shown[:8], best=shown[8:]), facts(1000))
    assert (tmp_path / 'a.html').stat().st_size < 8_000_000


# Tables as files

def test_files(tmp_path):
    write_results(found(classes=('=1+1', *VOC_CLASSES[1:])), tmp_path)
    rows = list(csv.DictReader((tmp_path / 'metrics.csv').open()))
    saved = json.loads((tmp_path / 'metrics.json').read_text())
    assert len(rows) == 22 and rows[-1]['class'] == 'mean'
    assert float(rows[-1]['iu']) == saved['mean_iu']
    assert rows[0]['class'] == "'=1+1" and next(iter(saved['class_iu'])) == '=1+1'
    assert rows[20]['iu'] == '' and saved['class_iu']['tvmonitor'] is None
    assert sum(int(row['pixels']) for row in rows[:-1]) == int(rows[-1]['pixels'])
    assert saved['seconds']['net']['p95'] > saved['seconds']['net']['median'] > 0
    assert len(list(csv.DictReader((tmp_path / 'images.csv').open()))) == 12


# Curves

def test_curves(tmp_path):
    """A restored run drops the rows beyond its snapshot and goes on; its time adds up."""
    path = tmp_path / 'curves.csv'
    curves = Curves(path)
    for i in (1, 2, 3):
        curves.add(i, i / 2, loss=1 / i, lr=0.1)
    path.write_text(path.read_text() + '4,2.0,0.')         # cut short
    curves = Curves(path, 2)
    curves.add(3, 0.5, loss=7., lr=0.01, pixel_accuracy=0.5, mean_accuracy=0.5, mean_iu=0.4,
               fw_iu=0.3)
    curves.add(4, 1., loss=8., lr=0.01)
    points = read_curves(path)
    assert [(p['iteration'], p['seconds'], p['loss']) for p in points] == [
        (1, 0.5, 1), (2, 1, 0.5), (3, 1.5, 7), (4, 2, 8)]
    assert points[2]['mean_iu'] == 0.4 and 'mean_iu' not in points[3]
    complete_curves(path, 4, {'pixel_accuracy': 0.9, 'mean_iu': 0.8})
    assert read_curves(path)[-1]['mean_iu'] == 0.8 and len(read_curves(path)) == 4
    complete_curves(path, 9, {'mean_iu': 0.1})
    assert len(read_curves(path)) == 4 and not read_curves(tmp_path / 'none.csv')


@pytest.mark.parametrize('text', [b'', b'\0\xff', b'iteration\n1\n', b'a,b\n"', (
    b'iteration,seconds,loss,lr,pixel_accuracy,mean_accuracy,mean_iu,fw_iu\n'
    b'x,1,1,1,,,,\n-1,1,1,1,,,,\ninf,1,1,1,,,,\nnan,1,1,1,,,,\n')])
def test_damaged_curves(tmp_path, text):
    (tmp_path / 'c').write_bytes(text)
    assert read_curves(tmp_path / 'c') == []


def test_axes():
    assert [nice(step) for step in (1, 1.1, 2.5, 7, 0.03)] == pytest.approx([1, 2, 5, 10, 0.05])
    for values in ([0.], [3., 3.], [1e-14, 2e-14], [-5., 1e6], [1e300, 2e300]):
        y = axis('y', values)
        slack = 1e-9 * (y.high - y.low)
        assert y.low <= min(values) + slack and max(values) <= y.high + slack
        assert len({text for _, text in y.ticks}) == len(y.ticks)
        assert 2 <= len(y.ticks) <= 12
    y = axis('y', [1e-3, 5e2], log=True)
    assert y.log and y.ticks[0][1] == '0.001' and y.place(1e-3) == 0


# In a browser

@pytest.fixture(scope='module')
def browser(tmp_path_factory):
    """run(path, *options): what headless Chromium prints."""
    if CHROMIUM is None:
        pytest.skip('no Chromium')
    home = tmp_path_factory.mktemp('chromium')

    def run(path, *options):
        done = subprocess.run(
            [CHROMIUM, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
             f'--user-data-dir={home}', *options, f'file://{path}'], capture_output=True,
            text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run


STEPS = '''
const out = [], key = (name, on = document.body) => on.dispatchEvent(
  new KeyboardEvent('keydown', {key: name, bubbles: true}));
const check = (what, value) => out.push(value ? 'ok ' + what : 'FAIL ' + what);
const theme = () => getComputedStyle(document.body).backgroundColor;
window.addEventListener('error', event => out.push('FAIL ' + event.message));
window.addEventListener('load', () => {
  check('fits', document.documentElement.scrollWidth <= innerWidth);
  const before = theme();
  key('t'); check('other colours', theme() !== before);
  document.getElementById('theme').click(); check('and back', theme() === before);
  key('j'); check('first image', document.activeElement === document.querySelector('.example'));
  key('j'); key('k');
  check('back at it', document.activeElement === document.querySelector('.example'));
  key('k'); check('stays', document.activeElement === document.querySelector('.example'));
  key('3'); check('section', document.activeElement === document.querySelector('#confusion h2'));
  const cells = [...document.querySelectorAll('#matrix td')];
  cells[0].focus(); key('ArrowRight', cells[0]); key('ArrowDown', document.activeElement);
  check('cell', document.activeElement === cells[22]);
  check('words', document.getElementById('cell').textContent.includes('aeroplane as aeroplane'));
  const head = document.querySelectorAll('#per-image thead th')[1], ids = () =>
    [...document.querySelectorAll('#per-image tbody tr')].map(row => row.cells[0].textContent);
  head.click(); head.click();
  check('sorted', ids()[0] === '2008_000011' && head.getAttribute('aria-sort') === 'descending');
  const filter = document.getElementById('filter');
  filter.value = '000003'; filter.dispatchEvent(new Event('input'));
  check('found', document.querySelectorAll('#per-image tbody tr:not([hidden])').length === 1);
  check('pictures', [...document.querySelectorAll('.panels svg')].every(
    svg => svg.getBoundingClientRect().height > 20));
  check('overlays', (key('o'), document.documentElement.classList.contains('bare')));
  document.body.replaceChildren(out.join('\\n'));
});
'''


@pytest.mark.parametrize('width', [1280, 500])
def test_keys_in_a_browser(tmp_path, browser, width):
    """The page's own script, with a second one for this test that its policy is given too."""
    write_report(tmp_path / 'a.html', found(), facts())
    text = (tmp_path / 'a.html').read_text()
    text = text.replace("script-src '", f"script-src '{html.digest(STEPS)}' '", 1)
    (tmp_path / 'b.html').write_text(text.replace('</head>', f'<script>{STEPS}</script></head>', 1))
    out = browser(tmp_path / 'b.html', '--dump-dom', f'--window-size={width},900')
    said = re.search('<body>(.*?)</body>', out, re.S)[1].strip().splitlines()
    assert len(said) == 13 and all(line.startswith('ok ') for line in said), said


def test_looks_in_a_browser(tmp_path, browser):
    """Light and dark as the system has it: screenshots of which most is paper, with ink on it."""
    write_report(tmp_path / 'a.html', found(), facts())
    for scheme, paper in ((1, (255, 255, 255)), (0, (20, 23, 27))):
        shot = tmp_path / f'{scheme}.png'
        browser(tmp_path / 'a.html', f'--screenshot={shot}', '--window-size=1000,1500',
                f'--blink-settings=preferredColorScheme={scheme}')
        picture = np.asarray(Picture.open(shot).convert('RGB')).astype(int)
        share = (abs(picture - paper).max(2) <= 3).mean()
        assert 0.5 < share < 0.99, (scheme, share)


def test_no_script_of_a_name_runs(tmp_path, browser):
    write_report(tmp_path / 'a.html', found(classes=(
        '<script>document.title="taken"</script>', '<img src=x onerror="document.title=\'taken\'">',
        *VOC_CLASSES[2:])), facts())
    out = browser(tmp_path / 'a.html', '--dump-dom')
    assert '<title>voc-fcn8s: mean IU' in out


def test_prints(tmp_path, browser):
    """To PDF, on a few pages."""
    write_report(tmp_path / 'a.html', found(), facts())
    browser(tmp_path / 'a.html', f'--print-to-pdf={tmp_path}/a.pdf', '--no-pdf-header-footer')
    data = Path(tmp_path, 'a.pdf').read_bytes()
    assert data.startswith(b'%PDF') and 2 <= len(re.findall(rb'/Type\s*/Page\b', data)) <= 12
