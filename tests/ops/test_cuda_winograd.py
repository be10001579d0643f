"""Winograd's convolution on CUDA, on the host: the tests of the CPU's, and cases of its own."""

import pytest
import torch
from conv_ops import LAST, agree, draws, example
from test_cuda_kernels import backend, cuda_kernels  # noqa: F401
from test_winograd import (  # noqa: F401
    RUN,
    SAMPLES,
    TOLERANCE,
    by_winograd,
    test_any_shape,
    test_powers_of_two_are_exact,
    test_rounds_as_sums_in_order_do,
    test_second_derivatives,
    test_twin,
    test_who_requires_gradients,
    test_windows_of_zeros,
)
from test_winograd_inputs import (  # noqa: F401
    test_bad_arguments,
    test_bad_arguments_of_the_gradient,
    test_bad_arguments_of_the_input_gradient,
    test_bad_filters,
    test_layouts,
    test_nan_and_infinity_stay_in_their_tiles,
    test_nan_in_filters_and_gradients,
)

from fcn_repro.errors import FcnError
from fcn_repro.ops import conv3x3_ref, winograd, winograd_filters


@pytest.mark.parametrize('shape, outputs, pad', SAMPLES)
def test_launches(shape, outputs, pad, backend):  # noqa: F811
    """One of the filters, two of a piece of tiles, and none for an empty batch."""
    x, weight, bias = (t.detach() for t in example(shape, outputs))
    before = backend.cuda_shim_launches()
    by_winograd(x, weight, bias, pad)
    assert backend.cuda_shim_launches() - before == (3 if len(x) else 1)


def test_filters_at_the_points():
    """Along an axis at 0, 3/4, -3/4, 3/2, -3/2 and infinity, over what each is divided by."""
    points = torch.tensor([0, 0.75, -0.75, 1.5, -1.5]).double()
    divisors = torch.stack([(p - points[points != p]).prod() for p in points])
    rows = torch.stack([points ** i for i in range(3)], 1) / divisors[:, None]
    lay = torch.cat([rows, torch.tensor([[0.0, 0, 1]]).double()])
    for channels, outputs in (16, 48), (5, 16), (64, 32):
        weight = draws(outputs, channels, 3, 3)
        wanted = torch.einsum('ai,bj,ocij->abco', lay, lay, weight.double()).flatten(0, 1)
        for laid in weight, weight.contiguous(memory_format=LAST), weight.flip(0).flip(0):
            agree([winograd_filters(laid)], [wanted], 3e-7)


@pytest.mark.parametrize('size', [(1000, 1003), (9, 120000)])
def test_pieces(size, backend):  # noqa: F811
    """Tiles that take more memory at once than a piece may."""
    x, weight, bias = draws(1, 16, *size), draws(16, 16, 3, 3, seed=1), draws(16, seed=2)
    before = backend.cuda_shim_launches()
    y = by_winograd(x, weight, bias, (1, 1))
    assert backend.cuda_shim_launches() - before == 5
    agree([y], [conv3x3_ref(x, weight, bias, (1, 1))], TOLERANCE)


def test_batch_is_its_images():
    """The products are torch's, so up to rounding."""
    pad, (x, weight, bias) = (1, 2), (t.detach() for t in example((3, 32, 9, 13), 48))
    parts = [by_winograd(x[i:i + 1], weight, bias, pad) for i in range(3)]
    agree([torch.cat(parts)], [by_winograd(x, weight, bias, pad)], TOLERANCE)


def test_unaligned():
    """Elements that are not on vectors of 4, as in an array that starts anywhere."""
    def moved(t):
        memory = torch.empty(t.numel() + 1)
        return memory[1:].as_strided(t.shape, t.stride()).copy_(t)
    x, weight, bias = (t.detach() for t in example((2, 16, 5, 7), 32))
    x, weight = (t.contiguous(memory_format=LAST) for t in (x, weight))
    wanted = by_winograd(x, weight, bias, (1, 1))
    assert torch.equal(by_winograd(*map(moved, (x, weight, bias)), (1, 1)), wanted)
    top = wanted.clone()
    assert torch.equal(RUN.conv3x3_input(moved(top), moved(weight), (1, 1)),
                       RUN.conv3x3_input(top, weight, (1, 1)))


@pytest.mark.parametrize('change, message', [
    ({'filters': torch.ones(36, 16, 16)}, r'shape \[36, 16, 16\], expected \[36, 16, 32\]'),
    ({'filters': torch.ones(36, 1, 16, 32)}, 'filters is Float of shape .* of 3 axes on cpu'),
    ({'filters': torch.ones(36, 16, 32).half()}, 'filters is Half'),
    ({'outputs': 33}, '33 channels, expected a multiple'), ({'bias': torch.ones(16)}, '16 biases'),
    ({'x': torch.ones(2, 16, 5, 6).half()}, 'x is Half of .* expected float32'),
    ({'x': torch.ones(2, 16, 5, 6).bfloat16()}, 'x is BFloat16 of .* expected float32'),
    ({'x': torch.ones(2, 16, 5, 6).double()}, 'x is Double'),
    ({'pad': (3, 1)}, 'expected two numbers of 0 to 2')])
def test_bad_arguments_of_transformed_filters(change, message):
    args = {'x': torch.ones(2, 16, 5, 6), 'filters': torch.ones(36, 16, 32), 'outputs': 32,
            'bias': None, 'pad': (1, 1)}
    assert winograd(*args.values()).shape == (2, 32, 5, 6)
    with pytest.raises(FcnError, match=message):
        winograd(*{**args, **change}.values())
