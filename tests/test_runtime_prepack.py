"""Filters laid out beforehand: the same values, made anew where the weights change."""

import pytest
import texts
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro import prepack
from fcn_repro.kept import Kept
from fcn_repro.prepack import PackedConv2d
from fcn_repro.runtime import place

CLOSE = {torch.float32: 1e-6, torch.bfloat16: 1e-2}     # of the largest value
CONV = texts.inputs(data=(1, 8, 9, 10)) + texts.conv('fc', 'data', num_output=16, kernel=3)


@pytest.fixture
def packs(monkeypatch):
    """The shapes of the filters that are laid out, as it happens."""
    made, reorder = [], torch._C._nn.mkldnn_reorder_conv2d_weight

    def spy(weight, *args):
        made.append(tuple(weight.shape))
        return reorder(weight, *args)
    monkeypatch.setattr(torch._C._nn, 'mkldnn_reorder_conv2d_weight', spy)
    return made


def random(*shape, seed=0, last=False):
    t = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return t.contiguous(memory_format=torch.channels_last) if last else t


@settings(max_examples=30, deadline=None)
@given(group=st.integers(1, 3), channels=st.integers(1, 5), outputs=st.integers(1, 9),
       kernel=st.tuples(*[st.integers(1, 4)] * 2), stride=st.tuples(*[st.integers(1, 3)] * 2),
       pad=st.tuples(*[st.integers(0, 2)] * 2), size=st.tuples(*[st.integers(4, 13)] * 2),
       batch=st.integers(1, 2), last=st.booleans(), bias=st.booleans(),
       dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_equals_conv2d(group, channels, outputs, kernel, stride, pad, size, batch, last, bias,
                       dtype):
    x = random(batch, group * channels, *size, last=last).to(dtype)
    weight = random(group * outputs, channels, *kernel, seed=1, last=last).to(dtype)
    more = random(group * outputs, seed=2).to(dtype) if bias else None, stride, pad, (1, 1), group
    conv = PackedConv2d()
    with torch.no_grad():
        expected = F.conv2d(x, weight, *more)
        for _ in range(3):
            y = conv(x, weight, *more)
            assert y.shape == expected.shape and y.dtype == dtype
            assert (y - expected).abs().max() <= CLOSE[dtype] * expected.abs().max()


def test_packed_for_one_size_serves_others(packs):
    conv, weight = PackedConv2d(), random(64, 32, 7, 7, last=True)
    with torch.inference_mode():
        for size in (9, 9), (9, 9), (12, 30), (7, 7), (20, 20), (9, 9):
            x = random(1, 32, *size, last=True)
            expected = F.conv2d(x, weight)
            y = conv(x, weight, None, (1, 1), (0, 0), (1, 1), 1)
            assert (y - expected).abs().max() <= 1e-6 * expected.abs().max()
            assert y.stride() == expected.stride()
    assert packs == [(64, 32, 7, 7)]


def test_laid_out_at_the_second_use_and_anew_after_a_change(packs):
    net, data = place(texts.net(CONV)), random(1, 8, 9, 10)
    with torch.inference_mode():
        first = net(data=data)['fc']
        assert not packs
        for _ in range(3):
            assert torch.allclose(net(data=data)['fc'], first, rtol=0, atol=1e-6)
        assert len(packs) == 1
    net.params['fc'][0].data.mul_(2)
    expected = F.conv2d(data, net.params['fc'][0].data, net.params['fc'][1].data)
    with torch.inference_mode():
        for _ in range(3):
            assert torch.allclose(net(data=data)['fc'], expected, rtol=0, atol=1e-5)
    assert len(packs) == 2


def test_shared_weights_that_the_other_net_changes(packs):
    """As a val net sees those that a solver is training."""
    net, other = place(texts.net(CONV)), place(texts.net(CONV, seed=1))
    net.share_with(other)
    data = random(1, 8, 9, 10)
    with torch.inference_mode():
        before = [net(data=data)['fc'] for _ in range(3)][-1]
    with torch.no_grad():
        other.params['fc'][0].parameter.sub_(0.5)
    with torch.inference_mode():
        after = [net(data=data)['fc'] for _ in range(3)]
    expected = other(data=data)['fc'].detach()
    assert len(packs) == 2 and not torch.allclose(before, expected, atol=1e-3)
    assert all(torch.allclose(y, expected, rtol=0, atol=1e-5) for y in after)


def test_parameters_stay_caffes(packs):
    net = place(texts.net(CONV))
    before = net.params['fc'][0].data.clone()
    with torch.no_grad():
        for _ in range(3):
            net(data=random(1, 8, 9, 10))
    blob = net.params['fc'][0]
    assert packs and blob.data.shape == (16, 8, 3, 3) and torch.equal(blob.data, before)
    assert blob.data.numpy().shape == (16, 8, 3, 3)


def test_autograd_never_sees_packed_filters(packs):
    net = place(texts.net(CONV))
    for _ in range(3):
        net(data=random(1, 8, 9, 10))
        net.backward(fc=torch.ones(1, 16, 7, 8))
    assert not packs and net.params['fc'][0].diff.abs().max() > 0


def test_switched_off(packs):
    net = place(texts.net(CONV), prepack=False)
    with torch.no_grad():
        for _ in range(3):
            net(data=random(1, 8, 9, 10))
    assert not packs


@pytest.mark.parametrize('shape, dtype, last', [
    ((1, 8, 66, 66), torch.float32, True), ((0, 8, 9, 9), torch.float32, True),
    ((1, 8, 9, 9), torch.float64, True), ((1, 8, 9, 9), torch.float32, False)],
    ids=['many places', 'empty batch', 'float64', 'contiguous'])
def test_what_stays_with_conv2d(packs, shape, dtype, last):
    x, conv = random(*shape, last=last).to(dtype), PackedConv2d()
    weight = random(4, 8, 3, 3, last=last).to(dtype)
    with torch.no_grad():
        for _ in range(3):
            y = conv(x, weight, None, (1, 1), (0, 0), (1, 1), 1)
            assert torch.equal(y, F.conv2d(x, weight))
    assert not packs


@pytest.mark.parametrize('bias', [None, random(10, seed=2)], ids=['no bias', 'bias'])
def test_many_filters_are_laid_out_in_pieces(packs, monkeypatch, bias):
    monkeypatch.setattr(prepack, 'LARGE', 100)
    monkeypatch.setattr(prepack, 'PIECE', 4)
    x, weight = random(2, 8, 9, 9, last=True), random(10, 8, 3, 3, seed=1, last=True)
    conv = PackedConv2d()
    with torch.no_grad():
        expected = F.conv2d(x, weight, bias)
        for _ in range(3):
            y = conv(x, weight, bias, (1, 1), (0, 0), (1, 1), 1)
        assert (y - expected).abs().max() <= 1e-6 * expected.abs().max()
        assert y.stride() == expected.stride()
    assert packs == [(4, 8, 3, 3), (4, 8, 3, 3), (2, 8, 3, 3)]


def test_dilation(packs):
    x, weight = random(1, 8, 9, 9, last=True), random(4, 8, 3, 3, last=True)
    conv = PackedConv2d()
    with torch.no_grad():
        for _ in range(2):
            y = conv(x, weight, None, (1, 1), (0, 0), (2, 3), 1)
    assert packs and torch.allclose(y, F.conv2d(x, weight, dilation=(2, 3)), rtol=0, atol=1e-5)


def test_places_count_the_dilation():
    """30x30 by 3x3: 784 places, 4 with a dilation of 14."""
    with torch.no_grad():
        for size, dilation, fits in (30, 1, True), (34, 1, True), (35, 1, False), (58, 14, True):
            x = random(1, 1, size, size)
            assert prepack.usable(x, random(1, 1, 3, 3), (1, 1), (0, 0), (dilation,) * 2) is fits


def test_kept_is_made_once_a_version():
    kept, tensor, made = Kept(), torch.zeros(3), []

    def make(t):
        made.append(t.clone())
        return len(made)
    assert [kept.get(tensor, make) for _ in range(3)] == [1, 1, 1]
    tensor.add_(1)
    assert kept.get(tensor, make) == kept.get(tensor.detach(), make) == 2
    assert kept.get(tensor, make, 'other') == 3
    assert kept.get(tensor.clone(), make, 'other') == 4
    with torch.inference_mode():
        uncounted = torch.zeros(3)
    assert kept.get(uncounted, make) == 5 and kept.get(uncounted, make) == 6


def test_what_was_kept_of_a_tensor_is_not_taken_for_another_in_its_memory():
    kept, tensor = Kept(), torch.ones(10 ** 5)
    kept.get(tensor, torch.sum)
    place = tensor.data_ptr()
    del tensor                  # freed memory would be that of one of the next tensors
    others = [torch.zeros(10 ** 5) for _ in range(20)]
    assert place not in [other.data_ptr() for other in others]
