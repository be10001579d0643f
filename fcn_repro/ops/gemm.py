"""Convolution as matrix products that read the filters in place: gradients, fake kernels, twin.

For layers with many filters and few output positions, as VGG16's fc6 with its 411 MB: a library
that repacks filters does so in every call.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import CONSTANTS, Pair, checked
from .registration import fake_kernel, register_bilinear

CHANNELS = CONSTANTS['gemm_channels']       # input channels are multiples of it


@checked
def conv_gemm(x: Tensor, weight: Tensor, bias: Tensor | None, pad: Pair = (0, 0)) -> Tensor:
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


@fake_kernel('conv_gemm')
def _(x, weight, bias):
    return x.new_empty(x.shape[0], weight.shape[0], *_outside(x.shape[2:], weight.shape[2:], -1))


def _last(like, *shape):
    return torch.empty(shape, dtype=like.dtype, device=like.device,
                       memory_format=torch.channels_last)


@fake_kernel('conv_gemm_input')
def _(grad, weight):
    return _last(grad, grad.shape[0], weight.shape[1],
                 *_outside(grad.shape[2:], weight.shape[2:], 1))


@fake_kernel('conv_gemm_weight')
def _(grad, x):
    return _last(x, grad.shape[1], x.shape[1], *_outside(x.shape[2:], grad.shape[2:], -1))


register_bilinear(
    ('conv_gemm', 'conv_gemm_input', 'conv_gemm_weight'),
    lambda x, weight, _: torch.ops.fcn_repro.conv_gemm(x, weight, None),
    lambda grad, weight, _: torch.ops.fcn_repro.conv_gemm_input(grad, weight),
    lambda grad, x, _: torch.ops.fcn_repro.conv_gemm_weight(grad, x))
