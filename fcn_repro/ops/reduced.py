"""Upsampling, crop, and argmax or softmax loss over the classes, without storing the scores."""

import torch
from torch import Tensor

from ..errors import FcnError
from .extension import Pair, checked, refuse_gradients
from .registration import fake_kernel
from .taps import tap_dtype
from .upsample import upcrop_ref

NORMALIZATIONS = 'FULL', 'VALID', 'BATCH_SIZE', 'NONE'


@checked
def upcrop_argmax(x: Tensor, taps_y: Tensor, taps_x: Tensor, stride: Pair, pad: Pair, offset: Pair,
                  size: Pair, dtype: torch.dtype = torch.uint8, probability: bool = False
                  ) -> Tensor | tuple[Tensor, Tensor]:
    """The class with the largest score at each pixel of upcrop(x, …).

    x, taps, stride, pad, offset, size as upcrop's; N, C, H, W with C at least 1, and at most 256
    for uint8. Returns labels (N, *size) of `dtype`, uint8 or int64: the lowest class on ties, the
    first NaN before any number. With `probability` (labels, p): p (N, *size) in float32, the
    winner's softmax probability. The scores are compared as they are summed, in float32 or
    float64, also for 16-bit x. No gradients. FcnError on bad arguments.
    """
    labels, p = torch.ops.fcn_repro.upcrop_argmax(x.detach(), taps_y, taps_x, stride, pad, offset,
                                                  size, dtype, probability)
    return (labels, p) if probability else labels


def upcrop_argmax_ref(x, taps_y, taps_x, stride, pad, offset, size, dtype=torch.uint8,
                      probability=False):
    """The twin of upcrop_argmax that defines it."""
    scores = upcrop_ref(x.to(taps_y.dtype), taps_y, taps_x, stride, pad, offset, size)
    return argmax_of(scores, dtype, probability)


def argmax_of(scores, dtype, probability):
    """What the twins give of scores (N, C, H, W)."""
    labels = scores.argmax(1, keepdim=True)
    if not probability:
        return labels[:, 0].to(dtype)
    p = scores.softmax(1).gather(1, labels)
    return labels[:, 0].to(dtype), p[:, 0].float()


@checked
def upcrop_softmax_loss(x: Tensor, label: Tensor, taps_y: Tensor, taps_x: Tensor, stride: Pair,
                        pad: Pair, offset: Pair, normalization: str = 'VALID',
                        ignore_label: int | None = None, weight: Tensor | None = None,
                        mask: Tensor | None = None, check: bool = True) -> Tensor:
    """Caffe's SoftmaxWithLoss of upcrop(x, …, size=label.shape[1:]) against label, a scalar.

    label: (N, H', W'), uint8, int32, int64, or a float type, truncated as Caffe does. normalization
    as LossParameter's: the sum of -log p is divided by the pixels that take part (VALID), N H' W'
    (FULL), N (BATCH_SIZE) or 1 (NONE), never by less than 1. p is clamped at C's FLT_MIN in the
    loss, not in its gradient. Not Caffe's: weight (C,), which scales the terms of its class and
    leaves the normaliser alone, in tap_dtype; mask (N, H', W'), bool, true where a pixel takes
    part.

    Returns a scalar in tap_dtype(x.dtype), to the same bits for any number of threads. Where x
    requires a gradient it is computed along with the loss, so backward only scales it; there is no
    second derivative. Labels outside 0 … C - 1 raise FcnError; on CUDA that waits for the GPU,
    unless check is false or a graph is being captured: then the loss is NaN.
    """
    gradient = torch.is_grad_enabled() and x.requires_grad
    return torch.ops.fcn_repro.upcrop_softmax_loss(
        x, label, taps_y, taps_x, stride, pad, offset, mode_of(normalization), ignore_label, weight,
        mask, gradient, check)[0]


def mode_of(normalization: str) -> int:
    """The number of a normalization. FcnError for another word."""
    if normalization not in NORMALIZATIONS:
        raise FcnError(f"normalization '{normalization}'", do=f'Give one of {NORMALIZATIONS}.')
    return NORMALIZATIONS.index(normalization)


def upcrop_softmax_loss_ref(x, label, taps_y, taps_x, stride, pad, offset, normalization='VALID',
                            ignore_label=None, weight=None, mask=None):
    """The twin of upcrop_softmax_loss that defines it, without the clamp and for labels in range.
    """
    scores = upcrop_ref(x.to(taps_y.dtype), taps_y, taps_x, stride, pad, offset, label.shape[1:])
    return softmax_loss_of(scores, label, normalization, ignore_label, weight, mask)


def softmax_loss_of(scores, label, normalization, ignore_label, weight, mask):
    """What the twins give of scores (N, C, H, W)."""
    label = label.long()
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


def fake_labels(x, size, dtype, probability):
    """The empty results of an argmax op."""
    labels = x.new_empty((x.shape[0], *size), dtype=dtype)
    return labels, x.new_empty(labels.shape if probability else (0,), dtype=torch.float32)


def fake_loss(x, gradient):
    """The empty results of a loss op."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    wide = tap_dtype(x.dtype)
    grad = torch.empty(x.shape, dtype=wide, device=x.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)
    return x.new_empty((), dtype=wide), grad if gradient else x.new_empty(0, dtype=wide)


def register_loss(name, count, weight, gradient, taps=None):
    """Let backward scale the gradient that a loss op has computed. count: of its inputs; weight,
    gradient: which of them are those; taps: the first of two, if it has some."""
    def keep(ctx, inputs, output):
        if taps is not None:
            refuse_gradients(*inputs[taps:taps + 2])
        if inputs[weight] is not None and inputs[weight].requires_grad:
            raise ValueError(f'{name}: weight requires a gradient, but is a constant. Detach it.')
        ctx.set_materialize_grads(False)
        ctx.known, ctx.dtype = inputs[gradient], inputs[0].dtype
        ctx.save_for_backward(output[1])

    def scale(ctx, loss, second):
        if second is not None:
            raise ValueError(f'{name} has no second derivative.')
        if not ctx.known:
            raise ValueError(f'{name} was asked for no gradient.')
        kept, = ctx.saved_tensors
        return None if loss is None else (kept * loss).to(ctx.dtype), *[None] * (count - 1)
    torch.library.register_autograd(f'fcn_repro::{name}', scale, setup_context=keep)


@fake_kernel('upcrop_argmax')
def _(x, taps_y, taps_x, stride, pad, offset, size, dtype, probability):
    return fake_labels(x, size, dtype, probability)


@fake_kernel('upcrop_softmax_loss')
def _(x, label, taps_y, taps_x, stride, pad, offset, normalization, ignore_label, weight, mask,
      gradient, check):
    return fake_loss(x, gradient)


register_loss('upcrop_softmax_loss', 13, weight=9, gradient=11, taps=2)
