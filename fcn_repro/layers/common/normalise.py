"""Batch normalisation as the BN layers of the forks compute it."""

import torch


class Normalise(torch.autograd.Function):
    """slope (x - mean) / sqrt(variance + eps) + bias, whose gradient takes mean and variance for
    the batch's own, taken over the axes in which they have one value."""

    @staticmethod
    def forward(ctx, x, slope, bias, mean, variance, eps):
        inverse = (variance + eps).rsqrt()
        normal = (x - mean) * inverse
        ctx.save_for_backward(normal, slope, inverse)
        return normal * slope + bias

    @staticmethod
    def backward(ctx, grad):
        normal, slope, inverse = ctx.saved_tensors
        axes = [i for i in range(grad.dim()) if i != 1 and inverse.shape[i] == 1]
        count = max(1, normal.numel() // max(1, inverse.numel()))
        shifts = grad.sum(axes, keepdim=True)
        slopes = (grad * normal).sum(axes, keepdim=True)
        x = (grad - (shifts + normal * slopes) / count) * (slope * inverse)
        return x, slopes, shifts, None, None, None


def batch_statistics(x, axes):
    """(mean, biased variance) of x over axes, which are kept; no gradient reaches them."""
    variance, mean = torch.var_mean(x.detach(), axes, correction=0, keepdim=True)
    return mean, variance


class ScaleShift(torch.nn.Module):
    """A factor and a summand for each channel."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer('scale', torch.ones(channels, 1, 1))
        self.register_buffer('shift', torch.zeros(channels, 1, 1))

    def forward(self, x):
        return x * self.scale + self.shift


class StoredBN(torch.nn.Module):
    """Normalisation by stored statistics, a factor and a summand for each channel."""

    def __init__(self, channels, eps, frozen=False):
        super().__init__()
        self.eps, self.frozen = eps, frozen
        for name in 'slope', 'bias', 'mean', 'variance':
            self.register_buffer(name, torch.ones(1, channels, 1, 1))

    def forward(self, x):
        inverse = (self.variance + self.eps).rsqrt()
        if self.frozen:
            return (x - self.mean) * (self.slope * inverse) + self.bias
        return (x - self.mean) * inverse * self.slope + self.bias
