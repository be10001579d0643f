"""Unrolled windows, the convolution by one product of them, and the ReLU with its bias's gradient:
against their twins and float64, and their algebra."""

import pytest
import torch
from conv_ops import (
    LAST,
    agree,
    check_devices,
    check_refused,
    draws,
    exact,
    example,
    gradients,
    second,
    top_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro.ops.conv_relu import conv_relu, conv_relu_ref, relu_backward, relu_backward_ref
from fcn_repro.ops.unrolled import conv_unrolled, conv_unrolled_ref, patches, patches_ref

RUN = torch.ops.fcn_repro
TYPES = torch.float32, torch.float64, torch.float16, torch.bfloat16
TOLERANCE = 2e-6        # of the largest value

# x (N, C, H, W), outputs, kernel, pad
SAMPLES = [
    ((1, 16, 1, 1), 1, (1, 1), (0, 0)),
    ((2, 5, 3, 5), 7, (1, 1), (0, 0)),
    ((1, 16, 7, 7), 58, (7, 7), (0, 0)),        # one place, as fc6 on a small picture
    ((1, 24, 8, 10), 13, (7, 7), (0, 1)),
    ((3, 1, 4, 3), 15, (3, 3), (1, 1)),
    ((2, 6, 3, 6), 4, (2, 5), (2, 0)),          # rectangular
    ((1, 3, 1, 2), 3, (3, 3), (4, 5)),          # windows that hold nothing of the image
    ((0, 16, 4, 5), 8, (3, 3), (1, 1)),         # empty batch
    ((2, 0, 4, 5), 8, (3, 3), (1, 1)),          # no channels
    ((1, 140, 2, 3), 3, (2, 1), (0, 0)),
]


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_patches_are_the_twin(shape, outputs, kernel, pad, dtype):
    x = draws(*shape).to(dtype)
    for view in views(x).values() if x.numel() else [x]:
        held = patches(view, kernel, pad)
        assert torch.equal(held, patches_ref(x, kernel, pad)) and held.is_contiguous()


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_sums_of_patches_are_the_twins_gradient(shape, outputs, kernel, pad, dtype):
    x = draws(*shape).double().requires_grad_()
    held = patches_ref(x, kernel, pad)
    top = top_of(held).to(dtype)
    wanted, = torch.autograd.grad(held, x, top.double())
    for view in views(top).values() if top.numel() else [top]:
        image = RUN.patches_input(view, kernel, pad)
        assert image.dtype == dtype and image.is_contiguous(memory_format=LAST)
        rounding = {torch.bfloat16: 4e-3, torch.float16: 5e-4}.get(dtype, 1e-6)
        assert torch.allclose(image.double(), wanted, rtol=rounding, atol=1e-6)


axis = st.tuples(st.integers(1, 5), st.integers(0, 6), st.integers(1, 7)).filter(
    lambda a: a[2] + 2 * a[1] >= a[0])


@settings(deadline=None, max_examples=40)
@given(batch=st.integers(1, 3), channels=st.integers(1, 9), y=axis, x=axis)
def test_any_unrolled_windows(batch, channels, y, x):
    """Integers are exact, and the ops are each other's adjoint: one sum of products."""
    kernel, pad, size = zip(y, x, strict=True)
    image = (4 * draws(batch, channels, *size)).round()
    held = patches(image, kernel, pad)
    assert torch.equal(held, patches_ref(image, kernel, pad))
    top = (3 * top_of(held)).round()
    assert (top * held).sum() == (RUN.patches_input(top, kernel, pad) * image).sum()


@pytest.mark.parametrize('shape, outputs, kernel, pad', [SAMPLES[i] for i in (1, 3, 5, 6, 7)])
def test_opcheck(shape, outputs, kernel, pad):
    x = draws(*shape).requires_grad_()
    torch.library.opcheck(RUN.patches, (x, kernel, pad))
    held = top_of(patches(x, kernel, pad)).detach().requires_grad_()
    torch.library.opcheck(RUN.patches_input, (held, kernel, pad))


def gpu_layout(tensors):
    """x and weight in channels_last, as nets have them on GPUs."""
    return [t.detach().contiguous(memory_format=LAST).requires_grad_() if t is not None and
            t.dim() == 4 else t for t in tensors]


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('shape, outputs, kernel, pad', [s for s in SAMPLES if s[0][1]])
def test_convolution(shape, outputs, kernel, pad, bias):
    tensors = example(shape, outputs, kernel)
    tensors[2] = tensors[2] if bias else None
    wanted = gradients(conv_unrolled_ref, exact(tensors), pad)
    for placed in tensors, gpu_layout(tensors):
        ours = gradients(conv_unrolled, placed, pad)
        agree(ours, wanted, TOLERANCE)
        assert all(t.is_contiguous(memory_format=LAST) for t in ours[:3])
        agree(second(conv_unrolled, placed, pad), second(conv_unrolled_ref, exact(tensors), pad),
              TOLERANCE)
    with torch.inference_mode():
        assert torch.equal(conv_unrolled(*tensors, pad), ours[0])


@pytest.mark.parametrize('kernel', [(1, 1), (3, 2)])
def test_filters_are_read_in_place(kernel, monkeypatch):
    """fc6's are 411 MB. Their gradient has their order in memory, so it becomes .grad as it is."""
    x, weight, bias = gpu_layout(example((2, 16, 5, 6), 9, kernel))
    seen, addmm = [], torch.addmm
    monkeypatch.setattr(torch, 'addmm', lambda bias, rows, filters, out: seen.append(filters)
                        or addmm(bias, rows, filters, out=out))
    y = conv_unrolled(x, weight, bias)
    assert seen[0].data_ptr() == weight.data_ptr()
    if kernel == (1, 1):
        assert x.permute(0, 2, 3, 1).is_contiguous()
    grad, = torch.autograd.grad(y.sum(), weight)
    assert grad.is_contiguous(memory_format=LAST) and grad._base is not None


def test_a_relu_may_overwrite_the_top():
    tensors = example((2, 16, 5, 6), 9, (3, 2))
    wanted = gradients(lambda *args: conv_unrolled_ref(*args).relu(), exact(tensors), (1, 1))
    agree(gradients(lambda *args: conv_unrolled(*args).relu_(), tensors, (1, 1)), wanted, TOLERANCE)


ONES = torch.ones(2, 6, 4, 5)


@pytest.mark.parametrize('change, message', [
    ({'x': ONES.long()}, 'x is Long of shape'), ({'x': ONES[0]}, 'expected Float'),
    ({'kernel': (2, 0)}, 'expected kernels of 1 to'), ({'pad': (0, -1)}, 'pads of 0 to'),
    ({'kernel': (2, 10)}, '0 columns'), ({'x': ONES[:, :, :0]}, 'must be positive'),
    ({'pad': (2 ** 40, 0)}, 'pads of 0 to'), ({'pad': (2 ** 30, 2 ** 30)}, 'products')])
def test_bad_arguments(change, message):
    check_refused(patches, {'x': ONES, 'kernel': (2, 2), 'pad': (0, 2)}, change,
                  f'patches: .*{message}')


@pytest.mark.parametrize('change, message', [
    ({'windows': ONES.int()}, 'windows is Int'), ({'windows': ONES[0]}, 'with 4 axes'),
    ({'kernel': (2, 2)}, '5 values of a window, expected a multiple of 4'),
    ({'pad': (3, 0)}, 'must be positive'), ({'windows': ONES[:, :0]}, 'must be positive')])
def test_bad_arguments_of_sums(change, message):
    check_refused(RUN.patches_input, {'windows': ONES, 'kernel': (1, 5), 'pad': (0, 2)}, change,
                  f'patches_input: .*{message}')


def test_mixed_devices():
    check_devices(RUN.patches, 'patches', (ONES, (2, 3), (1, 0)))
    check_devices(lambda *args: relu_backward(*args)[0], 'relu_backward', (ONES, ONES))


@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 16, 9, 11), (1, 64, 50, 61), (3, 3, 40, 7),
                                   (1, 600, 3, 5), (0, 4, 2, 2), (2, 0, 3, 3), (2, 4, 0, 3)])
def test_relu_backward(shape, dtype):
    grad, top = draws(*shape).to(dtype), draws(*shape, seed=1).relu().to(dtype)
    for placed in [(grad, top), (grad.contiguous(memory_format=LAST), top)]:
        masked, sums = relu_backward(*placed)
        wanted, totals = relu_backward_ref(grad.double(), top.double())
        assert torch.equal(masked, wanted.to(dtype)) and masked.dtype == dtype
        assert masked.is_contiguous(memory_format=LAST)
        assert sums.dtype == (dtype if dtype == torch.float64 else torch.float32)
        assert torch.allclose(sums.double(), totals, rtol=1e-5, atol=1e-4)


def test_relu_backward_of_nan_and_views():
    grad, top = draws(2, 6, 4, 5), draws(2, 6, 4, 5, seed=1)
    top[0, 1, 2, 3] = grad[1, 2, 3, 4] = torch.nan
    wanted = relu_backward_ref(grad, top)[0]
    assert wanted[0, 1, 2, 3] == grad[0, 1, 2, 3]       # as torch and Caffe pass it
    for name, view in views(grad).items():
        masked, _ = relu_backward(view, views(top)[name])
        assert torch.equal(masked.nan_to_num(7), wanted.nan_to_num(7))


@pytest.mark.parametrize('change, message', [
    ({'top': ONES[:, :5]}, r'top is Float of shape \[2, 5'), ({'top': ONES.half()}, 'top is Half'),
    ({'grad': ONES.long()}, 'grad is Long'), ({'grad': ONES[0], 'top': ONES[0]}, 'with 4 axes')])
def test_relu_backward_refuses(change, message):
    check_refused(relu_backward, {'grad': ONES, 'top': ONES}, change, f'relu_backward: .*{message}')


def test_relu_backward_opcheck():
    torch.library.opcheck(RUN.relu_backward, (draws(2, 5, 3, 4).requires_grad_(),
                                              draws(2, 5, 3, 4, seed=1)))


HOW = [((1, 1), (1, 1), (1, 1), 1), ((2, 1), (0, 3), (1, 1), 1), ((1, 1), (1, 2), (1, 2), 2)]


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('how', HOW)
def test_convolution_and_relu(how, bias):
    """First and second derivatives."""
    group = how[3]
    tensors = example((2, 6 // group, 7, 6), 8)
    tensors[0] = draws(2, 6, 7, 6).requires_grad_()
    tensors[2] = tensors[2] if bias else None
    for compare in gradients, second:
        agree(compare(lambda *args: conv_relu(*args[:3], *how), tensors, None),
              compare(lambda *args: conv_relu_ref(*args[:3], *how), exact(tensors), None),
              TOLERANCE)
    with torch.no_grad():
        assert torch.equal(conv_relu(*tensors, *how), conv_relu_ref(*tensors, *how))


@pytest.mark.parametrize('pad', [(1, 1), (0, 2)])
def test_convolution_and_relu_with_winograds_gradient(pad):
    tensors, how = example((2, 16, 9, 10), 16), ((1, 1), pad, (1, 1), 1)
    for compare in gradients, second:
        agree(compare(lambda *args: conv_relu(*args[:3], *how, winograd=True), tensors, None),
              compare(lambda *args: conv_relu_ref(*args[:3], *how), exact(tensors), None), 4e-6)
