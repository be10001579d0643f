"""What the fused ops may be given: any strides, alignment, edges and sizes, NaN, labels of all
sorts, mixed devices. Equal to what dense tensors give, or an error in words.
"""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import DEVICES, SAMPLES, TOLERANCE, agree, geometry
from test_ops_reduced import gradients, loss_args, with_skip

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops.deconv import deconv_crop

# input (N, C, H, W), kernel, stride, pad, offset, size
EDGES = [
    ((1, 2, 1, 1), (4, 4), (2, 2), (1, 1), (0, 0), (2, 2)),        # one pixel
    ((1, 1, 5, 4), (4, 4), (2, 2), (0, 0), (0, 0), (12, 10)),      # one channel, all of it
    ((1, 1000, 3, 2), (4, 4), (2, 2), (0, 0), (1, 1), (6, 4)),     # ImageNet's classes
    ((1, 2, 9, 9), (3, 3), (2, 2), (7, 6), (0, 1), (5, 6)),        # pad above the kernel
    ((1, 3, 4, 5), (16, 16), (8, 8), (0, 0), (39, 47), (1, 1)),    # the last cell
    ((1, 2, 3, 3), (7, 5), (2, 3), (0, 2), (9, 0), (2, 1)),        # beside the last input's cells
    ((1, 2, 2, 3), (1, 1), (7, 5), (0, 0), (2, 3), (5, 7)),        # k below s, gaps at first
    ((40, 1, 1, 2), (2, 3), (1, 2), (0, 0), (0, 0), (2, 5)),       # many images
]


def misaligned(tensor):
    """The same numbers, one byte behind where their type may stand."""
    size = max(1, tensor.numel()) * tensor.element_size()
    odd = torch.frombuffer(bytearray(size + 1), dtype=tensor.dtype, offset=1, count=size //
                           tensor.element_size())
    return odd[:tensor.numel()].view(tensor.shape).copy_(tensor.detach())


def views(tensor):
    """{name: the same numbers in other places of memory}."""
    turned = tensor.detach().transpose(-1, -2).contiguous().transpose(-1, -2)
    stepped = torch.empty(tensor.numel() * 2 + 1, dtype=tensor.dtype, device=tensor.device)[1::2]
    found = {'turned': turned, 'stepped': stepped.view(tensor.shape).copy_(tensor.detach())}
    if tensor.dim() == 4:
        found['last'] = tensor.detach().contiguous(memory_format=torch.channels_last)
    if tensor.device.type == 'cpu':
        found['misaligned'] = misaligned(tensor)
    return found


@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', EDGES)
def test_edges(sample, dtype):
    args = with_skip(sample, dtype=dtype)
    x, taps_y, taps_x, *middle = args[:-2]
    agree(gradients(ops.upcrop_add, args, (x, args[-2])),
          gradients(ops.upcrop_add_ref, args, (x, args[-2])), dtype)
    labels, p = ops.upcrop_argmax(x, taps_y, taps_x, *middle, torch.int64, True)
    wanted, q = ops.upcrop_argmax_ref(x.detach(), taps_y, taps_x, *middle, torch.int64, True)
    scores = ops.upcrop_ref(x.detach().double(), taps_y.double(), taps_x.double(), *middle)
    largest, chosen = scores.amax(1), scores.gather(1, labels[:, None])[:, 0]
    assert (largest - chosen).abs().max() <= 1e-5 * scores.abs().max()
    assert (p - q).abs().max() < 1e-5 and labels.shape == wanted.shape
    x, label, *rest = loss_args(sample, dtype)
    losses = [op(x, label, *rest, ignore_label=255)
              for op in (ops.upcrop_softmax_loss, ops.upcrop_softmax_loss_ref)]
    assert abs(losses[0] - losses[1]) <= TOLERANCE[dtype] * max(1, abs(losses[1]))
    a, b = (torch.autograd.grad(loss, x)[0].double() for loss in losses)
    assert (a - b).abs().max() <= TOLERANCE[dtype] * max(b.abs().max(), 1e-6)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
def test_views_of_images(dtype, device):
    """upcrop and its gradient stay within rounding; labels and loss have the same bits."""
    x, label, *rest = loss_args(SAMPLES[4], dtype, device)
    x, size = x.detach(), SAMPLES[4][-1]
    skip = torch.randn(*x.shape[:2], *size, generator=torch.Generator().manual_seed(4)).to(x)

    def results(x, skip, taps):
        middle = *taps, *rest[2:]
        up = gradients(lambda *a: ops.upcrop(*a, size), (x.requires_grad_(), *middle), (x,))
        added = gradients(lambda *a: ops.upcrop_add(x, *middle, size, skip, (0, 0)),
                          (), (x, skip.requires_grad_()))
        loss = ops.upcrop_softmax_loss(x, label, *middle, ignore_label=255)
        return [*up, *added], [*ops.upcrop_argmax(x, *middle, size, torch.uint8, True),
                               loss.detach(), torch.autograd.grad(loss, x)[0]]

    near, same = results(x.clone(), skip.clone(), rest[:2])
    taps = [views(t[None])['stepped'][0] for t in rest[:2]]
    if device == 'cpu':
        taps[1] = misaligned(rest[1])
    others = views(skip)
    for name, view in views(x).items():
        almost, equal = results(view, others[name], taps)
        agree(almost, near, dtype)
        assert all(map(torch.equal, equal, same)), name


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', (torch.uint8, torch.int32, torch.int64, torch.float32,
                                   torch.float64))
def test_views_of_labels(dtype, device):
    x, label, *rest = loss_args(SAMPLES[1], torch.float32, device)
    weight = torch.tensor([0.5, 2.0], device=device)
    mask = (label != 1).clone()
    wanted = ops.upcrop_softmax_loss(x, label, *rest, 'VALID', 255, weight, mask)
    masks, weights = views(mask), views(weight[None])
    for name, view in views(label.to(dtype)).items():
        assert ops.upcrop_softmax_loss(x, view, *rest, 'VALID', 255, weights[name][0],
                                       masks[name]) == wanted, name
    one = label[:1, :1, :1].to(dtype) * 0
    wide, dense = one.expand(label.shape), (one.expand(label.shape)).contiguous()
    assert ops.upcrop_softmax_loss(x, wide, *rest) == ops.upcrop_softmax_loss(x, dense, *rest)


def test_views_of_deconvolutions():
    x, weight, bias = torch.randn(2, 3, 5, 4), torch.randn(3, 21, 16, 16), torch.randn(21)
    rest = (8, 8), (0, 0), 1, (3, 5), (33, 31)
    tensors = [t.requires_grad_() for t in (x, weight, bias)]
    wanted = gradients(deconv_crop, (*tensors, *rest), tensors)
    odd = [misaligned(t).requires_grad_() for t in tensors]
    agree(gradients(deconv_crop, (*odd, *rest), odd), wanted, torch.float32)
    grad = torch.ones(1).expand_as(wanted[0])       # as sum() gives
    ours = torch.autograd.grad(deconv_crop(*tensors, *rest), tensors, grad)
    agree(ours, torch.autograd.grad(deconv_crop(*tensors, *rest), tensors, grad.contiguous()),
          torch.float32)


@settings(max_examples=60)
@given(y=geometry(), x=geometry(), channels=st.integers(1, 4), seed=st.integers(0, 9))
def test_loss_of_nan_and_infinity(y, x, channels, seed):
    """NaN in the loss, and in its gradient for exactly the inputs that feed such a pixel."""
    size_in, kernel, *rest = zip(y, x, strict=True)
    image, label, *rest = loss_args(((2, channels, *size_in), kernel, *rest))
    draw = torch.Generator().manual_seed(seed)
    odd = torch.rand(image.shape, generator=draw)
    image = image.detach().masked_fill(odd < 0.05, torch.nan).masked_fill(odd > 0.95, torch.inf)
    image = image.masked_fill((odd > 0.9) & (odd < 0.95), -torch.inf).requires_grad_()
    label = label.masked_fill(label == 255, 0)
    ours, theirs = (op(image, label, *rest) for op in (
        ops.upcrop_softmax_loss, ops.upcrop_softmax_loss_ref))
    assert ours.isnan() == theirs.isnan()
    a, b = (torch.autograd.grad(loss, image)[0] for loss in (ours, theirs))
    assert torch.equal(a.isnan(), b.isnan())
    assert torch.allclose(a, b, atol=1e-12, equal_nan=True)


def test_nan_stays_beside_the_kernel():
    """Taps that pad a kernel to whole strides carry no NaN to inputs which do not feed it."""
    x = torch.zeros(1, 2, 1, 3)
    x[0, 0, 0, 1] = torch.nan
    x.requires_grad_()
    loss = ops.upcrop_softmax_loss(x, torch.zeros(1, 1, 1), torch.ones(1), torch.ones(5), (1, 4),
                                   (0, 0), (0, 6))      # cell 6 is fed by input 1 alone
    loss.backward()
    assert x.grad.isnan()[0, 0, 0].tolist() == [False, True, False]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype, value, shown', [
    (torch.uint8, 3, '3'), (torch.int32, -1, '-1'), (torch.int64, 10 ** 10, '1e[+]10'),
    (torch.int64, 2 ** 63 - 1, '9.22337e[+]18'), (torch.int64, -2 ** 63, '-9.22337e[+]18'),
    (torch.float32, torch.nan, 'nan'), (torch.float32, torch.inf, 'inf'),
    (torch.float64, -torch.inf, '-inf'), (torch.float64, 1e10, '1e[+]10'),
    (torch.float32, 3.5, '3.5'), (torch.float32, -1.5, '-1.5')])
def test_labels_out_of_range(dtype, value, shown, device):
    """An error that shows one, unless ignored or masked; -2 stands for none of them."""
    x, label, *rest = loss_args(SAMPLES[0], torch.float32, device)
    label = (label % 3).to(dtype)
    bad = label.clone()
    bad[0, 2, 3] = value
    for ignore in None, 255, -2:
        with pytest.raises(FcnError, match=f'1 labels outside 0 ... 2, such as {shown},'):
            ops.upcrop_softmax_loss(x, bad, *rest, ignore_label=ignore)
    mask = torch.ones_like(label, dtype=torch.bool)
    mask[0, 2, 3] = False
    assert ops.upcrop_softmax_loss(x, bad, *rest, mask=mask) == ops.upcrop_softmax_loss(
        x, label, *rest, mask=mask)


def test_who_requires_gradients():
    x, *middle, skip, start = with_skip(SAMPLES[0])
    both = gradients(ops.upcrop_add, (x, *middle, skip, start), (x, skip))
    for a, b in (x, skip.detach()), (x.detach(), skip):
        needed = [t for t in (a, b) if t.requires_grad]
        ours = gradients(ops.upcrop_add, (a, *middle, b, start), needed)
        assert torch.equal(ours[1], both[1 if a.requires_grad else 2])
    image, label, *rest = loss_args(SAMPLES[0])
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    with pytest.raises(FcnError, match='weight requires a gradient, but is a constant'):
        ops.upcrop_softmax_loss(image, label, *rest, 'VALID', 255, weight)
    rest[0].requires_grad_()
    with pytest.raises(FcnError, match='taps_y requires a gradient'):
        ops.upcrop_softmax_loss(image, label, *rest, 'VALID', 255)


X, ONES, LABEL = torch.ones(1, 2, 5, 6), torch.ones(4), torch.zeros(1, 8, 9)
UP = X, ONES, ONES, (2, 2), (0, 0), (1, 1)
CALLS = {
    'upcrop': (*UP, (8, 9)),
    'upcrop_add': (*UP, (8, 9), torch.ones(1, 2, 9, 9), (1, 0)),
    'upcrop_argmax': (*UP, (8, 9)),
    'upcrop_softmax_loss': (X, LABEL, *UP[1:], 'VALID', None, torch.ones(2), LABEL == 0),
}


@pytest.mark.parametrize('name', CALLS)
def test_mixed_devices(name):
    """A meta tensor among others is an error, and not memory that nobody wrote."""
    args, op = CALLS[name], getattr(ops, name)
    op(*args)
    for i in [i for i, arg in enumerate(args) if torch.is_tensor(arg)]:
        with pytest.raises(FcnError, match=f'{name}: .* is on .*Move it there'):
            op(*args[:i], args[i].to('meta'), *args[i + 1:])
    result = op(*[arg.to('meta') if torch.is_tensor(arg) else arg for arg in args])
    assert result.is_meta


@pytest.mark.parametrize('name', CALLS)
def test_empty_crops_and_inputs(name):
    args, op = CALLS[name], getattr(ops, name)
    at = 1 if name == 'upcrop_softmax_loss' else 6
    none = LABEL[:, :0] if at == 1 else (0, 9)
    with pytest.raises(FcnError, match=f'{name}: crop size is 0 along y, expected 1 to'):
        op(*args[:at], none, *args[at + 1:])
    with pytest.raises(FcnError, match=f'{name}: input size is 0 along x, expected 1 to'):
        op(X[..., :0], *args[1:])
    batch = [a[:0] if torch.is_tensor(a) and a.dim() > 1 else a for a in args]
    assert op(*batch).shape[:1] in ((0,), ())


@pytest.mark.parametrize('name', CALLS)
def test_strides_beyond_a_tile(name):
    x = torch.ones(1, 2, 1, 1)
    args = [x, torch.ones(1), torch.ones(1), (2 ** 31 - 1,) * 2, (0, 0), (0, 0)]
    run = {'upcrop': lambda: ops.upcrop(*args, (1, 1)),
           'upcrop_add': lambda: ops.upcrop_add(*args, (1, 1), x, (0, 0)),
           'upcrop_argmax': lambda: ops.upcrop_argmax(*args, (1, 1)),
           'upcrop_softmax_loss': lambda: ops.upcrop_softmax_loss(x, LABEL[:, :1, :1], *args[1:])}
    if name in ('upcrop', 'upcrop_add'):
        assert (run[name]() == (1 if name == 'upcrop' else 2)).all()
    else:
        with pytest.raises(FcnError, match='stride is 2147483647 along x, expected 1 to 65536'):
            run[name]()


def test_sizes_beyond_the_machine():
    """More numbers than memory, or than 63 bits count, is an error of torch's, on either side."""
    args = torch.ones(2), torch.ones(2), (2, 2), (0, 0), (0, 0), (4, 4)
    huge = torch.ones(1).expand(2 ** 20, 2 ** 20, 2, 2)
    for op in ops.upcrop, ops.upcrop_argmax:
        with pytest.raises((RuntimeError, FcnError), match=r'memory|fit labels'):
            op(huge, *args)
    far = (2 ** 30, 2 ** 30), (0, 0), (0, 0), (2 ** 30, 2 ** 30)
    with pytest.raises((RuntimeError, FcnError), match=r'memory|products'):
        ops.upcrop(torch.ones(1, 1, 2, 2), *args[:2], *far)
    meta = torch.ones(2 ** 11, 2 ** 10, 2 ** 10, 2, device='meta')
    taps = torch.ones(4, device='meta')
    up = ops.upcrop(meta, taps, taps, (2, 2), (0, 0), (1, 1), (2 ** 11, 4))
    assert up.numel() == 2 ** 34


@pytest.mark.slow
@pytest.mark.skipif(os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') < 10 * 2 ** 30,
                    reason='less than 10 GB of memory are free')
def test_sizes_beyond_32_bits():
    """A map of more than 2 ** 31 pixels: its last corner is that of a crop there."""
    side, stride = 46341, 2 ** 15
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 2, 2, 2, generator=draw)
    taps = ops.bilinear_taps(2 * stride).float()
    args = taps, taps, (stride,) * 2, (0, 0)
    corner = (side - 5, side - 7), (5, 7)
    labels = ops.upcrop_argmax(x, *args, (0, 0), (side, side))
    assert torch.equal(labels[:, -5:, -7:], ops.upcrop_argmax(x, *args, *corner))
    loss = ops.upcrop_softmax_loss(x, labels, *args, (0, 0))
    assert 0 < loss < 0.7
    del labels
    half = x[:, :1].bfloat16().requires_grad_()
    up = ops.upcrop(half, *args, (0, 0), (side, side))
    assert torch.equal(up[..., -5:, -7:], ops.upcrop(half, *args, *corner))
    grad, = torch.autograd.grad(up, half, torch.ones_like(up))
    sums = torch.stack([taps[:max(0, min(2 * stride, side - i * stride))].double().sum()
                        for i in range(2)])
    assert torch.allclose(grad[0, 0].double(), torch.outer(sums, sums), rtol=1e-2)
