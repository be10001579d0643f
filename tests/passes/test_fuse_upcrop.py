"""fuse_upcrop on the idioms of upsampling, on a small net, and where it steps aside."""

import numpy as np
import pytest
import torch
from layer_evidence import reference_for, refusal_of
from texts import FILE, assert_facts, conv, diffs, graph, image, inputs, layer, message, net
from upcrop_nets import fused, make_bilinear, steps

from fcn_repro import ops, passes
from fcn_repro.layers.internal.upcrop import UpCrop

DATA_3 = inputs(data=(1, 3, 5, 6), size=(1, 1, 7, 9))


def text(group=1, pad=0, filler='', lr_mult=0, up='', crop='axis: 2 offset: 2', after='',
         bias=False):
    return DATA_3 + conv('a', 'data') + layer(
        'Deconvolution', 'up', 'a', 'up', f'param {{ lr_mult: {lr_mult} }} convolution_param {{ '
        f'num_output: 3 kernel_size: 4 stride: 2 group: {group} pad: {pad} '
        f'bias_term: {str(bias).lower()} {filler} {up} }}') \
        + layer('Crop', 'y', 'up size', 'y', f'crop_param {{ {crop} }}') + after


def pair(source, bilinear=False, last=False):
    """The net without and with passes, after a run and its backward."""
    both = [net(source, passes=use, seed=4) for use in ((), passes.DEFAULT)]
    for ours in both:
        ours.channels_last = last
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


@reference_for('UpCrop')
@pytest.mark.parametrize('pad', [0, 1])
def test_the_grouped_idiom(called, pad):
    """Caffe's own: group C, pad, the bilinear filler; no surgery."""
    plain, quick = pair(text(group=3, pad=pad, filler='weight_filler { type: "bilinear" }'))
    assert called and quick.params['up'][0].shape == (3, 1, 4, 4)
    assert_equal(plain, quick)


GAUSSIAN = 'weight_filler { type: "gaussian" std: 1 }'


BIAS = f'{GAUSSIAN} bias_filler {{ type: "gaussian" std: 1 }}'


@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@pytest.mark.parametrize('group', [1, 3])
@pytest.mark.parametrize('bias', [False, True], ids=['', 'bias'])
@pytest.mark.parametrize('outputs', [3, 6])
def test_weights_that_are_not_bilinear(called, general, outputs, bias, group, last):
    source = text(group=group, filler=BIAS if bias else GAUSSIAN, bias=bias, pad=1).replace(
        'num_output: 3 kernel_size: 4', f'num_output: {outputs} kernel_size: 4')
    plain, quick = pair(source, last=last)
    assert general and not called and 'UpCrop' in steps(quick)
    assert_equal(plain, quick)


@pytest.mark.parametrize('filler', [GAUSSIAN, 'weight_filler { type: "bilinear" }'])
def test_a_weight_that_is_learned_gets_its_gradient(called, general, filler):
    plain, quick = pair(text(lr_mult=1, filler=filler), bilinear='bilinear' in filler)
    assert general and not called and quick.params['up'][0].diff.any()
    assert_equal(plain, quick)


def test_a_bilinear_weight_with_a_bias(called, general):
    plain, quick = pair(text(group=3, bias=True, filler='weight_filler { type: "bilinear" } '
                             'bias_filler { type: "gaussian" std: 1 }'))
    assert general and not called and quick.params['up'][1].data.any()
    assert_equal(plain, quick)


def test_other_blobs_than_images_go_through_the_two_layers(called, general):
    """Two axes in front of the channels: the deconvolution takes them as a batch."""
    source = inputs(data=(2, 1, 3, 5, 6), size=(2, 1, 3, 7, 9)) + layer(
        'Deconvolution', 'up', 'data', 'up', 'convolution_param { num_output: 3 kernel_size: 4 '
        f'stride: 2 axis: 2 {GAUSSIAN} }}') + layer('Crop', 'y', 'up size', 'y',
                                                    'crop_param { axis: -2 offset: 2 }')
    plain, quick = (net(source, passes=use, seed=4).forward(data=image(2, 1, 3, 5, 6))['y']
                    for use in ((), passes.DEFAULT))
    assert fused(graph(source)) and not general and not called
    assert torch.equal(quick, plain)


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
    text(up='dilation: 2'), text(after=SCALED), text(crop='axis: 3 offset: 2'),
    text(crop='axis: 2').replace('bottom: "up" bottom: "size"', 'bottom: "up" bottom: "up"'),
    text().replace('param { lr_mult: 0 }', 'param { lr_mult: 0 } loss_weight: 1'),
    text().replace('param { lr_mult: 0 }', 'param { lr_mult: 0 } propagate_down: true'),
], ids=['dilation', 'other consumer', 'other axis', 'crops itself', 'loss weight',
        'propagate_down'])
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
    assert_facts(message(ours.forward, size=np.zeros((1, 1, 11, 2))),
                 f"{FILE}:5: layer 'y' (Crop)", 'axis 2 is 12', 'size 11')
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


@refusal_of('UpCrop')
def test_upcrop_is_made_by_a_pass_alone():
    assert_facts(message(net, DATA_3 + layer('UpCrop', 'y', 'data size', 'y')),
                 f"{FILE}:3: layer 'y' (UpCrop)", 'by a pass', 'Deconvolution')
    assert UpCrop.type == 'UpCrop'
