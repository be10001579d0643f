"""1x1 convolutions that learn, as matrix products: against their twin in float64."""

import pytest
import torch
import torch.nn.functional as F
from conv_ops import (
    LAST,
    agree,
    check_batch,
    check_compiled,
    check_devices,
    check_layouts,
    check_refused,
    check_threads,
    exact,
    example,
    gradients,
    second,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.layers import ExecutionOptions, RunState
from fcn_repro.ops import conv as module
from fcn_repro.ops import conv1x1, conv1x1_ref
from fcn_repro.ops.conv import Conv2d, places_of
from fcn_repro.proto import TRAIN

RUN = torch.ops.fcn_repro
TOLERANCE = 2e-6        # of the largest value
PAD = (0, 0)            # what the helpers pass

# x (N, C, H, W) and outputs: one of both channels is a multiple of 16
SAMPLES = [
    ((1, 16, 1, 1), 1),
    ((2, 32, 3, 5), 7),
    ((2, 7, 5, 4), 48),                 # the columns are the outputs
    ((3, 48, 17, 11), 130),             # several pieces of the pixels, rows of several tasks
    ((1, 528, 6, 9), 113),              # columns of two tasks
    ((1, 37, 4, 3), 544),
    ((0, 16, 4, 5), 8),                 # empty batch
]


def ours(x, weight, bias, _=PAD):
    return conv1x1(x, weight, bias)


def twin(x, weight, bias, _=PAD):
    return conv1x1_ref(x, weight, bias)


def case(shape, outputs):
    return example(shape, outputs, (1, 1))


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('shape, outputs', SAMPLES)
def test_twin(shape, outputs, bias):
    tensors = case(shape, outputs)
    tensors[2] = tensors[2] if bias else None
    found = gradients(ours, tensors, PAD)
    agree(found, gradients(twin, exact(tensors), PAD), TOLERANCE)
    assert all(found[i].is_contiguous(memory_format=LAST) for i in (0, 1))


@pytest.mark.parametrize('shape, outputs', SAMPLES)
def test_second_derivatives(shape, outputs):
    tensors = case(shape, outputs)
    agree(second(ours, tensors, PAD), second(twin, exact(tensors), PAD), TOLERANCE)


@settings(max_examples=40)
@given(batch=st.integers(1, 3), whole=st.integers(1, 4), other=st.integers(1, 140),
       turned=st.booleans(), size=st.tuples(*[st.integers(1, 23)] * 2))
def test_any_shape(batch, whole, other, turned, size):
    channels, outputs = (other, 16 * whole) if turned else (16 * whole, other)
    tensors = case((batch, channels, *size), outputs)
    agree(gradients(ours, tensors, PAD), gradients(twin, exact(tensors), PAD), TOLERANCE)


def test_rounds_less_than_a_sum_in_order():
    """Each piece of the pixels is summed by itself."""
    x, weight, _ = case((2, 64, 90, 80), 32)
    found = gradients(ours, (x, weight, None), PAD)
    wanted = gradients(twin, exact((x, weight, None)), PAD)
    for a, b, most in zip(found, wanted, (4e-7, 4e-7, 8e-7), strict=True):
        assert (a - b).square().mean().sqrt() < most * b.square().mean().sqrt()


@pytest.mark.parametrize('shape, outputs', SAMPLES[1:5])
def test_layouts(shape, outputs):
    check_layouts(ours, case(shape, outputs), PAD)


@pytest.mark.parametrize('shape, outputs', SAMPLES)
def test_threads(shape, outputs):
    check_threads(lambda: gradients(ours, case(shape, outputs), PAD))


def test_batch_is_its_images():
    check_batch(ours, case((3, 32, 5, 6), 70), PAD)


def test_compiled():
    check_compiled(ours, case((2, 16, 5, 6), 7), PAD)


def test_opcheck():
    x, weight, bias = case((2, 16, 4, 3), 7)
    torch.library.opcheck(RUN.conv1x1, (x, weight, bias))
    torch.library.opcheck(RUN.conv1x1, (x, weight, None))
    grad = torch.ones(2, 7, 4, 3).requires_grad_()
    torch.library.opcheck(RUN.conv1x1_input, (grad, weight))
    torch.library.opcheck(RUN.conv1x1_weight, (grad, x))


ONES, TOP = torch.ones(2, 16, 4, 3), torch.ones(2, 7, 4, 3)
GOOD = {'x': ONES, 'weight': torch.ones(7, 16, 1, 1), 'bias': torch.ones(7)}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(16, 4, 3)}, 'conv1x1: x is Float of shape'),
    ({'x': ONES.double()}, 'conv1x1: x is Double'),
    ({'x': torch.ones(2, 15, 4, 3)}, r'conv1x1: x of shape \[2, 15, 4, 3\] with filters of 16'),
    ({'x': torch.ones(2, 5, 4, 3), 'weight': torch.ones(7, 5, 1, 1)},
     'conv1x1: 5 channels to 7, expected a multiple of 16 for one of them'),
    ({'weight': torch.ones(7, 16, 1, 2)}, 'weight of shape'),
    ({'weight': torch.ones(7, 16)}, 'weight is Float of shape'),
    ({'bias': torch.ones(6)}, 'bias has 6 numbers for 7 channels')])
def test_bad_arguments(change, message):
    check_refused(conv1x1, GOOD, change, message)


@pytest.mark.parametrize('change, message', [
    ({'grad': torch.ones(2, 6, 4, 3)}, 'with filters of 7 channels'),
    ({'grad': TOP.half()}, 'x is Half'), ({'weight': torch.ones(7, 16)}, 'weight is Float')])
def test_bad_arguments_of_the_input_s_gradient(change, message):
    check_refused(RUN.conv1x1_input, {'grad': TOP, 'weight': GOOD['weight']}, change, message)


@pytest.mark.parametrize('change, message', [
    ({'grad': torch.ones(2, 7, 4, 2)}, r'grad is of shape \[2, 7, 4, 2\], expected \[2, 7, 4, 3'),
    ({'grad': TOP.double()}, 'grad is Double'), ({'x': ONES[0]}, 'x is Float of shape'),
    ({'x': torch.ones(2, 5, 4, 3)}, '5 channels to 7, expected a multiple of 16')])
def test_bad_arguments_of_the_filters_gradient(change, message):
    check_refused(RUN.conv1x1_weight, {'grad': TOP, 'x': ONES}, change, message)


def test_devices():
    check_devices(conv1x1, 'conv1x1', tuple(GOOD.values()))
    check_devices(RUN.conv1x1_input, 'conv1x1_input', (TOP, GOOD['weight']))
    check_devices(RUN.conv1x1_weight, 'conv1x1_weight', (TOP, ONES))


# ---- where a convolution takes it ----------------------------------------------------------------

@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('stride', [(1, 1), (2, 1), (2, 3)])
def test_taken_with_autograd(monkeypatch, stride, relu):
    calls, how = [], (stride, (0, 0), (1, 1), 1)
    monkeypatch.setattr(module, 'conv1x1', lambda *args: calls.append(1) or conv1x1(*args))
    tensors = case((2, 24, 40, 30), 32)

    def results(run, memory=LAST):
        x, weight, bias = (t.detach().requires_grad_() for t in tensors)
        y = run(x.contiguous(memory_format=memory), weight.contiguous(memory_format=memory), bias)
        return [y.detach(), *torch.autograd.grad(y.square().sum(), (x, weight, bias))]

    def taken(gemm=True):
        return Conv2d(RunState(TRAIN, options=ExecutionOptions(winograd=True, gemm=gemm)))
    wanted = results(lambda *args: F.relu(F.conv2d(*args, *how)) if relu else
                     F.conv2d(*args, *how))
    agree(results(lambda *args: taken()(*args, *how, relu)), wanted, 4e-6)
    assert len(calls) == 1
    for conv, memory in (taken(False), LAST), (taken(), torch.contiguous_format):
        agree(results(lambda *args, conv=conv: conv(*args, *how, relu), memory), wanted, 4e-6)
    x, weight, _ = case((1, 15, 8, 8), 11)              # no whole vectors
    taken()(x.contiguous(memory_format=LAST), weight, None, *how)
    with torch.no_grad():
        taken()(*(t.contiguous(memory_format=LAST) for t in tensors[:2]), None, *how)
    assert len(calls) == 1


@pytest.mark.parametrize('stride', [(1, 1), (2, 1), (2, 3)])
def test_places_and_their_gradients(stride):
    x = example((2, 5, 7, 8), 1)[0].detach().contiguous(memory_format=LAST).requires_grad_()
    y, wanted = places_of(x, stride), x[:, :, ::stride[0], ::stride[1]]
    assert torch.equal(y, wanted) and y.is_contiguous(memory_format=LAST)
    found, = torch.autograd.grad(y.square().sum(), x)
    assert torch.equal(found, torch.autograd.grad(wanted.square().sum(), x)[0])
    assert found.is_contiguous(memory_format=LAST)
    with torch.no_grad():
        assert torch.equal(places_of(x, stride), wanted)
    args = x.detach().double().requires_grad_(), stride
    assert torch.autograd.gradcheck(places_of, args) and torch.autograd.gradgradcheck(
        lambda x, stride: places_of(x, stride).square(), args)
