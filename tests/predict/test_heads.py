"""A net with two heads: each is scored on the label that its loss reads; both rules of means."""

import json
from pathlib import Path

import numpy as np
import original_layouts as layouts
import pytest
import scipy.io
from PIL import Image
from small_runs import assert_error, call

from fcn_repro.data.siftflow import GEOMETRIC_CLASSES, SCENES, SEMANTIC_CLASSES
from fcn_repro.formats.weights import write_hdf5
from fcn_repro.net import Net
from fcn_repro.predict.heads import find_heads
from fcn_repro.predict.val import val_metrics

IDS = ['coast_art1', 'street_par9']
SIZE = 20, 24
NET = '''layer { name: "data" type: "Python" top: "data" top: "sem" top: "geo" python_param {
  module: "siftflow_layers" layer: "SIFTFlowSegDataLayer"
  param_str: "{'siftflow_dir': '../data/sift-flow', 'split': 'test', 'seed': 1337}" } }
layer { name: "score_sem" type: "Convolution" bottom: "data" top: "score_sem"
  convolution_param { num_output: 33 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score_sem" bottom: "sem" top: "loss"
  loss_param { ignore_label: 255 normalize: false } }
layer { name: "score_geo" type: "Convolution" bottom: "data" top: "score_geo"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "loss_geo" type: "SoftmaxWithLoss" bottom: "score_geo" bottom: "geo" top: "loss_geo"
  loss_param { ignore_label: 255 normalize: false } }
'''
WEIGHTS = {name: [np.random.default_rng(i).normal(size=(i, 3, 1, 1)).astype(np.float32),
                  np.zeros(i, np.float32)] for name, i in (('score_sem', 33), ('score_geo', 3))}


RAMP = (1 - np.abs(np.arange(8) - 3.5) / 4).astype(np.float32)
BILINEAR = RAMP[:, None] * RAMP


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with the net, its weights, and data without one semantic class."""
    monkeypatch.chdir(tmp_path)
    sift = layouts.make_siftflow(tmp_path, {'test': IDS}, SIZE)
    for id_ in IDS:
        path = sift / f'SemanticLabels/{SCENES}/{id_}.mat'
        labels = scipy.io.loadmat(path)['S']
        labels[labels == 9] = 10                # no cow, as in the test split
        scipy.io.savemat(path, {'S': labels})
    Path('test.prototxt').write_text(NET)
    write_hdf5('w.h5', WEIGHTS)
    return sift


def histogram(sift, name, folder, classes):
    """The confusion matrix of a head in numpy's words; -1 and 0 are void."""
    hist = np.zeros((classes, classes), np.int64)
    for id_ in IDS:
        image = np.asarray(Image.open(sift / f'Images/{SCENES}/{id_}.jpg'), np.float32)[:, :, ::-1]
        data = image - np.float32((114.578, 115.294, 108.353))
        scores = np.einsum('oc,hwc->hwo', WEIGHTS[name][0][:, :, 0, 0], data)
        label = scipy.io.loadmat(sift / f'{folder}/{SCENES}/{id_}.mat')['S'].astype(int) - 1
        np.add.at(hist, (label[label >= 0], scores.argmax(2)[label >= 0]), 1)
    return hist


def test_heads_are_what_the_losses_train(folder):
    net = Net.read('test.prototxt', 'TEST', overrides={
        'SIFTFlowSegDataLayer': {'siftflow_dir': str(folder)}})
    heads = find_heads(net)
    assert [(head.output.blob, head.label) for head in heads] == [
        ('score_sem', ''), ('score_geo', 'geometric')]
    assert find_heads(net, 'score_geo') == heads[1:]
    assert heads[1].words.endswith('scored on the geometric label')
    net.copy_from('w.h5')
    m = val_metrics(net, 0)
    hist = histogram(folder, 'score_sem', 'SemanticLabels', 33)
    assert m.pixel_accuracy == np.trace(hist) / hist.sum()


def test_both_heads_are_scored(folder, capsys):
    done = call(capsys, 'eval_voc', '--net', 'test.prototxt', '--weights', 'w.h5', '--siftflow',
                folder, '--out', 'out', '--report')
    assert done.status == 0, done.err
    semantic = histogram(folder, 'score_sem', 'SemanticLabels', 33)
    geometric = histogram(folder, 'score_geo', 'GeoLabels', 3)
    found = [json.loads(Path(path).read_text()) for path in
             ('out/metrics.json', 'out/score_geo/metrics.json')]
    for one, hist, names in zip(found, (semantic, geometric),
                                (SEMANTIC_CLASSES, GEOMETRIC_CLASSES), strict=True):
        assert one['confusion'] == hist.tolist() and tuple(one['class_iu']) == names
    assert 'scored on the geometric label' in done.out and 'warning' not in done.out
    assert Path('out/report.html').exists() and Path('out/report-score_geo.html').exists()
    assert sorted(path.name for path in Path('out/score_geo/pictures').iterdir()) == [
        f'{id_}.png' for id_ in IDS]


@pytest.mark.parametrize('rule', ['paper', 'release'])
def test_rules_side_by_side(folder, capsys, rule):
    done = call(capsys, 'eval_voc', '--net', 'test.prototxt', '--weights', 'w.h5', '--siftflow',
                folder, '--out', 'out', '--rule', rule)
    hist = histogram(folder, 'score_sem', 'SemanticLabels', 33)
    cow = SEMANTIC_CLASSES.index('cow')
    assert not hist[cow].any() and hist[:, cow].any()
    with np.errstate(invalid='ignore'):
        iu = np.diag(hist) / (hist.sum(0) + hist.sum(1) - np.diag(hist))
    release, paper = np.nanmean(iu), np.nanmean(iu[hist.sum(1) > 0])
    assert release < paper
    saved = json.loads(Path('out/metrics.json').read_text())
    by_rule = {rule: saved['mean_iu'], 'paper' if rule == 'release' else 'release':
               saved['other_rule']['mean_iu']}
    assert by_rule['paper'] == pytest.approx(paper, rel=1e-12)
    assert by_rule['release'] == pytest.approx(release, rel=1e-12)
    line, = (line for line in done.out.splitlines() if 'not in the ground truth' in line)
    assert 'cow' in line and f'mean IU {100 * paper:.1f};' in line
    assert line.endswith(f'{100 * release:.1f}')


def test_one_head_is_named(folder, capsys):
    done = call(capsys, 'eval_voc', '--net', 'test.prototxt', '--weights', 'w.h5', '--siftflow',
                folder, '--out', 'out', '--output', 'score_geo')
    saved = json.loads(Path('out/metrics.json').read_text())
    assert done.status == 0 and not Path('out/score_geo').exists()
    assert saved['confusion'] == histogram(folder, 'score_geo', 'GeoLabels', 3).tolist()


def test_a_geometric_label_that_is_no_class_is_named(folder, capsys):
    path = folder / f'GeoLabels/{SCENES}/{IDS[1]}.mat'
    scipy.io.savemat(path, {'S': np.full(SIZE, 4.)})
    done = call(capsys, 'eval_voc', '--net', 'test.prototxt', '--weights', 'w.h5', '--siftflow',
                folder, '--out', 'out')
    assert_error(done, f'GeoLabels/{SCENES}/{IDS[1]}.mat', 'holds 4', '-1 to 3')


UP = '''layer { name: "score_%(name)s_fr" type: "Convolution" bottom: "pool" top: "%(name)s_fr"
  convolution_param { num_output: %(n)d kernel_size: 1 } }
layer { name: "up_%(name)s" type: "Deconvolution" bottom: "%(name)s_fr" top: "up_%(name)s"
  param { lr_mult: 0 } convolution_param { num_output: %(n)d kernel_size: 8 stride: 4
    bias_term: false weight_filler { type: "bilinear" } } }
layer { name: "score_%(name)s" type: "Crop" bottom: "up_%(name)s" bottom: "data"
  top: "score_%(name)s" crop_param { axis: 2 offset: 2 } }
layer { name: "loss_%(name)s" type: "SoftmaxWithLoss" bottom: "score_%(name)s" bottom: "%(name)s"
  top: "loss_%(name)s" loss_param { ignore_label: 255 } }
'''


def test_one_forward_pass_predicts_what_each_head_alone_does(folder, capsys, monkeypatch):
    """Upsampled and cropped scores, whose label maps come from fused ops where they are alone."""
    pool = '''layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
      pooling_param { pool: AVE kernel_size: 4 stride: 4 } }'''
    Path('test.prototxt').write_text(NET[:NET.index('layer { name: "score_sem"')] + pool
                                     + UP % {'name': 'sem', 'n': 33} + UP % {'name': 'geo', 'n': 3})
    diagonal = {f'up_{name}': [np.eye(n, dtype=np.float32)[:, :, None, None] * BILINEAR]
                for name, n in (('sem', 33), ('geo', 3))}
    write_hdf5('w.h5', {f'{name}_fr': blobs for name, blobs in WEIGHTS.items()} | diagonal)
    words = ['--net', 'test.prototxt', '--weights', 'w.h5', '--siftflow', folder]
    calls, forward = [], Net.forward
    with monkeypatch.context() as patch:
        patch.setattr(Net, 'forward', lambda *args, **words: calls.append(0) or forward(
            *args, **words))
        assert call(capsys, 'eval_voc', *words, '--out', 'both').status == 0
    assert len(calls) == len(IDS)
    for blob, where in ('score_sem', 'both'), ('score_geo', 'both/score_geo'):
        assert call(capsys, 'eval_voc', *words, '--out', blob, '--output', blob).status == 0
        one, other = (json.loads(Path(path, 'metrics.json').read_text()) for path in (blob, where))
        assert one['confusion'] == other['confusion'] and np.sum(one['confusion']) > 0


# NYUDv2 and PASCAL-Context from the command line

NYUD = '''layer { name: "data" type: "Python" top: "color" top: "hha" top: "label" python_param {
  module: "nyud_layers" layer: "NYUDSegDataLayer"
  param_str: "{'nyud_dir': '../data/nyud', 'split': 'test', 'tops': ['color', 'hha', 'label']}" } }
layer { name: "both" type: "Concat" bottom: "color" bottom: "hha" top: "both" }
layer { name: "score" type: "Convolution" bottom: "both" top: "score"
  convolution_param { num_output: 40 kernel_size: 1 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
'''
CONTEXT = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "pascalcontext_layers" layer: "PASCALContextSegDataLayer"
  param_str: "{'voc_dir': 'x', 'context_dir': 'y', 'split': 'val', 'task': 33}" } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 34 kernel_size: 1 } }
'''


def random_weights(outputs, inputs):
    weight = np.random.default_rng(0).normal(size=(outputs, inputs, 1, 1)).astype(np.float32)
    return {'score': [weight, np.zeros(outputs, np.float32)]}


def test_nyud_is_scored_and_missing_hha_told_with_its_remedy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    nyud = layouts.make_nyud(tmp_path, {'test': ['5001', '5002']}, SIZE)
    Path('test.prototxt').write_text(NYUD)
    write_hdf5('w.h5', random_weights(40, 6))
    words = ['--net', 'test.prototxt', '--weights', 'w.h5', '--nyud', nyud, '--out', 'out']
    done = call(capsys, 'eval_voc', *words)
    assert done.status == 0 and 'refridgerator' in done.out, done.err
    images = [np.asarray(Image.open(nyud / f'data/{part}/img_5001.png'), np.float32)
              for part in ('images', 'hha')]
    data = np.concatenate([images[0][:, :, ::-1] - np.float32((116.190, 97.203, 92.318)),
                           images[1] - np.float32((132.431, 94.076, 118.477))], 2)
    expected = (data @ random_weights(40, 6)['score'][0][:, :, 0, 0].T).argmax(2)
    label = scipy.io.loadmat(nyud / 'segmentation/img_5001.mat')['segmentation'].astype(int) - 1
    right = (expected == label)[label >= 0].mean()
    first = Path('out/images.csv').read_text().splitlines()[1].split(',')
    assert first[0] == '5001' and float(first[3]) == pytest.approx(right, rel=1e-12)
    (nyud / 'data/hha/img_5002.png').unlink()
    assert_error(call(capsys, 'eval_voc', *words), 'hha is missing for 1 of 2 images',
                 f'`fcn-repro data hha {nyud}`')
    done = call(capsys, 'eval_voc', *words[:-4], '--nyud', 'nowhere')
    assert_error(done, 'there is no such folder', 'data/images/')


def test_context_is_scored_with_33_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pascal, context = layouts.make_context(tmp_path, {'val': ['2008_000003']}, (20, 60))
    Path('val.prototxt').write_text(CONTEXT)
    write_hdf5('w.h5', random_weights(34, 3))
    done = call(capsys, 'eval_voc', '--net', 'val.prototxt', '--weights', 'w.h5', '--context',
                context, '--pascal', pascal, '--out', 'out')
    saved = json.loads(Path('out/metrics.json').read_text())
    assert done.status == 0 and np.sum(saved['confusion']) == 20 * 60, done.err
    names = list(saved['class_iu'])
    assert names[:2] == ['background', 'aeroplane'] and len(names) == 34
