"""Synchronised batch statistics: those of a batch of which each of several processes has a part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ...distributed import Group


def normalised(x: torch.Tensor, eps: float, group: Group) -> tuple[torch.Tensor, torch.Tensor,
                                                                   torch.Tensor]:
    """((x - mean) / sqrt(var + eps), mean, unbiased var) of x (N, C, …), by channel, over the parts
    of all processes of a group. Each calls this at the same place of its pass, and later goes
    backward through it: the gradient is that of the sum of the processes' losses."""
    axes = [i for i in range(x.dim()) if i != 1]
    count = x.numel() // max(1, x.shape[1])
    variance, mean = torch.var_mean(x.detach(), axes, correction=0) if count else \
        (x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1]))
    parts = group.gather_tensor(torch.cat([mean, variance, mean.new_tensor([count])]))
    channels = x.shape[1]
    means, variances, counts = parts[:, :channels], parts[:, channels:-1], parts[:, -1:]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (counts * (variances + (means - mean).square())).sum(0) / total
    unbiased = variance * (total / (total - 1).clamp(min=1))
    return Normalised.apply(x, mean, variance, eps, total, group), mean, unbiased


class Normalised(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) with the gradient through both, which are those of all
    processes. total: the values of a channel, over all of them."""

    @staticmethod
    def forward(ctx, x, mean, variance, eps, total, group):
        wide = (1, -1, *[1] * (x.dim() - 2))
        inverse = (variance + eps).rsqrt()
        y = (x - mean.view(wide)) * inverse.view(wide)
        ctx.save_for_backward(y, inverse, total)
        ctx.group = group
        return y

    @staticmethod
    def backward(ctx, grad):
        y, inverse, total = ctx.saved_tensors
        wide = (1, -1, *[1] * (y.dim() - 2))
        axes = [i for i in range(y.dim()) if i != 1]
        sums = torch.cat([grad.sum(axes), (grad * y).sum(axes)])
        mean, product = (ctx.group.gather_tensor(sums).sum(0) / total).chunk(2)
        x = (grad - mean.view(wide) - y * product.view(wide)) * inverse.view(wide)
        return x, None, None, None, None, None
