"""Repetition of border cells: gradients, fake kernels, the reference twin."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .extension import checked
from .registration import fake_kernel
from .upsample import empty


@checked
def repeat_border(x: Tensor, rows: Sequence[int], columns: Sequence[int]) -> Tensor:
    """Repeat two rows and two columns of a blob.

    x: (N, C, H, W), float32, float64, float16 or bfloat16. rows, columns: (start, end, count): row
    `start` and the row `end` before the last stand `count` more times each, columns likewise.
    Returns (N, C, H + 2 * count, W + 2 * count), channels_last where x is. Has gradients of any
    order; the copies' gradients are summed in one fixed order, those of 16 bits in float32.
    FcnError on bad arguments, among them a start behind the row `end` before the last.
    """
    return torch.ops.fcn_repro.repeat_border(x, rows, columns)


def repeat_border_ref(x, rows, columns):
    """The twin of repeat_border that defines it: an index along each axis."""
    for axis, (start, end, count) in (2, rows), (3, columns):
        size = x.shape[axis]
        copies = torch.ones(size, dtype=torch.long, device=x.device)
        for cell in (start, size - 1 - end) if count else ():
            copies[cell] += count
        x = x.repeat_interleave(copies, axis)
    return x


@fake_kernel('repeat_border')
def _(x, rows, columns):
    return empty(x, [n + 2 * count for n, (_, _, count) in
                     zip(x.shape[2:], (rows, columns), strict=True)])


@fake_kernel('repeat_border_backward')
def _(grad, rows, columns):
    return empty(grad, [n - 2 * count for n, (_, _, count) in
                        zip(grad.shape[2:], (rows, columns), strict=True)])


def _keep(ctx, inputs, output):
    _, ctx.rows, ctx.columns = inputs


def _gradient(op):
    """The backward of one of the two ops, which are linear and each other's adjoint."""
    def backward(ctx, grad):
        return op(grad, ctx.rows, ctx.columns), None, None
    return backward


torch.library.register_autograd('fcn_repro::repeat_border',
                                _gradient(torch.ops.fcn_repro.repeat_border_backward),
                                setup_context=_keep)
torch.library.register_autograd('fcn_repro::repeat_border_backward',
                                _gradient(torch.ops.fcn_repro.repeat_border), setup_context=_keep)
