"""1x1 convolutions as matrix products on the CPU: with what follows, and with gradients; fake
kernels, twins."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import CONSTANTS, checked
from .registration import fake_kernel, register_bilinear

PANEL = CONSTANTS['gemm_panel']
VECTOR = CONSTANTS['gemm_vector']     # float32 numbers in a row of a product, at least


@checked
def pointwise_filters(weight: Tensor) -> Tensor:
    """Filters (C_out, C, 1, 1) of float32 on the CPU as pointwise takes them. FcnError on bad
    arguments."""
    return torch.ops.fcn_repro.pointwise_filters(weight)


@checked
def pointwise(x: Tensor, filters: Tensor, outputs: int, bias: Tensor | None = None,
              other: Tensor | None = None, slope: Tensor | None = None, relu: bool = False
              ) -> Tensor:
    """A 1x1 convolution, plus another blob, and a ReLU or PReLU of that, without gradients.

    x: (N, C, H, W); filters: what pointwise_filters made of (outputs, C, 1, 1); bias, slope:
    (outputs,) or None; other: (N, outputs, H, W) or None; all of float32 on the CPU. x and other
    are copied unless they are in channels_last. relu: take the ReLU; slope: the PReLU's of each
    channel. Returns (N, outputs, H, W) in channels_last; a sum is in the order of the channels,
    whatever the shape is. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.pointwise(x, filters, outputs, bias, other, slope, relu)


def pointwise_ref(x, weight, bias=None, other=None, slope=None, relu=False):
    """The twin of pointwise, of the filters themselves, that defines it."""
    return rectified(F.conv2d(x, weight, bias), other, slope, relu)


@checked
def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 1x1 convolution with stride 1, whose gradients are quick.

    x: (N, C, H, W), weight (C_out, C, 1, 1), bias (C_out,) or None, of float32 on the CPU; C or
    C_out is a multiple of VECTOR. x is copied unless it is in channels_last. Returns (N, C_out, H,
    W) in channels_last. Has gradients of any order. FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.conv1x1(x, weight, bias)


def conv1x1_ref(x, weight, bias=None):
    """The twin of conv1x1 that defines it."""
    return F.conv2d(x, weight, bias)


def rectified(y, other=None, slope=None, relu=False):
    """y plus another blob, and the ReLU or PReLU of it; y is overwritten. Of 16 bits, the ReLU
    alone is taken in them."""
    if other is not None:
        y = y.add_(other) if y.dtype == other.dtype else y + other
    if slope is not None:
        y = F.prelu(y.to(slope.dtype), slope)
    return y.relu_() if relu else y


@fake_kernel('pointwise_filters')
def _(weight):
    return weight.new_empty(-(-weight.shape[0] // PANEL), weight.shape[1], PANEL)


@fake_kernel('pointwise')
def _(x, filters, outputs, bias, other, slope, relu):
    return torch.empty(x.shape[0], outputs, *x.shape[2:], dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@fake_kernel('conv1x1')
def _(x, weight, bias):
    return torch.empty(x.shape[0], weight.shape[0], *x.shape[2:], dtype=x.dtype, device=x.device,
                       memory_format=torch.channels_last)


@fake_kernel('conv1x1_input')
def _(grad, weight):
    return torch.empty(grad.shape[0], weight.shape[1], *grad.shape[2:], dtype=grad.dtype,
                       device=grad.device, memory_format=torch.channels_last)


@fake_kernel('conv1x1_weight')
def _(grad, x):
    return x.new_empty(grad.shape[1], x.shape[1], 1, 1)


register_bilinear(
    ('conv1x1', 'conv1x1_input', 'conv1x1_weight'),
    lambda x, weight, _: torch.ops.fcn_repro.conv1x1(x, weight, None),
    lambda grad, weight, _: torch.ops.fcn_repro.conv1x1_input(grad, weight),
    lambda grad, x, _: torch.ops.fcn_repro.conv1x1_weight(grad, x))
