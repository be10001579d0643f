"""What Winograd's convolution may be given: any strides and alignment, NaN; errors in words."""

import pytest
import torch
from conv_ops import check_devices, check_layouts, check_refused, example, gradients, top_of
from hypothesis import given, settings
from hypothesis import strategies as st
from test_winograd import RUN, SAMPLES

from fcn_repro.ops import conv3x3, winograd, winograd_filters


@pytest.mark.parametrize('shape, outputs, pad', [SAMPLES[i] for i in (1, 4, 5, 8)])
def test_layouts(shape, outputs, pad):
    check_layouts(conv3x3, example(shape, outputs), pad)


@settings(max_examples=25)
@given(value=st.sampled_from([torch.nan, torch.inf, -torch.inf]), image=st.integers(0, 1),
       channel=st.integers(0, 15), y=st.integers(0, 8), x=st.integers(0, 9))
def test_nan_and_infinity_stay_in_their_tiles(value, image, channel, y, x):
    """An output whose window holds such a value is not finite; others may be NaN in its tile of
    4x4, and have all their bits elsewhere."""
    data, weight, bias = (t.detach() for t in example((2, 16, 9, 10), 16))
    data[image, channel, y, x] = 0
    filters = winograd_filters(weight)
    clean = winograd(data, filters, 16, bias, (1, 1))
    data[image, channel, y, x] = value
    result = winograd(data, filters, 16, bias, (1, 1))
    tile = torch.zeros(2, 1, 9, 10, dtype=torch.bool)
    rows, cols = (slice(max(0, at - 1), at + 2) for at in (y, x))
    assert not result[image, :, rows, cols].isfinite().any()
    first, last = ([at // 4 for at in (part.start, part.stop - 1)] for part in (rows, cols))
    tile[image, :, 4 * first[0]:4 * first[1] + 4, 4 * last[0]:4 * last[1] + 4] = True
    assert torch.equal(result.masked_fill(tile, 0), clean.masked_fill(tile, 0))


def test_nan_in_filters_and_gradients():
    """NaN in one filter is in its outputs alone, in a top's channel in that filter's gradient."""
    x, weight, bias = example((2, 16, 6, 7), 48)
    wanted, pad = gradients(conv3x3, (x, weight, bias), (1, 1)), (1, 1)
    spoilt = weight.detach().clone()
    spoilt[37, 3, 1, 2] = torch.nan
    clean, y = (winograd(x.detach(), winograd_filters(w), 48, bias.detach(), pad)
                for w in (weight.detach(), spoilt))
    assert y[:, 37].isnan().all()
    y[:, 37] = clean[:, 37]
    assert torch.equal(y, clean)
    top = top_of(y)
    top[1, 5, 2, 2] = torch.nan
    dx, dw, db = torch.autograd.grad(conv3x3(x, weight, bias, pad), (x, weight, bias), top)
    assert dx[1, :, 1:4, 1:4].isnan().all() and torch.equal(dx[0], wanted[1][0])
    assert dw[5].isnan().all() and db[5].isnan()
    dw[5] = wanted[2][5]
    assert torch.equal(dw, wanted[2])


ONES = torch.ones(2, 16, 5, 6)
GOOD = {'x': ONES, 'weight': torch.ones(32, 16, 3, 3), 'bias': torch.ones(32), 'pad': (1, 1)}
BAD = [
    ({'x': ONES.double()}, 'x is Double of shape'), ({'x': ONES.bool()}, 'x is Bool'),
    ({'x': ONES[0]}, r'x is Float of shape \[16, 5, 6\] on cpu, expected float32 of 4 axes'),
    ({'x': ONES[0, 0, 0]}, r'x is Float of shape \[6\]'), ({'x': torch.ones([])}, 'x is Float of'),
    ({'weight': torch.ones(32, 16, 3, 3).double()}, 'weight is Double'),
    ({'weight': torch.ones(32, 16, 3)}, r'weight is Float of shape \[32, 16, 3\]'),
    ({'weight': torch.ones(32, 32, 3, 3)}, r'filters of \[32, 32, 3, 3\] for 16 channels'),
    ({'weight': torch.ones(32, 16, 3, 4)}, r'expected \(C_out, C, 3, 3\)'),
    ({'weight': torch.ones(32, 16, 1, 1)}, r'expected \(C_out, C, 3, 3\)'),
    ({'weight': torch.ones(40, 16, 3, 3)}, '40 channels, expected a multiple of 16'),
    ({'weight': torch.ones(0, 16, 3, 3)}, '0 channels, expected a multiple of 16'),
    ({'x': ONES[:, :8], 'weight': torch.ones(32, 8, 3, 3)}, '8 channels, expected a multiple'),
    ({'x': ONES[:, :0], 'weight': torch.ones(32, 0, 3, 3)}, '0 channels, expected a multiple'),
    ({'bias': torch.ones(31)}, '31 biases for 32 channels'),
    ({'bias': torch.ones(1, 32)}, r'bias is Float of shape \[1, 32\]'),
    ({'bias': torch.ones(32).double()}, 'bias is Double'),
    ({'x': ONES[..., :2], 'pad': (1, 0)}, r'x of \[2, 16, 5, 2\] and pad \[1, 0\] leave no output'),
    ({'x': ONES[:, :, :0], 'pad': (1, 1)}, 'leave no output'),
    ({'pad': (1, -1)}, r'pad \[1, -1\], expected two numbers of 0 to 2'),
    ({'pad': (3, 1)}, r'pad \[3, 1\], expected two numbers of 0 to 2'),
    ({'pad': (1, 2 ** 62)}, 'expected two numbers of 0 to 2'),
    ({'pad': (2 ** 63 - 1, 1)}, 'expected two numbers of 0 to 2'),
    ({'pad': (1, 1, 1)}, 'expected two numbers of 0 to 2'),
]


@pytest.mark.parametrize('change, message', BAD)
def test_bad_arguments(change, message):
    check_refused(conv3x3, GOOD, change, message)


TOP = torch.ones(2, 32, 5, 6)


@pytest.mark.parametrize('change, message', [
    ({'grad': TOP.double()}, 'grad is Double'), ({'x': ONES[0]}, r'x is Float of shape \[16, 5'),
    ({'grad': TOP[:1]}, r'grad of \[1, 32, 5, 6\] for x of \[2, 16, 5, 6\] and pad \[1, 1\]'),
    ({'pad': (0, 1)}, r'grad of \[2, 32, 5, 6\] for x of'), ({'pad': (-1, 1)}, 'expected two numb'),
    ({'grad': TOP[..., :5]}, 'grad of'), ({'grad': TOP[:, :31]}, '31 channels, expected a mul'),
    ({'x': ONES[:, :1]}, '1 channels, expected a multiple')])
def test_bad_arguments_of_the_gradient(change, message):
    check_refused(RUN.conv3x3_weight, {'grad': TOP, 'x': ONES, 'pad': (1, 1)}, change, message)


@pytest.mark.parametrize('change, message', [
    ({'grad': TOP.double()}, 'grad is Double'), ({'grad': TOP[:, :16]}, 'for 16 channels'),
    ({'weight': torch.ones(32, 16, 3, 2)}, 'expected .C_out, C, 3, 3'),
    ({'pad': (1,)}, 'expected two numbers'), ({'pad': (3, 1)}, 'expected two numbers'),
    ({'pad': (1, -2 ** 63)}, 'expected two numbers')])
def test_bad_arguments_of_the_input_gradient(change, message):
    args = {'grad': TOP, 'weight': GOOD['weight'], 'pad': (1, 1)}
    check_refused(RUN.conv3x3_input, args, change, message)


@pytest.mark.parametrize('change, message', [
    ({'filters': torch.ones(36, 1, 16, 16)}, r'expected \[36, 1, 16, 32\]'),
    ({'outputs': 48}, r'expected \[36, 2, 16, 32\]'), ({'outputs': 33}, '33 channels, expected a'),
    ({'outputs': -16}, '-16 channels, expected a'), ({'outputs': 2 ** 62}, 'channels, expected a'),
    ({'filters': torch.ones(36, 1, 16, 32).half()}, 'filters is Half'),
    ({'x': ONES.half()}, 'x is Half')])
def test_bad_arguments_of_packed_filters(change, message):
    args = {'x': ONES, 'filters': torch.ones(36, 1, 16, 32), 'outputs': 32, 'bias': None,
            'pad': (1, 1)}
    check_refused(winograd, args, change, message)


@pytest.mark.parametrize('weight, message', [
    (torch.ones(16, 16, 3), 'weight has 3 axes, expected 4'), (torch.ones(16, 16, 3, 2), 'taps of'),
    (torch.ones(15, 16, 3, 3), '15 channels, expected a multiple of 16'),
    (torch.ones(16, 0, 3, 3), 'taps of'),
    (torch.ones(16, 16, 3, 3).long(), 'taps is Long')])
def test_bad_filters(weight, message):
    check_refused(winograd_filters, {'weight': GOOD['weight']}, {'weight': weight}, message)


def test_devices():
    args = tuple(GOOD.values())
    check_devices(conv3x3, 'conv3x3', args)
    check_devices(RUN.conv3x3_input, 'conv3x3_input', (TOP, args[1], (1, 1)))
    check_devices(RUN.conv3x3_weight, 'conv3x3_weight', (TOP, ONES, (1, 1)))
    check_devices(winograd_filters, 'winograd_filters', args[1:2])
    check_devices(winograd, 'winograd', (ONES, winograd_filters(args[1]), 32, *args[2:]))
