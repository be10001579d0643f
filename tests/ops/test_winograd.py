"""Winograd's convolution against its twin in float64, and its algebra."""

import pytest
import torch
import torch.nn.functional as F
from conv_ops import (
    LAST,
    agree,
    assert_same,
    check_compiled,
    check_threads,
    draws,
    exact,
    example,
    gradients,
    second,
    top_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.ops import conv3x3, conv3x3_ref, winograd, winograd_filters

RUN = torch.ops.fcn_repro
TOLERANCE = 4e-6        # of the largest value, up to 80 channels

# x (N, C, H, W), outputs, pad
SAMPLES = [
    ((1, 16, 1, 1), 16, (1, 1)),        # one pixel
    ((1, 16, 1, 1), 32, (2, 2)),        # one pixel that nine outputs read
    ((1, 16, 3, 3), 16, (0, 0)),        # one output
    ((2, 16, 4, 4), 32, (1, 1)),        # one tile an image, a whole panel of filters
    ((1, 48, 5, 9), 80, (1, 0)),        # panels and a half of them, on either side
    ((3, 32, 6, 7), 48, (0, 2)),
    ((1, 64, 13, 2), 16, (2, 1)),
    ((0, 16, 5, 6), 32, (1, 1)),        # empty batch
    ((2, 16, 37, 41), 16, (1, 1)),      # tiles for several tasks, and slabs of a gradient
]


def by_winograd(x, weight, bias, pad):
    """The forward pass without gradients."""
    x, weight, bias = (None if t is None else t.detach() for t in (x, weight, bias))
    return winograd(x, winograd_filters(weight), len(weight), bias, pad)


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('shape, outputs, pad', SAMPLES)
def test_twin(shape, outputs, pad, bias):
    tensors = example(shape, outputs)
    tensors[2] = tensors[2] if bias else None
    ours, wanted = gradients(conv3x3, tensors, pad), gradients(conv3x3_ref, exact(tensors), pad)
    agree([*ours, by_winograd(*tensors, pad)], [*wanted, wanted[0]], TOLERANCE)
    assert all(t.is_contiguous(memory_format=LAST) for t in ours[:3])


@pytest.mark.parametrize('shape, outputs, pad', SAMPLES)
def test_second_derivatives(shape, outputs, pad):
    tensors = example(shape, outputs)
    agree(second(conv3x3, tensors, pad), second(conv3x3_ref, exact(tensors), pad), TOLERANCE)


axes = st.tuples(st.integers(0, 2), st.integers(1, 11)).filter(lambda a: sum(a) + a[0] > 2)


@settings(max_examples=40)
@given(batch=st.integers(1, 3), channels=st.integers(1, 5), outputs=st.integers(1, 5), y=axes,
       x=axes)
def test_any_shape(batch, channels, outputs, y, x):
    pad, size = zip(y, x, strict=True)
    tensors = example((batch, 16 * channels, *size), 16 * outputs)
    wanted = gradients(conv3x3_ref, exact(tensors), pad)
    agree([*gradients(conv3x3, tensors, pad), by_winograd(*tensors, pad)], [*wanted, wanted[0]],
          TOLERANCE)


@pytest.mark.parametrize('channels', [64, 256, 512])
def test_rounds_as_sums_in_order_do(channels):
    """The error grows as a sum's that is taken in order, F.conv2d's in channels_last: to about 2.2
    times that, on an average. (Contiguous, torch sums in parts, which errs less.)"""
    x, weight, bias = example((1, channels, 20, 21), channels)
    x = x.relu().detach()
    wanted = conv3x3_ref(x.double(), weight.double(), bias.double(), (1, 1))
    in_order = torch.zeros(channels, 20 * 21)
    for tap, values in zip(weight.detach().flatten(1).T, F.unfold(x, 3, padding=1)[0], strict=True):
        in_order.addcmul_(tap[:, None], values)

    def deviation(y):
        return (y - wanted).square().mean().sqrt()
    direct = deviation(in_order.view(wanted.shape) + bias.view(-1, 1, 1))
    ours = by_winograd(x, weight, bias, (1, 1))
    assert deviation(ours) < 3 * direct
    assert (ours - wanted).abs().max() < 5e-6 * wanted.abs().max()


@pytest.mark.parametrize('shape, outputs, pad', [*SAMPLES, ((1, 256, 30, 34), 128, (1, 1))])
def test_threads(shape, outputs, pad):
    """One task or several, fewer of them than threads, and none."""
    tensors = example(shape, outputs)
    top = top_of(conv3x3(*tensors, pad)).detach()
    x, weight, _ = (t.detach() for t in tensors)
    check_threads(lambda: [by_winograd(*tensors, pad), RUN.conv3x3_input(top, weight, pad),
                           RUN.conv3x3_weight(top, x, pad)])


@pytest.mark.parametrize('shape, outputs, pad', SAMPLES)
def test_filters_laid_out_before(shape, outputs, pad):
    x, weight, bias = (t.detach() for t in example(shape, outputs))
    filters = winograd_filters(weight)
    assert filters.shape == (36, -(-outputs // 32), shape[1], 32)
    wanted = winograd(x, filters, outputs, bias, pad)
    agree([wanted - bias.view(-1, 1, 1)], [winograd(x, filters, outputs, None, pad)], TOLERANCE)
    filters[:, outputs // 32:, :, outputs % 32:] = torch.nan      # half a panel that nobody reads
    assert torch.equal(winograd(x, filters, outputs, bias, pad), wanted)


def test_filters_at_the_points():
    """Along an axis at 0, 3/4, -3/4, 3/2, -3/2 and infinity, over what each is divided by."""
    weight = draws(16, 48, 3, 3).double()
    points = torch.tensor([0, 0.75, -0.75, 1.5, -1.5]).double()
    rows = torch.stack([points ** i for i in range(3)], 1)
    divisors = torch.stack([(p - points[points != p]).prod() for p in points])
    lay = torch.cat([rows / divisors[:, None], torch.tensor([[0.0, 0, 1]]).double()])
    wanted = torch.einsum('ai,bj,ocij->abco', lay, lay, weight).flatten(0, 1)
    agree([winograd_filters(weight.float())[:, 0, :, :16]], [wanted], 3e-7)


def test_batch_is_its_images():
    """To the bit by Winograd's algorithm; the gradients of filters are sums over the images."""
    pad, (x, weight, bias) = (1, 2), (t.detach() for t in example((3, 32, 9, 13), 48))
    top = top_of(by_winograd(x, weight, bias, pad))
    for run in (lambda x, _: by_winograd(x, weight, bias, pad),
                lambda _, top: RUN.conv3x3_input(top, weight, pad)):
        parts = [run(x[i:i + 1], top[i:i + 1]) for i in range(3)]
        assert torch.equal(torch.cat(parts), run(x, top))
    parts = [RUN.conv3x3_weight(top[i:i + 1], x[i:i + 1], pad) for i in range(3)]
    agree([sum(parts)], [RUN.conv3x3_weight(top, x, pad)], 1e-5)


def test_moved_by_tiles():
    """Cut at a multiple of 4, an image gives the same bits; at other places, the same values."""
    x, weight, bias = example((1, 16, 21, 26), 32)
    whole = by_winograd(x, weight, bias, (0, 0))
    for top in range(9):
        for left in range(9):
            part = by_winograd(x[..., top:, left:], weight, bias, (0, 0))
            if top % 4 == left % 4 == 0:
                assert torch.equal(part, whole[..., top:, left:])
            else:
                agree([part], [whole[..., top:, left:]], 2 * TOLERANCE)


def test_windows_of_zeros():
    """Zeros give zeros in a tile of zeros; in one with other values, rounding of theirs."""
    x, weight, _ = (t.detach() for t in example((1, 64, 40, 40), 64))
    x[..., 17:, :] = 0
    x[..., :, 23:] = 0
    y = by_winograd(x, weight, None, (1, 1))
    zeros = conv3x3_ref(x, weight, None, (1, 1)) == 0
    assert y[zeros].abs().max() < TOLERANCE * y.abs().max()
    assert zeros[..., 20:, :].all() and zeros[..., 24:].all()
    assert (y[..., 20:, :] == 0).all() and (y[..., 24:] == 0).all()


def test_powers_of_two_are_exact():
    x, weight, bias = example((2, 16, 9, 7), 32)
    y, dx, dw, db = gradients(conv3x3, (x, weight, bias), (1, 1))
    scaled = [(t * n).detach().requires_grad_() for t, n in ((x, 8), (weight, 0.25), (bias, 2))]
    assert_same(gradients(conv3x3, scaled, (1, 1)), [2 * y, dx / 4, 8 * dw, db])


def test_who_requires_gradients():
    tensors = example((2, 16, 6, 7), 32)
    wanted = gradients(conv3x3, tensors, (1, 1))
    for i in range(3):
        some = [t if i == j else t.detach() for j, t in enumerate(tensors)]
        y = conv3x3(*some, (1, 1))
        assert torch.equal(torch.autograd.grad(y, tensors[i], top_of(y))[0], wanted[1 + i])
    with torch.inference_mode():
        assert torch.equal(conv3x3(*tensors, (1, 1)), wanted[0])


@pytest.mark.parametrize('shape, outputs, pad', [SAMPLES[i] for i in (0, 4, 7)])
def test_opcheck(shape, outputs, pad):
    x, weight, bias = example(shape, outputs)
    torch.library.opcheck(RUN.conv3x3, (x, weight, bias, pad))
    torch.library.opcheck(RUN.conv3x3, (x, weight, None, pad))
    grad = top_of(conv3x3(x, weight, None, pad)).detach().requires_grad_()
    torch.library.opcheck(RUN.conv3x3_input, (grad, weight, pad))
    torch.library.opcheck(RUN.conv3x3_weight, (grad, x, pad))
    x, weight, bias = (t.detach() for t in (x, weight, bias))
    torch.library.opcheck(RUN.winograd_filters, (weight.permute(2, 3, 1, 0),))
    torch.library.opcheck(RUN.winograd, (x, winograd_filters(weight), outputs, bias, pad))


def test_compiles():
    check_compiled(conv3x3, example((2, 16, 5, 7), 32), (1, 1))


def test_filters_compile():
    tensors = [t.detach() for t in example((2, 16, 5, 7), 48)]
    compiled = torch.compile(by_winograd, backend='aot_eager', fullgraph=True)
    assert torch.equal(compiled(*tensors, (1, 1)), by_winograd(*tensors, (1, 1)))
