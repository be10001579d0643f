"""Max pooling with an 8-bit index, or with none: gradients, fake kernels, the reference twins."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .extension import CONSTANTS, Pair, checked
from .registration import fake_kernel
from .upsample import empty


@checked
def max_pool(x: Tensor, kernel: Pair, stride: Pair, pad: Pair, size: Pair) -> Tensor:
    """Max pooling over windows that may reach beyond the edges, where nothing counts.

    x: (N, C, H, W), float32, float64, float16 or bfloat16. kernel (of at most 256 cells),
    stride, pad (below the kernel), size (of the result): pairs (y, x) in cells; each window has a
    cell of x. Returns (N, C, *size), channels_last where x is. NaN wins. The gradient, of any
    order, goes to the first maximum in row order, for which 8 bits per window are kept; without
    autograd nothing is. FcnError on bad arguments.
    """
    index = x.requires_grad and torch.is_grad_enabled()
    return torch.ops.fcn_repro.max_pool(x, kernel, stride, pad, size, index)[0]


MOST_CELLS = CONSTANTS['pool_cells']


def suits_max_pool(x: Tensor, kernel: Pair) -> bool:
    """Whether max_pool is the fastest way: on CUDA, for windows whose cells fit the index."""
    return x.is_cuda and math.prod(kernel) <= MOST_CELLS


def max_pool_ref(x, kernel, stride, pad, size):
    """The twin of max_pool that defines it, but for the gradient of a window of -inf alone, whose
    first cell may be in the padding here."""
    height, width = size
    ends = [max(0, (o - 1) * s + k - p - n) for n, k, s, p, o in
            zip(x.shape[2:], kernel, stride, pad, size, strict=True)]
    x = F.pad(x, (pad[1], ends[1], pad[0], ends[0]), value=-math.inf)
    return F.max_pool2d(x, kernel, stride)[:, :, :height, :width]


def max_pool_backward_ref(grad, index, kernel, stride, pad, in_size):
    """The twin of the op max_pool_backward that defines it."""
    n, c, *_ = grad.shape
    cells = _cells(index, kernel, stride, pad, in_size)
    whole = grad.new_zeros(n, c, math.prod(in_size), dtype=torch.promote_types(
        grad.dtype, torch.float32))
    return whole.scatter_add(2, cells, grad.flatten(2).to(whole)).to(grad).view(n, c, *in_size)


def _cells(index, kernel, stride, pad, in_size):
    """y * in_size[1] + x of each window's maximum, (N, C, windows)."""
    y, x = (torch.arange(o, device=index.device) * s - p
            for o, s, p in zip(index.shape[2:], stride, pad, strict=True))
    row, column = index.long() // kernel[1], index.long() % kernel[1]
    return ((y[:, None] + row) * in_size[1] + x + column).flatten(2)


@fake_kernel('max_pool')
def _(x, kernel, stride, pad, size, index):
    top = empty(x, size)
    return top, torch.empty_like(top, dtype=torch.uint8) if index else \
        x.new_empty(0, dtype=torch.uint8)


@fake_kernel('max_pool_backward')
def _(grad, index, kernel, stride, pad, in_size):
    return empty(grad, in_size)


def _keep(ctx, inputs, output):
    x, *ctx.windows, _, with_index = inputs
    if not with_index:
        raise ValueError('max_pool: x requires a gradient, but no index is kept. Ask for it.')
    ctx.size = x.shape[2:]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _gradient(ctx, grad, _):
    index, = ctx.saved_tensors
    if grad is not None:
        grad = torch.ops.fcn_repro.max_pool_backward(grad, index, *ctx.windows, ctx.size)
    return grad, *[None] * 5


torch.library.register_autograd('fcn_repro::max_pool', _gradient, setup_context=_keep)


def _keep_backward(ctx, inputs, output):
    _, index, *ctx.windows = inputs
    ctx.save_for_backward(index)


def _gradient_backward(ctx, grad):
    index, = ctx.saved_tensors
    picked = grad.flatten(2).gather(2, _cells(index, *ctx.windows)).view(index.shape)
    return picked, *[None] * 5


torch.library.register_autograd('fcn_repro::max_pool_backward', _gradient_backward,
                                setup_context=_keep_backward)
