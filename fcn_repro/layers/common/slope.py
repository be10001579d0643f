"""Gradients that Caffe defines independently of the forward value."""

import torch


def with_slope(value, x, slope):
    """`value`, of x's shape, with `slope` as its gradient for x instead of the derivative."""
    return WithSlope.apply(x, value.detach(), slope.detach())


class WithSlope(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, value, slope):
        ctx.save_for_backward(slope)
        return value

    @staticmethod
    def backward(ctx, grad):
        slope, = ctx.saved_tensors
        return grad * slope, None, None
