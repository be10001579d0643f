"""Chooses the algorithm of a 2-D convolution: Winograd's, matrix products that read the filters in
place, or torch's. The results are equal up to rounding."""

import torch
import torch.nn.functional as F

from . import conv3x3, conv_gemm, has_avx512_bf16, winograd, winograd_filters
from .cache import TensorCache
from .gemm import CHANNELS as GEMM_CHANNELS
from .winograd import CHANNELS, MOST_PAD, TILE

TILES = 64          # of TILE x TILE outputs: with fewer, transforming the filters costs too much
GPU_CHANNELS = 32   # input and output channels on a GPU: with fewer, transforms cost what they save
PLACES = 1024       # of the top, over all images: with more, repacking filters pays


class Conv2d:
    """F.conv2d for the filters of one layer, by whichever op suits its shape.

    key: the layer's Node.key. state: a RunState, whose options `winograd` and `gemm` allow them;
    with `prepack`, filters that Winograd's algorithm laid out are kept without autograd, until they
    change. For a part of an image the algorithm is that of the whole (state.whole). Both need
    float32, or bfloat16 on some processors without autograd, channels_last filters, and a stride,
    dilation and group of 1; else this is F.conv2d itself. On a GPU Winograd's algorithm alone, in
    the precision fp32.
    """

    def __init__(self, state, key=None):
        self.state, self.key, self.filters = state, key, TensorCache()

    def __call__(self, x, weight, bias, stride, pad, dilation, group):
        if group == max(*stride, *dilation) == 1:
            options, shape = self.state.options, self.state.whole.get(self.key, x.shape)
            if options.winograd and by_winograd(x, weight, pad, shape) and \
                    (ours(x, weight) or gpu_winograd(x, weight, options.precision)):
                return self.winograd(x, weight, bias, pad)
            if options.gemm and ours(x, weight) and by_gemm(weight, pad, shape):
                return conv_gemm(x, weight, bias, pad)
        return F.conv2d(x, weight, bias, stride, pad, dilation, group)

    def winograd(self, x, weight, bias, pad):
        if torch.is_grad_enabled():
            return conv3x3(x, weight, bias, pad)
        filters = self.filters.get(weight, winograd_filters) if self.state.options.prepack \
            else winograd_filters(weight)
        return winograd(x, filters, len(weight), bias, pad)


def ours(x, weight):
    """Whether the compiled ops take such tensors; bfloat16 if the processor multiplies it, without
    autograd."""
    if x.device.type != 'cpu' or x.dtype != weight.dtype or \
            not weight.is_contiguous(memory_format=torch.channels_last):
        return False
    if x.dtype == torch.bfloat16:
        return not torch.is_grad_enabled() and has_avx512_bf16()
    return x.dtype == torch.float32


def gpu_winograd(x, weight, precision):
    """Whether Winograd's op takes such tensors on a GPU; in TF32 and 16 bits direct sums are
    faster, and the transforms would lose too many digits."""
    return x.device.type == 'cuda' and precision == 'fp32' \
        and x.dtype == weight.dtype == torch.float32 and min(weight.shape[:2]) >= GPU_CHANNELS \
        and weight.is_contiguous(memory_format=torch.channels_last)


def by_winograd(x, weight, pad, shape):
    """Whether Winograd's algorithm applies, and pays for an x of this shape."""
    tiles = shape[0]
    for size, p in zip(shape[2:], pad, strict=True):
        tiles *= -(-(size + 2 * p - 2) // TILE)
    return may_be_winograd(weight.shape) and max(pad) <= MOST_PAD and tiles >= TILES \
        and x.is_contiguous(memory_format=torch.channels_last)


def may_be_winograd(shape):
    """Whether Winograd's algorithm takes filters of this shape."""
    return tuple(shape[2:]) == (3, 3) and all(n % CHANNELS == 0 for n in shape[:2])


def by_gemm(weight, pad, shape):
    """Whether matrix products apply, and pay for an x of this shape: at least as many filters as
    output positions."""
    places = shape[0]
    for size, kernel, p in zip(shape[2:], weight.shape[2:], pad, strict=True):
        places *= size + 2 * p - kernel + 1
    return weight.shape[1] % GEMM_CHANNELS == 0 and 0 < places <= min(PLACES, weight.shape[0])
