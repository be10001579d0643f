"""Convolution as matrix products that read the filters where they are: gradients, fakes, twin.

For layers with many filters and few places to use them, as VGG16's fc6 with its 411 MB: a library
that wants filters in an order of its own lays them out in every call.
"""

import torch
import torch.nn.functional as F

from .extension import CONSTANTS, checked, refuse_devices

CHANNELS = CONSTANTS['gemm_channels']       # input channels are multiples of it


@checked
def conv_gemm(x, weight, bias, pad=(0, 0)):
    """A convolution with stride 1, on the CPU.

    x: (N, C, H, W), weight (C_out, C, k_y, k_x), which is copied unless it is in channels_last, and
    bias (C_out,) or None, of float32; C is a multiple of CHANNELS. pad: a pair (y, x). Returns
    (N, C_out, H + 2 pad_y - k_y + 1, W + 2 pad_x - k_x + 1), contiguous. Has gradients of any
    order. FcnError on bad arguments.
    """
    if x.dim() != 4 or len(pad) != 2 or min(pad) < 0:
        raise ValueError(f'conv_gemm: x of {x.dim()} axes and pad {pad}, expected 4 axes and two '
                         'numbers of at least 0.')
    return torch.ops.fcn_repro.conv_gemm(F.pad(x, (pad[1], pad[1], pad[0], pad[0])), weight, bias)


def conv_gemm_ref(x, weight, bias, pad=(0, 0)):
    """The twin of conv_gemm that defines it."""
    return F.conv2d(x, weight, bias, padding=pad)


def _outside(size, kernel, sign):
    return [a + sign * (b - 1) for a, b in zip(size, kernel)]


@torch.library.register_fake('fcn_repro::conv_gemm')
def _(x, weight, bias):
    refuse_devices('conv_gemm', x, weight=weight, bias=bias)
    return x.new_empty(x.shape[0], weight.shape[0], *_outside(x.shape[2:], weight.shape[2:], -1))


def _last(like, *shape):
    return torch.empty(shape, dtype=like.dtype, device=like.device,
                       memory_format=torch.channels_last)


@torch.library.register_fake('fcn_repro::conv_gemm_input')
def _(grad, weight):
    refuse_devices('conv_gemm_input', grad, weight=weight)
    return _last(grad, grad.shape[0], weight.shape[1],
                 *_outside(grad.shape[2:], weight.shape[2:], 1))


@torch.library.register_fake('fcn_repro::conv_gemm_weight')
def _(grad, x):
    refuse_devices('conv_gemm_weight', grad, x=x)
    return _last(x, grad.shape[1], x.shape[1], *_outside(x.shape[2:], grad.shape[2:], -1))


# The three ops are sums of one product of three tensors, so each is in the others' gradients.

def _scores(x, weight, wanted=True):
    return torch.ops.fcn_repro.conv_gemm(x, weight, None) if wanted else None


def _input(grad, weight, wanted=True):
    return torch.ops.fcn_repro.conv_gemm_input(grad, weight) if wanted else None


def _weight(grad, x, wanted=True):
    return torch.ops.fcn_repro.conv_gemm_weight(grad, x) if wanted else None


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, grad):
    (x, weight), (to_x, to_weight, to_bias) = ctx.saved_tensors, ctx.needs_input_grad
    return (_input(grad, weight, to_x), _weight(grad, x, to_weight),
            grad.sum((0, 2, 3)) if to_bias else None)


def _input_backward(ctx, x):
    (grad, weight), (to_grad, to_weight) = ctx.saved_tensors, ctx.needs_input_grad
    return _scores(x, weight, to_grad), _weight(grad, x, to_weight)


def _weight_backward(ctx, weight):
    (grad, x), (to_grad, to_x) = ctx.saved_tensors, ctx.needs_input_grad
    return _scores(x, weight, to_grad), _input(grad, weight, to_x)


for _op, _gradient in (('conv_gemm', _backward), ('conv_gemm_input', _input_backward),
                       ('conv_gemm_weight', _weight_backward)):
    torch.library.register_autograd(f'fcn_repro::{_op}', _gradient, setup_context=_keep)
