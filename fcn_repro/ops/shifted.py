"""A convolution to few outputs, such as the scores of a few classes: one product gives what every
tap makes of every pixel, and the maps of the taps are added, each shifted by its tap's place
(inference on the CPU)."""

from itertools import product

import torch
import torch.nn.functional as F

from .pointwise import pointwise, pointwise_filters

LEAST_CHANNELS = 256    # with fewer, writing and adding the maps costs what the product saves
DEEP = 1024             # channels from which torch's filters no longer stay in the cache
REGISTER = 16           # outputs that torch sums at once: those beyond are padded to as many
WASTED = 0.2            # of such registers, from which the product is quicker


def pays(x, weight, stride, pad, dilation, group):
    """Whether conv_shifted applies to these, x and weight of float32 on the CPU and channels_last,
    and is quicker than torch."""
    outputs, channels, *kernel = weight.shape
    taps = kernel[0] * kernel[1]
    registers = -(-outputs // REGISTER)
    return not torch.is_grad_enabled() and group == max(stride) == 1 < taps \
        and x.dtype == weight.dtype == torch.float32 and x.is_cpu \
        and x.is_contiguous(memory_format=torch.channels_last) \
        and channels >= LEAST_CHANNELS and taps * outputs <= channels \
        and (outputs <= (1 - WASTED) * REGISTER * registers
             or (channels >= DEEP and outputs < 2 * REGISTER)) \
        and min(extents(x.shape, kernel, pad, dilation)) > 0


def extents(shape, kernel, pad, dilation):
    """Rows and columns of the top, with stride 1."""
    return [size + 2 * p - d * (k - 1)
            for size, k, p, d in zip(shape[2:], kernel, pad, dilation, strict=True)]


def shifted_filters(weight):
    """Filters (C_out, C, K_y, K_x) as conv_shifted takes them: those of pointwise to (tap, C_out),
    the taps in the order of the kernel."""
    return pointwise_filters(weight.permute(2, 3, 0, 1).flatten(0, 2)[:, :, None, None])


def conv_shifted(x, filters, outputs, bias, kernel, pad, dilation):
    """A convolution of x (N, C, H, W) with stride 1 by what shifted_filters made of (outputs, C,
    *kernel). bias: (outputs,) or None. Returns (N, outputs, H', W') in channels_last."""
    maps = pointwise(x, filters, kernel[0] * kernel[1] * outputs).permute(0, 2, 3, 1)
    sides = extents(x.shape, kernel, pad, dilation)
    y = maps.new_zeros(len(x), *sides, outputs)
    if bias is not None:
        y += bias
    for tap, place in enumerate(product(*map(range, kernel))):
        part = maps[..., tap * outputs:(tap + 1) * outputs]
        spans = [span(k * d - p, size, side) for k, d, p, size, side in
                 zip(place, dilation, pad, x.shape[2:], sides, strict=True)]
        (rows, from_rows), (columns, from_columns) = spans
        y[:, rows, columns] += part[:, from_rows, from_columns]
    return y.permute(0, 3, 1, 2)


def span(shift, size, side):
    """Where a map of `size` that is moved back by `shift` meets a top of `side`: slices of the top
    and of the map."""
    begin, end = max(0, -shift), max(0, min(side, size - shift))
    begin = min(begin, end)
    return slice(begin, end), slice(begin + shift, end + shift)


def conv_shifted_ref(x, weight, bias, pad, dilation):
    """The twin of conv_shifted with the filters themselves, which defines it."""
    return F.conv2d(x, weight, bias, 1, pad, dilation)
