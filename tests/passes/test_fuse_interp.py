"""fuse_score for Interp: equal losses, gradients and labels, and where it steps aside."""

import pytest
import torch
from layer_evidence import reference_for
from texts import conv, graph, inputs, layer, message

from fcn_repro.net import Net
from fcn_repro.net.graph import LABELS
from fcn_repro.passes import DEFAULT, fuse_score

DATA = inputs(data=(2, 4, 6, 7), label=(2, 1, 41, 49)) + conv('fr', 'data')
UP = layer('Interp', 'score', 'fr', 'score', 'interp_param { %s }')
ZOOM = DATA + UP % 'zoom_factor: 8'
LOSS = layer('SoftmaxWithLoss', 'loss', 'score label', 'loss',
             'loss_param { ignore_label: 255 %s }')
SIZES = {'zoom': 'zoom_factor: 8', 'size': 'height: 41 width: 49',
         'shrunk and zoomed': 'shrink_factor: 5 zoom_factor: 41', 'cut': 'pad_beg: -1 pad_end: -1 '
         'height: 41 width: 49', 'second bottom': '', 'second bottom, cut': 'pad_beg: -1'}


def fused(graph, keep=frozenset()):
    return [node.type for node in fuse_score(graph, keep).nodes if node.type.startswith('Interp')]


def text_of(size, mode='', more=''):
    """A net whose scores have the labels' size."""
    top = {'shrunk and zoomed': (42, 42)}.get(size, (41, 49))
    up = UP.replace('bottom: "fr"', 'bottom: "fr" bottom: "label"') if 'bottom' in size else UP
    assert ('label' in up) == ('bottom' in size)
    return DATA.replace('dim: 41 dim: 49', 'dim: {} dim: {}'.format(*top)) + up % SIZES[size] \
        + LOSS % mode + more


def nets(tmp_path, text, **options):
    path = tmp_path / 'net.prototxt'
    path.write_text('force_backward: true ' + text)
    return [Net.read(path, 'TEST', passes=passes, seed=5, dialect='deeplab-v2', **options)
            for passes in ((), (fuse_score,))]


def given(net, seed=1):
    draw = torch.Generator().manual_seed(seed)
    shape = net.blobs['label'].shape
    label = torch.randint(0, 3, shape, generator=draw)
    label[torch.rand(shape, generator=draw) < 0.2] = 255
    return {'data': torch.randn(net.blobs['data'].shape, generator=draw), 'label': label.float()}


@reference_for('InterpLoss')
def check_loss(two):
    got = []
    for net in two:
        loss = net(['data'], **given(net))['loss']
        net.backward()
        got.append([loss.detach(), net.blobs['data'].diff,
                    *(blob.diff for blob in net.params['fr'])])
    for mine, reference in zip(got[1], got[0], strict=True):
        assert (mine - reference).abs().max() <= 2e-6 * max(1, reference.abs().max())


@pytest.mark.parametrize('mode', ['', 'normalization: FULL', 'normalization: BATCH_SIZE',
                                  'normalization: NONE'])
@pytest.mark.parametrize('size', SIZES)
def test_loss_and_gradients(tmp_path, size, mode):
    two = nets(tmp_path, text_of(size, mode))
    assert fused(two[1].graph) == ['InterpLoss']
    check_loss(two)


@reference_for('InterpLabels')
def check_labels(two, name):
    got = []
    for net in two:
        with torch.inference_mode():
            got.append(net.forward(labels_of='score', data=given(net)['data'],
                                   label=given(net)['label'])[LABELS])
    assert got[0].dtype == got[1].dtype == torch.uint8
    assert got[0].shape == got[1].shape and (got[0] != got[1]).float().mean() < 1e-3


@pytest.mark.parametrize('size', SIZES)
def test_labels(tmp_path, size):
    """Equal but where two scores are within rounding."""
    two = nets(tmp_path, text_of(size))
    assert 'InterpLabels' in fused(two[1].graph.labelled('score'))
    check_labels(two, size)


def test_all_passes_together(tmp_path):
    path = tmp_path / 'net.prototxt'
    path.write_text(ZOOM)
    got = []
    for passes in (), DEFAULT:
        net = Net.read(path, 'TEST', passes=passes, seed=5, dialect='pspnet')
        with torch.inference_mode():
            got.append(net.forward(labels_of='score', data=torch.ones(2, 4, 6, 7),
                                   label=torch.zeros(2, 1, 41, 49))[LABELS])
    assert torch.equal(*got)


def test_blobs_that_are_asked_for_stay(tmp_path):
    plain, other = nets(tmp_path, ZOOM + LOSS % '')
    tops = [net(['score', 'loss'], **given(net)) for net in (plain, other)]
    assert torch.equal(tops[0]['score'], tops[1]['score'])
    assert not fused(other.graph, {'score'})[1:] and fused(other.graph, {'score'}) == ['Interp']


@pytest.mark.parametrize('old, new', [
    ('type: "SoftmaxWithLoss"', 'type: "SoftmaxWithLoss" softmax_param { axis: 2 }'),
    ('type: "SoftmaxWithLoss"', 'type: "SoftmaxWithLoss" propagate_down: true '
     'propagate_down: false'),
    ('type: "Interp"', 'type: "Interp" propagate_down: true'),
    ('type: "Interp"', 'type: "Interp" loss_weight: 1'),
    ('type: "Interp"', 'type: "Interp" fcn_repro_param { align_corners: false }'),
    ('top: "loss"', 'top: "loss" top: "prob"')])
def test_other_layers_are_left_alone(old, new):
    text = ZOOM + LOSS % ''
    assert old in text and fused(graph(text)) == ['InterpLoss']
    assert fused(graph(text.replace(old, new))) == ['Interp']


def test_a_second_reader_is_seen():
    assert fused(graph(ZOOM + LOSS % '' + layer('Power', 'more', 'score', 'more'))) == ['Interp']


def test_labels_out_of_range_name_the_loss(tmp_path):
    _, net = nets(tmp_path, ZOOM + LOSS % '')
    label = torch.full((2, 1, 41, 49), 7.)
    text = message(net.forward, data=torch.ones(2, 4, 6, 7), label=label)
    assert "layer 'loss' (SoftmaxWithLoss)" in text and '4018 labels outside 0 ... 2' in text
    text = message(net.forward, data=torch.ones(2, 4, 6, 7), label=torch.zeros(2, 1, 40, 49))
    assert "layer 'loss'" in text
