"""Filtering with Gaussian kernels in windows, against the double sum and the twin."""

import math

import pytest
import torch
from double_sum import filtered, kernel_matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops import DEVICES

from fcn_repro import ops
from fcn_repro.errors import FcnError
from fcn_repro.ops import WindowKernel

OP = torch.ops.fcn_repro.window_filter
CONVCRF = [WindowKernel(3, place=3), WindowKernel(10, colour=13)]
GATED = [WindowKernel(1, place=6, colour=20)]
SEVERAL = [*CONVCRF, *GATED, WindowKernel(-2, 1.5, 40), WindowKernel(0.5), WindowKernel(0, 1, 1)]
# (N, C, H, W), channels of the image, kernels, radius
SAMPLES = [((1, 21, 7, 9), 3, CONVCRF, 5), ((2, 3, 6, 5), 3, GATED, 2),
           ((1, 2, 1, 1), 3, CONVCRF, 3), ((1, 5, 1, 40), 1, SEVERAL, 7),
           ((1, 4, 37, 2), 2, GATED, 40), ((3, 9, 4, 17), 3, SEVERAL, 1),
           ((1, 1, 5, 5), 0, CONVCRF, 4), ((2, 8, 3, 33), 4, GATED, 0)]


def example(sample, dtype=torch.float64, device='cpu', seed=0):
    """Values, an image in grey levels, kernels and a radius."""
    shape, features, kernels, radius = sample
    draw = torch.Generator().manual_seed(seed)
    values = torch.randn(shape, generator=draw, dtype=torch.float64)
    image = 60 * torch.randn(shape[0], features, *shape[2:], generator=draw, dtype=torch.float64)
    return values.to(device, dtype), image.to(device, dtype), kernels, radius


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype, slack', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize('centre', [True, False])
@pytest.mark.parametrize('sample', SAMPLES)
def test_window_filter_is_the_double_sum(sample, centre, dtype, slack, device):
    """Forward and backward, to a part of the largest sum of absolute values."""
    values, image, kernels, radius = example(sample, dtype, device)
    matrix = kernel_matrix(image.cpu(), kernels, radius, centre)
    leaf, grad = values.clone().requires_grad_(), values.flip(0, 1, 2, 3)
    found = ops.window_filter(leaf, image, kernels, radius, centre)
    back, = torch.autograd.grad(found, leaf, grad)
    found = found.detach()
    for one, summed, sums in (found, values, matrix), (back, grad, matrix.mT):
        scale = filtered(summed.cpu().abs(), sums.abs()).amax().clamp_min(1)
        torch.testing.assert_close(one.cpu().double() / scale, filtered(summed.cpu(), sums) / scale,
                                   rtol=0, atol=slack)
    scale = filtered(values.cpu().abs(), matrix.abs()).amax().clamp_min(1)
    twin = ops.window_filter_ref(values, image, kernels, radius, centre)
    torch.testing.assert_close(found / scale.to(found), twin / scale.to(found), rtol=0, atol=slack)


@pytest.mark.parametrize('sample', SAMPLES)
def test_window_filter_at_other_places(sample):
    """Rows and columns that do not lie at 0, 1 and so on, as means of blocks do."""
    values, image, kernels, radius = example(sample)
    places = [4 * torch.arange(n, dtype=torch.float64) + (1.5 if n > 1 else 0)
              for n in values.shape[2:]]
    places[1][-1] -= 0.5
    found = ops.window_filter(values, image, kernels, radius, True, tuple(places))
    torch.testing.assert_close(found, filtered(values, kernel_matrix(image, kernels, radius, True,
                                                                     places)), rtol=1e-11,
                               atol=1e-11)


@pytest.mark.parametrize('sample', SAMPLES[:4])
def test_window_filter_views_and_bits(sample):
    """Strided values and images, and any number of threads: the same bits."""
    values, image, kernels, radius = example(sample, torch.float32)
    wanted, threads = ops.window_filter(values, image, kernels, radius), torch.get_num_threads()
    last = [x.contiguous(memory_format=torch.channels_last) for x in (values, image)]
    flipped = values.flip(3).contiguous().flip(3)
    wide = torch.zeros(*values.shape[:3], 2 * values.shape[3])
    wide[..., ::2] = values
    try:
        for count in 1, 3:
            torch.set_num_threads(count)
            for one, other in (values, image), last, (flipped, image), (wide[..., ::2], image):
                assert torch.equal(ops.window_filter(one, other, kernels, radius), wanted)
    finally:
        torch.set_num_threads(threads)


@settings(max_examples=30)
@given(st.tuples(st.integers(1, 2), st.integers(1, 10), st.integers(1, 9), st.integers(1, 40)),
       st.integers(0, 3), st.integers(0, 12), st.booleans())
def test_any_window(shape, features, radius, centre):
    values, image, kernels, _ = example((shape, features, SEVERAL, 0), seed=radius)
    found = ops.window_filter(values, image, kernels, radius, centre)
    torch.testing.assert_close(found, filtered(values, kernel_matrix(image, kernels, radius,
                                                                     centre)), rtol=1e-9, atol=1e-9)


def test_window_filter_derivatives():
    values, image, kernels, radius = example(((1, 3, 4, 5), 2, CONVCRF, 2))
    values.requires_grad_()

    def run(x):
        return ops.window_filter(x, image, kernels, radius, False)

    assert torch.autograd.gradcheck(run, values)
    assert torch.autograd.gradgradcheck(run, values)
    grad = torch.randn(values.shape, dtype=torch.float64)
    matrix = kernel_matrix(image, kernels, radius, False)
    torch.testing.assert_close(torch.autograd.grad(run(values), values, grad)[0],
                               filtered(grad, matrix.mT))
    torch.library.opcheck(OP, (values.detach(), image, torch.arange(4.).double(),
                               torch.arange(5.).double(), [3., 10.], [3., math.inf],
                               [math.inf, 13.], 2, True))


def test_nan_stays_in_its_windows():
    values, image, kernels, _ = example(((1, 2, 9, 20), 3, CONVCRF, 2), torch.float32)
    values[0, 1, 4, 10] = torch.nan
    found = ops.window_filter(values, image, kernels, 2)
    bad = torch.zeros(1, 2, 9, 20, dtype=torch.bool)
    bad[0, 1, 2:7, 8:13] = True
    assert torch.equal(found.isnan(), bad)
    values[0, 1, 4, 10], image[0, 0, 4, 10] = 0, torch.nan
    bad[0, 0] = bad[0, 1]
    assert torch.equal(ops.window_filter(values, image, kernels, 2).isnan(), bad)
    assert ops.window_filter(values, image, CONVCRF[:1], 2).isfinite().all()    # not asked for
    image[0, 0, 4, 10] = torch.inf
    found = ops.window_filter(values, image, kernels, 2, False)
    assert found.isfinite().all()                                               # like no other


@pytest.mark.parametrize('shape', [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5), (2, 3, 4, 0)])
def test_windows_of_nothing(shape):
    values = torch.zeros(shape, requires_grad=True)
    found = ops.window_filter(values, torch.zeros(shape[0], 3, *shape[2:]), CONVCRF, 2)
    assert found.shape == shape
    assert torch.autograd.grad(found.sum(), values)[0].shape == shape


@pytest.mark.parametrize('change, words', [
    ({'values': torch.zeros(2, 3, 4)}, '4 axes'), ({'values': torch.zeros(4)}, '4 axes'),
    ({'values': torch.zeros(1, 2, 3, 4).half()}, 'Half'),
    ({'image': torch.zeros(1, 3, 3, 5)}, 'They must agree'),
    ({'image': torch.zeros(2, 3, 3, 4)}, 'They must agree'),
    ({'image': torch.zeros(1, 3, 3, 4).double()}, 'image is Double'),
    ({'radius': -1}, 'radius is -1'), ({'kernels': []}, '0 weights'),
    ({'kernels': CONVCRF * 5}, '10 weights'),
    ({'kernels': [WindowKernel(1, 0)]}, 'places has a deviation of 0'),
    ({'kernels': [WindowKernel(1, 1, -2)]}, 'colours has a deviation of -2'),
    ({'kernels': [WindowKernel(1, math.nan)]}, 'deviation of nan'),
    ({'kernels': [WindowKernel(math.inf, 1)]}, 'weights has inf'),
    ({'kernels': [WindowKernel(1e300, 1)]}, 'weights has 1e'),
    ({'places': (torch.arange(4.), torch.arange(4.))}, 'rows is Float of shape \\[4\\]'),
    ({'places': (torch.arange(3.), torch.arange(4))}, 'columns is Long'),
    ({'image': torch.zeros(1, 3, 3, 4, requires_grad=True)}, 'image requires a gradient'),
])
def test_what_window_filter_refuses(change, words):
    good = {'values': torch.zeros(1, 2, 3, 4), 'image': torch.zeros(1, 3, 3, 4),
            'kernels': CONVCRF, 'radius': 2}
    ops.window_filter(**good)
    with pytest.raises(FcnError, match=words):
        ops.window_filter(**good | change)


def test_windows_on_mixed_devices():
    with pytest.raises((FcnError, ValueError), match='meta'):
        ops.window_filter(torch.zeros(1, 2, 3, 4), torch.zeros(1, 3, 3, 4, device='meta'), CONVCRF,
                          2)
