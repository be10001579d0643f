"""Recognises weights that are made of 1-D bilinear taps."""

import torch

from ..fillers import bilinear_taps


def tap_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type of taps and accumulators for a tensor of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def recognise_bilinear(weight: torch.Tensor, group: int = 1) -> tuple | None:
    """The pair (taps_y, taps_x) in float64 that a Deconvolution's weight is made of, or None.

    weight: (C, C, k_y, k_x) with group 1 and zeros off the diagonal (the FCN release after
    surgery), or (C, 1, k_y, k_x) with group C (Caffe's bilinear idiom). The result is exact: every
    channel has the same kernel, and the outer product of the taps, rounded to the weight's type,
    equals it to the bit. Besides the bilinear rules it tries one row and column of the kernel,
    which finds any separable kernel whose products are exact.
    """
    kernel = _shared_kernel(weight.detach(), group)
    if kernel is None:
        return None
    for taps_y, taps_x in _factors(kernel):
        if torch.equal(torch.outer(taps_y, taps_x).to(kernel.dtype), kernel):
            return taps_y, taps_x
    return None


def _shared_kernel(weight, group):
    """The (k_y, k_x) kernel that every channel applies only to itself, or None."""
    if weight.dim() != 4:
        return None
    inputs, outputs = weight.shape[:2]
    if group == 1 and inputs == outputs:
        own = weight.diagonal().permute(2, 0, 1)  # (C, k_y, k_x)
        if weight.count_nonzero() != own.count_nonzero():
            return None
    elif group == inputs and outputs == 1:
        own = weight[:, 0]
    else:
        return None
    return own[0] if own.numel() and torch.equal(own, own[:1].expand_as(own)) else None


def _factors(kernel):
    """Pairs of 1-D taps whose outer product may be the kernel."""
    for rule in 'surgery', 'filler':
        yield tuple(bilinear_taps(k, rule).to(kernel.device) for k in kernel.shape)
    exact = kernel.double()
    row, col = divmod(int(exact.abs().argmax()), kernel.shape[1])
    if exact[row, col] != 0:
        yield exact[:, col] / exact[row, col], exact[row]
