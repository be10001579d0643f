"""Convolution as one matrix product over unrolled windows: gradients, fake kernels, twins.

For GPUs, whose matrix products run at the full rate for any shape: of a 1x1 kernel, whose windows
are the image itself in channels_last, and of layers with few output positions, as VGG16's fc6,
where the windows are few and the filters (411 MB) are read in place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import Pair, checked
from .registration import fake_kernel

FEW, DEEP, PARTS = 64, 2048, 16     # a product of few outputs and so many factors, in parts
PIECE = 64 << 20        # bytes of unrolled windows at a time: about an L2 cache


@checked
def patches(x: Tensor, kernel: Pair, pad: Pair = (0, 0)) -> Tensor:
    """The windows of a convolution with stride 1.

    x: (N, C, H, W) of float32, float64, float16 or bfloat16, copied unless it is in channels_last.
    kernel, pad: pairs (y, x). Returns (N, H + 2 pad_y - k_y + 1, W + 2 pad_x - k_x + 1,
    k_y * k_x * C), contiguous, with zeros for the pad. Has gradients of any order: their sums are
    in float32, or float64 for float64, in one fixed order. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.patches(x, kernel, pad)


def patches_ref(x, kernel, pad=(0, 0)):
    """The twin of patches that defines it."""
    x = F.pad(x, (pad[1], pad[1], pad[0], pad[0]))
    return x.unfold(2, kernel[0], 1).unfold(3, kernel[1], 1).permute(0, 2, 3, 4, 5, 1).flatten(3)


@fake_kernel('patches')
def _(x, kernel, pad):
    (k_y, k_x), (rows, columns) = kernel, x.shape[2:]
    return x.new_empty(x.shape[0], rows + 2 * pad[0] - k_y + 1, columns + 2 * pad[1] - k_x + 1,
                       k_y * k_x * x.shape[1])


@fake_kernel('patches_input')
def _(windows, kernel, pad):
    (n, rows, columns, size), (k_y, k_x) = windows.shape, kernel
    return torch.empty(n, size // (k_y * k_x), rows + k_y - 1 - 2 * pad[0],
                       columns + k_x - 1 - 2 * pad[1], dtype=windows.dtype, device=windows.device,
                       memory_format=torch.channels_last)


def _adjoint(op):
    """The backward of one of the two ops, which are linear and each other's adjoint."""
    def backward(ctx, grad):
        return op(grad, *ctx.how), None, None
    return backward


def _keep(ctx, inputs, output):
    ctx.how = inputs[1:]


torch.library.register_autograd('fcn_repro::patches', _adjoint(torch.ops.fcn_repro.patches_input),
                                setup_context=_keep)
torch.library.register_autograd('fcn_repro::patches_input', _adjoint(torch.ops.fcn_repro.patches),
                                setup_context=_keep)


def conv_unrolled(x, weight, bias, pad=(0, 0)):
    """A convolution with stride 1.

    x: (N, C, H, W), weight (C_out, C, k_y, k_x) and bias (C_out,) or None, of one floating type;
    x and weight are copied unless they are in channels_last. pad: a pair (y, x). Returns
    (N, C_out, H + 2 pad_y - k_y + 1, W + 2 pad_x - k_x + 1) in channels_last. Has gradients of any
    order; backward unrolls the windows again. FcnError where no window fits.
    """
    return ConvUnrolled.apply(x, weight, bias, tuple(pad))


def conv_unrolled_ref(x, weight, bias, pad=(0, 0)):
    """The twin of conv_unrolled that defines it."""
    return F.conv2d(x, weight, bias, padding=pad)


class ConvUnrolled(torch.autograd.Function):
    """conv_unrolled: three products, of windows (places, k_y k_x C) and filters
    (C_out, k_y k_x C)."""

    @staticmethod
    def forward(ctx, x, weight, bias, pad):
        ctx.save_for_backward(x, weight)
        ctx.pad = pad
        held, filters = _windows(x, weight.shape[2:], pad), _matrix(weight)
        (n, height, width, _), rows = held.shape, held.flatten(0, 2)
        top = torch.empty(n, len(weight), height, width, dtype=x.dtype, device=x.device,
                          memory_format=torch.channels_last)    # no view: a ReLU may overwrite it
        _product(rows, filters, bias, top.permute(0, 2, 3, 1).view(-1, len(weight)))
        return top

    @staticmethod
    def backward(ctx, grad):
        (x, weight), of_x, of_weight, of_bias = ctx.saved_tensors, *ctx.needs_input_grad[:3]
        (outputs, channels, *kernel), places = weight.shape, grad.permute(0, 2, 3, 1)
        flat = places.reshape(-1, outputs)
        d_x = d_weight = d_bias = None
        if of_x:
            filters = _matrix(weight)
            held = (flat @ filters).view(*places.shape[:3], filters.shape[1])
            d_x = held.permute(0, 3, 1, 2) if _is_view(kernel, ctx.pad) else \
                torch.ops.fcn_repro.patches_input(held, kernel, ctx.pad)
        if of_weight:
            rows = _windows(x, kernel, ctx.pad).flatten(0, 2)
            d_weight = (flat.t() @ rows).view(outputs, *kernel, channels).permute(0, 3, 1, 2)
        if of_bias:
            d_bias = flat.sum(0)
        return d_x, d_weight, d_bias, None


def conv_relu_unrolled(x, weight, bias, pad):
    """The ReLU of conv_unrolled, for images of any size, without gradients.

    The windows are unrolled in pieces that fit into a GPU's L2 cache: several images, or rows of
    one. All pieces of an image have equally many rows, the last one some of the one before: so all
    products have one shape, and equal windows, as those of a constant border, give equal bits.
    """
    kernel, images, filters = weight.shape[2:], len(x), _matrix(weight)
    rows, columns = (size + 2 * p - k + 1 for size, p, k in
                     zip(x.shape[2:], pad, kernel, strict=True))
    top = torch.empty(images, len(weight), rows, columns, dtype=x.dtype, device=x.device,
                      memory_format=torch.channels_last)
    places = top.permute(0, 2, 3, 1)
    fit = PIECE // (columns * filters.shape[1] * x.element_size())      # rows of windows
    pieces = -(-rows // max(1, fit))                                    # of an image
    step, each = -(-rows // pieces), max(1, fit // rows)
    for n in range(0, images, each):
        for piece in range(pieces):
            first = min(piece * step, rows - step)
            part = places[n:n + each, first:first + step].view(-1, len(weight))
            held = _windows_of_rows(x[n:n + each], kernel, pad, first, step)
            _product(held.view(-1, filters.shape[1]), filters, bias, part)
            part.relu_()
    return top


def _windows_of_rows(x, kernel, pad, first, count):
    """The windows of `count` rows of places, the first of them `first`."""
    high, above = count + kernel[0] - 1, first - pad[0]     # rows of the image, with its pad
    begin, end = (min(max(row, 0), x.shape[2]) for row in (above, above + high))
    rows = x[:, :, begin:end]
    if end - begin < high:
        before = min(max(-above, 0), high)
        rows = F.pad(rows, (0, 0, before, high - (end - begin) - before))
    return patches(rows, kernel, (0, pad[1]))


def _product(rows, filters, bias, out):
    """out = rows (places, K) times filters (outputs, K) transposed, and the bias."""
    outputs, deep = filters.shape
    wide = rows.dtype in (torch.float32, torch.float64)     # whose partial sums lose nothing
    if rows.is_cuda and wide and outputs <= FEW and deep >= DEEP and deep % PARTS == 0:
        sums = in_parts(rows, filters)
        out.copy_(sums) if bias is None else torch.add(sums, bias, out=out)
    elif bias is None:
        torch.mm(rows, filters.t(), out=out)
    else:
        torch.addmm(bias, rows, filters.t(), out=out)


def in_parts(rows, filters):
    """rows (places, K) times filters (outputs, K) transposed. So few outputs occupy few of a GPU's
    processors, so K is cut into PARTS, which are summed side by side."""
    outputs, deep = filters.shape
    each = deep // PARTS
    return torch.bmm(rows.view(len(rows), PARTS, each).transpose(0, 1),
                     filters.view(outputs, PARTS, each).permute(1, 2, 0)).sum(0)


def _is_view(kernel, pad):
    """Whether the windows are the image."""
    return max(*kernel, *pad) == 1 > max(pad)


def _windows(x, kernel, pad):
    return x.permute(0, 2, 3, 1).contiguous() if _is_view(kernel, pad) else patches(x, kernel, pad)


def _matrix(weight):
    """Filters as rows in the order of the windows' values: of channels_last ones a view."""
    return weight.permute(0, 2, 3, 1).flatten(1)
