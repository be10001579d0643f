"""Convolution as matrix products against its twin in float64, and its algebra."""

import pytest
import torch
from conv_ops import (
    LAST,
    agree,
    assert_same,
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
    top_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.ops import conv_gemm, conv_gemm_ref

RUN = torch.ops.fcn_repro
TOLERANCE = 2e-6        # of the largest value

# x (N, C, H, W), outputs, kernel, pad
SAMPLES = [
    ((1, 16, 1, 1), 1, (1, 1), (0, 0)),
    ((2, 32, 3, 5), 7, (1, 1), (0, 0)),
    ((1, 16, 7, 7), 58, (7, 7), (0, 0)),        # one place, as fc6 on a small picture
    ((1, 48, 8, 10), 130, (7, 7), (0, 1)),      # more filters and depth than are summed at once
    ((3, 16, 4, 3), 15, (3, 3), (1, 1)),
    ((2, 16, 3, 6), 57, (2, 5), (2, 0)),        # rectangular
    ((1, 32, 1, 2), 33, (3, 3), (2, 2)),        # more pad than image
    ((0, 16, 4, 5), 8, (3, 3), (1, 1)),         # empty batch
    ((1, 528, 3, 3), 113, (1, 1), (0, 0)),      # a last task of few channels
    ((2, 16, 9, 9), 65, (1, 3), (1, 1)),        # many places
]


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_twin(shape, outputs, kernel, pad, bias):
    tensors = example(shape, outputs, kernel)
    tensors[2] = tensors[2] if bias else None
    ours = gradients(conv_gemm, tensors, pad)
    agree(ours, gradients(conv_gemm_ref, exact(tensors), pad), TOLERANCE)
    assert ours[0].is_contiguous() and ours[2].is_contiguous(memory_format=LAST)


@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_second_derivatives(shape, outputs, kernel, pad):
    tensors = example(shape, outputs, kernel)
    agree(second(conv_gemm, tensors, pad), second(conv_gemm_ref, exact(tensors), pad), TOLERANCE)


def integers(tensors):
    return [torch.round(4 * t.detach()).requires_grad_() for t in tensors]


@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_integers_are_exact(shape, outputs, kernel, pad, last):
    """Filters and values that are integers give every bit, forward and backward."""
    x, weight, bias = example(shape, outputs, kernel)
    if last:
        x, weight = (t.detach().contiguous(memory_format=LAST) for t in (x, weight))
    x, weight, bias = integers([x, weight * 20, bias])
    results = []
    for conv, tensors in (conv_gemm, (x, weight, bias)), (conv_gemm_ref, exact((x, weight, bias))):
        y = conv(*tensors, pad)
        top = torch.round(3 * top_of(y)).detach()
        results.append([y, *torch.autograd.grad(y, tensors, top)])
    assert all(map(torch.equal, results[0], [t.float() for t in results[1]]))
    assert weight.abs().max() > 2


axis = st.tuples(st.integers(1, 5), st.integers(0, 2), st.integers(1, 7)).filter(
    lambda a: a[2] + 2 * a[1] >= a[0])


@settings(max_examples=40)
@given(batch=st.integers(1, 3), channels=st.integers(1, 4), outputs=st.integers(1, 140), y=axis,
       x=axis)
def test_any_shape(batch, channels, outputs, y, x):
    kernel, pad, size = zip(y, x, strict=True)
    tensors = example((batch, 16 * channels, *size), outputs, kernel)
    agree(gradients(conv_gemm, tensors, pad), gradients(conv_gemm_ref, exact(tensors), pad),
          TOLERANCE)
    tensors = integers(tensors)
    assert torch.equal(conv_gemm(*tensors, pad), conv_gemm_ref(*exact(tensors), pad).float())


def test_rounds_less_than_a_sum_in_order():
    """Each tap of the kernel, each piece of the depth is summed by itself."""
    x, weight, _ = example((1, 512, 9, 10), 128, (7, 7))
    ours = gradients(conv_gemm, (x, weight, None), (0, 0))
    wanted = gradients(conv_gemm_ref, exact((x, weight, None)), (0, 0))
    for a, b, most in zip(ours, wanted, (6e-7, 4e-7, 2e-7), strict=True):
        assert (a - b).square().mean().sqrt() < most * b.square().mean().sqrt()


@pytest.mark.parametrize('shape, outputs, kernel, pad', [SAMPLES[i] for i in (1, 3, 4, 5)])
def test_layouts(shape, outputs, kernel, pad):
    check_layouts(conv_gemm, example(shape, outputs, kernel), pad)


@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_threads(shape, outputs, kernel, pad):
    tensors = example(shape, outputs, kernel)
    check_threads(lambda: gradients(conv_gemm, tensors, pad))


@pytest.mark.parametrize('kernel', [(1, 1), (3, 2)])
def test_batch_is_its_images(kernel):
    check_batch(conv_gemm, example((3, 32, 5, 6), 70, kernel), (1, 0))


def test_parts():
    """A part of the image gives that part of the top, some of the filters their channels; both to
    the bit. Channels are summed."""
    x, weight, bias = (t.detach() for t in example((1, 32, 9, 8), 60, (3, 2)))
    y = conv_gemm(x, weight, bias)
    assert torch.equal(conv_gemm(x[..., 2:, 3:], weight, bias), y[..., 2:, 3:])
    assert torch.equal(conv_gemm(x[..., :6, :5], weight, bias), y[..., :4, :4])
    assert torch.equal(conv_gemm(x, weight[13:40], bias[13:40]), y[:, 13:40])
    parts = [conv_gemm(x[:, some], weight[:, some], None) for some in (slice(16), slice(16, 32))]
    agree([parts[0] + parts[1] + bias.view(-1, 1, 1)], [y], TOLERANCE)


def test_the_ops_are_one_product():
    """sum(top * y) = sum(x * its gradient) = sum(weight * its gradient): one sum of products."""
    x, weight, _ = (t.detach() for t in integers(example((2, 16, 6, 5), 21, (2, 3))))
    y = conv_gemm(x, weight, None)
    top = top_of(y).round()
    sums = [(a * b).sum() for a, b in (
        (top, y), (RUN.conv_gemm_input(top, weight), x), (RUN.conv_gemm_weight(top, x), weight))]
    assert sums[0] == sums[1] == sums[2] != 0


@settings(max_examples=25)
@given(value=st.sampled_from([torch.nan, torch.inf, -torch.inf]), image=st.integers(0, 1),
       channel=st.integers(0, 15), y=st.integers(0, 4), x=st.integers(0, 5))
def test_nan_and_infinity_stay_in_their_windows(value, image, channel, y, x):
    """In every output whose window holds such a value, and in no other."""
    data, weight, bias = (t.detach() for t in example((2, 16, 5, 6), 9, (3, 2)))
    data[image, channel, y, x] = 0
    clean = conv_gemm(data, weight, bias)
    data[image, channel, y, x] = value
    result, mask = conv_gemm(data, weight, bias), torch.zeros(clean.shape, dtype=torch.bool)
    mask[image, :, max(0, y - 2):y + 1, max(0, x - 1):x + 1] = True
    assert torch.equal(~result.isfinite(), mask)
    assert torch.equal(result.masked_fill(mask, 0), clean.masked_fill(mask, 0))


def test_nan_in_filters_and_gradients():
    """NaN in one filter is in its outputs alone; in a top's channel in that filter's gradient, and
    in the gradient of the pixels that its window holds."""
    x, weight, bias = example((2, 16, 5, 6), 60, (3, 2))
    wanted = gradients(conv_gemm, (x, weight, bias), (0, 0))
    spoilt = weight.detach().clone()
    spoilt[57, 3, 1, 1] = torch.nan
    y = conv_gemm(x, spoilt, bias).detach()
    assert y[:, 57].isnan().all()
    y[:, 57] = wanted[0][:, 57]
    assert torch.equal(y, wanted[0])
    top = top_of(y)
    top[1, 5, 2, 2] = torch.nan
    dx, dw, db = torch.autograd.grad(conv_gemm(x, weight, bias), (x, weight, bias), top)
    held = torch.zeros(5, 6, dtype=torch.bool)
    held[2:5, 2:4] = True
    assert torch.equal(dx[1].isnan(), held.expand(16, 5, 6)) and torch.equal(dx[0], wanted[1][0])
    assert dw[5].isnan().all() and db[5].isnan()
    dw[5] = wanted[2][5]
    assert torch.equal(dw, wanted[2])


def test_who_requires_gradients():
    tensors = example((2, 16, 6, 7), 33)
    wanted = gradients(conv_gemm, tensors, (1, 1))
    for i in range(3):
        some = [t if i == j else t.detach() for j, t in enumerate(tensors)]
        y = conv_gemm(*some, (1, 1))
        assert_same(torch.autograd.grad(y, tensors[i], top_of(y)), [wanted[1 + i]])
    with torch.inference_mode():
        assert torch.equal(conv_gemm(*tensors, (1, 1)), wanted[0])


@pytest.mark.parametrize('shape, outputs, kernel, pad', [SAMPLES[i] for i in (0, 4, 7)])
def test_opcheck(shape, outputs, kernel, pad):
    x, weight, bias = example((*shape[:2], shape[2] + 2, shape[3] + 2), outputs, kernel)
    torch.library.opcheck(RUN.conv_gemm, (x, weight, bias))
    torch.library.opcheck(RUN.conv_gemm, (x, weight, None))
    grad = top_of(conv_gemm(x, weight, None)).detach().requires_grad_()
    torch.library.opcheck(RUN.conv_gemm_input, (grad, weight))
    torch.library.opcheck(RUN.conv_gemm_weight, (grad, x))


@pytest.mark.parametrize('pad', [(0, 0), (1, 2)])
def test_compiles(pad):
    check_compiled(conv_gemm, example((2, 16, 5, 7), 33), pad)


ONES = torch.ones(2, 16, 5, 6)
GOOD = {'x': ONES, 'weight': torch.ones(8, 16, 3, 2), 'bias': torch.ones(8), 'pad': (1, 0)}
BAD = [
    ({'x': ONES.double()}, 'x is Double of shape'), ({'x': ONES.long()}, 'x is Long'),
    ({'x': ONES[0]}, 'x of 3 axes'), ({'x': torch.ones([])}, 'x of 0 axes'),
    ({'x': ONES[..., None]}, 'x of 5 axes and pad'),
    ({'weight': torch.ones(8, 16, 3, 2).half()}, 'weight is Half'),
    ({'weight': torch.ones(8, 16, 3)}, r'weight is Float of shape \[8, 16, 3\]'),
    ({'weight': torch.ones(8, 32, 3, 2)}, r'filters of \[8, 32, 3, 2\] do not make'),
    ({'weight': torch.ones(0, 16, 3, 2)}, 'do not make'),
    ({'weight': torch.ones(8, 16, 0, 2)}, 'do not make'),
    ({'x': ONES[:, :8], 'weight': torch.ones(8, 8, 3, 2)}, '8 channels, expected a multiple of 16'),
    ({'x': ONES[:, :0], 'weight': torch.ones(8, 0, 3, 2)}, 'do not make'),
    ({'bias': torch.ones(7)}, '7 biases for 8 filters'),
    ({'bias': torch.ones(8, 1)}, r'bias is Float of shape \[8, 1\] on cpu, expected float32 of 1'),
    ({'bias': torch.ones(8).double()}, 'bias is Double'),
    ({'weight': torch.ones(8, 16, 8, 2)}, r'do not make \[2, 8, 0, 5\]'),
    ({'weight': torch.ones(8, 16, 3, 9)}, r'do not make \[2, 8, 5, -2\]'),
    ({'x': ONES[:, :, :0], 'pad': (0, 0)}, 'do not make'),
    ({'pad': (1, -1)}, r'pad \(1, -1\), expected 4 axes and two numbers of at least 0'),
    ({'pad': (1,)}, r'pad \(1,\), expected'), ({'pad': (1, 1, 1)}, 'two numbers'),
]


@pytest.mark.parametrize('change, message', BAD)
def test_bad_arguments(change, message):
    check_refused(conv_gemm, GOOD, change, f'conv_gemm: .*{message}')


TOP = torch.ones(2, 8, 3, 5)


@pytest.mark.parametrize('change, message', [
    ({'grad': TOP[0]}, r'grad is Float of shape \[8'), ({'weight': ONES[:, 0]}, 'weight is Float'),
    ({'grad': TOP[:, :7]}, 'do not make'), ({'grad': TOP[..., :0]}, 'do not make'),
    ({'weight': torch.ones(8, 16, 3, 0)}, 'do not make'), ({'grad': TOP.half()}, 'grad is Half'),
    ({'weight': torch.ones(8, 15, 3, 2)}, '15 channels, expected a multiple of 16')])
def test_bad_arguments_of_the_inputs_gradient(change, message):
    check_refused(RUN.conv_gemm_input, {'grad': TOP, 'weight': GOOD['weight']}, change, message)


@pytest.mark.parametrize('change, message', [
    ({'grad': TOP[0]}, r'grad is Float of shape \[8'), ({'x': ONES[:, 0]}, 'x is Float of shape'),
    ({'grad': TOP[:1]}, 'do not make'), ({'grad': torch.ones(2, 8, 6, 1)}, 'do not make'),
    ({'grad': TOP[:, :, :0]}, 'do not make'), ({'x': ONES.double()}, 'x is Double'),
    ({'x': ONES[:, :15]}, '15 channels, expected a multiple of 16')])
def test_bad_arguments_of_the_filters_gradient(change, message):
    check_refused(RUN.conv_gemm_weight, {'grad': TOP, 'x': ONES}, change, message)


def test_devices():
    check_devices(conv_gemm, 'conv_gemm', tuple(GOOD.values()))
    check_devices(RUN.conv_gemm_input, 'conv_gemm_input', (TOP, GOOD['weight']))
    check_devices(RUN.conv_gemm_weight, 'conv_gemm_weight', (TOP, ONES))
