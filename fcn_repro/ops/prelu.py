"""PReLU with gradients in one pass, on the CPU: fake kernel, twin."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import checked
from .registration import fake_kernel


@checked
def prelu_backward(grad: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of a PReLU with a slope for each channel.

    grad, x: (N, C, H, W), copied unless they are in channels_last; slope: (C,); of float32 on the
    CPU. Returns that of x, in channels_last, and that of slope. Has no gradients of its own.
    FcnError on bad arguments.
    """
    return torch.ops.fcn_repro.prelu_backward(grad, x, slope)


def prelu_backward_ref(grad, x, slope):
    """The twin of prelu_backward that defines it."""
    return (torch.where(x > 0, grad, slope.view(-1, 1, 1) * grad),
            torch.where(x > 0, 0, x * grad).sum((0, 2, 3)))


@fake_kernel('prelu_backward')
def _(grad, x, slope):
    return torch.empty_like(x, memory_format=torch.channels_last), torch.empty_like(slope)


def prelu(x, slope):
    """F.prelu, with gradients of any order; of float32 on the CPU in channels_last the first ones
    are prelu_backward's."""
    if torch.is_grad_enabled() and x.is_cpu and x.dtype == slope.dtype == torch.float32 \
            and slope.dim() == 1 and x.dim() == 4 \
            and x.is_contiguous(memory_format=torch.channels_last):
        return Prelu.apply(x, slope)
    return F.prelu(x, slope)


class Prelu(torch.autograd.Function):
    """prelu."""

    @staticmethod
    def forward(ctx, x, slope):
        ctx.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(ctx, grad):
        x, slope = ctx.saved_tensors
        if torch.is_grad_enabled():         # someone goes backward through this
            return prelu_backward_ref(grad, x, slope)
        return prelu_backward(grad, x, slope)
