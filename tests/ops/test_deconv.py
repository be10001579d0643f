"""General deconvolution and crop against its twin, numbers of its own and its algebra.

Goldens run in test_fuse_upcrop.py and test_passes.py, through the layer. All ways of computing are
tested on all samples: the matrix products of the CPU and of GPUs, and torch's own convolution.
"""

import numpy as np
import pytest
import torch
from goldens import error
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.ops import deconv
from fcn_repro.ops.deconv import deconv_crop, deconv_crop_ref

WAYS = ('tasks', 'products', 'torch')
PLACES = [(way, 'cpu') for way in WAYS] \
    + [(way, 'cuda') for way in WAYS[1:]] * torch.cuda.is_available()
# of products in 16 bits each is rounded before their sum
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 3e-3, torch.bfloat16: 2e-2}
LAST = torch.channels_last

# input (N, C, H, W), outputs, kernel, stride, pad, group, offset, size
SAMPLES = [
    ((1, 3, 6, 7), 3, (4, 4), (2, 2), (0, 0), 1, (1, 1), (8, 9)),
    ((2, 5, 5, 4), 2, (16, 16), (8, 8), (0, 0), 1, (3, 5), (33, 31)),       # FCN-8s
    ((1, 4, 3, 6), 3, (64, 64), (32, 32), (0, 0), 1, (19, 19), (65, 129)),  # FCN-32s
    ((1, 2, 4, 5), 1, (63, 63), (32, 32), (0, 0), 1, (18, 18), (17, 128)),  # FCN-AlexNet
    ((2, 6, 4, 6), 6, (5, 5), (3, 3), (1, 1), 6, (0, 0), (12, 18)),         # depthwise
    ((2, 4, 4, 3), 6, (16, 16), (8, 8), (4, 4), 2, (9, 0), (20, 24)),       # grouped
    ((1, 2, 5, 5), 4, (3, 5), (2, 3), (1, 0), 1, (0, 2), (9, 13)),          # rectangular
    ((1, 2, 4, 5), 3, (2, 1), (3, 4), (0, 0), 1, (1, 0), (9, 16)),          # gaps
    ((1, 2, 6, 6), 2, (7, 7), (1, 1), (3, 3), 1, (0, 1), (6, 4)),           # stride 1
    ((3, 1, 1, 1), 1, (1, 1), (1, 1), (0, 0), 1, (0, 0), (1, 1)),
    ((0, 3, 4, 4), 2, (4, 4), (2, 2), (0, 0), 1, (1, 1), (6, 6)),           # empty batch
    ((1, 9, 3, 33), 9, (4, 4), (2, 2), (1, 1), 1, (0, 0), (5, 65)),         # many blocks
]


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    """Compute by the matrix products of the CPU, by those of GPUs, or by torch's convolution;
    float32 in full, where cuDNN's default is TF32."""
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    for other in set(WAYS) - {request.param}:
        monkeypatch.setattr(deconv, f'_by_{other}', getattr(deconv, f'_by_{request.param}'))


def example(sample, device='cpu', dtype=torch.float64, bias=True, last=False):
    """x, weight, bias, all with gradients to come, and the other arguments."""
    (n, c, *cells), outputs, kernel, stride, pad, group, *crop = sample
    draw = torch.Generator().manual_seed(0)
    tensors = [torch.randn(shape, generator=draw, dtype=torch.float64).to(device, dtype)
               for shape in ((n, c, *cells), (c, outputs // group, *kernel), (outputs,))]
    if last:
        tensors[0] = tensors[0].contiguous(memory_format=LAST)
    tensors = [t.requires_grad_() for t in tensors]
    return *tensors[:2], tensors[2] if bias else None, stride, pad, group, *crop


def gradients(function, *args):
    """[result, its gradients for x, weight and bias] under a fixed random top gradient."""
    result = function(*args)
    top = torch.randn(result.shape, generator=torch.Generator().manual_seed(1)).bfloat16()
    top = top.to(result)        # the same numbers in every type
    return [result.detach(), *torch.autograd.grad(result, [t for t in args[:3] if t is not None],
                                                  top)]


def agree(ours, wanted, dtype):
    for a, b in zip(ours, wanted, strict=True):
        assert a.dtype == dtype
        limit = TOLERANCE[dtype] * (2 if a.is_cuda else 1)      # cuDNN's sums: 2.2e-6 in float32
        gap = error(a.cpu().double(), b.cpu().double())
        assert gap <= limit, f'{gap} is above {limit}'


@pytest.mark.parametrize('way, device', PLACES, indirect=['way'])
@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', SAMPLES)
def test_twin(sample, dtype, last, device, way):
    for bias in True, False:
        args = example(sample, device, dtype, bias, last)
        exact = [t.detach().double().requires_grad_() if torch.is_tensor(t) else t for t in args]
        agree(gradients(deconv_crop, *args), gradients(deconv_crop_ref, *exact), dtype)


def phases_args(sample, last=False):
    """Arguments of the op `phases`, as deconv_crop gives them."""
    calls, run = [], torch.ops.fcn_repro.phases
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deconv, '_by_torch', deconv._by_tasks)
        patch.setattr(torch.ops.fcn_repro, 'phases', lambda *args: calls.append(args) or run(*args))
        deconv_crop(*example(sample, last=last))
    return [a.detach().requires_grad_() if torch.is_tensor(a) else a for a in calls[0]]


@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@pytest.mark.parametrize('sample', [SAMPLES[i] for i in (0, 1, 4, 6, 10)])
def test_opcheck(sample, last):
    x, filters, bias, lead, size, dtype, last = phases_args(sample, last)
    run = torch.ops.fcn_repro
    torch.library.opcheck(run.phases, (x, filters, bias, lead, size, dtype, last))
    grad = torch.randn_like(run.phases(x, filters, bias, lead, size, dtype, last))
    grad = grad.detach().requires_grad_()
    torch.library.opcheck(run.phases_input, (grad, filters, lead, x.shape[1:3], last))
    stride = filters.shape[4], filters.shape[5 if last else 6]
    torch.library.opcheck(run.phases_filters, (grad, x, lead, stride, filters.shape[1:3],
                                               filters.shape[0], last))


@pytest.mark.parametrize('sample', [((1, 2, 2, 2), 1, (3, 3), (2, 2), (0, 1), 1, (1, 0), (3, 2)),
                                    ((1, 2, 2, 1), 2, (2, 2), (1, 3), (0, 0), 2, (0, 1), (2, 1))])
def test_gradcheck(sample, way):
    *tensors, stride, pad, group, offset, size = example(sample)

    def run(*tensors):
        return deconv_crop(*tensors, stride, pad, group, offset, size)

    assert torch.autograd.gradcheck(run, tensors)
    assert torch.autograd.gradgradcheck(run, tensors)


@st.composite
def geometry(draw):
    """One axis: cells in, taps, stride, pad, offset, cells out; any that the checks accept."""
    cells, k, stride = (draw(st.integers(1, most)) for most in (6, 9, 5))
    pad = draw(st.integers(0, ((cells - 1) * stride + k - 1) // 2))
    whole = (cells - 1) * stride + k - 2 * pad
    offset = draw(st.integers(0, whole - 1))
    return cells, k, stride, pad, offset, draw(st.integers(1, whole - offset))


def loop_nest(x, weight, bias, stride, pad, group, offset, size):
    """The definition read from the input's side: every cell stamps its filters, then the cut."""
    n, c, h, w = x.shape
    each, k_y, k_x = weight.shape[1:]
    whole = np.zeros((n, each * group, (h - 1) * stride[0] + k_y, (w - 1) * stride[1] + k_x))
    for ci in range(c):
        first = ci // (c // group) * each
        for i in range(h):
            for j in range(w):
                whole[:, first:first + each, i * stride[0]:i * stride[0] + k_y,
                      j * stride[1]:j * stride[1] + k_x] += \
                    x[:, ci, i, j][:, None, None, None] * weight[ci]
    (top, left), (height, width) = np.add(pad, offset), size
    return whole[:, :, top:top + height, left:left + width] + bias[:, None, None]


@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@settings(max_examples=20)
@given(y=geometry(), x=geometry(), channels=st.tuples(*[st.integers(1, 3)] * 3))
def test_any_geometry(last, y, x, channels):
    size_in, kernel, stride, pad, *crop = zip(y, x, strict=True)
    c, each, group = channels
    sample = ((2, c * group, *size_in), each * group, kernel, stride, pad, group, *crop)
    args = example(sample, last=last)
    wanted = gradients(deconv_crop_ref, *args)
    nest = loop_nest(*(t.detach().numpy() for t in args[:3]), *args[3:])
    for way in deconv._by_tasks, deconv._by_torch:
        with pytest.MonkeyPatch.context() as patch:
            for name in '_by_tasks', '_by_torch':
                patch.setattr(deconv, name, way)
            ours = gradients(deconv_crop, *args)
        agree(ours, wanted, torch.float64)
        assert error(ours[0], nest) < 1e-13


BUSY = (2, 21, 12, 14), 21, (16, 16), (8, 8), (0, 0), 1, (7, 9), (90, 97)


def test_layouts(monkeypatch):
    """Views give the same values; channels_last stays where there is one group."""
    x, weight, *rest = args = example(BUSY, dtype=torch.float32)
    monkeypatch.setattr(deconv, '_by_torch', None)
    wanted = gradients(deconv_crop, *args)
    assert wanted[0].is_contiguous()
    views = {
        'channels_last': x.detach().contiguous(memory_format=LAST),
        'step': torch.empty(x.numel() * 2 + 1)[1::2].view(x.shape).copy_(x.detach()),
        'transposed': x.detach().transpose(2, 3).contiguous().transpose(2, 3),
    }
    turned = weight.detach().permute(1, 3, 0, 2).contiguous().permute(2, 0, 3, 1)
    for name, view in views.items():
        ours = gradients(deconv_crop, view.requires_grad_(), turned.requires_grad_(), *rest)
        agree(ours, wanted, torch.float32)
        assert ours[0].is_contiguous(memory_format=LAST) == (name == 'channels_last')


@pytest.mark.parametrize('last', [False, True], ids=['', 'channels_last'])
@pytest.mark.parametrize('sample', [BUSY, SAMPLES[0], SAMPLES[2], SAMPLES[5]])
def test_deterministic(sample, last, monkeypatch):
    """The same bits every time, for any number of threads."""
    monkeypatch.setattr(deconv, '_by_torch', deconv._by_tasks)
    args = example(sample, dtype=torch.float32, last=last)
    first, threads = gradients(deconv_crop, *args), torch.get_num_threads()
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            assert all(map(torch.equal, gradients(deconv_crop, *args), first))
    finally:
        torch.set_num_threads(threads)


def test_algebra():
    """A crop of a crop is a crop; a batch is its images; inference and training agree."""
    x, *rest, offset, size = args = example(BUSY, dtype=torch.float32)
    whole = deconv_crop(*args)
    part = deconv_crop(x, *rest, (offset[0] + 5, offset[1] + 2), (size[0] - 9, size[1] - 3))
    assert error(part.detach(), whole[..., 5:-4, 2:-1].detach()) < 1e-6
    assert error(deconv_crop(x[1:], *rest, offset, size).detach(), whole[1:].detach()) < 1e-6
    with torch.inference_mode():
        assert torch.equal(deconv_crop(*args), whole)


def test_integers_are_exact(way):
    args = [torch.randint(-8, 9, t.shape).double() if torch.is_tensor(t) else t
            for t in example(BUSY)]
    assert torch.equal(deconv_crop(*args), deconv_crop_ref(*args))


def test_compiles():
    args = example(SAMPLES[1])
    compiled = torch.compile(deconv_crop, backend='aot_eager', fullgraph=True)
    agree(gradients(compiled, *args), gradients(deconv_crop, *args), torch.float64)


GOOD = {'x': torch.ones(1, 4, 5, 6), 'weight': torch.ones(4, 3, 4, 4), 'bias': torch.ones(6),
        'stride': (2, 2), 'pad': (0, 0), 'group': 2, 'offset': (1, 1), 'size': (8, 9)}
BAD = [
    ({'x': torch.ones(4, 5, 6)}, 'x has 3 axes, the weight 4'),
    ({'weight': torch.ones(4, 3, 4)}, 'x has 4 axes, the weight 3'),
    ({'weight': torch.ones(5, 3, 4, 4)}, 'a weight of 5x3x4x4 with group 2 for 4 channels'),
    ({'weight': torch.ones(4, 3, 4, 0)}, 'a weight of 4x3x4x0'),
    ({'group': 3}, 'with group 3 for 4 channels'),
    ({'group': 0}, 'with group 0'),
    ({'bias': torch.ones(5)}, 'a bias of 5 for 6 channels'),
    ({'bias': torch.ones(6).double()}, r'x is torch.float32 on cpu, the bias torch.float64'),
    ({'x': torch.ones(1, 4, 5, 6).half()}, r'x is torch.float16 on cpu, the weight torch.float32'),
    ({k: GOOD[k].long() for k in ('x', 'weight', 'bias')}, 'Use one floating type on one device'),
    ({'x': torch.ones(1, 4, 0, 6)}, 'input size is 0x6. Give two numbers'),
    ({'stride': (2, 0)}, 'stride is 2x0'),
    ({'stride': (2,)}, 'stride is 2. Give two numbers'),
    ({'pad': (0, -1)}, 'pad is 0x-1'),
    ({'pad': (6, 0)}, r'output is 0 cells along y \(5 cells, kernel 4, stride 2, pad 6\)'),
    ({'offset': (-1, 0)}, 'offset is -1x0'),
    ({'size': (0, 9)}, 'crop size is 0x9'),
    ({'size': (12, 9)}, r'ends at cell 13 along y \(offset 1 \+ size 12\), .* output at 12'),
    ({'offset': (1, 2**40)}, 'the crop ends at cell 1099511627785 along x'),
]


@pytest.mark.parametrize('change, message', BAD)
def test_bad_arguments(change, message):
    deconv_crop(**GOOD)
    with pytest.raises(FcnError, match=f'deconv_crop: .*{message}'):
        deconv_crop(**{**GOOD, **change})


def test_bad_arguments_of_the_op():
    """What deconv_crop never passes is an error all the same, no crash."""
    x, filters, bias, *_, dtype, last = phases_args(SAMPLES[0])
    run = torch.ops.fcn_repro.phases
    for args, message in (
            ((x, filters, bias, (0, 0), (99, 9), dtype, last), 'do not hold 99 outputs'),
            ((x, filters, bias, (2, 0), (8, 9), dtype, last), 'behind a lead of 2'),
            ((x, filters[0], bias, (1, 1), (8, 9), dtype, last), 'filters of 6 axes'),
            ((x, filters, bias[:1], (1, 1), (8, 9), dtype, last), 'bias is Double of shape'),
            ((x.float(), filters, bias, (1, 1), (8, 9), dtype, last), 'x is Float'),
            ((x[..., :1], filters, bias, (1, 1), (8, 9), dtype, last), 'expected Double with 3'),
            ((x[..., :0], filters[:, :, :, :0], bias, (1, 1), (8, 9), dtype, last), '1 to 2147483'),
            ((x, filters[:, :, :, :, :, :0], bias, (1, 1), (8, 9), dtype, last), '1 to 2147483'),
            ((x, filters, bias, (1, 1), (0, 9), dtype, last), r'size \[0, 9\], expected 1 to'),
            ((x, filters, bias, (1, 1), (2 ** 63 - 1, 9), dtype, last), 'expected 1 to 2147483'),
            ((x, filters, bias, (1, 1), (8, 9), torch.int64, last), 'expected Long')):
        with pytest.raises(ValueError, match=message):
            run(*args)
    grad = torch.ones(1, 3, 8, 9, dtype=dtype)
    for stride, taps in ((2 ** 40, 2), (2, 2)), ((2, 2), (2 ** 40, 2)), ((2, 2), (-1, 2)):
        with pytest.raises(ValueError, match='expected 1 to 2147483647'):
            torch.ops.fcn_repro.phases_filters(grad, x, (1, 1), stride, taps, 1, last)
    with pytest.raises(ValueError, match='expected 1 to 2147483647'):
        torch.ops.fcn_repro.phases_input(grad, filters, (1, 1), (-2 ** 63, 5), last)


class Elsewhere(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)


@pytest.mark.parametrize('sample', SAMPLES)
def test_the_way_on_gpus(sample, monkeypatch):
    """Products, but at stride 1."""
    called = []

    def spy(name, op):
        return lambda *args: called.append(name) or op(*args)
    for name in '_by_products', '_by_tasks', '_by_torch':
        monkeypatch.setattr(deconv, name, spy(name, getattr(deconv, name)))
    args = example(sample, last=True)
    ours = [t.detach().as_subclass(Elsewhere).requires_grad_() if torch.is_tensor(t) else t
            for t in args]
    agree(gradients(deconv_crop, *ours), gradients(deconv_crop_ref, *args), torch.float64)
    assert called == ['_by_torch' if max(sample[3]) == 1 else '_by_products']
