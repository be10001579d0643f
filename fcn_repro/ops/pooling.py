"""Max pooling with an 8-bit index, or with none, and unpooling by a mask: gradients, fake kernels,
the reference twins."""

import math
from functools import reduce

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


FEW = 16            # channels with fewer of which torch's max pooling takes its values one by one


def suits_block_maximum(x: Tensor, kernel: Pair, stride: Pair, pad: Pair) -> bool:
    """Whether block_maximum applies, and is faster than torch's pooling: on the CPU without
    autograd, for an image of few channels in channels_last and windows side by side."""
    return x.is_cpu and not torch.is_grad_enabled() and x.shape[1] < FEW \
        and tuple(kernel) == tuple(stride) != (1, 1) and max(pad) == 0 and x.numel() > 0 \
        and all(side % k == 0 for side, k in zip(x.shape[2:], kernel, strict=True)) \
        and x.is_contiguous(memory_format=torch.channels_last)


def block_maximum(x: Tensor, kernel: Pair) -> Tensor:
    """Max pooling over blocks that cover x (N, C, H, W), channels_last, as its result is: of whole
    rows first, whose values are side by side. NaN wins."""
    (n, c, height, width), (k_y, k_x) = x.shape, kernel
    h, w = height // k_y, width // k_x
    rows = reduce(torch.maximum, x.permute(0, 2, 3, 1).view(n, h, k_y, width * c).unbind(2))
    top = reduce(torch.maximum, rows.reshape(n, h, w, k_x, c).unbind(3))
    return top.contiguous().permute(0, 3, 1, 2)


def block_maximum_ref(x, kernel):
    """The twin of block_maximum that defines it."""
    return F.max_pool2d(x, kernel)


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


@checked
def unpool(x: Tensor, mask: Tensor, size: Pair) -> Tensor:
    """Values put back where a pooling found them, zeros elsewhere, on the CPU.

    x, mask: (N, C, h, w) of float32; the mask has places y * size[1] + x. size: a pair (y, x).
    Returns (N, C, *size), channels_last where x is; of several values for one place the last in row
    order stays. Without gradients. FcnError on bad arguments, among them a place outside.
    """
    return torch.ops.fcn_repro.unpool(x, mask, size)


def unpool_ref(x, mask, size):
    """The twin of unpool that defines it; on the CPU scatter writes in order."""
    top = x.new_zeros(*x.shape[:2], size[0] * size[1]).scatter(2, mask.flatten(2).long(),
                                                               x.flatten(2))
    return top.unflatten(2, tuple(size))


@fake_kernel('unpool')
def _(x, mask, size):
    return empty(x, size)


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
