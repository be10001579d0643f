"""Convolution of 3x3 filters with stride 1 by Winograd's algorithm: gradients, fake kernels, twin.

A tile of 4x4 outputs takes 36 products a pair of channels, where the sum itself takes 144 (Lavin
and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Its rounding error is twice
that of a sum in order, as torch's own is in channels_last: csrc/cpu/winograd.h.
"""

import torch
import torch.nn.functional as F

from . import extension  # noqa: F401  the ops have to be registered first
from .extension import checked, refuse_devices

CHANNELS = 16           # bottom and top have a multiple of these
MOST_PAD = 2            # with more, the gradient would be a convolution with a pad under 0


@checked
def conv3x3(x, weight, bias, pad):
    """A convolution with stride 1 of 3x3 filters, on the CPU.

    x: (N, C, H, W), weight (C_out, C, 3, 3), bias (C_out,) or None, of float32; C and C_out are
    multiples of CHANNELS. pad: a pair (y, x), up to MOST_PAD. Returns (N, C_out, H + 2 pad_y - 2,
    W + 2 pad_x - 2) in channels_last. Has gradients of any order. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.conv3x3(x, weight, bias, pad)


def conv3x3_ref(x, weight, bias, pad):
    """The twin of conv3x3 that defines it."""
    return F.conv2d(x, weight, bias, padding=pad)


@checked
def winograd_filters(weight):
    """Filters (C_out, C, 3, 3) of float32 at the 36 points, as winograd takes them: four times as
    many numbers. FcnError on bad arguments."""
    if weight.dim() != 4:
        raise ValueError(f'winograd_filters: weight has {weight.dim()} axes, expected 4.')
    return torch.ops.fcn_repro.winograd_filters(weight.permute(2, 3, 1, 0))


@checked
def winograd(x, filters, outputs, bias, pad):
    """conv3x3 of filters that winograd_filters made of `outputs` filters; without gradients."""
    return torch.ops.fcn_repro.winograd(x, filters, outputs, bias, pad)


def _empty(x, channels, pad):
    height, width = (size + 2 * p - 2 for size, p in zip(x.shape[2:], pad))
    return torch.empty(x.shape[0], channels, height, width, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@torch.library.register_fake('fcn_repro::conv3x3')
def _(x, weight, bias, pad):
    refuse_devices('conv3x3', x, weight=weight, bias=bias)
    return _empty(x, weight.shape[0], pad)


@torch.library.register_fake('fcn_repro::conv3x3_gradient')
def _(grad, x, pad):
    refuse_devices('conv3x3_gradient', grad, x=x)
    return torch.empty(grad.shape[1], x.shape[1], 3, 3, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@torch.library.register_fake('fcn_repro::winograd_filters')
def _(taps):
    return taps.new_empty(36, -(-taps.shape[3] // 32), taps.shape[2], 32)


@torch.library.register_fake('fcn_repro::winograd')
def _(x, filters, outputs, bias, pad):
    refuse_devices('winograd', x, filters=filters, bias=bias)
    return _empty(x, outputs, pad)


def _to_input(grad, weight, pad):
    """The gradient of x: the transposed convolution, which is one with turned filters."""
    return torch.ops.fcn_repro.conv3x3(grad, weight.flip(2, 3).transpose(0, 1), None,
                                       [2 - p for p in pad])


def _keep(ctx, inputs, output):
    x, weight, _, ctx.pad = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx, grad):
    (x, weight), (to_x, to_weight, to_bias, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (_to_input(grad, weight, ctx.pad) if to_x else None,
            torch.ops.fcn_repro.conv3x3_gradient(grad, x, ctx.pad) if to_weight else None,
            grad.sum(3).sum((0, 2)) if to_bias else None, None)     # at once it is 10 times off


def _keep_gradient(ctx, inputs, output):
    grad, x, ctx.pad = inputs
    ctx.save_for_backward(grad, x)


def _gradient_backward(ctx, weight):
    (grad, x), (to_grad, to_x, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (torch.ops.fcn_repro.conv3x3(x, weight, None, ctx.pad) if to_grad else None,
            _to_input(grad, weight, ctx.pad) if to_x else None, None)


torch.library.register_autograd('fcn_repro::conv3x3', _backward, setup_context=_keep)
torch.library.register_autograd('fcn_repro::conv3x3_gradient', _gradient_backward,
                                setup_context=_keep_gradient)
