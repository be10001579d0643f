"""Passes: how many sites each finds, equal outputs and gradients, and where it steps aside."""

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA, SHARED, error
from texts import conv, diffs, graph, image, inputs, layer, net

from fcn_repro import ops, passes
from fcn_repro.graph import build
from fcn_repro.layers.upcrop import UpCrop
from fcn_repro.models import MODELS
from fcn_repro.net import Net
from fcn_repro.passes import fuse_upcrop
from fcn_repro.prototxt import read_net
from fcn_repro.surgery import interp

PROTOTXT = Path(__file__).parents[1] / 'prototxt'
SHIPPED = sorted(path for path in PROTOTXT.glob('*/*.prototxt') if 'solver' not in path.name)
NETS = {path.parent.name: path for root in (SHARED, DATA)
        for path in sorted((root / 'nets').glob('*/net.prototxt'))}.values()
SITES = {'late-fusion': 1, 'early-fusion': 1, 'multitask': 2}       # all others: 1
LAYERS = sorted(path.stem for path in (DATA / 'layers').glob('*.prototxt')
                if path.stem.startswith(('deconv_crop', 'fcn_skip')))


def fused(graph, keep=frozenset()):
    return [node for node in fuse_upcrop(graph, keep).nodes if node.type == 'UpCrop']


def steps(net):
    return [step.node.type for plan in net.plans.values() for step in plan.steps]


def make_bilinear(net):
    """What surgery does to the upsampling layers, which the release creates as zeros."""
    params = {name: [blobs[0].data.zero_()] for name, blobs in net.params.items()
              if name.startswith('up')}
    interp(params, list(params))


# Sites

@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: f'{path.parent.name}-{path.stem}')
def test_sites_in_each_shipped_prototxt(path):
    """One in each FCN, its last upsampling: the others are not cropped but crop a skip."""
    found = build(read_net(path), 'TRAIN' if path.stem.startswith('train') else 'TEST')
    sites = fused(found)
    fcn = re.search(r'-fcn(\d+)s', path.parent.name)
    assert len(sites) == (1 if fcn else 0)
    for node in sites:
        assert node.name == 'score'
        assert node.owners == ('upscore' if fcn[1] == '32' else f'upscore{fcn[1]}', 'score')
        assert len(fuse_upcrop(found).nodes) == len(found.nodes) - 1
        assert not fused(found, {found.values[node.parts[0].tops[0]]})


def test_every_shipped_model_is_counted():
    assert {path.parent.name for path in SHIPPED} == set(MODELS)


@pytest.mark.parametrize('path', NETS, ids=lambda path: path.parent.name)
def test_sites_in_each_golden_net(path):
    assert len(fused(build(read_net(path), 'TEST'))) == SITES.get(path.parent.name, 1)


# Equality

@pytest.fixture
def called(monkeypatch):
    """The calls of the fused op."""
    calls, upcrop = [], ops.upcrop
    monkeypatch.setattr(ops, 'upcrop', lambda *args: calls.append(args) or upcrop(*args))
    return calls


@pytest.mark.parametrize('use, limit', [((fuse_upcrop,), 1e-6), (passes.DEFAULT, 1e-5)],
                         ids=['fuse_upcrop', 'default'])
@pytest.mark.parametrize('bilinear', [False, True], ids=['', 'bilinear'])
@pytest.mark.parametrize('path', NETS, ids=lambda path: path.parent.name)
def test_nets_are_equal_with_and_without(path, bilinear, use, limit, called):
    """Loss, scores and the gradient of every parameter, with the golden's weights (in some nets
    bilinear) and with bilinear ones; 1e-5 where convolutions see other shapes and round anew."""
    plain, quick = (Net.read(path, 'TEST', passes=passes_) for passes_ in ((), use))
    with h5py.File(path.parent / 'golden_1x3x64x64.h5') as golden:
        blobs = {name: blob[...] for name, blob in golden['inputs'].items()}
    scores = [name for name in plain.blobs if name.startswith('score') and name in (
        node.name for node in fused(plain.graph))]
    for ours in plain, quick:
        ours.copy_from(path.parent / 'weights.caffemodel')
        if bilinear:
            make_bilinear(ours)
        ours.forward(blobs=scores, **blobs)
        ours.backward()
    sites = SITES.get(path.parent.name, 1)
    assert (steps(plain).count('UpCrop'), steps(quick).count('UpCrop')) == (0, sites)
    assert len(called) == sites or not bilinear
    assert error(quick.total_loss.detach(), plain.total_loss.detach()) <= 1e-6
    for name in scores:
        assert error(quick.blobs[name].data, plain.blobs[name].data) <= limit
    for name, diff in diffs(plain).items():
        assert error(diffs(quick)[name], diff) <= 1e-5, name


@pytest.mark.parametrize('learned', [True, False])
@pytest.mark.parametrize('case', LAYERS)
def test_fused_layers_equal_caffe(case, learned):
    """Every golden with a deconvolution and a crop, without asking for what is between them."""
    path = DATA / 'layers' / f'{case}.prototxt'
    ours = Net.read(path, 'TEST', passes=passes.DEFAULT)
    with h5py.File(path.with_suffix('.h5')) as golden:
        for name, blobs in golden['params'].items():
            for i, blob in blobs.items():
                ours.params[name][int(i)].data[...] = torch.from_numpy(blob[...])
                ours.params[name][int(i)].parameter.requires_grad_(learned)
        given = {name: blob[...] for name, blob in golden['inputs'].items()}
        ours.forward(blobs=list(given), **given)
        for name, blob in golden['outputs'].items():
            assert error(ours.blobs[name].data, blob[...]) <= 1e-5, name
        ours.backward(**{name: blob[...] for name, blob in golden['output_diffs'].items()})
        for name, blob in golden['input_diffs'].items():
            assert error(ours.blobs[name].diff, blob[...]) <= 1e-5, name
        for name, blobs in golden.get('param_diffs', {}).items() if learned else ():
            for i, blob in blobs.items():
                assert error(ours.params[name][int(i)].diff, blob[...]) <= 1e-5, name


def test_which_golden_layers_are_fused():
    left = {case for case in LAYERS if not fused(graph((DATA / 'layers' / f'{case}.prototxt')
                                                       .read_text()))}
    assert left == {'deconv_crop_channel_axis', 'deconv_crop_grouped_bias', 'deconv_crop_pad',
                    'deconv_crop_other_consumer', 'fcn_skip_fuse'}   # axis, biases, consumer, -


# The idioms, on a small net

DATA_3 = inputs(data=(1, 3, 5, 6), size=(1, 1, 7, 9))


def text(group=1, pad=0, filler='', lr_mult=0, up='', crop='axis: 2 offset: 2', after='',
         bias=False):
    return DATA_3 + conv('a', 'data') + layer(
        'Deconvolution', 'up', 'a', 'up', f'param {{ lr_mult: {lr_mult} }} convolution_param {{ '
        f'num_output: 3 kernel_size: 4 stride: 2 group: {group} pad: {pad} '
        f'bias_term: {str(bias).lower()} {filler} {up} }}') \
        + layer('Crop', 'y', 'up size', 'y', f'crop_param {{ {crop} }}') + after


def pair(source, bilinear=False):
    """The net without and with passes, after a run and its backward."""
    both = [net(source, passes=use, seed=4) for use in ((), passes.DEFAULT)]
    for ours in both:
        if bilinear:
            make_bilinear(ours)
        ours.forward(data=image(1, 3, 5, 6))
        y = ours.blobs['y']
        ours.backward(y=image(*y.shape, seed=1))
        assert y.data.any()
    return both


def assert_equal(plain, quick):
    torch.testing.assert_close(quick.blobs['y'].data, plain.blobs['y'].data, rtol=0, atol=1e-5)
    for name, diff in diffs(plain).items():
        torch.testing.assert_close(diffs(quick)[name], diff, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize('pad', [0, 1])
def test_the_dense_diagonal_of_surgery(called, pad):
    plain, quick = pair(text(pad=pad), bilinear=True)
    assert called and 'UpCrop' in steps(quick)
    assert_equal(plain, quick)


@pytest.mark.parametrize('pad', [0, 1])
def test_the_grouped_idiom(called, pad):
    """Caffe's own: group C, pad, the bilinear filler; no surgery."""
    plain, quick = pair(text(group=3, pad=pad, filler='weight_filler { type: "bilinear" }'))
    assert called and quick.params['up'][0].shape == (3, 1, 4, 4)
    assert_equal(plain, quick)


GAUSSIAN = 'weight_filler { type: "gaussian" std: 1 }'


@pytest.mark.parametrize('group', [1, 3])
def test_weights_that_are_not_bilinear(called, group):
    """Fused in the graph, but run as the two layers that it is made of."""
    plain, quick = pair(text(group=group, filler=GAUSSIAN))
    assert not called and 'UpCrop' in steps(quick)
    assert_equal(plain, quick)


@pytest.mark.parametrize('filler', [GAUSSIAN, 'weight_filler { type: "bilinear" }'])
def test_a_weight_that_is_learned_gets_its_gradient(called, filler):
    plain, quick = pair(text(lr_mult=1, filler=filler), bilinear='bilinear' in filler)
    assert not called and quick.params['up'][0].diff.any()
    assert_equal(plain, quick)


def test_a_new_weight_is_proven_anew(called):
    """Writing into the weight changes what runs, at once, in both directions."""
    ours = net(text(group=3, filler='weight_filler { type: "bilinear" }'), passes=passes.DEFAULT)
    plain = net(text(group=3, filler='weight_filler { type: "bilinear" }'))
    plain.share_with(ours)
    kept, x = ours.params['up'][0].data.clone(), image(1, 3, 5, 6)

    def run():
        called.clear()
        torch.testing.assert_close(ours.forward(data=x)['y'], plain.forward(data=x)['y'])
        return bool(called)

    assert run() and run()
    ours.params['up'][0].data[1, 0, 2, 2] += 1
    assert not run()
    ours.params['up'][0].data.copy_(kept)
    assert run()
    ours.double(), plain.double()
    assert run()


def test_proven_once_per_weight_version(monkeypatch):
    count, recognise = [], ops.recognise_bilinear
    monkeypatch.setattr(ops, 'recognise_bilinear',
                        lambda *args: count.append(1) or recognise(*args))
    ours = net(text(group=3, filler='weight_filler { type: "bilinear" }'), passes=passes.DEFAULT)
    for _ in range(3):
        ours.forward()
    assert len(count) == 1


SCALED = layer('Power', 'z', 'up', 'z', 'power_param { scale: 2 }')


@pytest.mark.parametrize('source', [
    text(bias=True), text(up='dilation: 2'),
    text(group=3).replace('num_output: 3 kernel_size: 4', 'num_output: 6 kernel_size: 4'),
    text(after=SCALED), text(crop='axis: 3 offset: 2'),
    text(crop='axis: 2').replace('bottom: "up" bottom: "size"', 'bottom: "up" bottom: "up"'),
    text().replace('param { lr_mult: 0 }', 'param { lr_mult: 0 } loss_weight: 1'),
    text().replace('param { lr_mult: 0 }', 'param { lr_mult: 0 } propagate_down: true'),
], ids=['bias', 'dilation', 'other group', 'other consumer', 'other axis', 'crops itself',
        'loss weight', 'propagate_down'])
def test_steps_aside(source):
    assert not fused(graph(source))
    assert_equal(*pair(source.replace('stride: 2', f'stride: 2 {GAUSSIAN}')))


def test_steps_aside_for_what_is_asked_for():
    """A blob that is named is delivered with Caffe's shape and values, and its diff."""
    source = text(group=3, filler='weight_filler { type: "bilinear" }')
    plain, quick = (net(source, passes=use, seed=4) for use in ((), passes.DEFAULT))
    for ours in plain, quick:
        ours.forward(blobs=['up'], data=image(1, 3, 5, 6))
        ours.backward(y=torch.ones(1, 3, 7, 9))
    assert 'UpCrop' not in steps(quick)
    assert torch.equal(quick.blobs['up'].data, plain.blobs['up'].data)
    assert torch.equal(quick.blobs['up'].diff, plain.blobs['up'].diff)
    assert quick.forward().keys() == {'y'} and 'UpCrop' in steps(quick)
    assert torch.equal(quick.forward(stop_after='up')['up'], plain.blobs['up'].data)
    assert quick.forward(blobs='all').keys() == plain.forward(blobs='all').keys()


def test_the_size_may_change(called):
    """The window follows the blob that gives the size; a crop that leaves its input is an error."""
    ours = net(text(group=3, filler='weight_filler { type: "bilinear" }'), passes=passes.DEFAULT)
    plain = net(text(group=3, filler='weight_filler { type: "bilinear" }'))
    plain.share_with(ours)
    for h, w in ((1, 1), (3, 10), (10, 2)):
        given = {'data': image(2, 3, 5, 6), 'size': np.zeros((1, 1, h, w))}
        torch.testing.assert_close(ours.forward(**given)['y'], plain.forward(**given)['y'])
    with pytest.raises(Exception, match=r"layer 'y' .*: the crop leaves its input: axis 2 is 12"):
        ours.forward(size=np.zeros((1, 1, 11, 2)))
    assert len(called) == 3


def test_channels_last_and_half_the_gradient_path(called):
    """Where nothing below learns, no gradient flows; where the crop's size comes from a blob that
    learns, that blob gets none."""
    source = DATA_3 + conv('a', 'data') + conv('b', 'size', num_output=1) + layer(
        'Deconvolution', 'up', 'a', 'up', 'param { lr_mult: 0 } convolution_param { num_output: 3 '
        'kernel_size: 4 stride: 2 group: 3 bias_term: false weight_filler { type: "bilinear" } }') \
        + layer('Crop', 'y', 'up b', 'y', 'crop_param { axis: 2 offset: 2 }')
    ours = net(source, passes=passes.DEFAULT)
    ours.channels_last = True
    y = ours.forward(data=image(1, 3, 5, 6))['y']
    assert y.is_contiguous(memory_format=torch.channels_last) and called
    ours.backward(y=torch.ones(1, 3, 7, 9))
    assert ours.params['a'][0].diff.any() and not ours.params['b'][0].diff.any()


def test_upcrop_is_made_by_a_pass_alone():
    with pytest.raises(Exception, match=r"net.prototxt:3: layer 'y' \(UpCrop\): this type is made "
                                        'by a pass, not written in a text. Write a Deconvolution'):
        net(DATA_3 + layer('UpCrop', 'y', 'data size', 'y'))
    assert UpCrop.type == 'UpCrop'
