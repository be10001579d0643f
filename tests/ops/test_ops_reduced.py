"""Skip, argmax and softmax loss fused with the upsampling, against twins and Caffe's rules."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import DEVICES, SAMPLES, TOLERANCE, agree, example, geometry

from fcn_repro import ops
from fcn_repro.errors import FcnError

FULL = [s for s in SAMPLES if s[0][0]]
OPS = torch.ops.fcn_repro


def with_skip(sample, device='cpu', dtype=torch.float64):
    """x, the other arguments of upcrop_add, and a skip with a gradient to come."""
    args = example(sample, device, dtype)
    (n, c), (height, width) = args[0].shape[:2], args[-1]
    draw = torch.Generator().manual_seed(2)
    skip = torch.randn(n, c, height + 3, width + 4, generator=draw, dtype=torch.float64)
    return *args, skip.to(device, dtype).requires_grad_(), (1, 3)


def labels_for(args, seed=3, classes=None):
    """Labels (N, *size) for example()'s arguments, about a fifth of them 255."""
    x, size = args[0], args[-1]
    draw = torch.Generator().manual_seed(seed)
    label = torch.randint(0, classes or x.shape[1], (x.shape[0], *size), generator=draw)
    return label.masked_fill(torch.rand(label.shape, generator=draw) < 0.2, 255).to(x.device)


def gradients(op, args, inputs):
    result = op(*args)
    top = torch.randn(result.shape, generator=torch.Generator().manual_seed(1),
                      dtype=torch.float64).to(result)
    return result.detach(), *torch.autograd.grad(result, inputs, top)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', SAMPLES)
def test_add_twin(sample, dtype, device):
    args = with_skip(sample, device, dtype)
    for x in args[0], args[0].detach().contiguous(
            memory_format=torch.channels_last).requires_grad_():
        args = x, *args[1:]
        agree(gradients(ops.upcrop_add, args, (x, args[-2])),
              gradients(ops.upcrop_add_ref, args, (x, args[-2])), dtype)


def test_add_derivatives():
    x, *middle, skip, start = with_skip(SAMPLES[0])
    torch.library.opcheck(OPS.upcrop_add, (x, *middle, skip, start))
    assert torch.autograd.gradcheck(lambda x, skip: ops.upcrop_add(x, *middle, skip, start),
                                    (x, skip))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', FULL)
def test_argmax_twin(sample, dtype, device):
    """Equal labels wherever the two largest scores are apart by more than rounding."""
    x, *rest = example(sample, device, dtype)
    labels, p = ops.upcrop_argmax(x, *rest, torch.int64, True)
    wanted, q = ops.upcrop_argmax_ref(x.detach(), *rest, torch.int64, True)
    scores = ops.upcrop_ref(x.detach().double(), *(t.double() for t in rest[:2]), *rest[2:])
    top = scores.topk(min(2, x.shape[1]), 1).values
    clear = top[:, 0] - top[:, -1] > 1e-5 * scores.abs().max()
    assert torch.equal(labels[clear], wanted[clear]) and not labels.requires_grad
    assert (p - q).abs().max() < 1e-5 and p.dtype == torch.float32
    assert torch.equal(ops.upcrop_argmax(x, *rest), labels.byte())


@settings(max_examples=60)
@given(y=geometry(), x=geometry(), channels=st.integers(1, 5), seed=st.integers(0, 9))
def test_argmax_ties_and_nan(y, x, channels, seed):
    """Small integers tie often; NaN and infinities are among them: equal to the twin to the bit."""
    size_in, kernel, *rest = zip(y, x, strict=True)
    draw = torch.Generator().manual_seed(seed)
    image = torch.randint(-2, 3, (2, channels, *size_in), generator=draw).double()
    odd = torch.rand(image.shape, generator=draw)
    image[odd < 0.04] = torch.nan
    image[(odd > 0.04) & (odd < 0.08)] = torch.inf
    image[(odd > 0.08) & (odd < 0.1)] = -torch.inf
    taps = [torch.randint(1, 3, (k,), generator=draw).double() for k in kernel]
    whole = ops.upcrop(image, *taps, *rest)
    labels, p = ops.upcrop_argmax(image, *taps, *rest, torch.int64, True)
    assert torch.equal(labels, whole.argmax(1))
    wanted = whole.softmax(1).gather(1, labels[:, None])[:, 0].float()
    assert torch.allclose(p, wanted, equal_nan=True)


def loss_args(sample, dtype=torch.float64, device='cpu'):
    args = example(sample, device, dtype)
    return args[0], labels_for(args), *args[1:-1]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('normalization', ('FULL', 'VALID', 'BATCH_SIZE', 'NONE'))
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', FULL)
def test_loss_twin(sample, dtype, normalization, device):
    x, label, *rest = loss_args(sample, dtype, device)
    draw = torch.Generator().manual_seed(5)
    weight = torch.rand(x.shape[1], generator=draw).to(device, ops.tap_dtype(dtype))
    mask = (torch.rand(label.shape, generator=draw) < 0.7).to(device)
    options = [{}, {'weight': weight}, {'mask': mask}, {'weight': weight, 'mask': mask}]
    for more in options:
        ours, theirs = (op(x, label, *rest, normalization, 255, **more)
                        for op in (ops.upcrop_softmax_loss, ops.upcrop_softmax_loss_ref))
        tolerance = max(TOLERANCE[dtype], 1e-13)
        assert abs(ours - theirs) <= tolerance * max(1, abs(theirs))
        grads = [torch.autograd.grad(loss, x)[0].double() for loss in (ours, theirs)]
        assert (grads[0] - grads[1]).abs().max() <= tolerance * max(grads[1].abs().max(), 1e-6)
        assert ops.upcrop_softmax_loss(x.detach(), label, *rest, normalization, 255,
                                       **more) == ours.detach()


@pytest.mark.parametrize('dtype', (torch.uint8, torch.int32, torch.float32, torch.float64))
def test_label_types(dtype):
    x, label, *rest = loss_args(SAMPLES[1])
    wanted = ops.upcrop_softmax_loss(x, label, *rest, ignore_label=255)
    assert ops.upcrop_softmax_loss(x, label.to(dtype), *rest, ignore_label=255) == wanted


@settings(max_examples=40)
@given(y=geometry(), x=geometry(), channels=st.integers(1, 5))
def test_loss_any_geometry(y, x, channels):
    size_in, kernel, *rest = zip(y, x, strict=True)
    x, label, *rest = loss_args(((2, channels, *size_in), kernel, *rest))
    ours, theirs = (op(x, label, *rest, ignore_label=255)
                    for op in (ops.upcrop_softmax_loss, ops.upcrop_softmax_loss_ref))
    assert abs(ours - theirs) < 1e-12 * max(1, abs(theirs))
    a, b = (torch.autograd.grad(loss, x)[0] for loss in (ours, theirs))
    assert (a - b).abs().max() < 1e-12 * max(1, b.abs().max())


def test_loss_derivatives():
    x, label, *rest = loss_args(SAMPLES[0])
    more = [1, 255, None, None, True, True]
    torch.library.opcheck(OPS.upcrop_softmax_loss, (x.detach(), label, *rest, *more))
    assert torch.autograd.gradcheck(
        lambda x: ops.upcrop_softmax_loss(x, label, *rest, ignore_label=255), x)
    torch.library.opcheck(OPS.upcrop_argmax, (x.detach(), *rest, (8, 9), torch.uint8, True))


def test_loss_clamp():
    """At most -log(FLT_MIN) a pixel in the loss; the gradient is not clamped."""
    x = torch.zeros(1, 2, 1, 1)
    x[0, 0] = 200
    x.requires_grad_()
    one = torch.ones(1)
    loss = ops.upcrop_softmax_loss(x, torch.ones(1, 1, 1), one, one, (1, 1), (0, 0), (0, 0))
    loss.backward()
    assert abs(loss.item() - 87.33654) < 1e-4
    assert torch.equal(x.grad.flatten(), torch.tensor([1., -1.]))


def test_loss_ignores_nan():
    """A NaN in a pixel that takes no part reaches neither loss nor gradient; others it does."""
    x = torch.zeros(1, 3, 2, 2)
    x[0, 1, 0, 0] = torch.nan
    x.requires_grad_()
    one = torch.ones(1)
    label = torch.tensor([[[255, 1], [2, 0]]])
    args = one, one, (1, 1), (0, 0), (0, 0)
    loss = ops.upcrop_softmax_loss(x, label, *args, ignore_label=255)
    loss.backward()
    assert abs(loss.item() - 1.0986123) < 1e-6 and not x.grad.isnan().any()
    assert ops.upcrop_softmax_loss(x, label % 3, *args).isnan()


@pytest.mark.parametrize('normalization', ('FULL', 'VALID', 'BATCH_SIZE', 'NONE'))
def test_nothing_takes_part(normalization):
    x, label, *rest = loss_args(SAMPLES[1])
    loss = ops.upcrop_softmax_loss(x, torch.full_like(label, 255), *rest, normalization, 255)
    loss.backward()
    assert loss == 0 and torch.equal(x.grad, torch.zeros_like(x))
    empty = torch.ones(0, 2, 5, 4, dtype=torch.float64, requires_grad=True)
    ops.upcrop_softmax_loss(empty, label[:0], *rest, normalization).backward()
    assert empty.grad.shape == empty.shape


def test_deterministic():
    x, label, *rest = loss_args(((2, 21, 12, 14), (16, 16), (8, 8), (0, 0), (7, 9), (90, 97)),
                                torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            loss = ops.upcrop_softmax_loss(x, label, *rest, ignore_label=255)
            found.append((loss.detach(), torch.autograd.grad(loss, x)[0]))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for one in found for a, b in zip(one, found[0], strict=True))


def test_compiles():
    x, label, *rest = loss_args(SAMPLES[0])

    def step(x):
        return ops.upcrop_softmax_loss(x, label, *rest, ignore_label=255)
    compiled = torch.compile(step, backend='aot_eager', fullgraph=True)
    for f in step, compiled:
        loss = f(x)
        grad = torch.autograd.grad(loss, x)[0]
        assert loss == step(x) and torch.equal(grad, torch.autograd.grad(step(x), x)[0])
    labels = torch.compile(lambda x: ops.upcrop_argmax(x, *rest, (8, 9)), backend='aot_eager',
                           fullgraph=True)
    assert torch.equal(labels(x), ops.upcrop_argmax(x, *rest, (8, 9)))


X, ONES = torch.ones(1, 2, 5, 6), torch.ones(4)
UP = {'x': X, 'taps_y': ONES, 'taps_x': ONES, 'stride': (2, 2), 'pad': (0, 0), 'offset': (1, 1)}
ADD = {**UP, 'size': (8, 9), 'skip': torch.ones(1, 2, 9, 9), 'skip_offset': (1, 0)}
ARG = {**UP, 'size': (8, 9)}
LOSS = {**UP, 'label': torch.zeros(1, 8, 9)}
BAD = [
    ('upcrop_add', ADD, {'skip': torch.ones(1, 3, 9, 9)}, r'skip has shape \[1, 3, 9, 9\], expec'),
    ('upcrop_add', ADD, {'skip': torch.ones(1, 2, 9, 9).half()}, 'skip is Half on cpu, x Float'),
    ('upcrop_add', ADD, {'skip_offset': (2, 0)}, r'ends at cell 10 along y \(skip_offset 2 \+ si'),
    ('upcrop_add', ADD, {'skip_offset': (-1, 0)}, 'skip_offset is -1 along y'),
    ('upcrop_argmax', ARG, {'dtype': torch.int32}, r'labels of Int, expected Byte \(uint8\) or L'),
    ('upcrop_argmax', ARG, {'x': torch.ones(1, 0, 5, 6)}, 'x has no channels'),
    ('upcrop_argmax', ARG, {'x': torch.ones(1, 257, 5, 6)}, '257 classes do not fit labels of By'),
    ('upcrop_argmax', ARG, {'size': (12, 9)}, 'ends at cell 13 along y'),
    ('upcrop_softmax_loss', LOSS, {'label': torch.full((1, 8, 9), 2)},
     r'72 labels outside 0 ... 1, such as 2, with ignore_label not set'),
    ('upcrop_softmax_loss', LOSS, {'label': torch.full((1, 8, 9), torch.nan)}, 'such as nan'),
    ('upcrop_softmax_loss', LOSS, {'label': torch.full((1, 8, 9), -1), 'ignore_label': 255},
     'such as -1, with ignore_label 255'),
    ('upcrop_softmax_loss', LOSS, {'label': torch.zeros(2, 8, 9)}, r'label has shape \[2, 8, 9\]'),
    ('upcrop_softmax_loss', LOSS, {'label': torch.zeros(1, 8, 9).bool()}, 'label is Bool, expect'),
    ('upcrop_softmax_loss', LOSS, {'mask': torch.ones(1, 8, 9)}, 'mask is Float, expected Bool'),
    ('upcrop_softmax_loss', LOSS, {'weight': torch.ones(3)}, r'weight has shape \[3\], expected'),
    ('upcrop_softmax_loss', LOSS, {'weight': torch.ones(2).double()}, 'weight is Double on cpu'),
    ('upcrop_softmax_loss', LOSS, {'normalization': 'SOME'}, "normalization 'SOME'"),
]


@pytest.mark.parametrize('op, good, change, message', BAD)
def test_bad_arguments(op, good, change, message):
    getattr(ops, op)(**good)
    with pytest.raises(FcnError, match=message):
        getattr(ops, op)(**{**good, **change})


def test_exports():
    """The ops are kept as they are in an exported program."""
    x, *rest = example(SAMPLES[0], dtype=torch.float32)

    class Both(torch.nn.Module):
        def forward(self, x, skip):
            up = ops.upcrop_add(x, *rest, skip, (0, 0))
            return up, ops.upcrop_argmax(x, *rest)

    args = x.detach(), torch.ones(1, 3, 8, 9)
    program = torch.export.export(Both(), args)
    assert all(map(torch.equal, program.module()(*args), Both()(*args)))
