"""Bilinear resizing with aligned corners (Caffe's Interp), and argmax or softmax loss over the
classes, without storing the scores."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FcnError
from .extension import Pair, checked
from .reduced import NORMALIZATIONS
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
    scores = resized(x, size)
    labels = scores.argmax(1, keepdim=True)
    if not probability:
        return labels[:, 0].to(dtype)
    return labels[:, 0].to(dtype), scores.softmax(1).gather(1, labels)[:, 0].float()


@checked
def interp_softmax_loss(x: Tensor, label: Tensor, normalization: str = 'VALID',
                        ignore_label: int | None = None, weight: Tensor | None = None,
                        mask: Tensor | None = None, check: bool = True) -> Tensor:
    """Caffe's SoftmaxWithLoss of x resized to label.shape[1:] with aligned corners, a scalar.

    x as interp_argmax's; the others, the result, its gradient and the errors as those of
    reduced.upcrop_softmax_loss.
    """
    if normalization not in NORMALIZATIONS:
        raise FcnError(f"normalization '{normalization}'", do=f'Give one of {NORMALIZATIONS}.')
    gradient = torch.is_grad_enabled() and x.requires_grad
    return torch.ops.fcn_repro.interp_softmax_loss(
        x, label, NORMALIZATIONS.index(normalization), ignore_label, weight, mask, gradient,
        check)[0]


def interp_softmax_loss_ref(x, label, normalization='VALID', ignore_label=None, weight=None,
                            mask=None):
    """The twin of interp_softmax_loss that defines it, without the clamp and for labels in range.
    """
    scores, label = resized(x, label.shape[1:]), label.long()
    valid = torch.ones_like(label, dtype=torch.bool) if mask is None else mask
    if ignore_label is not None:
        valid = valid & (label != ignore_label)
    own = label.masked_fill(~valid, 0).unsqueeze(1)
    lost = -scores.log_softmax(1).gather(1, own)[:, 0]
    if weight is not None:
        lost = lost * weight[own[:, 0]]
    count = {'VALID': int(valid.sum()), 'FULL': label.numel(), 'BATCH_SIZE': len(label),
             'NONE': 1}[normalization]
    return lost[valid].sum() / max(1, count)


def resized(x, size):
    """The scores, in the type of the sums."""
    return F.interpolate(x.to(tap_dtype(x.dtype)), tuple(size), mode='bilinear', align_corners=True)


@fake_kernel('interp_argmax')
def _(x, size, dtype, probability):
    labels = x.new_empty((x.shape[0], *size), dtype=dtype)
    return labels, x.new_empty(labels.shape if probability else (0,), dtype=torch.float32)


@fake_kernel('interp_softmax_loss')
def _(x, label, normalization, ignore_label, weight, mask, gradient, check):
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    wide = tap_dtype(x.dtype)
    grad = torch.empty(x.shape, dtype=wide, device=x.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)
    return x.new_empty((), dtype=wide), grad if gradient else x.new_empty(0, dtype=wide)


def _keep_gradient(ctx, inputs, output):
    if inputs[4] is not None and inputs[4].requires_grad:
        raise ValueError('interp_softmax_loss: weight requires a gradient, but is a constant. '
                         'Detach it.')
    ctx.set_materialize_grads(False)
    ctx.known, ctx.dtype = inputs[6], inputs[0].dtype
    ctx.save_for_backward(output[1])


def _scale_gradient(ctx, loss, second):
    if second is not None:
        raise ValueError('interp_softmax_loss has no second derivative.')
    if not ctx.known:
        raise ValueError('interp_softmax_loss was asked for no gradient.')
    kept, = ctx.saved_tensors
    return None if loss is None else (kept * loss).to(ctx.dtype), *[None] * 7


torch.library.register_autograd('fcn_repro::interp_softmax_loss', _scale_gradient,
                                setup_context=_keep_gradient)
