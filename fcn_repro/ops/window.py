"""Filtering with Gaussian kernels between the pixels of a window: gradient, fake kernel, the
reference twin."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .extension import checked
from .registration import fake_kernel


class WindowKernel(NamedTuple):
    """weight * exp(-|p_i - p_j|² / (2 place²) - |I_i - I_j|² / (2 colour²)), for places p and
    colours I; an infinite deviation leaves its term out."""
    weight: float
    place: float = math.inf
    colour: float = math.inf


@checked
def window_filter(values: Tensor, image: Tensor, kernels: Sequence[WindowKernel], radius: int,
                  centre: bool = True, places: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """At each pixel i the sum over the pixels j of its window of k(i, j) values[j], where k is the
    sum of 1 to 8 kernels.

    values: (N, C, H, W), float32 or float64. image: (N, F, H, W) of that type, any F. The window of
    i: the pixels at most `radius` rows and columns away, i itself only with `centre`. places:
    ((H,), (W,)), where the rows and columns are, in the unit of the kernels' deviations; None: 0, 1
    and so on. Returns (N, C, H, W). Time is that of the pixels times the window; no kernel is kept
    in memory. k is symmetric, so the gradient is the filter itself: of any order, of the values
    alone. FcnError on bad arguments, such as an image that requires a gradient.
    """
    sizes = values.shape[2:] if values.dim() == 4 else (0, 0)       # which the op refuses
    rows, columns = places or [torch.arange(n, dtype=values.dtype, device=values.device)
                               for n in sizes]
    for name, constant in ('image', image), ('rows', rows), ('columns', columns):
        if constant.requires_grad:
            raise ValueError(f'window_filter: {name} requires a gradient, but the kernels are '
                             'constants. Detach it.')
    return torch.ops.fcn_repro.window_filter(
        values, image, rows, columns, [k.weight for k in kernels], [k.place for k in kernels],
        [k.colour for k in kernels], radius, centre)


def window_filter_ref(values, image, kernels, radius, centre=True, places=None):
    """The twin of window_filter that defines it: one step (dy, dx) inside the window at a time, by
    torch alone, since exported nets have it too. kernels: (weight, place, colour) each."""
    height, width = values.shape[2:]
    rows, columns = places or [torch.arange(n, dtype=values.dtype, device=values.device)
                               for n in (height, width)]
    down, across = min(radius, height - 1), min(radius, width - 1)
    total = torch.zeros_like(values)
    for dy in range(-down, down + 1):
        for dx in range(-across, across + 1):
            if dy == dx == 0 and not centre:
                continue
            y, x = slice(max(0, -dy), height - max(0, dy)), slice(max(0, -dx), width - max(0, dx))
            iy, ix = slice(y.start + dy, y.stop + dy), slice(x.start + dx, x.stop + dx)
            distance = (rows[y] - rows[iy])[:, None] ** 2 + (columns[x] - columns[ix]) ** 2
            difference = (image[:, :, y, x] - image[:, :, iy, ix]).square().sum(1, keepdim=True)
            like = torch.zeros_like(difference)
            for weight, place, colour in kernels:
                exponent = torch.zeros_like(difference)
                if place < float('inf'):
                    exponent = exponent - distance / (2 * place ** 2)
                if colour < float('inf'):
                    exponent = exponent - difference / (2 * colour ** 2)
                like = like + weight * exponent.exp()
            total[:, :, y, x] += like * values[:, :, iy, ix]
    return total


@fake_kernel('window_filter')
def _(values, image, rows, columns, weights, places, colours, radius, centre):
    return values.new_empty(values.shape)


def _keep(ctx, inputs, output):
    _, image, rows, columns, *ctx.how = inputs
    ctx.save_for_backward(image, rows, columns)


def _gradient(ctx, grad):
    back = torch.ops.fcn_repro.window_filter(grad, *ctx.saved_tensors, *ctx.how)
    return back, *[None] * 8


torch.library.register_autograd('fcn_repro::window_filter', _gradient, setup_context=_keep)
