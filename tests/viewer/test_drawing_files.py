"""The page, the SVG and the table: whole, offline, and harmless whatever a net's file says."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from texts import inputs, layer

from fcn_repro import viewer
from fcn_repro.errors import FcnError
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source
from fcn_repro.viewer.words import counted, plain

ROOT = Path(__file__).parents[2]
FCN8S = ROOT / 'prototxt/voc-fcn8s/deploy.prototxt'
EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(1)>{{script}}&amp;\\"\\\''
NET = f'name: "{EVIL}"\n' + inputs(x=(1, 3, 8, 8)) + layer(
    'Convolution', EVIL, 'x', EVIL.replace(' ', '_'), 'convolution_param { num_output: 2 '
    'kernel_size: 3 }') + layer(EVIL, 'a\\nb\\001\\342\\200\\256c', EVIL.replace(' ', '_'),
                                'y', f'z_param {{ s: "{EVIL}" }} # {EVIL}\n') + layer(
    'ReLU', '', 'y', 'y') + layer('ReLU', '', 'y', 'z')
NET = NET.replace('top: "z"', f'top: "{EVIL}{EVIL}"')


class Elements(HTMLParser):
    """The tags of a page with their attributes, and the texts of its scripts."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.inside = [], [], False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.inside = tag == 'script'
        if self.inside:
            self.scripts.append('')

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.scripts[-1] += data


@pytest.fixture(scope='module')
def evil():
    return describe(parse_source(NET, f'{EVIL}.prototxt'))


def parsed(page):
    elements = Elements()
    elements.feed(page)
    return elements


def test_nothing_of_the_file_is_markup(evil):
    """Names, types, texts and the path are escaped; two scripts, one of them data; no element of
    the net's making."""
    page = viewer.page_of(evil)
    elements = parsed(page)
    assert len(elements.scripts) == 2 and not any(tag == 'img' for tag, _ in elements.tags)
    assert not any(key.startswith('on') for _, attrs in elements.tags for key in attrs)
    data = json.loads(elements.scripts[0])
    assert [each['name'] for each in data['layers']] == [
        'x', EVIL.replace('\\"', '"').replace("\\'", "'"), 'a\\x0ab\\x01\\u202ec', '(no name)',
        '#2']
    assert data['layers'][2]['text'].startswith('layer { name: "a\\nb')
    assert 'alert(1)' not in elements.scripts[1]


def test_only_the_page_s_own_script_may_run(evil):
    elements = parsed(viewer.page_of(evil))
    policy = next(attrs['content'] for tag, attrs in elements.tags if tag == 'meta'
                  and 'http-equiv' in attrs)
    digest = base64.b64encode(hashlib.sha256(elements.scripts[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


@pytest.mark.parametrize('phase', ['TEST', 'TRAIN'])
def test_offline(phase):
    """No address, no other file."""
    page = viewer.page_of(viewer.drawn(FCN8S, phase))
    assert not re.search(r'(?:src|href)\s*=\s*"(?!#)|url\((?!#)|@import|fetch\(|https?:(?!//www.w3'
                         r'.org/2000/svg)', page)


def test_page_has_every_layer():
    drawn = viewer.drawn(FCN8S)
    page = viewer.page_of(drawn)
    boxes = re.findall(r'<g class="layer k-\w+" data-i="(\d+)">', page)
    assert sorted(map(int, boxes)) == list(range(len(drawn.items)))
    assert len(re.findall(r'<tr class="k-\w+" data-i=', page)) == len(drawn.items)
    data = json.loads(parsed(page).scripts[0])
    score = data['layers'][-1]
    assert score['cut']['fits'] and score['tops'][0]['field'] == '468'
    assert score['text'].startswith('layer {\n  name: "score"')
    assert data['fusions'][-1]['of'] == 'fuse_score'


@pytest.mark.parametrize('net', ['evil', 'fcn'])
def test_svg_is_xml(net, evil):
    drawn = evil if net == 'evil' else viewer.drawn(FCN8S)
    root = ElementTree.fromstring(viewer.svg_of(drawn))
    boxes = [each for each in root.iter('{http://www.w3.org/2000/svg}g')
             if each.get('class', '').startswith('layer ')]
    assert len(boxes) == len(drawn.items)
    assert not any(each.tag.endswith('script') for each in root.iter())


def test_table(evil):
    """A line for each top; one-line names; the columns stand below their heads."""
    lines = viewer.text_of(viewer.drawn(FCN8S)).splitlines()
    head, fc7 = lines[2], next(line for line in lines if line.startswith('fc7 '))
    assert [fc7[head.index(name):].split()[0] for name in ('type', 'shape')] == [
        'Convolution', '1×4096×16×16']
    assert fc7.split()[-7:] == ['404', '32', '12.5', '16.8', 'M', '4.19', 'MB', '4.29', 'G',
                                'fc7'][-7:]
    assert any(line.split() == ['parameters', '134,489,759', '(538', 'MB)'] for line in lines)
    assert all(plain(line) == line for line in viewer.text_of(evil).splitlines())


def test_large_numbers():
    assert [counted(n) for n in (0, 999, 1000, 999_999, 181_529_034_048, None)] == [
        '0', '999', '1 k', '1e+03 k', '182 G', '?']


def test_only_drawings_are_replaced(tmp_path):
    """An earlier drawing is; the net itself, or any other file, is not."""
    drawn = viewer.drawn(FCN8S)
    for name, text in {'a.html': viewer.page_of(drawn), 'a.svg': viewer.svg_of(drawn)}.items():
        viewer.save(text, tmp_path / name)
        viewer.save(text, tmp_path / name)
        assert (tmp_path / name).read_text() == text
    other = tmp_path / 'net.prototxt'
    other.write_text('layer { }')
    with pytest.raises(FcnError) as error:
        viewer.save('x', other)
    assert error.value.code == 'not-a-drawing' and other.read_text() == 'layer { }'
    with pytest.raises(FcnError, match='a folder'):
        viewer.save('x', tmp_path)


def test_five_hundred_layers_in_a_moment(tmp_path):
    """A net like DenseNet: each block reads all before it in turn."""
    text = inputs(x=(1, 3, 32, 32)) + layer('Convolution', 'c0', 'x', 'c0', 'convolution_param { '
                                            'num_output: 4 kernel_size: 3 pad: 1 }')
    for i in range(1, 101):
        text += layer('BatchNorm', f'b{i}', f'c{i - 1}', f'b{i}') + layer(
            'Scale', f's{i}', f'b{i}', f'b{i}') + layer('ReLU', f'r{i}', f'b{i}', f'b{i}') + layer(
            'Convolution', f'd{i}', f'b{i}', f'd{i}', 'convolution_param { num_output: 2 '
            'kernel_size: 3 pad: 1 }') + layer('Concat', f'c{i}', f'c{i - 1} d{i}', f'c{i}')
    drawn = describe(parse_source(text))
    assert len(drawn.items) == 502 and drawn.whole
    assert len(viewer.page_of(drawn)) < 2e6


@pytest.mark.slow
def test_in_a_browser(tmp_path, evil):
    """Headless Chromium runs the script, and nothing of the net's."""
    browser = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser',
                                                   'google-chrome'))), None)
    if browser is None:
        pytest.skip('needs Chromium')
    for name, drawn, hash_ in (('evil', evil, ''), ('fcn', viewer.drawn(FCN8S), '#score')):
        path = tmp_path / f'{name}.html'
        path.write_text(viewer.page_of(drawn))
        made = subprocess.run(
            [browser, '--headless', '--no-sandbox', '--disable-gpu', '--dump-dom',
             f'--user-data-dir={tmp_path / "profile"}', f'{path.as_uri()}{hash_}'],
            capture_output=True, text=True, timeout=600, check=True).stdout
        assert '<img' not in made and made.count('<script') == 2
        assert 'Choose a layer' in made if name == 'evil' else 'why this offset' in made
