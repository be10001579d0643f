"""3x3 convolution with stride 1 by Winograd's algorithm: gradients, fake kernels, reference twin.

A tile of 4x4 outputs takes 36 products per pair of channels, where direct summation takes 144
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). Its rounding error is
twice that of summation in order, which torch does in channels_last; see
csrc/cpu/conv/winograd_transforms.h. It also depends on the position within the tile, whereas direct
summation gives equal outputs for equal inputs. Therefore the forward pass is a direct sum wherever
gradients are wanted: ReLU signs and pooling maxima are then decided as in Caffe.
"""

import torch
import torch.nn.functional as F

from .extension import CONSTANTS, checked, refuse_devices

CHANNELS = CONSTANTS['winograd_channels']   # input and output channels are multiples of it
MOST_PAD = CONSTANTS['winograd_max_pad']    # with more, the gradient would need a negative pad
TILE = CONSTANTS['winograd_tile']           # outputs along a side of a tile
POINTS = CONSTANTS['winograd_points']       # products of a tile
PANEL = CONSTANTS['gemm_panel']             # operands in a row of packed filters
BF16_CHANNELS = CONSTANTS['bf16_channels']  # per operand


@checked
def conv3x3(x, weight, bias, pad):
    """A convolution with stride 1 of 3x3 filters on the CPU, whose gradients are quick.

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
    """Filters (C_out, C, 3, 3) at the 36 points, as winograd takes them: four times as many
    numbers; of float32, or bfloat16 where the processor multiplies it. FcnError on bad arguments.
    """
    if weight.dim() != 4:
        raise ValueError(f'winograd_filters: weight has {weight.dim()} axes, expected 4.')
    return torch.ops.fcn_repro.winograd_filters(weight.permute(2, 3, 1, 0))


@checked
def winograd(x, filters, outputs, bias, pad):
    """conv3x3 by Winograd's algorithm, of what winograd_filters made of `outputs` filters, and
    without gradients. x and bias are of their type, float32 or bfloat16."""
    return torch.ops.fcn_repro.winograd(x, filters, outputs, bias, pad)


def _empty(x, channels, pad):
    height, width = (size + 2 * p - 2 for size, p in zip(x.shape[2:], pad))
    return torch.empty(x.shape[0], channels, height, width, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@torch.library.register_fake('fcn_repro::conv3x3')
def _(x, weight, bias, pad):
    refuse_devices('conv3x3', x, weight=weight, bias=bias)
    return _empty(x, weight.shape[0], pad)


@torch.library.register_fake('fcn_repro::conv3x3_input')
def _(grad, weight, pad):
    refuse_devices('conv3x3_input', grad, weight=weight)
    return _empty(grad, weight.shape[1], [2 - p for p in pad])


@torch.library.register_fake('fcn_repro::conv3x3_weight')
def _(grad, x, pad):
    refuse_devices('conv3x3_weight', grad, x=x)
    return torch.empty(grad.shape[1], x.shape[1], 3, 3, dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@torch.library.register_fake('fcn_repro::winograd_filters')
def _(taps):
    per = 1 if taps.dtype == torch.float32 else BF16_CHANNELS
    return taps.new_empty(POINTS, -(-taps.shape[3] // PANEL), taps.shape[2] // per, PANEL * per)


@torch.library.register_fake('fcn_repro::winograd')
def _(x, filters, outputs, bias, pad):
    refuse_devices('winograd', x, filters=filters, bias=bias)
    return _empty(x, outputs, pad)


# The three ops are sums of one product of three tensors, so each is in the others' gradients.

def _scores(x, weight, pad, wanted=True):
    return torch.ops.fcn_repro.conv3x3(x, weight, None, pad) if wanted else None


def _input(grad, weight, pad, wanted=True):
    return torch.ops.fcn_repro.conv3x3_input(grad, weight, pad) if wanted else None


def _weight(grad, x, pad, wanted=True):
    return torch.ops.fcn_repro.conv3x3_weight(grad, x, pad) if wanted else None


def _keep(ctx, inputs, output):
    ctx.pad = inputs[-1]
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, grad):
    (x, weight), (to_x, to_weight, to_bias, _) = ctx.saved_tensors, ctx.needs_input_grad
    return (_input(grad, weight, ctx.pad, to_x), _weight(grad, x, ctx.pad, to_weight),
            grad.sum((0, 2, 3)) if to_bias else None, None)


def _input_backward(ctx, x):
    (grad, weight), (to_grad, to_weight, _) = ctx.saved_tensors, ctx.needs_input_grad
    return _scores(x, weight, ctx.pad, to_grad), _weight(grad, x, ctx.pad, to_weight), None


def _weight_backward(ctx, weight):
    (grad, x), (to_grad, to_x, _) = ctx.saved_tensors, ctx.needs_input_grad
    return _scores(x, weight, ctx.pad, to_grad), _input(grad, weight, ctx.pad, to_x), None


for _op, _gradient in (('conv3x3', _backward), ('conv3x3_input', _input_backward),
                       ('conv3x3_weight', _weight_backward)):
    torch.library.register_autograd(f'fcn_repro::{_op}', _gradient, setup_context=_keep)
