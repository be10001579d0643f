"""Bilinear resizing with aligned corners (Caffe's Interp), and argmax or softmax loss over the
classes, without storing the scores."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import Pair, checked
from .reduced import (
    argmax_of,
    fake_labels,
    fake_loss,
    mode_of,
    register_loss,
    softmax_loss_of,
)
from .registration import fake_kernel
from .taps import tap_dtype


@checked
def interp_argmax(x: Tensor, size: Pair, dtype: torch.dtype = torch.uint8,
                  probability: bool = False) -> Tensor | tuple[Tensor, Tensor]:
    """The class with the largest score at each pixel of x resized to `size` with aligned corners.

    x: (N, C, H, W), float32, float64, float16 or bfloat16, with C at least 1, and at most 256 for
    uint8. size: pair (y, x). Returns labels (N, *size) of `dtype`, uint8 or int64: the lowest class
    on ties, the first NaN before any number. With `probability` (labels, p): p (N, *size) in
    float32, the winner's softmax probability. Scores are computed in float32 or float64, also for
    16-bit x. No gradients. FcnError on bad arguments.
    """
    labels, p = torch.ops.fcn_repro.interp_argmax(x.detach(), size, dtype, probability)
    return (labels, p) if probability else labels


def interp_argmax_ref(x, size, dtype=torch.uint8, probability=False):
    """The twin of interp_argmax that defines it."""
    return argmax_of(resized(x, size), dtype, probability)


@checked
def interp_softmax_loss(x: Tensor, label: Tensor, normalization: str = 'VALID',
                        ignore_label: int | None = None, weight: Tensor | None = None,
                        mask: Tensor | None = None, check: bool = True) -> Tensor:
    """Caffe's SoftmaxWithLoss of x resized to label.shape[1:] with aligned corners, a scalar.

    x as interp_argmax's; the others, the result, its gradient and the errors as those of
    reduced.upcrop_softmax_loss.
    """
    gradient = torch.is_grad_enabled() and x.requires_grad
    return torch.ops.fcn_repro.interp_softmax_loss(
        x, label, mode_of(normalization), ignore_label, weight, mask, gradient, check)[0]


def interp_softmax_loss_ref(x, label, normalization='VALID', ignore_label=None, weight=None,
                            mask=None):
    """The twin of interp_softmax_loss that defines it, without the clamp and for labels in range.
    """
    return softmax_loss_of(resized(x, label.shape[1:]), label, normalization, ignore_label, weight,
                           mask)


def resized(x, size):
    """The scores, in the type of the sums."""
    return F.interpolate(x.to(tap_dtype(x.dtype)), tuple(size), mode='bilinear', align_corners=True)


@fake_kernel('interp_argmax')
def _(x, size, dtype, probability):
    return fake_labels(x, size, dtype, probability)


@fake_kernel('interp_softmax_loss')
def _(x, label, normalization, ignore_label, weight, mask, gradient, check):
    return fake_loss(x, gradient)


register_loss('interp_softmax_loss', 8, weight=4, gradient=6)
