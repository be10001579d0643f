"""Max pooling with an 8-bit index against torch's, with its gradients, NaN, infinity and edges."""

from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_case import make_layer
from test_ops import DEVICES, TOLERANCE, agree
from test_ops_inputs import views
from test_repeat_border import blob, gradient, last_of
from texts import image

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops.pooling import max_pool_backward_ref

OP = torch.ops.fcn_repro

# input (N, C, H, W), kernel, stride, pad, size
SAMPLES = [
    ((1, 64, 12, 11), (2, 2), (2, 2), (0, 0), (6, 6)),      # VGG; the last window has one column
    ((2, 24, 9, 14), (3, 3), (2, 2), (0, 0), (4, 7)),       # AlexNet; packs of all types
    ((1, 3, 7, 8), (3, 3), (2, 2), (1, 1), (4, 4)),         # GoogLeNet
    ((2, 21, 9, 9), (3, 3), (1, 1), (1, 1), (9, 9)),        # windows that overlap; no packs
    ((1, 8, 9, 7), (2, 3), (3, 2), (0, 1), (3, 4)),         # cells between windows
    ((1, 4, 5, 6), (5, 6), (1, 1), (0, 0), (1, 1)),         # global
    ((1, 2, 20, 18), (16, 16), (4, 3), (7, 8), (5, 5)),     # 256 cells, the most
    ((1, 8, 3, 3), (4, 4), (2, 2), (3, 3), (3, 3)),         # a pad above half the kernel
    ((3, 1, 1, 1), (1, 1), (1, 1), (0, 0), (1, 1)),
    ((0, 8, 6, 6), (2, 2), (2, 2), (0, 0), (3, 3)),         # empty batch
    ((2, 0, 6, 6), (2, 2), (2, 2), (0, 0), (3, 3)),
    ((1, 5, 3, 300), (2, 2), (1, 1), (0, 0), (2, 299)),     # several blocks in a row
]


def expected(x, windows):
    """torch's result and gradient; its pooling refuses a blob without channels."""
    return gradient(ops.max_pool if 0 in x.shape else ops.max_pool_ref, x, *windows, wide=True)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('last', [False, True])
@pytest.mark.parametrize('sample', SAMPLES)
def test_pool_twin(sample, last, dtype, device):
    shape, *windows = sample
    for x in blob(shape, dtype, last, device), blob(shape, dtype, last, device).round():
        x = x.detach().requires_grad_()             # rounded: many equal maxima
        ours, wanted = gradient(ops.max_pool, x, *windows), expected(x, windows)
        assert torch.equal(ours[0], wanted[0])
        agree(ours, wanted, dtype)
        assert all(last_of(t) == last_of(x) for t in ours) or min(*shape, *windows[-1]) <= 1
        with torch.no_grad():
            assert torch.equal(ops.max_pool(x, *windows), ours[0])
        assert all(map(torch.equal, ours, gradient(ops.max_pool, x, *windows)))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sample', SAMPLES)
def test_pool_gradients(sample, device):
    shape, *windows = sample
    x = blob((shape[0], min(shape[1], 2), *shape[2:]), torch.float64, device=device)
    if x.numel() < 300:
        assert torch.autograd.gradcheck(lambda x: ops.max_pool(x, *windows), x)
        assert torch.autograd.gradgradcheck(lambda x: ops.max_pool(x, *windows), x)
    for last in False, True:
        x = blob(shape, torch.float32, last, device)
        torch.library.opcheck(OP.max_pool, (x, *windows, True))
        torch.library.opcheck(OP.max_pool, (x.detach(), *windows, False))
        top, index = OP.max_pool(x.detach(), *windows, True)
        back = top, index, *windows[:3], shape[2:]
        torch.library.opcheck(OP.max_pool_backward, (top.requires_grad_(), *back[1:]))
        agree([OP.max_pool_backward(*back).detach()], [max_pool_backward_ref(*back).detach()],
              torch.float32)


@st.composite
def windows(draw):
    """One axis: cells in, kernel, stride, pad, windows; any that the checks accept."""
    cells, k, stride = (draw(st.integers(1, most)) for most in (9, 5, 6))
    pad = draw(st.integers(0, k - 1))
    return cells, k, stride, pad, draw(st.integers(1, (cells - 1 + pad) // stride + 1))


@settings(max_examples=60)
@given(y=windows(), x=windows(), channels=st.integers(1, 9), last=st.booleans())
def test_any_windows(y, x, channels, last):
    size, *rest = zip(y, x, strict=True)
    one = blob((2, channels, *size), torch.float32, last)
    agree(gradient(ops.max_pool, one, *rest), expected(one, rest), torch.float32)


LAYERS = [({}, (7, 9)), ({'kernel_size': 3}, (8, 8)), ({'pad': 1, 'kernel_size': 3}, (8, 5)),
          ({'stride': 1}, (5, 5)), ({'pad': 2, 'kernel_size': 3}, (6, 7)),
          ({'stride': 4}, (7, 10)), ({'round_mode': 'FLOOR', 'stride': 3}, (9, 7)),
          ({'kernel_size': 17, 'stride': 16}, (40, 33))]


@pytest.mark.parametrize('setting, size', LAYERS)
@pytest.mark.parametrize('what', ['numbers', 'nan', '-inf', 'infinite'])
def test_layer_as_by_torch(setting, size, what):
    """Pooling to the same bits, gradients too, where NaN wins and where a window is all -inf."""
    pooling = make_layer('Pooling', 1, 1, {'pooling_param': {'kernel_size': 2, 'stride': 2,
                                                             **setting}})
    x = image(2, 8, *size).clone()
    draw = torch.rand(x.shape, generator=torch.Generator().manual_seed(3))
    if what == 'nan':
        x[draw < 0.2] = torch.nan
    elif what == '-inf':
        x[:, ::2] = -torch.inf
        x[draw < 0.5] = -torch.inf
    elif what == 'infinite':
        x[draw < 0.2], x[draw > 0.8] = torch.inf, -torch.inf
    tops, grads = [], []
    for suits in False, setting.get('kernel_size', 2) <= 16:
        with mock.patch.object(ops, 'suits_max_pool', return_value=suits):
            fed = x.clone(memory_format=torch.channels_last).requires_grad_()
            top, = pooling.forward([fed], [])
            weights = torch.randn(top.shape, generator=torch.Generator().manual_seed(5))
            grad, = torch.autograd.grad(top, fed, weights)
            tops.append(top.detach())
            grads.append(grad)
    assert torch.equal(tops[0].nan_to_num(7), tops[1].nan_to_num(7))
    assert torch.allclose(grads[0], grads[1], rtol=1e-6, atol=1e-6)


def test_pool_views():
    x = blob((2, 8, 6, 5), torch.float32)
    rest = (2, 2), (2, 2), (0, 0), (3, 3)
    for view in views(x.detach()).values():
        agree(gradient(ops.max_pool, view.requires_grad_(), *rest), expected(view, rest),
              torch.float32)
    top = ops.max_pool(x, *rest)
    top.sum().backward()                            # an expanded gradient
    assert x.grad.sum() == top.numel()


GOOD = {'x': torch.ones(1, 1, 6, 6), 'kernel': (2, 2), 'stride': (2, 2), 'pad': (0, 0),
        'size': (3, 3)}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(1, 6, 6)}, r'x has 3 axes with shape \[1, 6, 6\], expected 4'),
    ({'x': torch.ones(1, 1, 6, 6).int()}, 'x is Int, expected Float'),
    ({'x': torch.ones(1, 1, 6, 0)}, 'input size is 0 along x, expected 1 to'),
    ({'kernel': (2,)}, 'kernel has 1 numbers, expected 2'),
    ({'kernel': (2, 0)}, 'kernel is 0 along x, expected 1 to 256'),
    ({'kernel': (17, 16)}, r'the kernel of \[17, 16\] has 272 cells, expected at most 256'),
    ({'stride': (0, 2)}, 'stride is 0 along y'),
    ({'pad': (0, 2)}, 'pad is 2 along x, expected 0 to 1'),
    ({'size': (0, 3)}, 'size is 0 along y'),
    ({'size': (3, 4)}, r'the last window starts at cell 6 along x \(size 4, stride 2, pad 0\)')])
def test_bad_pools(change, message):
    ops.max_pool(**GOOD)
    with pytest.raises(FcnError, match=f'max_pool: {message}'):
        ops.max_pool(**{**GOOD, **change})


def test_bad_indices():
    x = torch.ones(1, 1, 6, 6)
    rest = (2, 2), (2, 2), (0, 0), (6, 6)
    top, index = OP.max_pool(x, *rest[:3], (3, 3), True)
    for wrong in index.int(), index[:, :, :2]:
        with pytest.raises(ValueError, match='max_pool_backward: index is '):
            OP.max_pool_backward(top, wrong, *rest)
    with pytest.raises(ValueError, match='x requires a gradient, but no index is kept'):
        OP.max_pool(x.requires_grad_(), *rest[:3], (3, 3), False)


def test_index_is_the_first_maximum():
    x = torch.tensor([[1., 3, 3], [3, 3, 2], [0, 1, 1]])[None, None]
    _, index = OP.max_pool(x, (3, 3), (2, 2), (1, 1), (2, 2), True)
    assert index.tolist() == [[[[5, 3], [1, 0]]]]
    assert torch.equal(F.max_pool2d(x, 3, 2, 1), OP.max_pool(x, (3, 3), (2, 2), (1, 1), (2, 2),
                                                             True)[0])
