"""Chooses the algorithm of a 2-D convolution: Winograd's, matrix products that read the filters in
place, or torch's; on GPUs with the ReLU after it in one kernel. The results are equal up to
rounding."""

import torch
import torch.nn.functional as F

from . import (
    block_filters,
    conv1x1,
    conv3x3,
    conv_gemm,
    has_avx512_bf16,
    pointwise,
    pointwise_filters,
    winograd,
    winograd_blocks,
    winograd_filters,
)
from .cache import TensorCache
from .conv_relu import by_cudnn, by_image, by_products, conv_relu
from .gemm import CHANNELS as GEMM_CHANNELS
from .pointwise import VECTOR, rectified
from .shifted import conv_shifted, pays, shifted_filters
from .unrolled import conv_unrolled
from .winograd import CHANNELS, MOST_PAD, TILE

TILES = 64          # of TILE x TILE outputs: with fewer, transforming the filters costs too much
GPU_CHANNELS = 32   # input and output channels on a GPU: with fewer, transforms cost what they save
DEEP = 256          # input channels from which unrolled products are quicker than cuDNN's sums
PLACES = 1024       # of the top, over all images: with more, repacking filters pays
SMALL = 3           # sides of the kernels that cuDNN is quick with
NARROW = torch.float16, torch.bfloat16
WIDTH = 8           # channels that its kernels for those types read at once
REGISTER = 16       # float32 numbers of an AVX-512 register
IMAGE_CHANNELS = 4  # of an image at most, and what outputs are a multiple of
LAST = torch.channels_last
BLOCK = 9           # taps of a block of a larger kernel
FULL = 0.5          # of the taps of blocks that are a kernel's, at least
DEEP_BLOCKS = 32    # input and output channels from which blocks pay
MOST_FILTERS = 2 ** 16      # times taps are kept at 36 points a block: not those of a classifier


class Conv2d:
    """F.conv2d for the filters of one layer, by whichever op suits its shape.

    key: the layer's Node.key. state: a RunState, whose options `winograd` and `gemm` allow them;
    with `prepack`, filters that Winograd's algorithm laid out are kept without autograd, until they
    change. For a part of an image the algorithm is that of the whole (state.whole). Both need
    channels_last filters, and a stride, dilation and group of 1; on the CPU float32, or bfloat16 on
    some processors without autograd, on a GPU Winograd's in the precision fp32 alone; else this is
    F.conv2d itself. Without autograd, on the CPU, a 1x1 convolution is a matrix product of our own
    (torch's takes twice as long), so is a larger one to few outputs, of which the products are
    added (shifted.py), and other larger kernels are Winograd's by blocks; with autograd 1x1
    convolutions are conv1x1. `relu`: that of the convolution instead, in its memory, or on GPUs in
    the same kernel. other, slope: without autograd, a blob to add and a PReLU's slope to apply to
    the sum.
    """

    def __init__(self, state, key=None):
        self.state, self.key = state, key
        self.filters = state.filters.setdefault(key, TensorCache())

    def __call__(self, x, weight, bias, stride, pad, dilation, group, relu=False, slope=None,
                 other=None):
        simple = group == max(*stride, *dilation) == 1
        after = other, slope, relu
        if self.by_pointwise(x, weight, stride, pad, group):
            return self.pointwise(x, weight, bias, stride, *after)
        fused = relu and other is None and x.is_cuda and in_one_kernel(x, weight, dilation, group)
        how = stride, pad, dilation, group
        if fused and simple:
            if of_image(x, weight):
                return conv_relu(x, weight, bias, *how, by_image)
            if torch.is_grad_enabled() and self.winograd_on_gpu(x, weight, pad):
                way = by_products if weight.shape[1] >= DEEP else by_cudnn
                return conv_relu(x, weight, bias, *how, way, winograd=True)
        y = self.own(x, weight, bias, pad) if simple else None
        if y is None and self.by_conv1x1(x, weight, pad, group):
            y = conv1x1(places_of(x, stride), weight, bias)
        if y is None and self.state.options.gemm and pays(x, weight, *how):
            filters = self.packed(weight, shifted_filters)
            y = conv_shifted(x, filters, len(weight), bias, weight.shape[2:], pad, dilation)
        if y is None:
            if x.is_cuda and group == 1:
                x, weight = aligned(x, weight)
            if fused:
                return conv_relu(x, weight, bias, *how)
            y = by_torch(x, weight, bias, *how)
        return rectified(y, *after)

    def own(self, x, weight, bias, pad):
        """The convolution with stride 1 by one of our own ops, or None."""
        shape, options = self.state.whole.get(self.key, x.shape), self.state.options
        if self.winograd_on_gpu(x, weight, pad) or \
                (options.winograd and ours(x, weight) and by_winograd(x, weight, pad, shape)):
            return self.winograd(x, weight, bias, pad)
        if options.gemm and x.is_cpu and ours(x, weight) and by_gemm(weight, pad, shape):
            return self.in_format(conv_gemm(x, weight, bias, pad), x)
        if options.winograd and by_blocks(x, weight, pad, shape):
            filters = self.packed(weight, block_filters)
            return winograd_blocks(x, filters, len(weight), bias, weight.shape[2:], pad)
        if options.gemm and x.is_cuda and by_product(x, weight, pad, shape,
                                                     options.precision == 'tf32'):
            return conv_unrolled(x, weight, bias, pad)
        return None

    def winograd_on_gpu(self, x, weight, pad):
        """Whether Winograd's op applies, and pays, on a GPU."""
        options, shape = self.state.options, self.state.whole.get(self.key, x.shape)
        return options.winograd and gpu_winograd(x, weight, options.precision) \
            and by_winograd(x, weight, pad, shape)

    def winograd(self, x, weight, bias, pad):
        if torch.is_grad_enabled():
            return conv3x3(x, weight, bias, pad)
        return winograd(x, self.packed(weight, winograd_filters), len(weight), bias, pad)

    def packed(self, weight, pack):
        """pack(weight), kept until that changes where `prepack` says so."""
        return self.filters.get(weight, pack, pack) if self.state.options.prepack else pack(weight)

    def in_format(self, y, x):
        """y in the memory format of x, without autograd: what follows is quicker in one format."""
        last = not torch.is_grad_enabled() and x.is_contiguous(memory_format=LAST)
        return y.contiguous(memory_format=LAST) if last else y

    def by_pointwise(self, x, weight, stride, pad, group):
        """Whether pointwise applies, and pays: not where conv_gemm reads the filters in place."""
        if torch.is_grad_enabled() or not self.state.options.gemm \
                or not is_product(x, weight, pad, group):
            return False
        shape = self.state.whole.get(self.key, x.shape)
        return max(stride) > 1 or not by_gemm(weight, pad, shape)

    def by_conv1x1(self, x, weight, pad, group):
        """Whether conv1x1 applies where gradients are required."""
        return torch.is_grad_enabled() and self.state.options.gemm \
            and is_product(x, weight, pad, group) \
            and (weight.shape[0] % VECTOR == 0 or weight.shape[1] % VECTOR == 0)

    def pointwise(self, x, weight, bias, stride, *after):
        filters = self.packed(weight, pointwise_filters)
        return pointwise(places_of(x, stride), filters, len(weight), bias, *after)


def ours(x, weight):
    """Whether the compiled ops take such tensors; bfloat16 if the processor multiplies it, without
    autograd."""
    if x.device.type != 'cpu' or x.dtype != weight.dtype or \
            not weight.is_contiguous(memory_format=torch.channels_last):
        return False
    if x.dtype == torch.bfloat16:
        return not torch.is_grad_enabled() and has_avx512_bf16()
    return x.dtype == torch.float32


def is_product(x, weight, pad, group):
    """Whether this is a 1x1 convolution, of any stride, that is a product of our own on the CPU."""
    return group == 1 and weight.shape[2:] == (1, 1) and not max(pad) \
        and x.dtype == torch.float32 and ours(x, weight) and x.is_contiguous(memory_format=LAST)


def places_of(x, stride):
    """What a 1x1 convolution of this stride reads, in channels_last, as its gradient is."""
    if max(stride) == 1:
        return x
    if torch.is_grad_enabled():
        return Places.apply(x, stride)
    return x[:, :, ::stride[0], ::stride[1]].contiguous(memory_format=LAST)


class Places(torch.autograd.Function):
    """Every y-th row and x-th column; torch's own gradient of a part is not in channels_last."""

    @staticmethod
    def forward(ctx, x, stride):
        ctx.how = x.shape, stride
        return x[:, :, ::stride[0], ::stride[1]].contiguous(memory_format=LAST)

    @staticmethod
    def backward(ctx, grad):
        shape, (y, x) = ctx.how
        whole = torch.empty(shape, dtype=grad.dtype, device=grad.device, memory_format=LAST).zero_()
        whole[:, :, ::y, ::x] = grad
        return whole, None


def by_torch(x, weight, bias, stride, pad, dilation, group):
    """F.conv2d, past two errors of torch 2.13."""
    if strided_1x1(x, weight, stride, pad, group):
        x, stride = places_of(x, stride), (1, 1)
    elif beside(x, weight, stride, pad, dilation):
        x, pad = F.pad(x, (pad[1], pad[1])), (pad[0], 0)
    return F.conv2d(x, weight, bias, stride, pad, dilation, group)


def strided_1x1(x, weight, stride, pad, group):
    """Whether the places that a 1x1 convolution reads are better taken out first: torch 2.13's
    gradient of such filters writes beyond its memory on the CPU where they have fewer channels than
    a register has numbers and there are several threads (its forward pass has the same bits)."""
    return x.is_cpu and max(stride) > 1 and weight.shape[2:] == (1, 1) \
        and weight.shape[1] < REGISTER and group == 1 and max(pad) == 0 \
        and torch.is_grad_enabled() and x.is_contiguous(memory_format=torch.channels_last)


def beside(x, weight, stride, pad, dilation):
    """Whether some filters lie beside an image of one column, which is better padded first: where
    they step over it, torch 2.13 writes beyond its memory on the CPU (in channels_last)."""
    reach = dilation[1] * (weight.shape[3] - 1)
    return x.is_cpu and x.shape[3] == 1 and pad[1] > reach and stride[1] > 1


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


def by_blocks(x, weight, pad, shape):
    """Whether Winograd's algorithm applies to the blocks of 3x3 taps of a larger kernel, and pays
    for an x of this shape."""
    outputs, channels, *kernel = weight.shape
    blocks = [-(-k // 3) for k in kernel]
    tiles = shape[0]
    for size, p, k in zip(shape[2:], pad, kernel, strict=True):
        tiles *= max(0, -(-(size + 2 * p - k + 1) // TILE))
    return not torch.is_grad_enabled() and ours(x, weight) and min(kernel) > 3 \
        and outputs % CHANNELS == channels % CHANNELS == 0 \
        and min(outputs, channels) >= DEEP_BLOCKS and outputs * channels <= MOST_FILTERS \
        and kernel[0] * kernel[1] >= FULL * BLOCK * blocks[0] * blocks[1] \
        and all(p < k for p, k in zip(pad, kernel, strict=True)) and tiles >= TILES \
        and x.is_contiguous(memory_format=LAST)


def by_gemm(weight, pad, shape):
    """Whether matrix products apply, and pay for an x of this shape: at least as many filters as
    output positions."""
    return weight.shape[1] % GEMM_CHANNELS == 0 \
        and 0 < places(weight, pad, shape) <= min(PLACES, weight.shape[0])


def by_product(x, weight, pad, shape, tf32):
    """Whether one product of unrolled windows applies, and pays on a GPU: of a 1x1 kernel, where
    nothing is unrolled, and of a large one with at least as many filters as output positions. In
    TF32 products want rows of whole 16 bytes."""
    if x.dtype != weight.dtype or not weight.is_contiguous(memory_format=torch.channels_last):
        return False
    kernel, outputs = weight.shape[2:], len(weight)
    if max(*kernel, *pad) == 1 > max(pad):
        return x.is_contiguous(memory_format=torch.channels_last) \
            and not (tf32 and outputs * x.element_size() % 16)
    return max(kernel) > SMALL and 0 < places(weight, pad, shape) <= outputs


def places(weight, pad, shape):
    """Output positions over all images, with stride 1."""
    sides = [size + 2 * p - kernel + 1
             for size, kernel, p in zip(shape[2:], weight.shape[2:], pad, strict=True)]
    return shape[0] * sides[0] * sides[1] if min(sides) > 0 else 0


def of_image(x, weight):
    """Whether the op for images of few channels applies on a GPU, and is quick. Training in 16 bits
    takes cuDNN's, whose gradient of the filters wants more channels."""
    (outputs, channels, *kernel) = weight.shape
    return kernel == [3, 3] and channels <= IMAGE_CHANNELS and outputs % IMAGE_CHANNELS == 0 \
        and x.is_contiguous(memory_format=torch.channels_last) \
        and not (torch.is_grad_enabled() and x.dtype in NARROW)


def in_one_kernel(x, weight, dilation, group):
    """Whether cuDNN convolves, adds the bias and takes the ReLU at once, and is quick with it."""
    return torch.backends.cudnn.enabled and torch.backends.cudnn.is_available() \
        and max(*weight.shape[2:]) <= SMALL and group == max(dilation) == 1 \
        and x.dtype == weight.dtype and x.dtype in (torch.float32, *NARROW) \
        and weight.is_contiguous(memory_format=torch.channels_last)


def aligned(x, weight):
    """Bottoms and filters with channels of zeros up to WIDTH in a 16-bit type, for cuDNN: a third
    of the time of an image's three."""
    missing = WIDTH - x.shape[1]
    if x.dtype not in NARROW or missing <= 0:
        return x, weight
    return F.pad(x, (0, 0, 0, 0, 0, missing)), F.pad(weight, (0, 0, 0, 0, 0, missing))
