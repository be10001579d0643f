"""3x3 convolution with stride 1 by Winograd's algorithm: gradients, fake kernels, reference twin.

A tile of 4x4 outputs takes 36 products per pair of channels, where direct summation takes 144
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Its rounding error is
twice that of summation in order, which torch does in channels_last; see csrc/winograd_math.h. It
also depends on the position within the tile, whereas direct summation gives equal outputs for equal
inputs. Therefore the forward pass is a direct sum wherever gradients are wanted: ReLU signs and
pooling maxima are then decided as in Caffe. On CUDA the gradient of the filters is torch's too.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import CONSTANTS, Pair, checked
from .registration import fake_kernel, register_bilinear

CHANNELS = CONSTANTS['winograd_channels']   # input and output channels are multiples of it
MOST_PAD = CONSTANTS['winograd_max_pad']    # with more, the gradient would need a negative pad
TILE = CONSTANTS['winograd_tile']           # outputs along a side of a tile
POINTS = CONSTANTS['winograd_points']       # products of a tile
PANEL = CONSTANTS['gemm_panel']             # operands in a row of packed filters
BF16_CHANNELS = CONSTANTS['bf16_channels']  # per operand


@checked
def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None, pad: Pair) -> Tensor:
    """A convolution with stride 1 of 3x3 filters, whose gradients are quick.

    x: (N, C, H, W), weight (C_out, C, 3, 3), bias (C_out,) or None, of float32; C and C_out are
    multiples of CHANNELS. pad: a pair (y, x), up to MOST_PAD. Returns (N, C_out, H + 2 pad_y - 2,
    W + 2 pad_x - 2) in channels_last. Has gradients of any order. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.conv3x3(x, weight, bias, pad)


def conv3x3_ref(x, weight, bias, pad):
    """The twin of conv3x3 that defines it."""
    return F.conv2d(x, weight, bias, padding=pad)


@checked
def winograd_filters(weight: Tensor) -> Tensor:
    """Filters (C_out, C, 3, 3) at the 36 points, as winograd takes them on their device: four times
    as many numbers; of float32, or on a CPU that multiplies it bfloat16. FcnError on bad arguments.
    """
    if weight.dim() != 4:
        raise ValueError(f'winograd_filters: weight has {weight.dim()} axes, expected 4.')
    return torch.ops.fcn_repro.winograd_filters(weight.permute(2, 3, 1, 0))


@checked
def winograd(x: Tensor, filters: Tensor, outputs: int, bias: Tensor | None, pad: Pair) -> Tensor:
    """conv3x3 by Winograd's algorithm, of what winograd_filters made of `outputs` filters, and
    without gradients. x and bias are of their type and on their device."""
    return torch.ops.fcn_repro.winograd(x, filters, outputs, bias, pad)


@checked
def block_filters(weight: Tensor) -> Tensor:
    """Filters (C_out, C, k_y, k_x) at the points as winograd_blocks takes them: those of each block
    of 3x3 taps, row by row, with zeros beyond the edge of the kernel. FcnError on bad arguments."""
    outputs, channels, *kernel = weight.shape
    blocks = [-(-k // 3) for k in kernel]
    ends = [3 * n - k for n, k in zip(blocks, kernel, strict=True)]
    taps = F.pad(weight, (0, ends[1], 0, ends[0])).reshape(outputs, channels, blocks[0], 3,
                                                           blocks[1], 3)
    taps = taps.permute(0, 2, 4, 1, 3, 5).reshape(outputs, -1, 3, 3)
    return winograd_filters(taps)


@checked
def winograd_blocks(x: Tensor, filters: Tensor, outputs: int, bias: Tensor | None, kernel: Pair,
                    pad: Pair) -> Tensor:
    """A convolution with stride 1 and a kernel of any size as the sum of those of its blocks of 3x3
    taps, by Winograd's algorithm, on the CPU and without gradients.

    x: (N, C, H, W); filters: what block_filters made of (outputs, C, *kernel); bias: (outputs,) or
    None; of float32, or bfloat16 where the processor multiplies it. C and outputs are multiples of
    CHANNELS. pad: a pair (y, x), under the kernel. Returns (N, outputs, H + 2 pad_y - k_y + 1,
    W + 2 pad_x - k_x + 1) in channels_last. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.winograd_blocks(x, filters, outputs, bias, kernel, pad)


def _empty(x, channels, pad, kernel=(3, 3)):
    height, width = (size + 2 * p - k + 1
                     for size, p, k in zip(x.shape[2:], pad, kernel, strict=True))
    return torch.empty(x.shape[0], channels, height, width, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@fake_kernel('conv3x3')
def _(x, weight, bias, pad):
    return _empty(x, weight.shape[0], pad)


@fake_kernel('conv3x3_input')
def _(grad, weight, pad):
    return _empty(grad, weight.shape[1], [2 - p for p in pad])


@fake_kernel('conv3x3_weight')
def _(grad, x, pad):
    return torch.empty(grad.shape[1], x.shape[1], 3, 3, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@fake_kernel('winograd_filters')
def _(taps):
    if taps.device.type == 'cuda':
        return taps.new_empty(POINTS, *taps.shape[2:])
    per = 1 if taps.dtype == torch.float32 else BF16_CHANNELS
    return taps.new_empty(POINTS, -(-taps.shape[3] // PANEL), taps.shape[2] // per, PANEL * per)


@fake_kernel('winograd')
def _(x, filters, outputs, bias, pad):
    return _empty(x, outputs, pad)


@fake_kernel('winograd_blocks')
def _(x, filters, outputs, bias, kernel, pad):
    return _empty(x, outputs, pad, kernel)


register_bilinear(
    ('conv3x3', 'conv3x3_input', 'conv3x3_weight'),
    lambda x, weight, pad: torch.ops.fcn_repro.conv3x3(x, weight, None, pad),
    lambda grad, weight, pad: torch.ops.fcn_repro.conv3x3_input(grad, weight, pad),
    lambda grad, x, pad: torch.ops.fcn_repro.conv3x3_weight(grad, x, pad),
    lambda grad, x, weight, further: further[0])            # the pad
