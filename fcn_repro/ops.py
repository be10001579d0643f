"""The fused op: bilinear deconvolution and offset crop in one gather, forward and backward.

    u = y + offset_y + pad_y,  v = x + offset_x + pad_x
    out[n, c, y, x] = sum over i, j of in[n, c, i, j] * taps_y[u - i * s_y] * taps_x[v - j * s_x]

Schemas, argument checks and kernels are C++ (csrc/); the fake kernels, the gradients and the twin
in plain PyTorch that defines the op are here.
"""

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
import torch.nn.functional as F

from .errors import FcnError


def load_extension(folder):
    """Register the C++ ops from `folder`/_C*.so; there is no slow stand-in when it is missing."""
    paths = [Path(folder, f'_C{suffix}') for suffix in EXTENSION_SUFFIXES]
    found = [path for path in paths if path.exists()]
    if not found:
        raise FcnError(f'the compiled ops fcn_repro._C are missing in {folder}',
                       do='Run `make build`.')
    try:
        torch.ops.load_library(found[0])
    except OSError as error:
        raise FcnError(f'{found[0]} does not load with torch {torch.__version__}: {error}',
                       do='Run `make build` with the torch that you use.') from error


load_extension(Path(__file__).parent)


def upcrop(x, taps_y, taps_x, stride, pad, offset, size):
    """A deconvolution with one separable kernel for every channel, and the crop behind it.

    x: (N, C, H, W), float32, float64, float16 or bfloat16. taps_y (k_y,), taps_x (k_x,): constants
    of tap_dtype(x.dtype) on x's device. stride, pad (of the deconvolution), offset (of the crop),
    size (of the crop): pairs (y, x) in cells. Returns (N, C, *size), channels_last where x is.
    The sums are in float32, or float64 for float64, in one fixed order. Has gradients of any order
    for x, none for the taps. FcnError on bad arguments, among them a crop that leaves the
    deconvolution's output of (H - 1) * stride + k - 2 * pad cells.
    """
    try:
        return torch.ops.fcn_repro.upcrop(x, taps_y, taps_x, stride, pad, offset, size)
    except ValueError as error:
        raise FcnError(str(error)) from None


def upcrop_ref(x, taps_y, taps_x, stride, pad, offset, size):
    """The twin of upcrop that defines it: depthwise conv_transpose2d, then a slice."""
    channels = x.shape[1]
    kernel = torch.outer(taps_y, taps_x).expand(channels, 1, -1, -1)
    whole = F.conv_transpose2d(x.to(kernel.dtype), kernel, None, stride, pad, groups=channels)
    (top, left), (height, width) = offset, size
    return whole[:, :, top:top + height, left:left + width].to(x.dtype)


def tap_dtype(dtype):
    """The type of the taps, and of the sums, for a tensor of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def bilinear_taps(k, rule='surgery'):
    """The 1-D factor (k,) of Caffe's square bilinear kernels, as a float64 tensor.

    Both rules are 1 - |i - (k - 1) / 2| / ceil(k / 2). 'surgery' (upsample_filt in the FCN
    release's surgery.py) computes in float64; 'filler' (BilinearFiller in Caffe's filler.hpp) in
    float32, which rounds differently unless ceil(k / 2) is a power of two: 5, 6, 9, 10, ...
    """
    if k < 1:
        raise FcnError(f'a bilinear kernel of {k} taps', do='Give at least 1.')
    half = (k + 1) // 2
    if rule == 'surgery':
        center = half - 1 if k % 2 else half - 0.5
        return 1 - (torch.arange(k, dtype=torch.float64) - center).abs() / half
    if rule == 'filler':
        center = torch.tensor((k - 1) / (2 * half), dtype=torch.float32)
        return (1 - (torch.arange(k, dtype=torch.float32) / half - center).abs()).double()
    raise FcnError(f"bilinear rule '{rule}'", do="Give 'surgery' or 'filler'.")


def recognise_bilinear(weight, group=1):
    """The pair (taps_y, taps_x) in float64 that a Deconvolution's weight is made of, or None.

    weight: (C, C, k_y, k_x) with group 1 and zeros off the diagonal (the FCN release after
    surgery), or (C, 1, k_y, k_x) with group C (Caffe's bilinear idiom). Proved, not guessed: every
    channel has the same kernel, and the outer product of the taps, rounded to the weight's type,
    equals it to the bit. Besides the bilinear rules it tries one row and column of the kernel,
    which finds any separable kernel whose products are exact.
    """
    kernel = _shared_kernel(weight.detach(), group)
    if kernel is None:
        return None
    for taps_y, taps_x in _factors(kernel):
        if torch.equal(torch.outer(taps_y, taps_x).to(kernel.dtype), kernel):
            return taps_y, taps_x
    return None


def _shared_kernel(weight, group):
    """The (k_y, k_x) kernel that every channel applies to itself alone, or None."""
    if weight.dim() != 4:
        return None
    inputs, outputs = weight.shape[:2]
    if group == 1 and inputs == outputs:
        own = weight.diagonal().permute(2, 0, 1)  # (C, k_y, k_x)
        if weight.count_nonzero() != own.count_nonzero():
            return None
    elif group == inputs and outputs == 1:
        own = weight[:, 0]
    else:
        return None
    return own[0] if own.numel() and torch.equal(own, own[:1].expand_as(own)) else None


def _factors(kernel):
    """Pairs of 1-D taps whose outer product may be the kernel."""
    for rule in 'surgery', 'filler':
        yield tuple(bilinear_taps(k, rule).to(kernel.device) for k in kernel.shape)
    exact = kernel.double()
    row, col = divmod(int(exact.abs().argmax()), kernel.shape[1])
    if exact[row, col] != 0:
        yield exact[:, col] / exact[row, col], exact[row]


def _empty(like, size):
    """An unwritten (N, C, *size) in the memory format that the kernels give."""
    last = like.is_contiguous(memory_format=torch.channels_last) and not like.is_contiguous()
    return torch.empty(*like.shape[:2], *size, dtype=like.dtype, device=like.device,
                       memory_format=torch.channels_last if last else torch.contiguous_format)


@torch.library.register_fake('fcn_repro::upcrop')
def _(x, taps_y, taps_x, stride, pad, offset, size):
    return _empty(x, size)


@torch.library.register_fake('fcn_repro::upcrop_backward')
def _(grad, taps_y, taps_x, stride, pad, offset, in_size):
    return _empty(grad, in_size)


def _keep(ctx, inputs, output):
    x, taps_y, taps_x, ctx.stride, ctx.pad, ctx.offset, _ = inputs
    for name, taps in ('taps_y', taps_y), ('taps_x', taps_x):
        if taps.requires_grad:
            raise ValueError(f'upcrop: {name} requires a gradient, but the taps are constants. '
                             'Detach them, or use a Deconvolution and a Crop to learn the kernel.')
    ctx.size = x.shape[2:]
    ctx.save_for_backward(taps_y, taps_x)


def _gradient(op):
    """The backward of one of the two ops, which are linear and each other's adjoint."""
    def backward(ctx, grad):
        return op(grad, *ctx.saved_tensors, ctx.stride, ctx.pad, ctx.offset, ctx.size), *[None] * 6
    return backward


torch.library.register_autograd('fcn_repro::upcrop',
                                _gradient(torch.ops.fcn_repro.upcrop_backward),
                                setup_context=_keep)
torch.library.register_autograd('fcn_repro::upcrop_backward',
                                _gradient(torch.ops.fcn_repro.upcrop), setup_context=_keep)
