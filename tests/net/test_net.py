"""The net: blobs and params in pycaffe's words, and what a run promises."""

import numpy as np
import pytest
import torch
from goldens import DATA
from hypothesis import given, settings
from hypothesis import strategies as st
from texts import assert_facts, conv, diffs, image, inputs, layer, message, net

from fcn_repro.errors import FcnError
from fcn_repro.net import Net

DATA_2 = inputs(data=(1, 2, 6, 6))
LABELLED = inputs(data=(1, 2, 6, 6), label=(1, 1, 6, 6))
RELU = layer('ReLU', 'r', 'a', 'a')
SMALL = LABELLED + conv('a', 'data', kernel=3, field='pad: 1') + RELU + conv('b', 'a') \
    + layer('ReLU', 'r2', 'b', 'b') \
    + layer('SoftmaxWithLoss', 'loss', 'b label', 'loss')
FCN8S = DATA / 'nets' / 'fcn8s'


# Blobs: what is kept, what is asked for

def test_forward_gives_outputs_and_what_is_asked_for():
    ours = net(SMALL)
    assert ours.forward(data=image(1, 2, 6, 6)).keys() == {'loss'}
    assert ours.forward(blobs=['a', 'b']).keys() == {'loss', 'a', 'b'}
    assert ours.forward(blobs='all').keys() == {'loss', 'a', 'b', 'data', 'label'}
    assert ours.blobs['a'].shape == (1, 3, 6, 6) and \
        repr(ours.blobs['a']) == "NetBlob('a', 1x3x6x6)"
    assert (ours.blobs['a'].data >= 0).all()                # after the in-place ReLU
    ours.forward()
    assert_facts(message(lambda: ours.blobs['a'].data), '', "blob 'a'", 'net.forward',
                 "blobs=['a']", "blobs='all'")


def test_stop_after():
    ours = net(SMALL)
    before = ours.forward(stop_after='a', data=image(1, 2, 6, 6))['a'].clone()
    after = ours.forward(stop_after='r')['a']
    assert (before < 0).any() and torch.equal(after, before.clamp(min=0))
    assert ours.total_loss is None
    assert ours.forward(stop_after='r2', blobs=['a']).keys() == {'a', 'b'}
    assert_facts(message(ours.forward, stop_after='rr'), 'net.prototxt', "'rr'", 'data', 'r2')
    assert_facts(message(ours.forward, stop_after='a', blobs=['b']), 'net.prototxt', "'b'", "'a'")


def test_unknown_names():
    ours = net(SMALL)
    assert_facts(message(ours.forward, dat=image(1, 2, 6, 6)), 'net.prototxt', "'dat'")
    assert_facts(message(ours.forward, blobs=['los']), 'net.prototxt', "'los'", "'loss'")
    ours.forward()
    assert_facts(message(ours.backward, los=1), 'net.prototxt', "'los'", "'loss'")
    assert_facts(message(ours.backward, b=1), '', "blob 'b'")
    ours.forward(blobs=['b'])
    assert_facts(message(ours.backward, b=torch.ones(1, 3, 6, 5)), 'net.prototxt', "'b'",
                 '1x3x6x5', '1x3x6x6')


def test_reuse_in_place_is_not_seen():
    """A ReLU may write over its bottom only where nobody can tell."""
    plain, kept = net(SMALL), net(SMALL)
    for ours, blobs in (plain, ()), (kept, 'all'):
        ours.forward(blobs=blobs, data=image(1, 2, 6, 6))
        ours.backward()
    reused = {step.node.name for plan in plain.executor.plans.values() for step in plan.steps
              if getattr(step.layer, 'reuse', False)}
    assert reused == {'r', 'r2'}
    assert not any(getattr(step.layer, 'reuse', False) for plan in kept.executor.plans.values()
                   for step in plan.steps)
    assert torch.equal(plain.total_loss, kept.total_loss)
    assert all(torch.equal(d, diffs(kept)[name]) for name, d in diffs(plain).items())


def test_a_relu_that_others_can_see_is_not_reused():
    pool = layer('Pooling', 'a', 'data', 'a', 'pooling_param { kernel_size: 2 }')
    assert net(DATA_2 + pool + RELU).forward(data=-torch.ones(1, 2, 6, 6))['a'].eq(0).all()
    for text in DATA_2 + layer('ReLU', 'r', 'data', 'data'), DATA_2 + pool + RELU:
        ours = net(text)
        ours.forward()
        assert not any(getattr(s.layer, 'reuse', False) for p in ours.executor.plans.values()
                       for s in p.steps)
    given = image(1, 2, 6, 6)
    ours, copy = net(DATA_2 + layer('ReLU', 'r', 'data', 'data')), given.clone()
    ours.forward(data=given)
    assert torch.equal(given, copy)                         # the caller's tensor is the caller's


# Inputs

def test_input_blobs_are_written_and_reshaped():
    ours, x = net(SMALL), image(1, 2, 6, 6)
    ours.blobs['data'].data[...] = x
    wanted = net(SMALL).forward(data=x)['loss']
    assert torch.equal(ours.forward()['loss'], wanted)
    assert torch.equal(ours.forward()['loss'], wanted)      # the data stays
    ours.blobs['data'].data[0, 0] = 0
    assert not torch.equal(ours.forward()['loss'], wanted)
    for name in 'data', 'label':
        ours.blobs[name].reshape(2, 2 if name == 'data' else 1, 4, 9)
    assert ours.blobs['data'].shape == (2, 2, 4, 9) and not ours.blobs['data'].data.any()
    ours.forward(blobs=['b'])
    assert ours.blobs['b'].data.shape == (2, 3, 4, 9)
    assert ours.blobs['a'].shape == (2, 3, 4, 9)            # also where the data is not kept
    ours.forward(data=np.zeros((1, 2, 5, 5)), label=np.zeros((1, 1, 5, 5)))
    assert ours.blobs['data'].shape == (1, 2, 5, 5)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 70), st.integers(1, 70)),
                min_size=2, max_size=3))
def test_a_net_runs_at_any_size_in_any_order(sizes):
    """A run depends on its input, not on the sizes before it."""
    text = DATA_2 + conv('a', 'data', kernel=3, field='pad: 20 stride: 2') + RELU \
        + layer('Pooling', 'p', 'a', 'p', 'pooling_param { kernel_size: 2 stride: 2 }') \
        + layer('Deconvolution', 'up', 'p', 'up', 'convolution_param { num_output: 2 stride: 4 '
                'kernel_size: 8 weight_filler { type: "gaussian" std: 1 } }') \
        + layer('Crop', 'score', 'up data', 'score', 'crop_param { axis: 2 offset: 18 }')
    ours = net(text).double()
    for n, h, w in sizes:
        x = image(n, 2, h, w)
        score = ours.forward(data=x)['score']
        assert score.shape == (n, 2, h, w) == ours.blobs['score'].shape
        torch.testing.assert_close(score, net(text).double().forward(data=x)['score'])
        torch.testing.assert_close(score[:1], ours.forward(data=x[:1])['score'])


def test_inner_product_at_another_size():
    ours = net(DATA_2 + layer('InnerProduct', 'fc', 'data', 'fc',
                              'inner_product_param { num_output: 4 }'))
    ours.forward(data=image(5, 2, 6, 6))                    # the batch may change
    assert_facts(message(ours.forward, data=image(1, 2, 6, 7)), "net.prototxt: layer 'fc'",
                 'parameter 0', '4x72', '4x84')
    assert ours.forward(data=image(1, 2, 6, 6))['fc'].shape == (1, 4)


def test_wrong_inputs():
    ours = net(SMALL)
    assert_facts(message(ours.forward, data=image(1, 3, 6, 6)), "net.prototxt: layer 'a'",
                 'parameter 0', '3x2x3x3', '3x3x3x3')
    assert_facts(message(ours.forward, data=image(1, 2, 6, 7)),
                 "net.prototxt:7: layer 'loss' (SoftmaxWithLoss)", '36 labels', '1x1x6x6',
                 '42 positions', '1x3x6x7', 'axis 1')
    assert_facts(message(ours.forward, data=image(1, 2, 6, 6), label=torch.full((1, 1, 6, 6), 3.)),
                 "net.prototxt:7: layer 'loss' (SoftmaxWithLoss)", '36 labels', '0 … 2', '3',
                 'ignore_label', 'num_output')
    assert_facts(message(ours.forward, data=image(2, 6, 6)),
                 "net.prototxt:7: layer 'loss' (SoftmaxWithLoss)", '2x3x6', '1x1x6x6')


def test_a_crop_that_leaves_its_input():
    text = inputs(data=(1, 1, 8, 8), size=(1, 1, 4, 4)) \
        + layer('Crop', 'cut', 'data size', 'cut', 'crop_param { axis: 2 offset: %d }')
    where = "net.prototxt:3: layer 'cut' (Crop)"
    assert_facts(message(net, text % 5), where, 'axis 2 is 8', 'offset 5', 'size 4', '9')
    ours = net(text % 4)
    assert_facts(message(ours.forward, size=torch.zeros(1, 1, 4, 5)), where, 'axis 3 is 8',
                 'offset 4', 'size 5', '9')
    x = image(1, 1, 8, 8)
    assert torch.equal(ours.forward(data=x, size=torch.zeros(1, 1, 4, 4))['cut'], x[..., 4:, 4:])


# Losses and gradients

def test_total_loss_is_the_weighted_sum():
    text = DATA_2 + layer('Power', 'p', 'data', 'p', 'loss_weight: 0.5 power_param { power: 2 }') \
        + layer('ReLU', 'y', 'p', 'y', 'loss_weight: -2')
    ours, x = net(text), image(1, 2, 6, 6)
    tops = ours.forward(data=x)
    assert tops.keys() == {'p_p_0_split_0', 'y'}
    torch.testing.assert_close(ours.total_loss, (0.5 - 2) * (x * x).sum())
    twice = layer('Power', 'p', 'data', 'p', 'loss_weight: 1 loss_weight: 1')
    assert_facts(message(net, DATA_2 + twice), "net.prototxt:2: layer 'p' (Power)",
                 '2 loss_weight', '1 tops')


def test_a_net_without_a_loss():
    ours = net(DATA_2 + conv('a', 'data'))
    ours.forward()
    assert ours.total_loss is None
    assert_facts(message(ours.backward), 'net.prototxt', 'no loss')


def test_diffs_add_up_until_cleared():
    ours = net(SMALL)
    for _ in range(2):
        ours.forward(data=image(1, 2, 6, 6))
        ours.backward()
    twice = diffs(ours)
    ours.clear_param_diffs()
    assert not any(diff.any() for diff in diffs(ours).values())
    ours.forward(data=image(1, 2, 6, 6))
    ours.backward()
    for name, diff in diffs(ours).items():
        torch.testing.assert_close(twice[name], 2 * diff)


FROZEN = LABELLED + conv('a', 'data', more='param { lr_mult: 0 } param { lr_mult: 0 }') \
    + conv('b', 'a', more='param { lr_mult: 0 } param { lr_mult: 1 }') \
    + layer('SoftmaxWithLoss', 'loss', 'b label', 'loss')


@pytest.mark.parametrize('force', [False, True])
def test_lr_mult_0_and_force_backward(force):
    ours = net(f'force_backward: {str(force).lower()}\n' + FROZEN)
    ours.forward(blobs='all', data=image(1, 2, 6, 6))
    ours.backward()
    there = {name: bool(diff.any()) for name, diff in diffs(ours).items()}
    assert there == {'a/0': force, 'a/1': force, 'b/0': force, 'b/1': True}
    assert {name: bool(ours.blobs[name].diff.any()) for name in ours.blobs} == {
        'data': force, 'label': False, 'a': force, 'b': True, 'loss': True}


def test_propagate_down():
    """false stops the gradient at that bottom; true wants it though nothing below learns."""
    text = LABELLED + conv('a', 'data') + '%s' + layer('SoftmaxWithLoss', 'loss', 'b label', 'loss')
    for value, below in ('false', False), ('true', True):
        ours = net(text % conv('b', 'a', more=f'propagate_down: {value}'))
        ours.forward(blobs='all', data=image(1, 2, 6, 6))
        ours.backward()
        assert ours.params['a'][0].diff.any() == below and ours.params['b'][0].diff.any()
    frozen = FROZEN.replace('name: "a" type', 'name: "a" propagate_down: true type')
    ours = net(frozen)
    ours.forward(blobs='all', data=image(1, 2, 6, 6))
    ours.backward()
    assert ours.blobs['a'].diff.any() and ours.blobs['data'].diff.any()


def test_backward_once_after_each_forward():
    ours = net(LABELLED + conv('b', 'data') + layer('SoftmaxWithLoss', 'loss', 'b label', 'loss'))
    seen = []
    for _ in range(2):                      # diffs of params add up, as in Caffe
        ours.forward(data=image(1, 2, 6, 6))
        ours.backward()
        seen.append(ours.params['b'][0].diff.clone())
        with pytest.raises(FcnError, match=r'ran already after this forward .* Run forward'):
            ours.backward()
    assert seen[0].any() and torch.allclose(seen[1], 2 * seen[0])


# State

PHASED = DATA_2 + conv('a', 'data') + layer('Dropout', 'd', 'a', 'a')


def test_position_counts_and_decides_the_masks():
    ours = net(PHASED, 'TRAIN', seed=3)
    x = image(1, 2, 6, 6)
    first, second = (ours.forward(data=x)['a'].clone() for _ in range(2))
    assert ours.state.position == 2 and not torch.equal(first, second)
    ours.state.position = 0
    assert torch.equal(ours.forward(data=x)['a'], first)
    assert torch.equal(ours.forward(data=x)['a'], second)
    fresh = net(PHASED, 'TRAIN', seed=3)
    fresh.state.position = 1
    assert torch.equal(fresh.forward(data=x)['a'], second)
    assert torch.equal(net(PHASED, 'TEST', seed=3).forward(data=x)['a'],
                       net(DATA_2 + conv('a', 'data'), seed=3).forward(data=x)['a'])


def test_float64():
    """Twice as exact, on the same blobs; gradients agree with float32 to its rounding."""
    single, double = net(SMALL), net(SMALL).double()
    x = image(1, 2, 6, 6)
    for ours in single, double:
        ours.forward(blobs='all', data=x)
        ours.backward()
    assert double.blobs['b'].data.dtype == double.params['a'][0].diff.dtype == torch.float64
    assert single.blobs['b'].data.dtype == torch.float32
    for name, diff in diffs(double).items():
        torch.testing.assert_close(diffs(single)[name].double(), diff, rtol=1e-5, atol=1e-6)
    weight, bias = (blob.data for blob in double.params['a'])
    wanted = torch.nn.functional.conv2d(x.double(), weight, bias, padding=1)
    torch.testing.assert_close(double.blobs['a'].data, wanted.clamp(min=0), rtol=0, atol=1e-14)


def test_a_net_describes_its_shipped_self():
    """Reading, describing and inferring need no data: fcn8s at another size without running."""
    ours = Net.read(FCN8S / 'net.prototxt', 'TEST')
    sizes = {ours.graph.first('data'): (1, 3, 30, 40), ours.graph.first('label'): (1, 1, 30, 40)}
    shapes, declared = ours.infer_shapes(sizes)
    assert shapes[ours.graph.last('score')] == (1, 21, 30, 40)
    assert [tuple(shape) for shape, _ in declared['fc6', 0]] == [(64, 32, 7, 7), (64,)]
    assert len(ours.graph.describe().splitlines()) == len(ours.graph.nodes)


def test_read_errors(tmp_path):
    assert_facts(message(Net.read, tmp_path / 'no.prototxt', 'TEST'), tmp_path / 'no.prototxt',
                 'No such file or directory')
