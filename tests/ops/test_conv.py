"""Which way a 2-D convolution takes, that each gives the values of F.conv2d, and what is kept."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import texts
import torch
import torch.nn.functional as F
from conv_ops import LAST, agree, draws
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from small_runs import VGG, run, solver_maker
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from fcn_repro.layers import ExecutionOptions, RunState
from fcn_repro.net.placement import place
from fcn_repro.ops import conv as module
from fcn_repro.ops.cache import TensorCache
from fcn_repro.ops.conv import Conv2d
from fcn_repro.proto import TEST

CLOSE = {torch.float32: 4e-6, torch.float64: 1e-14, torch.bfloat16: 1e-2}   # of the largest value
CONV = texts.inputs(data=(1, 16, 32, 32)) + texts.conv('c', 'data', num_output=32, kernel=3,
                                                       field='pad: 1')
ON = {'winograd': True, 'gemm': True, 'prepack': True}
PLAIN = (1, 1), (0, 0), (1, 1), 1


STRIDED = """
import torch
from fcn_repro.layers import RunState
from fcn_repro.ops.conv import Conv2d
from fcn_repro.proto import TRAIN

torch.set_num_threads(2)
last = {'memory_format': torch.channels_last}
for _ in range(8):
    x = torch.randn(4, 12, 48, 56).to(**last).requires_grad_()
    weight = torch.randn(16, 12, 1, 1).to(**last).requires_grad_()
    y = Conv2d(RunState(TRAIN))(x, weight, None, (2, 2), (0, 0), (1, 1), 1)
    up = torch.randn_like(y)
    y.backward(up)
    rows = [t.detach().double().movedim(1, 0).flatten(1) for t in (up, x[:, :, ::2, ::2])]
    assert (weight.grad.view(16, 12) - rows[0] @ rows[1].T).abs().max() < 1e-2
    assert torch.equal(y, torch.nn.functional.conv2d(x.detach(), weight.detach(), stride=2))
    assert not x.grad[:, :, 1::2].any() and x.grad[:, :, ::2, ::2].any()
print('whole')
"""


BESIDE = """
import torch
from fcn_repro.layers import RunState
from fcn_repro.ops.conv import Conv2d
from fcn_repro.proto import TRAIN

last = {'memory_format': torch.channels_last}
for size, filters, pad, group in (((16, 9, 1), (32, 16, 4, 2), (1, 3), 1),
                                  ((2, 8, 1), (32, 1, 4, 2), (2, 3), 2)):
    how = (2, 2), pad, (1, 2), group
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, *size).to(dtype=dtype, **last).requires_grad_()
        weight = torch.randn(*filters).to(dtype=dtype, **last)
        for _ in range(40):
            y = Conv2d(RunState(TRAIN))(x, weight, None, *how)
        y.sum().backward()
        old, plain = x.detach().double().contiguous(), weight.double().contiguous()
        error = (y.double() - torch.nn.functional.conv2d(old, plain, None, *how)).abs().max()
        assert error < (1e-5 if dtype == torch.float32 else 1e-1), error
        assert x.grad.shape == x.shape and not x.grad.any()
print('whole')
"""


@pytest.mark.parametrize('program', [STRIDED, BESIDE], ids=['strided 1x1 filters', 'one column'])
def test_stays_within_its_memory(program):
    """torch's own convolution writes beyond it; glibc's checks end such a process."""
    debug = Path('/lib/x86_64-linux-gnu/libc_malloc_debug.so.0')
    more = {'LD_PRELOAD': str(debug), 'MALLOC_CHECK_': '3'} if debug.exists() else {}
    if 'libasan' in os.environ.get('LD_PRELOAD', ''):
        more = {}       # whose own checks do not go with glibc's
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True,
                          env=os.environ | more)
    assert (done.returncode, done.stdout) == (0, 'whole\n'), done.stderr


@pytest.fixture
def ways(monkeypatch):
    """The names of the ops that a convolution calls, as it happens."""
    return spied(monkeypatch, 'conv3x3', 'conv_gemm', 'winograd', 'winograd_filters')


def spied(monkeypatch, *names):
    calls = []

    def spy(name, op):
        return lambda *args: calls.append(name) or op(*args)
    for name in names:
        monkeypatch.setattr(module, name, spy(name, getattr(module, name)))
    return calls


def conv2d(**off):
    return Conv2d(RunState(TEST, options=ExecutionOptions(**{**ON, **off})))


def random(*shape, seed=0, last=True, scale=1.0):
    t = draws(*shape, seed=seed, scale=scale)
    return t.contiguous(memory_format=LAST) if last else t


def data():
    return random(1, 16, 32, 32, last=False)


def near(y, expected):
    assert y.shape == expected.shape and y.dtype == expected.dtype
    assert (y - expected).abs().max() <= CLOSE[y.dtype] * expected.abs().max()


def pair(*numbers):
    return st.tuples(*[st.integers(*numbers)] * 2)


@settings(max_examples=60)
@given(group=st.integers(1, 2), channels=st.sampled_from([1, 3, 16, 32]),
       outputs=st.sampled_from([1, 5, 16, 48]), kernel=st.one_of(st.just((3, 3)), pair(1, 4)),
       stride=st.one_of(st.just((1, 1)), pair(1, 3)), pad=pair(0, 3),
       dilation=st.one_of(st.just((1, 1)), pair(1, 2)), size=pair(1, 13), batch=st.integers(1, 2),
       last=st.booleans(), bias=st.booleans(), keep=st.booleans(),
       dtype=st.sampled_from(list(CLOSE)))
def test_equals_conv2d(group, channels, outputs, kernel, stride, pad, dilation, size, batch, last,
                       bias, keep, dtype):
    assume(all(n + 2 * p > d * (k - 1)
               for n, p, d, k in zip(size, pad, dilation, kernel, strict=True)))
    x = random(batch, group * channels, *size, last=last).to(dtype)
    weight = random(group * outputs, channels, *kernel, seed=1, last=last).to(dtype)
    more = random(group * outputs, seed=2, last=False).to(dtype) if bias else None, stride, pad, \
        dilation, group
    conv = conv2d()
    expected = F.conv2d(x.contiguous(), weight.contiguous(), *more)     # see BESIDE
    with pytest.MonkeyPatch.context() as patch, torch.set_grad_enabled(not keep):
        patch.setattr(module, 'TILES', 1)
        for _ in range(2):
            near(conv(x, weight, *more), expected)


# x, filters, pad -> the op; the rest of the geometry is plain
SHAPES = [
    ((1, 16, 32, 32), (32, 16, 3, 3), (1, 1), 'conv3x3'),       # 64 tiles
    ((1, 16, 29, 29), (32, 16, 3, 3), (1, 1), 'conv3x3'),       # as many, cut at the rim
    ((1, 16, 34, 34), (32, 16, 3, 3), (0, 0), 'conv3x3'),
    ((4, 16, 16, 14), (32, 16, 3, 3), (1, 2), 'conv3x3'),       # of all images
    ((1, 16, 32, 28), (32, 16, 3, 3), (1, 1), None),            # 56 tiles
    ((1, 16, 30, 30), (32, 16, 3, 3), (3, 3), None),            # wider than its gradient can be
    ((1, 24, 32, 32), (32, 24, 3, 3), (1, 1), None),            # channels
    ((1, 3, 40, 40), (16, 3, 3, 3), (1, 1), None),
    ((1, 16, 40, 40), (21, 16, 3, 3), (1, 1), None),
    ((1, 16, 40, 40), (16, 16, 3, 1), (1, 0), None),            # the kernel
    ((1, 16, 4, 4), (16, 16, 3, 3), (1, 1), 'conv_gemm'),       # as many filters as places
    ((1, 16, 4, 4), (15, 16, 3, 3), (1, 1), None),
    ((1, 16, 9, 10), (64, 16, 7, 7), (0, 0), 'conv_gemm'),      # as fc6
    ((2, 16, 3, 5), (30, 16, 1, 1), (0, 0), 'conv_gemm'),       # as fc7
    ((2, 16, 3, 5), (29, 16, 1, 1), (0, 0), None),
    ((1, 16, 32, 32), (1024, 16, 1, 1), (0, 0), 'conv_gemm'),
    ((1, 16, 25, 41), (1040, 16, 1, 1), (0, 0), None),          # 1025 places
    ((1, 24, 4, 4), (64, 24, 3, 3), (1, 1), None),
    ((0, 16, 32, 32), (32, 16, 3, 3), (1, 1), None),            # empty batch
]


@pytest.mark.parametrize('shape, filters, pad, way', SHAPES)
def test_ways(ways, shape, filters, pad, way):
    x, weight, bias = random(*shape), random(*filters, seed=1), draws(filters[0], seed=2)
    y = conv2d()(x, weight, bias, (1, 1), pad, (1, 1), 1)
    expected = F.conv2d(x, weight, bias, padding=pad)
    assert ways == [way] * (way is not None)
    if way:
        near(y, expected)
    else:
        assert torch.equal(y, expected)
    off = conv2d(winograd=False, gemm=False)(x, weight, bias, (1, 1), pad, (1, 1), 1)
    assert torch.equal(off, expected) and len(ways) == (way is not None)


@pytest.mark.parametrize('shape, filters, way', [
    ((1, 16, 34, 34), (1024, 16, 3, 3), 'conv3x3'), ((1, 16, 4, 4), (16, 16, 1, 1), 'conv_gemm')])
def test_what_stays_with_conv2d(ways, shape, filters, way):
    x, weight = random(*shape), random(*filters, seed=1)
    conv2d()(x, weight, None, *PLAIN)
    assert ways == [way]
    for more in ((2, 1), *PLAIN[1:]), (*PLAIN[:2], (1, 2), 1), (*PLAIN[:3], 2):
        half = weight[:, :weight.shape[1] // more[3]]
        if more[2] == (1, 2) and filters[3] == 1:
            half = random(*filters[:2], 1, 2)
        assert torch.equal(conv2d()(x, half, None, *more), F.conv2d(x, half, None, *more))
    assert torch.equal(conv2d()(x.double(), weight.double(), None, *PLAIN),
                       F.conv2d(x.double(), weight.double()))
    dense = [t.contiguous() for t in (x, weight)]
    meta = [t.to('meta') for t in (x, weight)]
    assert conv2d()(*meta, None, *PLAIN).is_meta and ways == [way]
    near(conv2d()(*dense, None, *PLAIN), F.conv2d(*dense))
    assert ways == [way] + ['conv_gemm'] * (way == 'conv_gemm')     # 1x1 filters have one order


def test_switched_off(ways):
    """Winograd's place is taken by the products where they may."""
    x, weight = random(1, 16, 34, 34), random(1024, 16, 3, 3, seed=1)
    expected = F.conv2d(x, weight)
    for off, way in ((), 'conv3x3'), (['winograd'], 'conv_gemm'), (['gemm'], 'conv3x3'):
        near(conv2d(**dict.fromkeys(off, False))(x, weight, None, *PLAIN), expected)
        assert ways.pop() == way and not ways


GPU = torch.device('cuda:0')


@pytest.mark.parametrize('channels, changes, way', [
    (32, {}, True), (48, {'gemm': False}, True), (16, {}, False),       # channels
    (32, {'winograd': False}, False), (32, {'precision': 'tf32'}, False),
    (32, {'precision': 'bf16'}, False)])
def test_ways_on_a_gpu(ways, monkeypatch, channels, changes, way):
    """With tensors that have a device and no memory."""
    options = ExecutionOptions(**{**ON, 'prepack': False, 'device': GPU, **changes})
    monkeypatch.setattr(module.F, 'conv2d', lambda *args: ways.append('conv2d'))
    with torch.no_grad(), FakeTensorMode() as mode:
        x, weight = (FakeTensor(mode, random(*shape).to('meta'), GPU)
                     for shape in ((1, channels, 32, 32), (64, channels, 3, 3)))
        y = Conv2d(RunState(TEST, options=options))(x, weight, None, *PLAIN)
    assert ways == (['winograd_filters', 'winograd'] if way else ['conv2d'])
    if way:
        assert y.shape == (1, 64, 30, 30) and y.device == GPU
        assert y.is_contiguous(memory_format=LAST)


def test_training_in_fp32_on_a_gpu(monkeypatch):
    """A ReLU and its convolution are one kernel there, and the gradient is Winograd's."""
    called = []
    monkeypatch.setattr(torch.backends.cudnn, 'is_available', lambda: True)
    monkeypatch.setattr(module, 'conv_relu', lambda *args, **how: called.append(how))
    options = ExecutionOptions(**{**ON, 'device': GPU})
    with FakeTensorMode() as mode:
        x, weight = (FakeTensor(mode, random(*shape).to('meta'), GPU)
                     for shape in ((1, 32, 32, 32), (64, 32, 3, 3)))
        Conv2d(RunState(TEST, options=options))(x, weight, None, *PLAIN, True)
    assert called == [{'winograd': True}]


def test_nets(ways):
    """Placed ones take the ways, unless they are contiguous; all parts in one image."""
    net = texts.net(CONV)
    with torch.no_grad():
        wanted = net(data=data())['c'].clone()
        assert not ways
        for off, way in (({}, ['winograd_filters', 'winograd']),
                         ({'prepack': False}, ['winograd_filters', 'winograd']),
                         ({'winograd': False}, []), ({'channels_last': False}, [])):
            near(place(texts.net(CONV), **off)(data=data())['c'], wanted)
            assert ways == way
            ways.clear()


def test_autograd_never_sees_kept_filters(ways):
    net, twin = place(texts.net(CONV)), texts.net(CONV)
    for _ in range(2):
        for each in net, twin:
            each(data=data())
            each.backward(c=torch.ones(1, 32, 32, 32))
    assert ways == ['conv3x3'] * 2
    agree([blob.diff for blob in net.params['c']], [blob.diff for blob in twin.params['c']], 4e-6)


def test_filters_are_laid_out_once_and_anew_after_a_change(ways):
    net = place(texts.net(CONV))
    weight, bias = net.params['c']
    with torch.inference_mode():
        first = [net(data=data())['c'].clone() for _ in range(3)]
    assert ways.count('winograd_filters') == 1 and ways.count('winograd') == 3
    assert torch.equal(first[0], first[2])
    for change in (lambda: weight.data.mul_(2), lambda: weight.data.__setitem__(3, 7),
                   lambda: setattr(weight.parameter, 'data', -weight.data)):
        ways.clear()
        change()
        with torch.inference_mode():
            for _ in range(2):
                near(net(data=data())['c'], F.conv2d(data(), weight.data, bias.data, padding=1))
        assert ways.count('winograd_filters') == 1


def test_filters_serve_every_size(ways):
    conv, weight = conv2d(), random(48, 16, 3, 3, seed=1)
    with torch.inference_mode():
        for size in (34, 34), (50, 33), (31, 90), (34, 34):
            x = random(2, 16, *size)
            near(conv(x, weight, None, *PLAIN), F.conv2d(x, weight))
    assert ways.count('winograd_filters') == 1


def test_filters_made_in_inference_mode_are_not_kept(ways):
    """Torch counts no changes of them."""
    with torch.inference_mode():
        conv, x, weight = conv2d(), random(1, 16, 34, 34), random(16, 16, 3, 3)
        for _ in range(2):
            near(conv(x, weight, None, *PLAIN), F.conv2d(x, weight))
            weight.mul_(-3)
    assert ways == ['winograd_filters', 'winograd'] * 2


def test_shared_weights_that_the_other_net_changes(ways):
    """As a val net sees those that a solver is training."""
    net, other = place(texts.net(CONV)), place(texts.net(CONV, seed=1))
    net.share_with(other)
    with torch.inference_mode():
        before = [net(data=data())['c'].clone() for _ in range(2)][-1]
    with torch.no_grad():
        other.params['c'][0].parameter.sub_(0.5)
    with torch.inference_mode():
        after = [net(data=data())['c'].clone() for _ in range(2)]
    expected = other(data=data())['c'].detach()
    assert ways.count('winograd_filters') == 2 and not torch.allclose(before, expected, atol=1e-3)
    for y in after:
        near(y, expected)


def test_parameters_stay_caffes(ways):
    net = place(texts.net(CONV))
    blob, before = net.params['c'][0], net.params['c'][0].data.clone()
    with torch.no_grad():
        for _ in range(2):
            net(data=data())
    assert 'winograd' in ways and blob.data.shape == (32, 16, 3, 3)
    assert torch.equal(blob.data, before) and blob.data.numpy().shape == (32, 16, 3, 3)


def trained(make, **placed):
    """[losses, parameters] of a solver of the narrow VGG after six iterations."""
    solver = run(make(net=VGG, placed=placed, seed=6))
    return torch.tensor(list(solver.losses)), [blob.data for blob in solver.net.learnable_params]


def test_training_stays(tmp_path, monkeypatch, ways):
    make = solver_maker(tmp_path, monkeypatch)
    off = trained(make, winograd=False, gemm=False)
    assert not ways
    on = trained(make)
    step = ['conv3x3', 'conv3x3', 'conv_gemm', 'conv_gemm']     # then the test without gradients
    assert ways == 12 * step + 2 * ['winograd_filters', 'winograd'] + 2 * ['conv_gemm']
    agree([on[0], *on[1]], [off[0], *off[1]], 1e-5)
    assert len(on[0]) == 4 and on[0].std() > 0.01


def test_cache_computes_once_a_version():
    cache, tensor, made = TensorCache(), torch.zeros(3), []

    def make(t):
        made.append(t.clone())
        return len(made)
    assert [cache.get(tensor, make) for _ in range(3)] == [1, 1, 1]
    tensor.add_(1)
    assert cache.get(tensor, make) == cache.get(tensor.detach(), make) == 2
    assert cache.get(tensor, make, 'other') == 3
    assert cache.get(tensor.clone(), make, 'other') == 4
    with torch.inference_mode():
        uncounted = torch.zeros(3)
    assert cache.get(uncounted, make) == 5 and cache.get(uncounted, make) == 6


def test_cache_does_not_take_a_tensor_for_another_in_its_memory():
    cache, tensor = TensorCache(), torch.ones(10 ** 5)
    cache.get(tensor, torch.sum)
    place = tensor.data_ptr()
    del tensor                  # freed memory would be that of one of the next tensors
    others = [torch.zeros(10 ** 5) for _ in range(20)]
    assert place not in [other.data_ptr() for other in others]


def last(*shape, dtype=torch.float32):
    return torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('x, weight, pad, tf32, wanted', [
    ((1, 512, 28, 28), (4096, 512, 7, 7), (0, 0), False, True),     # fc6
    ((1, 512, 80, 80), (4096, 512, 7, 7), (0, 0), False, False),    # more places than filters
    ((8, 512, 28, 28), (4096, 512, 7, 7), (0, 0), True, True),
    ((9, 512, 28, 28), (4096, 512, 7, 7), (0, 0), True, False),
    ((0, 512, 28, 28), (4096, 512, 7, 7), (0, 0), True, False),     # empty batch
    ((1, 512, 6, 28), (4096, 512, 7, 7), (0, 0), True, False),      # no place
    ((1, 512, 44, 44), (512, 512, 3, 3), (1, 1), False, False),
    ((1, 4096, 22, 22), (4096, 4096, 1, 1), (0, 0), True, True),    # fc7
    ((1, 4096, 22, 22), (21, 4096, 1, 1), (0, 0), False, True),     # scores
    ((1, 4096, 22, 22), (21, 4096, 1, 1), (0, 0), True, False),
    ((1, 64, 22, 22), (8, 64, 1, 1), (1, 0), False, False)])
def test_products_on_gpus(x, weight, pad, tf32, wanted):
    x, weight = last(*x), torch.empty(weight, memory_format=torch.channels_last)
    assert module.by_product(x, weight, pad, x.shape, tf32) is wanted
    assert not module.by_product(x.half(), weight, pad, x.shape, tf32)
    if max(weight.shape[2:]) > 1:
        assert not module.by_product(x, torch.empty(weight.shape), pad, x.shape, tf32)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)


DEVICES = ['elsewhere'] + ['cuda'] * torch.cuda.is_available()
GPU_CASES = [    # x, weight, stride, pad, dilation, group, the way
    ((1, 16, 10, 11), (130, 16, 7, 7), (1, 1), (0, 0), (1, 1), 1, 'conv_unrolled'),
    ((1, 16, 10, 11), (130, 16, 5, 7), (1, 1), (2, 1), (1, 1), 1, 'conv_unrolled'),
    ((2, 24, 6, 5), (21, 24, 1, 1), (1, 1), (0, 0), (1, 1), 1, 'conv_unrolled'),
    ((2, 24, 6, 5), (21, 24, 1, 1), (2, 1), (0, 0), (1, 1), 1, 'conv_relu'),
    ((2, 24, 6, 5), (8, 12, 1, 1), (1, 1), (0, 0), (1, 1), 2, None),
    ((2, 3, 12, 9), (16, 3, 3, 3), (1, 1), (1, 2), (1, 1), 1, 'conv_relu'),
    ((2, 3, 12, 9), (16, 3, 3, 3), (1, 1), (1, 2), (2, 1), 1, None),
    ((0, 16, 10, 11), (130, 16, 7, 7), (1, 1), (0, 0), (1, 1), 1, None)]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize('relu', [False, True], ids=['', 'relu'])
@pytest.mark.parametrize('shape, filters, stride, pad, dilation, group, way', GPU_CASES)
def test_on_gpus(shape, filters, stride, pad, dilation, group, way, relu, dtype, device,
                 monkeypatch):
    """Which way each takes, with and without autograd, and its values and gradients."""
    called = spied(monkeypatch, 'conv_unrolled', 'conv_relu')
    if device == 'elsewhere':
        monkeypatch.setattr(torch.backends.cudnn, 'is_available', lambda: True)
        monkeypatch.setattr(torch, 'cudnn_convolution_relu',
                            lambda *args: F.relu(F.conv2d(*args)), raising=False)
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    whole = [draws(*size, seed=i).double() for i, size in enumerate((shape, filters, filters[:1]))]
    whole[1] /= max(1, whole[1][0].numel()) ** 0.5
    rest = stride, pad, dilation, group

    def placed(t):
        t = t.to(dtype).contiguous(memory_format=LAST if t.dim() == 4 else
                                     torch.contiguous_format)
        t = t.cuda() if device == 'cuda' else t.as_subclass(Elsewhere)
        return t.requires_grad_()
    ours = list(map(placed, whole))
    theirs = [t.detach().cpu().as_subclass(torch.Tensor).double().requires_grad_() for t in ours]
    conv = conv2d(winograd=False)
    y, wanted = conv(*ours, *rest, relu), F.conv2d(*theirs, *rest)
    close = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}[dtype]
    top = draws(*y.shape, seed=4).to(dtype)
    if relu and len(y):     # near 0 the rounding decides whether the ReLU passes the gradient
        top[(wanted.abs() <= close * wanted.abs().max()).detach()] = 0
    wanted = wanted.relu() if relu else wanted
    got = [y, *torch.autograd.grad(y, ours, top.to(y.device))]
    wanted = [wanted, *torch.autograd.grad(wanted, theirs, top.double())]
    for a, b in zip(got, wanted, strict=True):
        assert a.dtype == dtype and a.shape == b.shape
        gap = (a.cpu().double() - b).abs().max() if b.numel() else 0
        assert gap <= close * (b.abs().max() if b.numel() else 1)
    with torch.no_grad():
        again = conv(*ours, *rest, relu)
    assert again.shape == y.shape and (device == 'cuda' or torch.equal(again, y))
    assert set(called) == ({way} if way and (relu or way == 'conv_unrolled') else set())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32])
def test_channels_of_zeros(dtype):
    """An image's three become eight in 16 bits, for cuDNN, and the sums stay what they are."""
    x, weight = (torch.randn(shape).to(dtype).contiguous(memory_format=torch.channels_last)
                 for shape in ((2, 3, 7, 9), (5, 3, 3, 3)))
    wide = module.aligned(x, weight)
    count = 3 if dtype == torch.float32 else 8
    assert all(t.shape[1] == count and t.is_contiguous(memory_format=torch.channels_last)
               for t in wide)
    assert torch.allclose(F.conv2d(*(t.float() for t in wide)),
                          F.conv2d(x.float(), weight.float()), atol=1e-5)
    assert module.aligned(*wide)[0] is wide[0]
