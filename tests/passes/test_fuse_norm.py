"""fuse_norm: its sites; equal outputs, gradients and running statistics; where it steps aside."""

from pathlib import Path

import pytest
import torch
from layer_evidence import reference_for
from texts import graph

from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.passes import fuse_norm
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.models import MODELS

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
SITES = {**dict.fromkeys(('own-fcn16s', 'own-full-fcn16s', 'own-distilled', 'own-scribbles',
                          'own-convcrf'), 18),
         'own-tags': 17, 'own-fickle': 14, 'own-classifier': 13,             # all others: 0
         'refinenet-resnet50': 53, 'refinenet-resnet101': 104, 'refinenet-resnet152': 155,
         'refinenet-resnet50-single': 53, 'refinenet-resnet50-2cascade': 53,
         'refinenet-resnet50-2scales': 106, 'refinenet-mini': 29, 'deeplab-v3-resnet101': 110,
         'deeplab-v3plus-resnet101': 113, 'deeplab-v3plus-xception65': 146,
         'deeplab-v3plus-mobilenet': 65, 'deeplab-v3plus-drn54': 66, 'deeplab-v3-mini': 38,
         'deeplab-v3plus-mini': 41, 'deeplab-v3plus-xception-mini': 62,
         'deeplab-v2-resnet101': 312, 'deeplab-v2-resnet101-single': 104,
         'deeplab-v2-mini': 78, 'deeplab-v2-single-mini': 26,
         'fastfcn-resnet50': 68, 'fastfcn-resnet50-psp': 72, 'fastfcn-resnet50-deeplab': 74,
         'fastfcn-mini': 44, 'fastfcn-psp-mini': 48, 'fastfcn-deeplab-mini': 50,
         'danet-resnet101': 108, 'danet-mini': 36, 'acnet-nyud': 205, 'mini-acnet': 115,
         'bisenet-r18': 20 + 15, 'bisenet-r18-mini': 12 + 15, 'bisenet-x39': 52 + 15,
         'bisenet-x39-mini': 22 + 15, 'lednet': 13 * 4 + 8 + 3, 'lednet-mini': 8 * 4 + 8 + 3,
         'dupsampling-resnet50': 56, 'dupsampling-mini': 35, 'dfanet': 116, 'dfanet-mini': 44}
NET = '''force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 4 %s } } }
layer { name: "norm" type: "BatchNorm" bottom: "data" top: "%s"
  batch_norm_param { moving_average_fraction: 0.9 } }
layer { name: "scale" type: "Scale" bottom: "%s" top: "%s"
  scale_param { filler { type: "uniform" min: -1 max: 2 } bias_term: true
    bias_filler { type: "gaussian" std: 1 } %s } }
layer { name: "relu" type: "ReLU" bottom: "%s" top: "%s" }
layer { name: "loss" type: "Reduction" bottom: "%s" top: "loss" loss_weight: 1
  reduction_param { operation: SUMSQ } }
'''
PLAIN, IN_PLACE = 'abc', 'aaa'


def text(names=PLAIN, sizes='dim: 5 dim: 7', further=''):
    a, b, c = names
    return NET % (sizes, a, a, b, further, b, c, c)


def norms(graph, keep=frozenset()):
    return [node for node in fuse_norm(graph, keep).nodes if node.type == 'Norm']


@pytest.mark.parametrize('name', [name for name in MODELS
                                  if list((PROTOTXT / name).glob('train*.prototxt'))])
def test_sites_in_each_shipped_net(name):
    path = min((PROTOTXT / name).glob('train*.prototxt'))
    text = read_net(path)
    found = norms(build(text, 'TRAIN'))
    assert len(found) == SITES.get(name, 0)
    assert len(found) == sum(layer.type == 'BatchNorm' for layer in text.message.layer)


@reference_for('Norm')
def check_equal(path, phase, names, last):
    got = []
    for passes in (), (fuse_norm,):
        net = Net.read(path, phase, passes=passes, seed=5)
        torch.manual_seed(1)
        for k, blob in enumerate(net.params['norm']):
            blob.data.copy_(torch.rand(blob.data.shape) + k)
        for _ in range(2):
            x = 3 * torch.randn(net.blobs['data'].shape) + 2
            if last and x.dim() == 4:
                x = x.contiguous(memory_format=torch.channels_last)
            watched = [] if names == IN_PLACE else [names[2]]   # else the pass would step aside
            tops = net(['data', *watched], data=x)
            net.backward()
        got.append([*(tops[name] for name in [*watched, 'loss']), net.blobs['data'].diff,
                    *(blob.data for blobs in net.params.values() for blob in blobs),
                    *(blob.diff for blob in net.params['scale'])])
    for mine, reference in zip(*got, strict=True):
        assert (mine - reference).abs().max() <= 2e-6 * max(1, reference.abs().max())


@pytest.mark.parametrize('names', [PLAIN, IN_PLACE])
@pytest.mark.parametrize('phase', ['TRAIN', 'TEST'])
@pytest.mark.parametrize('sizes', ['dim: 5 dim: 7', 'dim: 1 dim: 1', '', 'dim: 2 dim: 3 dim: 2'])
@pytest.mark.parametrize('last', [False, True])
def test_equal_with_and_without(tmp_path, names, phase, sizes, last):
    """Also the running statistics of two passes, and what TEST makes of them."""
    path = tmp_path / 'net.prototxt'
    path.write_text(text(names, sizes))
    check_equal(path, phase, names, last)


def test_a_blob_that_is_asked_for_stays(tmp_path):
    path = tmp_path / 'net.prototxt'
    path.write_text(text())
    net = Net.read(path, 'TRAIN', passes=(fuse_norm,))
    tops = net(['a'], data=torch.randn(3, 4, 5, 7))
    assert tops['a'].mean().abs() < 1e-6
    assert not norms(net.graph, {'a'})


@pytest.mark.parametrize('change', [
    ('bias_term: true', ''), ('reduction_param', 'propagate_down: true reduction_param'),
    ('scale_param {', 'scale_param { axis: 0'), ('scale_param {', 'scale_param { num_axes: 2'),
    ('type: "Scale" bottom: "a"', 'type: "Scale" bottom: "a" propagate_down: false'),
    ('type: "BatchNorm"', 'type: "BatchNorm" propagate_down: false')])
def test_other_layers_are_left_alone(change):
    old, new = change
    changed = text().replace(old, new)
    assert changed != text()
    expected = 1 if 'reduction_param' in new else 0
    assert len(norms(graph(changed))) == expected


def test_a_second_reader_is_seen():
    second = 'layer { name: "more" type: "Power" bottom: "a" top: "more" }\n'
    assert not norms(graph(text() + second))


def test_one_value_a_channel_cannot_be_normalised(tmp_path):
    """As without the pass: the variance of one value is 0."""
    path = tmp_path / 'net.prototxt'
    path.write_text(text(sizes='dim: 1 dim: 1').replace('dim: 3 dim: 4', 'dim: 1 dim: 4'))
    tops = [Net.read(path, 'TRAIN', passes=passes, seed=5)(data=torch.ones(1, 4, 1, 1))['loss']
            for passes in ((), (fuse_norm,))]
    assert torch.equal(*tops)
