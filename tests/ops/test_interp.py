"""Resizing with aligned corners fused with argmax and softmax loss, against the twins."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import DEVICES, TOLERANCE

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops.interp import resized

OPS = torch.ops.fcn_repro
# x, size: PSPNet's and DeepLab's zoom of 8, any ratio, one cell, equal, reduced, more than a block
SAMPLES = [((1, 21, 6, 7), (41, 49)), ((2, 5, 9, 13), (17, 40)), ((1, 3, 1, 1), (4, 5)),
           ((1, 2, 5, 1), (5, 3)), ((2, 3, 1, 6), (1, 6)), ((1, 4, 30, 40), (7, 9)),
           ((3, 2, 4, 5), (1, 1)), ((1, 19, 3, 40), (19, 313)), ((1, 1, 2, 2), (3, 3)),
           ((1, 2, 33, 3), (129, 5)), ((2, 3, 37, 3), (2, 200)), ((0, 3, 4, 5), (7, 8))]
FULL = [sample for sample in SAMPLES if sample[0][0]]


def example(sample, device='cpu', dtype=torch.float64, seed=0):
    shape, size = sample
    draw = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(shape, generator=draw, dtype=torch.float64)).to(device, dtype), size


def labels_for(x, size, seed=3):
    """Labels (N, *size), about a fifth of them 255."""
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(0, x.shape[1], (len(x), *size), generator=draw)
    return label.masked_fill(torch.rand(label.shape, generator=draw) < 0.2, 255).to(x.device)


def assert_best(labels, x, size, slack):
    """Each label's score is the largest, within rounding."""
    scores = resized(x.double(), size)
    found = scores.gather(1, labels.long().unsqueeze(1))[:, 0]
    assert ((scores.amax(1) - found) <= slack * (1 + scores.abs().amax(1))).all()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', SAMPLES)
def test_interp_argmax_twin(sample, dtype, device):
    x, size = example(sample, device, dtype)
    labels, p = ops.interp_argmax(x, size, torch.uint8, True)
    twin, twin_p = ops.interp_argmax_ref(x, size, torch.uint8, True)
    assert labels.dtype == torch.uint8 and labels.shape == twin.shape and p.dtype == torch.float32
    slack = 1e-12 if dtype == torch.float64 else 1e-5
    if len(x):
        assert_best(labels, x.to(ops.tap_dtype(dtype)), size, slack)
        torch.testing.assert_close(p, twin_p, rtol=1e-4, atol=1e-5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(ops.interp_argmax(last, size, torch.int64), labels.long())
    assert torch.equal(ops.interp_argmax(x, size), labels)


def test_interp_ties_and_nan():
    x = torch.zeros(1, 4, 3, 3)
    assert not ops.interp_argmax(x, (7, 20)).any()                  # the lowest class
    x[:, 2] = 1
    x[:, 3] = 1
    assert (ops.interp_argmax(x, (7, 20)) == 2).all()
    x[0, 3, 0, 0] = torch.nan                                       # before any number
    labels = ops.interp_argmax(x, (3, 3))
    assert labels[0, 0, 0] == 3 and labels[0, 2, 2] == 2
    x[0, 1, 0, 0] = torch.nan
    assert ops.interp_argmax(x, (3, 3))[0, 0, 0] == 1               # the first NaN
    many = torch.zeros(1, 300, 2, 2)
    many[:, 299] = 1
    assert (ops.interp_argmax(many, (3, 4), torch.int64) == 299).all()
    with pytest.raises(FcnError, match='300 classes do not fit'):
        ops.interp_argmax(many, (3, 4))


MODES = 'VALID', 'FULL', 'BATCH_SIZE', 'NONE'


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('sample', FULL)
def test_interp_loss_twin(sample, mode, dtype, device):
    x, size = example(sample, device, dtype)
    label, wide = labels_for(x, size), ops.tap_dtype(dtype)
    weight = torch.rand(x.shape[1], generator=torch.Generator().manual_seed(5)).to(device, wide)
    mask = torch.rand(label.shape, generator=torch.Generator().manual_seed(6)).to(device) < 0.7
    for more in {}, {'weight': weight}, {'mask': mask}, {'weight': weight, 'mask': mask}:
        got = []
        for op in ops.interp_softmax_loss, ops.interp_softmax_loss_ref:
            one = x.detach().clone().requires_grad_()
            loss = op(one, label, mode, 255, **more)
            got.append((loss.detach(), *torch.autograd.grad(loss, one)))
        slack = {'rtol': 1e-9, 'atol': 1e-9} if dtype == torch.float64 else \
            {'rtol': 2e-5, 'atol': 1e-6} if dtype == torch.float32 else {'rtol': .02, 'atol': 1e-3}
        torch.testing.assert_close(got[0][0], got[1][0], rtol=slack['rtol'], atol=1e-6)
        mine, reference = (grad.double() for _, grad in got)
        scale = reference.abs().max().clamp_min(1e-30)
        torch.testing.assert_close(mine / scale, reference / scale, **slack)


@pytest.mark.parametrize('sample', FULL)
def test_interp_loss_layouts_and_bits(sample):
    """Channels-last and any number of threads: the same bits."""
    x, size = example(sample, dtype=torch.float32)
    label, threads, got = labels_for(x, size), torch.get_num_threads(), []
    last = x.contiguous(memory_format=torch.channels_last)
    try:
        for one, count in (x, 1), (x, 3), (last, 2), (x[:, :, :, :], 1):
            torch.set_num_threads(count)
            one = one.detach().requires_grad_()
            loss = ops.interp_softmax_loss(one, label, ignore_label=255)
            got.append((loss.detach(), *torch.autograd.grad(loss, one)))
    finally:
        torch.set_num_threads(threads)
    for other in got[1:]:
        assert all(map(torch.equal, got[0], other))


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64, torch.float32,
                                   torch.float64])
def test_interp_label_types(dtype):
    x, size = example(SAMPLES[1], dtype=torch.float32)
    label = labels_for(x, size)
    expected = ops.interp_softmax_loss(x, label, ignore_label=255)
    assert torch.equal(ops.interp_softmax_loss(x, label.to(dtype), ignore_label=255), expected)
    if dtype.is_floating_point:
        assert torch.equal(ops.interp_softmax_loss(x, label.to(dtype) + 0.5, ignore_label=255),
                           expected)            # truncated, as Caffe reads them
        label = label.to(dtype)
        label[0, 0, 0] = torch.nan
        with pytest.raises(FcnError, match='1 labels outside'):
            ops.interp_softmax_loss(x, label, ignore_label=255)


def test_interp_nothing_takes_part():
    x, size = example(SAMPLES[1], dtype=torch.float32)
    x.requires_grad_()
    label = torch.full((len(x), *size), 255)
    loss = ops.interp_softmax_loss(x, label, ignore_label=255)
    assert loss == 0 and not torch.autograd.grad(loss, x)[0].any()
    none = torch.empty(0, 3, 4, 5)
    assert ops.interp_softmax_loss(none, torch.zeros(0, 7, 8, dtype=torch.long)) == 0


def test_interp_ignored_nan_and_the_clamp():
    x = torch.zeros(1, 2, 3, 3)
    x[0, 1, 0, 0] = torch.nan
    label = torch.zeros(1, 3, 3, dtype=torch.long)
    label[0, 0, 0] = 255
    x.requires_grad_()
    loss = ops.interp_softmax_loss(x, label, ignore_label=255)
    loss.backward()
    assert loss.isfinite() and x.grad.isfinite().all() and x.grad[0, :, 0, 0].eq(0).all()
    assert ops.interp_softmax_loss(x, label * 0).isnan()
    far = torch.zeros(1, 2, 2, 2)
    far[:, 1] = 1000
    loss = ops.interp_softmax_loss(far, torch.zeros(1, 3, 3, dtype=torch.long))
    assert loss == pytest.approx(87.3365447)


def test_interp_derivatives():
    x, size = example(SAMPLES[1])
    x.requires_grad_()
    label = labels_for(x, size)
    torch.library.opcheck(OPS.interp_softmax_loss,
                          (x.detach(), label, 1, 255, None, None, True, True))
    torch.library.opcheck(OPS.interp_argmax, (x.detach(), size, torch.uint8, True))
    assert torch.autograd.gradcheck(lambda x: ops.interp_softmax_loss(x, label, ignore_label=255),
                                    x)
    with pytest.raises(ValueError, match='asked for no gradient'):
        OPS.interp_softmax_loss(x, label, 1, 255, None, None, False, True)[0].backward()
    weight = torch.ones(x.shape[1], dtype=torch.float64, requires_grad=True)
    with pytest.raises(FcnError, match='a constant'):
        ops.interp_softmax_loss(x, label, ignore_label=255, weight=weight)


@settings(max_examples=30)
@given(st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 40)] * 2),
       st.integers(1, 4), st.integers(1, 2))
def test_interp_any_size(shape, size, channels, count):
    x, size = example(((count, channels, *shape), size), seed=shape[0])
    x.requires_grad_()
    label = labels_for(x, size)
    got = []
    for op in ops.interp_softmax_loss, ops.interp_softmax_loss_ref:
        loss = op(x, label, ignore_label=255)
        got.append((loss.detach(), *torch.autograd.grad(loss, x)))
    torch.testing.assert_close(*got, rtol=1e-9, atol=1e-9)
    assert_best(ops.interp_argmax(x, size), x.detach(), size, 1e-12)


@pytest.mark.parametrize('change, words', [
    ({'x': torch.zeros(1, 2, 3)}, '3 axes'), ({'x': torch.zeros(1, 2, 3, 3).int()}, 'x is Int'),
    ({'x': torch.zeros(1, 0, 3, 3)}, 'no channels'), ({'x': torch.zeros(1, 2, 0, 3)}, '0 cells'),
    ({'size': (0, 4)}, 'size is 0 along y'), ({'size': (4, 2**31)}, 'along x'),
    ({'dtype': torch.float32}, 'labels of Float')])
def test_interp_argmax_refuses(change, words):
    good = {'x': torch.zeros(1, 2, 3, 3), 'size': (4, 5), 'dtype': torch.uint8}
    with pytest.raises(FcnError, match=words):
        ops.interp_argmax(**good | change)


@pytest.mark.parametrize('change, words', [
    ({'x': torch.zeros(1, 2, 3)}, '3 axes'), ({'x': torch.zeros(1, 0, 3, 3)}, 'no channels'),
    ({'label': torch.zeros(1, 3, dtype=torch.long)}, 'label has shape'),
    ({'label': torch.zeros(2, 3, 3, dtype=torch.long)}, 'label has shape'),
    ({'label': torch.zeros(1, 3, 3, dtype=torch.bool)}, 'label is Bool'),
    ({'label': torch.full((1, 3, 3), 2)}, '9 labels outside 0 ... 1, such as 2'),
    ({'label': torch.full((1, 3, 3), -1)}, 'labels outside'),
    ({'normalization': 'SOME'}, "normalization 'SOME'"),
    ({'weight': torch.ones(3)}, 'weight has shape'), ({'weight': torch.ones(2).double()}, 'weight'),
    ({'mask': torch.ones(1, 3, 3)}, 'mask is Float'),
    ({'mask': torch.ones(1, 3, 4, dtype=torch.bool)}, 'They must agree')])
def test_interp_loss_refuses(change, words):
    good = {'x': torch.zeros(1, 2, 3, 3), 'label': torch.zeros(1, 3, 3, dtype=torch.long)}
    with pytest.raises(FcnError, match=words):
        ops.interp_softmax_loss(**good | change)


def test_interp_mixed_devices():
    x, label = torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long, device='meta')
    with pytest.raises((FcnError, ValueError), match='meta'):
        ops.interp_softmax_loss(x, label)
