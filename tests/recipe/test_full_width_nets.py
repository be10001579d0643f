"""Every net of the paper at full width: files as the release's load into it, and it does ten
iterations and an evaluation on files in the original layouts. Slow; up to 9 GB of memory."""

import json
import math
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from original_layouts import make_all

from fcn_repro.formats.atomic import write_text
from fcn_repro.formats.caffemodel import write_caffemodel
from fcn_repro.net import Net
from fcn_repro.predict.labels import val_file
from fcn_repro.proto import TEST, LayerParameter
from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import STAGES, shipped
from fcn_repro.recipe.training import train
from fcn_repro.report.curves import FILE, read_curves

ROOT = Path(__file__).parents[2]
RELEASE = json.loads((ROOT / 'tests/release_nets.json').read_text())
VOC = json.loads((ROOT / 'tests/voc_nets.json').read_text())
INPUTS = {'nyud-fcn32s-color-d': 4}
PAPERS = [name for name in STAGES if STAGES[name].family in (
    'voc', 'nyud', 'siftflow', 'pascalcontext')]


def numbers(settings):
    return {key: int(value) for key, value in re.findall(r'(\w+): (\d+)', settings)}


def rows_of(name):
    """The rows of facts of a net's layers, from its trunk's and its own."""
    own = RELEASE['nets'].get(name) or VOC['heads'][name.removesuffix('-atonce')]
    if name == 'voc-fcn-alexnet':
        return own
    trunk = [row for row in VOC['trunk'] if row[0] != 'score_fr' or name.startswith('voc')]
    if name == 'nyud-fcn32s-color-hha':
        trunk = [[row[0] + suffix, row[1], row[2] + suffix, row[3] + suffix, *row[4:]]
                 for suffix in ('color', 'hha') for row in trunk]
    elif name == 'nyud-fcn32s-color-d':
        trunk = [[*row[:2], row[2].replace('conv1_1', 'conv1_1_bgrd'), *row[3:]]
                 for row in trunk[1:]]
    return [*own, *trunk]


def blobs_of(name):
    """[(layer, type, shapes)] of the layers with weights, of the net's released caffemodel."""
    rows = {row[0]: row for row in rows_of(name)}
    counts = {'data': INPUTS.get(name, 3), 'datacolor': 3, 'datahha': 3}
    for row in rows.values():
        if row[1] in ('Convolution', 'Deconvolution'):
            counts[row[3]] = numbers(row[5])['num_output']
    ends = {top: bottom.split()[0] for _, type, bottom, top, *_ in rows.values()
            if type in ('Pooling', 'Eltwise', 'LRN')}

    def channels(blob):
        while blob not in counts:
            blob = ends[blob]
        return counts[blob]
    for layer, type, bottom, _, _, settings in rows.values():
        if type in ('Convolution', 'Deconvolution'):
            n = numbers(settings)
            inputs = channels(bottom) // n.get('group', 1)
            shapes = [(n['num_output'], inputs, n['kernel_size'], n['kernel_size'])]
            if 'bias_term: false' not in settings:
                shapes.append((n['num_output'],))
            yield layer, type, shapes
    if name.endswith('-atonce'):
        yield from (('scale_pool4', 'Scale', [(512,)]), ('scale_pool3', 'Scale', [(256,)]))


def write_model(path, layers):
    """A caffemodel of constant blobs of these shapes."""
    write_caffemodel(path, 'released', [
        (LayerParameter(name=name, type=type),
         [np.broadcast_to(np.float32(1 / math.prod(shape[1:])), shape) for shape in shapes])
        for name, type, shapes in layers])


@pytest.mark.slow
@pytest.mark.parametrize('name', [*VOC['heads'], 'voc-fcn8s-atonce', *RELEASE['nets']])
def test_files_as_the_released_ones_load(name, tmp_path):
    """By layer names and shapes, all of them; into the deploy net."""
    write_model(tmp_path / 'released.caffemodel', blobs_of(name))
    net = Net.read(shipped(name) / 'deploy.prototxt', TEST)
    actions = [row.action for row in net.copy_from(tmp_path / 'released.caffemodel')]
    assert set(actions) == {'copied'} and len(actions) == len(net.params)
    (tmp_path / 'released.caffemodel').unlink()


# ---- ten iterations ------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Three images of each data set, in the original layouts."""
    return make_all(tmp_path_factory.mktemp('originals'))


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """A function of a word to a file of random weights, made once: those of VGG16, CaffeNet and
    GoogLeNet, and of both streams of NYUDv2's late fusion."""
    folder = tmp_path_factory.mktemp('sources')
    trained = {'vgg16': 'voc-fcn32s', 'caffenet': 'voc-fcn-alexnet',
               'streams': 'nyud-fcn32s-color-hha'}
    rng = np.random.default_rng(0)

    def drawn(shape):
        scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0
        return rng.standard_normal(shape, np.float32) * np.float32(scale)

    @cache
    def source(kind):
        path = folder / f'{kind}.caffemodel'
        if kind in trained:
            write_caffemodel(path, kind, [
                (LayerParameter(name=name, type=type), [drawn(shape) for shape in shapes])
                for name, type, shapes in blobs_of(trained[kind]) if 'score' not in name])
        else:
            text = folder / f'{kind}.prototxt'
            write_text(MODELS[kind].files()['deploy.prototxt'], text)
            Net.read(text, TEST).save(path)
        return path
    return source


def source_of(name, sources):
    """The weights that the stage starts from: a classifier's, or of a net of two streams its
    parent's, which lack the scores."""
    streams = STAGES[name].streams
    if not streams and name.endswith('color-hha'):
        return str(sources('streams'))
    kind = 'caffenet' if 'alexnet' in name else 'googlenet' if 'googlenet' in name else 'vgg16'
    return ','.join([str(sources(kind))] * max(1, len(streams)))


def folders_of(name, data):
    """The options that name the stage's data."""
    return {'voc': {'voc': data / 'pascal/VOC2011', 'sbd': data / 'sbdd/dataset'},
            'nyud': {'nyud': data / 'nyud'}, 'siftflow': {'siftflow': data / 'sift-flow'},
            'pascalcontext': {'pascal': data / 'pascal', 'context': data / 'pascal-context'}}[
                STAGES[name].family]


@pytest.mark.slow
@pytest.mark.parametrize('name', PAPERS)
def test_ten_iterations_and_an_evaluation(name, data, sources, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(name, Options(weights=source_of(name, sources), iterations=10, pictures=0,
                            keep=1, workers=1, **folders_of(name, data)))
    weights = train(run)
    assert weights is not None and weights.name.startswith('train_iter_10.')
    losses = [point['loss'] for point in read_curves(run.folder / FILE) if 'loss' in point]
    assert losses and all(0 < loss < math.inf for loss in losses)
    assert any((run.folder / 'eval').iterdir())
    assert val_file(run.prototxt).is_file()
    for path in run.folder.glob('train_iter_*'):
        path.unlink()                   # gigabytes
