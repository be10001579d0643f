"""The fused op against Caffe, its twin, a loop nest and its own algebra.

One list of samples walks through all modes; the GPU variants exist where torch sees a GPU.
"""

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA, error
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro import ops
from fcn_repro.errors import FcnError

DEVICES = ['cpu'] + ['cuda'] * torch.cuda.is_available()
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}

# golden: stride, pad, offset; the weights are bilinear, dense and diagonal or grouped
GOLDENS = {
    'deconv_crop_k16s8_off31_bilinear': (8, 0, 31),
    'deconv_crop_k64s32_off19': (32, 0, 19),
    'deconv_k4s2_bilinear_diag': (2, 0, 0),
    'deconv_k16s8_bilinear_diag': (8, 0, 0),
    'deconv_k32s16_bilinear_diag': (16, 0, 0),
    'deconv_k64s32_bilinear_diag': (32, 0, 0),
    'deconv_grouped_bilinear_filler': (2, 1, 0),
    'deconv_grouped_bilinear_filler_k5s3': (3, 1, 0),
}

# input (N, C, H, W), kernel, stride, pad, offset, size
SAMPLES = [
    ((1, 3, 6, 7), (4, 4), (2, 2), (0, 0), (1, 1), (8, 9)),
    ((2, 2, 5, 4), (16, 16), (8, 8), (0, 0), (3, 5), (33, 31)),
    ((1, 2, 3, 6), (64, 64), (32, 32), (0, 0), (19, 19), (65, 129)),
    ((1, 1, 4, 5), (63, 63), (32, 32), (0, 0), (18, 18), (17, 128)),   # FCN-AlexNet
    ((2, 5, 4, 6), (5, 5), (3, 3), (1, 1), (0, 0), (12, 18)),          # Caffe's filler idiom
    ((1, 2, 5, 5), (3, 5), (2, 3), (1, 0), (0, 2), (9, 13)),           # rectangular
    ((1, 2, 4, 5), (2, 1), (3, 4), (0, 0), (1, 0), (10, 16)),          # gaps without a source
    ((1, 2, 6, 6), (7, 7), (1, 1), (3, 3), (0, 1), (6, 4)),            # up to 7 taps an axis
    ((3, 1, 1, 1), (1, 1), (1, 1), (0, 0), (0, 0), (1, 1)),
    ((0, 3, 4, 4), (4, 4), (2, 2), (0, 0), (1, 1), (6, 6)),            # empty batch
    ((2, 9, 3, 33), (4, 4), (2, 2), (1, 1), (0, 0), (5, 65)),          # wide, many channels
]


def example(sample, device='cpu', dtype=torch.float64):
    """x with a gradient to come, and the other arguments."""
    shape, kernel, *rest = sample
    draw = torch.Generator().manual_seed(0)
    taps = [torch.randn(k, generator=draw, dtype=torch.float64).to(device, ops.tap_dtype(dtype))
            for k in kernel]
    x = torch.randn(shape, generator=draw, dtype=torch.float64).to(device, dtype)
    return x.requires_grad_(), *taps, *rest


def gradient(op, x, *args):
    """(result, its gradient for x under a fixed random top gradient in x's format)."""
    result = op(x, *args)
    top = torch.randn(result.shape, generator=torch.Generator().manual_seed(1),
                      dtype=torch.float64).to(result)
    return result.detach(), torch.autograd.grad(result, x, top)[0]


def agree(ours, wanted, dtype):
    for a, b in zip(ours, wanted, strict=True):
        assert a.dtype == b.dtype == dtype
        gap = error(a.cpu().double(), b.cpu().double())
        assert gap <= TOLERANCE[dtype], f'{gap} is above {TOLERANCE[dtype]}'


def golden(name):
    """inputs, outputs, output and input gradients, weight of a single deconvolution."""
    with h5py.File(DATA / 'layers' / f'{name}.h5') as file:
        bottom = 'score' if 'score' in file['inputs'] else 'data'
        arrays = [file['inputs'][bottom], file['outputs/y'], file['output_diffs/y'],
                  file['input_diffs'][bottom], file['params/up/0' if bottom == 'score'
                                                    else 'params/y/0']]
        return [torch.from_numpy(array[...]) for array in arrays]


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('name', GOLDENS)
def test_golden(name, device):
    x, y, dy, dx, weight = (array.to(device) for array in golden(name))
    taps = [t.float() for t in ops.recognise_bilinear(weight, x.shape[1] // weight.shape[1])]
    stride, pad, offset = ((n, n) for n in GOLDENS[name])
    x.requires_grad_()
    ours = ops.upcrop(x, *taps, stride, pad, offset, y.shape[2:])
    ours.backward(dy)
    assert error(ours.detach().cpu(), y.cpu()) < 1e-6
    assert error(x.grad.cpu(), dx.cpu()) < 1e-6


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TOLERANCE)
@pytest.mark.parametrize('sample', SAMPLES)
def test_twin(sample, dtype, device):
    args = example(sample, device, dtype)
    agree(gradient(ops.upcrop, *args), gradient(ops.upcrop_ref, *args), dtype)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sample', SAMPLES)
def test_opcheck(sample, device):
    x, *args = example(sample, device)
    torch.library.opcheck(torch.ops.fcn_repro.upcrop, (x, *args))
    grad = torch.randn(*x.shape[:2], *args[-1], device=device, dtype=x.dtype, requires_grad=True)
    torch.library.opcheck(torch.ops.fcn_repro.upcrop_backward, (grad, *args[:-1], x.shape[2:]))


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sample', [SAMPLES[i] for i in (0, 5, 6, 8)])
def test_gradcheck(sample, device):
    x, *args = example(sample, device)
    assert torch.autograd.gradcheck(lambda x: ops.upcrop(x, *args), x)
    assert torch.autograd.gradgradcheck(lambda x: ops.upcrop(x, *args), x)


@st.composite
def geometry(draw):
    """One axis: cells in, taps, stride, pad, offset, cells out; any that the checks accept."""
    cells, k, stride = (draw(st.integers(1, most)) for most in (6, 9, 5))
    pad = draw(st.integers(0, ((cells - 1) * stride + k - 1) // 2))
    whole = (cells - 1) * stride + k - 2 * pad
    offset = draw(st.integers(0, whole - 1))
    return cells, k, stride, pad, offset, draw(st.integers(1, whole - offset))


def loop_nest(x, taps_y, taps_x, stride, pad, offset, size):
    """The definition read from the input's side: every cell stamps the kernel, then the cut."""
    n, c, h, w = x.shape
    whole = np.zeros((n, c, (h - 1) * stride[0] + len(taps_y), (w - 1) * stride[1] + len(taps_x)))
    for i in range(h):
        for j in range(w):
            for t, a in enumerate(taps_y):
                for r, b in enumerate(taps_x):
                    whole[:, :, i * stride[0] + t, j * stride[1] + r] += x[:, :, i, j] * a * b
    (top, left), (height, width) = np.add(pad, offset), size
    return whole[:, :, top:top + height, left:left + width]


@settings(max_examples=60)
@given(y=geometry(), x=geometry(), channels=st.integers(1, 3), last=st.booleans())
def test_any_geometry(y, x, channels, last):
    size_in, kernel, *rest = zip(y, x, strict=True)
    image, *args = example(((2, channels, *size_in), kernel, *rest))
    if last:
        image = image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    ours = gradient(ops.upcrop, image, *args)
    agree(ours, gradient(ops.upcrop_ref, image, *args), torch.float64)
    nest = loop_nest(image.detach().numpy(), *(t.numpy() for t in args[:2]), *args[2:])
    assert error(ours[0], nest) < 1e-13


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('sample', SAMPLES)
def test_layouts(sample, device):
    """Other strides give the same values; channels_last stays, views become contiguous."""
    x, *args = example(sample, device, torch.float32)
    wanted = gradient(ops.upcrop, x, *args)
    last = torch.channels_last
    formats = {
        'channels_last': x.detach().contiguous(memory_format=last),
        'view': torch.randn(x.numel() * 2 + 1, device=device)[1::2].view(x.shape).copy_(x),
        'transposed': x.detach().transpose(2, 3).contiguous().transpose(2, 3),
        'expanded': x.detach()[:, :1].expand(-1, x.shape[1], -1, -1),
    }
    for name, view in formats.items():
        if name == 'expanded':
            wanted = gradient(ops.upcrop, view.contiguous().requires_grad_(), *args)
        ours = gradient(ops.upcrop, view.requires_grad_(), *args)
        agree(ours, wanted, torch.float32)
        stays = view.is_contiguous(memory_format=last) and not view.is_contiguous()
        assert ours[0].is_contiguous(memory_format=last if stays else torch.contiguous_format)
        stepped = [t.repeat_interleave(2)[::2] for t in args[:2]]
        agree(gradient(ops.upcrop, view, *stepped, *args[2:]), wanted, torch.float32)


@pytest.mark.parametrize('width', [1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 257])
def test_tile_edges(width):
    for device in DEVICES:
        args = example(((1, 2, 2, width // 8 + 3), (16, 16), (8, 8), (0, 0), (5, 7), (9, width)),
                       device, torch.float32)
        agree(gradient(ops.upcrop, *args), gradient(ops.upcrop_ref, *args), torch.float32)


@pytest.mark.parametrize('device', DEVICES)
def test_deterministic(device):
    """The same bits every time and for any number of threads."""
    x, *args = example(((2, 21, 12, 14), (16, 16), (8, 8), (0, 0), (7, 9), (90, 97)), device,
                       torch.float32)
    first = gradient(ops.upcrop, x, *args)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3, 5):
            torch.set_num_threads(count)
            assert all(map(torch.equal, gradient(ops.upcrop, x, *args), first))
    finally:
        torch.set_num_threads(threads)


def test_algebra():
    """Adjoint of each other; a crop of a crop is a crop; constants stay inside; infinities too."""
    x, ty, tx, stride, pad, offset, size = args = example(SAMPLES[1])
    y = torch.randn(2, 2, *size, dtype=torch.float64)
    back = torch.ops.fcn_repro.upcrop_backward(y, ty, tx, stride, pad, offset, x.shape[2:])
    assert torch.isclose((ops.upcrop(*args) * y).sum(), (x * back).sum(), rtol=1e-12)
    part = ops.upcrop(x, ty, tx, stride, pad, (8, 7), (20, 21))
    assert torch.equal(part, ops.upcrop(*args)[..., 5:25, 2:23])
    taps = ops.bilinear_taps(16)
    flat = ops.upcrop(torch.ones(1, 1, 9, 9).double(), taps, taps, (8, 8), (0, 0), (8, 8), (64, 64))
    assert torch.equal(flat, torch.ones_like(flat))
    x = torch.zeros(1, 1, 5, 5).index_fill(3, torch.tensor([2]), torch.inf)
    for k, stride in (4, 2), (3, 2), (2, 3):
        taps = torch.ones(k)
        up = ops.upcrop(x, taps, taps, (stride,) * 2, (0, 0), (0, 0), (stride,) * 2)
        assert torch.equal(up, torch.zeros(1, 1, stride, stride)), (k, stride)


def test_empty():
    for shape in (0, 3, 4, 4), (2, 0, 4, 4):
        taps = torch.ones(4)
        x = torch.ones(shape, requires_grad=True)
        y = ops.upcrop(x, taps, taps, (2, 2), (0, 0), (1, 1), (6, 5))
        y.sum().backward()
        assert y.shape == (*shape[:2], 6, 5) and x.grad.shape == shape


def test_compiles():
    x, *args = example(SAMPLES[0])
    compiled = torch.compile(ops.upcrop, backend='aot_eager', fullgraph=True)
    agree(gradient(compiled, x, *args), gradient(ops.upcrop, x, *args), torch.float64)


GOOD = {'x': torch.ones(1, 2, 5, 6), 'taps_y': torch.ones(4), 'taps_x': torch.ones(4),
        'stride': (2, 2), 'pad': (0, 0), 'offset': (1, 1), 'size': (8, 9)}
BAD = [
    ({'x': torch.ones(2, 5, 6)}, r'x has 3 axes with shape \[2, 5, 6\], expected 4'),
    ({'x': torch.ones(1, 2, 5, 6, dtype=torch.int64)}, 'x is Long, expected Float, Double'),
    ({'x': torch.ones(1, 2, 0, 6)}, 'input size is 0 along y, expected 1 to'),
    ({'x': torch.ones(1, 2, 5, 6).double()}, 'taps_y is Float, expected Double for a tensor of'),
    ({'x': torch.ones(1, 2, 5, 6).half(), 'taps_y': torch.ones(4).half()},
     'taps_y is Half, expected Float'),
    ({'taps_y': torch.ones(4, 4)}, r'taps_y has shape \[4, 4\], expected one axis'),
    ({'taps_x': torch.ones(0)}, r'taps_x has shape \[0\], expected one axis'),
    ({'stride': (2, 0)}, 'stride is 0 along x, expected 1 to 2147483647'),
    ({'stride': (-2, 2)}, 'stride is -2 along y'),
    ({'stride': (2,)}, 'stride has 1 numbers, expected 2'),
    ({'pad': (0, -1)}, 'pad is -1 along x, expected 0 to'),
    ({'pad': (6, 0)}, r'output is 0 cells along y \(5 cells, kernel 4, stride 2, pad 6\)'),
    ({'offset': (-1, 0)}, 'offset is -1 along y'),
    ({'size': (0, 9)}, 'crop size is 0 along y, expected 1 to'),
    ({'size': (8, -9)}, 'crop size is -9 along x'),
    ({'size': (12, 9)}, r'ends at cell 13 along y \(offset 1 \+ size 12\), .* output at 12'),
    ({'offset': (1, 2**40)}, 'offset is 1099511627776 along x, expected 0 to 2147483647'),
    ({'x': torch.ones(1, 2, 5, 6, requires_grad=True),
      'taps_x': torch.ones(4, requires_grad=True)}, 'taps_x requires a gradient'),
]
if torch.cuda.is_available():
    BAD.append(({'taps_x': torch.ones(4, device='cuda')}, 'taps_x is on cuda:0, the tensor on'))


@pytest.mark.parametrize('change, message', BAD)
def test_bad_arguments(change, message):
    ops.upcrop(**GOOD)
    with pytest.raises(FcnError, match=f'upcrop: .*{message}'):
        ops.upcrop(**{**GOOD, **change})
