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
from test_ops import DEVICES
from test_ops_inputs import views

from fcn_repro.net.precision import tf32
from fcn_repro.ops import unrolled
from fcn_repro.ops.conv_relu import (
    by_image,
    by_products,
    conv_relu,
    conv_relu_ref,
    image_conv_relu,
    image_conv_relu_ref,
    relu_backward,
    relu_backward_ref,
)
from fcn_repro.ops.unrolled import (
    conv_relu_unrolled,
    conv_unrolled,
    conv_unrolled_ref,
    patches,
    patches_ref,
)

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


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_patches_are_the_twin(shape, outputs, kernel, pad, dtype, device):
    x = draws(*shape).to(device, dtype)
    for view in views(x).values() if x.numel() else [x]:
        held = patches(view, kernel, pad)
        assert torch.equal(held, patches_ref(x, kernel, pad)) and held.is_contiguous()


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape, outputs, kernel, pad', SAMPLES)
def test_sums_of_patches_are_the_twins_gradient(shape, outputs, kernel, pad, dtype, device):
    x = draws(*shape).double().to(device).requires_grad_()
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


@settings(max_examples=40)
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


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 16, 9, 11), (1, 64, 50, 61), (3, 3, 40, 7),
                                   (1, 600, 3, 5), (0, 4, 2, 2), (2, 0, 3, 3), (2, 4, 0, 3)])
def test_relu_backward(shape, dtype, device):
    grad, top = draws(*shape).to(device, dtype), draws(*shape, seed=1).relu().to(device, dtype)
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


@pytest.mark.parametrize('forward', [by_image, by_products])
def test_convolution_and_relu_by_other_ways(forward):
    """First and second derivatives."""
    tensors, how = example((2, 3, 9, 10), 8, (3, 3)), ((1, 1), (1, 2), (1, 1), 1)
    for compare in gradients, second:
        agree(compare(lambda *args: conv_relu(*args[:3], *how, forward), tensors, None),
              compare(lambda *args: conv_relu_ref(*args[:3], *how), exact(tensors), None),
              TOLERANCE)


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('piece', [1, 2000, 1 << 30])
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('shape, outputs, kernel, pad', [
    sample for sample in SAMPLES if min(sample[0][:2])])
def test_unrolled_in_pieces(shape, outputs, kernel, pad, device, piece, bias, monkeypatch):
    monkeypatch.setattr(unrolled, 'PIECE', piece)
    x, weight, b = (t.detach().to(device) for t in example(shape, outputs, kernel))
    with torch.no_grad(), tf32(False):
        found = conv_relu_unrolled(x, weight, b if bias else None, pad)
        x, weight, b = exact((x, weight, b))
        wanted = conv_unrolled_ref(x, weight, b if bias else None, pad).relu()
    assert found.shape == wanted.shape and found.is_contiguous(memory_format=LAST)
    assert torch.allclose(found.double(), wanted, rtol=0, atol=2e-6 * float(wanted.max() + 1))


def test_equal_windows_have_equal_bits_in_all_pieces(monkeypatch):
    x = draws(1, 8, 1, 9).expand(1, 8, 23, 9).contiguous(memory_format=LAST)
    weight = draws(16, 8, 3, 3).contiguous(memory_format=LAST)
    monkeypatch.setattr(unrolled, 'PIECE', 4 * 9 * 72 * 4)          # of 4 rows: the last overlaps
    top = conv_relu_unrolled(x, weight, None, (1, 1))[:, :, 1:-1]
    assert torch.equal(top, top[:, :, :1].expand_as(top))


@pytest.mark.parametrize('places', [0, 1, 35])
def test_product_in_parts(places):
    rows, filters = draws(places, 2048), draws(21, 2048, seed=1)
    found, wanted = unrolled.in_parts(rows, filters), rows.double() @ filters.double().t()
    assert found.shape == wanted.shape
    assert torch.allclose(found.double(), wanted, rtol=0, atol=2e-6 * 100)


IMAGES = [((1, 3, 5, 7), 64, (1, 1)), ((2, 1, 4, 33), 4, (0, 0)), ((1, 2, 9, 40), 72, (2, 0)),
          ((1, 4, 3, 3), 128, (0, 0)), ((2, 3, 1, 2), 8, (100, 1)), ((0, 3, 4, 4), 64, (1, 1))]


@pytest.mark.parametrize('bias', [True, False], ids=['bias', 'no bias'])
@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('dtype', TYPES)
@pytest.mark.parametrize('shape, outputs, pad', IMAGES)
def test_image_convolution(shape, outputs, pad, dtype, device, bias):
    x, weight, b = (t.detach().to(device, dtype) for t in example(shape, outputs, (3, 3)))
    b = b if bias else None
    wanted = image_conv_relu_ref(x.double(), weight.double(), b if b is None else b.double(), pad)
    rounding = {torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, TOLERANCE)
    for view in views(x).values() if x.numel() else [x]:
        top = image_conv_relu(view, weight, b, pad)
        assert top.dtype == dtype and top.is_contiguous(memory_format=LAST)
        assert top.shape == wanted.shape
        assert torch.allclose(top.double(), wanted, rtol=0,
                              atol=rounding * float(wanted.max() if len(wanted) else 1))


def test_image_convolution_of_nan():
    x, weight = draws(1, 3, 6, 7), draws(8, 3, 3, 3)
    x[0, 1, 2, 3] = torch.nan
    assert torch.equal(image_conv_relu(x, weight, None, (1, 1)).isnan(),
                       image_conv_relu_ref(x, weight, None, (1, 1)).isnan())


FILTERS = torch.ones(8, 3, 3, 3)


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(2, 5, 4, 5)}, '5 channels, expected 1 to 4'), ({'x': ONES[0]}, '3 axes'),
    ({'x': ONES[:, :3].long()}, 'x is Long'), ({'weight': FILTERS[:7]}, 'O a multiple of 4'),
    ({'weight': FILTERS[:, :2]}, r'of shape \[8, 2, 3, 3\]'), ({'weight': FILTERS.half()}, 'Half'),
    ({'weight': torch.ones(8, 3, 1, 3)}, r'expected Float of \(O, 3, 3, 3\)'),
    ({'bias': torch.ones(7)}, r'bias, expected Float of \(8,\)'), ({'pad': (-1, 0)}, 'of 0 to'),
    ({'x': ONES[:, :3, :1]}, 'must be positive')])
def test_image_convolution_refuses(change, message):
    check_refused(image_conv_relu, {'x': ONES[:, :3], 'weight': FILTERS, 'bias': None,
                                    'pad': (0, 0)}, change, f'image_conv_relu: .*{message}')


def test_image_convolution_opcheck():
    torch.library.opcheck(RUN.image_conv_relu, (draws(2, 3, 5, 6).requires_grad_(), draws(
        8, 3, 3, 3, seed=1).requires_grad_(), draws(8, seed=2).requires_grad_(), (1, 0)))
