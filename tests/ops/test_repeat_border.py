"""The repetition of border cells against its twin, its algebra, and what it may be given."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import DEVICES, TOLERANCE, agree
from test_ops_inputs import views

from fcn_repro import ops
from fcn_repro.errors import FcnError

OP = torch.ops.fcn_repro

# input (N, C, H, W), rows, columns: (start, end, count)
SAMPLES = [
    ((1, 64, 20, 17), (1, 1, 6), (1, 1, 6)),        # pool1 of FCN
    ((2, 24, 13, 12), (4, 4, 4), (3, 3, 2)),        # packs of all types
    ((1, 3, 9, 8), (2, 0, 3), (0, 5, 1)),
    ((2, 21, 5, 6), (0, 0, 1), (0, 0, 9)),          # FCN's classes: no packs
    ((1, 8, 6, 4), (3, 1, 2), (0, 0, 0)),           # rows alone
    ((1, 4, 1, 6), (7, 9, 0), (2, 1, 4)),           # columns alone
    ((3, 2, 2, 2), (0, 0, 40), (0, 0, 0)),          # no row between
    ((1, 8, 1, 1), (0, 0, 0), (0, 0, 0)),
    ((0, 8, 4, 4), (1, 1, 2), (1, 1, 2)),           # empty batch
    ((2, 0, 4, 4), (1, 1, 2), (1, 1, 2)),
    ((1, 3, 5, 300), (1, 1, 2), (40, 50, 7)),       # several blocks in a row
]


def blob(shape, dtype, last=False, device='cpu'):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last if last else
                                          torch.contiguous_format).requires_grad_()


def last_of(x):
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def gradient(op, x, *args, wide=False):
    """(result, its gradient for x under a fixed random top gradient in the result's format);
    `wide`: summed in 64 bits, then rounded."""
    top = op(x, *args)
    with torch.no_grad():
        grad = torch.empty_like(top, memory_format=torch.channels_last if last_of(x) else
                                torch.contiguous_format)
        grad[:] = torch.randn(top.shape, generator=torch.Generator().manual_seed(1),
                              dtype=torch.float64)
    if wide:
        leaf = x.detach().double().requires_grad_()
        sums, = torch.autograd.grad(op(leaf, *args), leaf, grad.double())
        return top.detach(), sums.to(x.dtype)
    return top.detach(), torch.autograd.grad(top, x, grad)[0]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('sample', SAMPLES)
def test_border_twin(sample, last, dtype, device):
    shape, *axes = sample
    x = blob(shape, dtype, last, device)
    ours = gradient(ops.repeat_border, x, *axes)
    wanted = gradient(ops.repeat_border_ref, x, *axes, wide=True)
    assert torch.equal(ours[0], wanted[0])
    agree(ours, wanted, dtype)
    assert all(last_of(t) == last_of(x) for t in ours) or min(shape) <= 1
    again = gradient(ops.repeat_border, x, *axes)
    assert all(map(torch.equal, ours, again))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sample', SAMPLES)
def test_border_gradients(sample, device):
    shape, *axes = sample
    x = blob((shape[0], min(shape[1], 2), *shape[2:]), torch.float64, device=device)
    if x.numel() < 300:
        assert torch.autograd.gradcheck(lambda x: ops.repeat_border(x, *axes), x)
        assert torch.autograd.gradgradcheck(lambda x: ops.repeat_border(x, *axes), x)
    for last in False, True:
        x = blob(shape, torch.float32, last, device)
        grad = ops.repeat_border(x, *axes).detach().requires_grad_()
        torch.library.opcheck(OP.repeat_border, (x, *axes))
        torch.library.opcheck(OP.repeat_border_backward, (grad, *axes))


@st.composite
def border(draw):
    """(cells, (start, end, count)) of an axis."""
    start, end, count, more = (draw(st.integers(0, 5)) for _ in range(4))
    return start + end + 2 + more, (start, end, count)


@settings(max_examples=60)
@given(y=border(), x=border(), channels=st.integers(1, 9), last=st.booleans())
def test_any_border(y, x, channels, last):
    image = blob((2, channels, y[0], x[0]), torch.float32, last)
    ours = gradient(ops.repeat_border, image, y[1], x[1])
    agree(ours, gradient(ops.repeat_border_ref, image, y[1], x[1], wide=True), torch.float32)


def test_border_bits():
    """Copies keep their bits, and so do gradients of cells that have one copy."""
    special = torch.tensor([-0.0, torch.nan, torch.inf, -torch.inf, 1e-45])
    for last in False, True:
        x = blob((1, 4, 5, 5), torch.float32, last)
        with torch.no_grad():
            x[:] = special
        top = ops.repeat_border(x, (1, 1, 2), (1, 1, 2)).detach()
        assert torch.equal(top.view(torch.int32),
                           ops.repeat_border_ref(x, (1, 1, 2), (1, 1, 2)).view(torch.int32))
        back = OP.repeat_border_backward(x.detach(), (0, 0, 0), (0, 0, 0))
        assert torch.equal(back.view(torch.int32), x.detach().view(torch.int32))


def test_border_views():
    x = blob((2, 8, 6, 5), torch.float32)
    axes = (1, 2, 3), (0, 1, 2)
    for view in views(x.detach()).values():
        ours = gradient(ops.repeat_border, view.requires_grad_(), *axes)
        agree(ours, gradient(ops.repeat_border_ref, view, *axes, wide=True), torch.float32)
    top = ops.repeat_border(x, *axes)
    top.sum().backward()                            # an expanded gradient
    assert torch.equal(x.grad, OP.repeat_border_backward(torch.ones_like(top), *axes))


@pytest.mark.parametrize('args, message', [
    ((torch.ones(2, 5, 6), (0, 0, 1), (0, 0, 1)), r'x has 3 axes with shape \[2, 5, 6\]'),
    ((torch.ones(1, 1, 4, 4).int(), (0, 0, 1), (0, 0, 1)), 'x is Int, expected Float'),
    ((torch.ones(1, 1, 4, 4), (0, 1), (0, 0, 1)), 'rows has 2 numbers, expected 3'),
    ((torch.ones(1, 1, 4, 4), (0, 0, 1), (0, -1, 1)), r'columns is \[0, -1, 1\], expected numbers'),
    ((torch.ones(1, 1, 4, 4), (2, 1, 1), (0, 0, 1)),
     'the bottom has 4 rows, but number 2 and the one 1 before the last are repeated'),
    ((torch.ones(1, 1, 4, 4), (0, 0, 0), (0, 0, 2 ** 30)), 'the top has 2147483652 columns')])
def test_bad_borders(args, message):
    with pytest.raises(FcnError, match=f'repeat_border: {message}'):
        ops.repeat_border(*args)


def test_bad_border_of_a_gradient():
    with pytest.raises(ValueError, match='repeat_border_backward: the bottom has 0 rows'):
        OP.repeat_border_backward(torch.ones(1, 1, 4, 4), (0, 0, 2), (0, 0, 0))
