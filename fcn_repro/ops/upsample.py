"""Upsampling and crop, optionally plus a skip: gradients, fake kernels, reference twins."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import Pair, checked, refuse_gradients
from .registration import fake_kernel


@checked
def upcrop(x: Tensor, taps_y: Tensor, taps_x: Tensor, stride: Pair, pad: Pair, offset: Pair,
           size: Pair) -> Tensor:
    """A deconvolution with one separable kernel for every channel, and the crop after it.

    x: (N, C, H, W), float32, float64, float16 or bfloat16. taps_y (k_y,), taps_x (k_x,): constants
    of tap_dtype(x.dtype) on x's device. stride, pad (of the deconvolution), offset (of the crop),
    size (of the crop): pairs (y, x) in cells. Returns (N, C, *size), channels_last where x is.
    The sums are in float32, or float64 for float64, in one fixed order. Has gradients of any order
    for x, none for the taps. FcnError on bad arguments, among them a crop that leaves the
    deconvolution's output of (H - 1) * stride + k - 2 * pad cells.
    """
    return torch.ops.fcn_repro.upcrop(x, taps_y, taps_x, stride, pad, offset, size)


def upcrop_ref(x, taps_y, taps_x, stride, pad, offset, size):
    """The twin of upcrop that defines it: depthwise conv_transpose2d, then a slice."""
    channels = x.shape[1]
    kernel = torch.outer(taps_y, taps_x).expand(channels, 1, -1, -1)
    whole = F.conv_transpose2d(x.to(kernel.dtype), kernel, None, stride, pad, groups=channels)
    (top, left), (height, width) = offset, size
    return whole[:, :, top:top + height, left:left + width].to(x.dtype)


@checked
def upcrop_add(x: Tensor, taps_y: Tensor, taps_x: Tensor, stride: Pair, pad: Pair, offset: Pair,
               size: Pair, skip: Tensor, skip_offset: Pair) -> Tensor:
    """upcrop(x, …) + skip[:, :, top:top + size[0], left:left + size[1]] in one pass, with
    (top, left) = skip_offset.

    skip: (N, C, H', W') of x's type and device. Returns (N, C, *size). Has gradients of any order
    for x and skip; the sum is rounded once. FcnError on bad arguments, among them a window that
    leaves the skip.
    """
    return torch.ops.fcn_repro.upcrop_add(x, taps_y, taps_x, stride, pad, offset, size, skip,
                                          skip_offset)


def upcrop_add_ref(x, taps_y, taps_x, stride, pad, offset, size, skip, skip_offset):
    """The twin of upcrop_add that defines it."""
    wide = taps_y.dtype
    up = upcrop_ref(x.to(wide), taps_y, taps_x, stride, pad, offset, size)
    (top, left), (height, width) = skip_offset, size
    return (up + skip[:, :, top:top + height, left:left + width].to(wide)).to(x.dtype)


def empty(like, size):
    """An uninitialised (N, C, *size) like another (N, C, H, W), in the memory format of the
    kernels' results."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return torch.empty(*like.shape[:2], *size, dtype=like.dtype, device=like.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)


@fake_kernel('upcrop')
def _(x, taps_y, taps_x, stride, pad, offset, size):
    return empty(x, size)


@fake_kernel('upcrop_backward')
def _(grad, taps_y, taps_x, stride, pad, offset, in_size):
    return empty(grad, in_size)


def _keep(ctx, inputs, output):
    x, taps_y, taps_x, ctx.stride, ctx.pad, ctx.offset, _ = inputs
    refuse_gradients(taps_y, taps_x)
    ctx.size = x.shape[2:]
    ctx.save_for_backward(taps_y, taps_x)


def _gradient(op):
    """The backward of one of the two ops, which are linear and each other's adjoint."""
    def backward(ctx, grad):
        return op(grad, *ctx.saved_tensors, ctx.stride, ctx.pad, ctx.offset, ctx.size), *[None] * 6
    return backward


torch.library.register_autograd('fcn_repro::upcrop',
                                _gradient(torch.ops.fcn_repro.upcrop_backward),
                                setup_context=_keep)
torch.library.register_autograd('fcn_repro::upcrop_backward',
                                _gradient(torch.ops.fcn_repro.upcrop), setup_context=_keep)


@fake_kernel('upcrop_add')
def _(x, taps_y, taps_x, stride, pad, offset, size, skip, skip_offset):
    return empty(x, size)


def _keep_add(ctx, inputs, output):
    _keep(ctx, inputs[:7], output)
    *_, skip, (top, left) = inputs
    height, width = output.shape[2:]
    ctx.edges = left, skip.shape[3] - left - width, top, skip.shape[2] - top - height


def _gradient_add(ctx, grad):
    x = torch.ops.fcn_repro.upcrop_backward(
        grad, *ctx.saved_tensors, ctx.stride, ctx.pad, ctx.offset,
        ctx.size) if ctx.needs_input_grad[0] else None
    skip = F.pad(grad, ctx.edges) if ctx.needs_input_grad[7] else None
    return x, *[None] * 6, skip, None


torch.library.register_autograd('fcn_repro::upcrop_add', _gradient_add, setup_context=_keep_add)
