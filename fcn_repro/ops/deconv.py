"""General deconvolution and offset crop: any weights, dense or grouped, with bias and gradients.

    u = y + offset_y + pad_y,  v = x + offset_x + pad_x
    out[n, co, y, x] = bias[co] + sum over ci, i, j of
        in[n, ci, i, j] * weight[ci, co, u - i * s_y, v - j * s_x]

Outputs fall into blocks of s_y x s_x. All outputs of a block read the same inputs, its patch of
m_y x m_x cells with m = ceil(k / s), each with the taps of its own phase. So this is a correlation
of stride 1 with C_out * s_y * s_x filters, whose results are then rearranged. On the CPU the ops
`phases` (csrc/cpu/deconv/) do it as matrix products that stay in the cache, on GPUs it is one large
product of the unrolled patches. At stride 1, where nothing is rearranged, on the CPU with very many
channels, and where patches overlap more than the blocks have outputs, conv_transpose2d does it.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import FcnError
from ..sizes import check_room, dims
from .extension import Pair
from .registration import fake_kernel, register_bilinear
from .taps import tap_dtype
from .unrolled import patches

TYPES = torch.float32, torch.float64, torch.float16, torch.bfloat16
LARGE = 512     # inputs and outputs of a group and block: where both are more, torch is as fast


class Axis(NamedTuple):
    """One axis in blocks of a stride: of `count` blocks, block q holds the outputs from
    q * stride - lead on and reads `taps` inputs from first + q on."""
    stride: int
    taps: int
    lead: int
    count: int
    first: int


def deconv_crop(x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, pad: Pair, group: int,
                offset: Pair, size: Pair) -> Tensor:
    """A deconvolution and the crop after it; only blocks that the crop touches are computed.

    x: (N, C, H, W) of float32, float64, float16 or bfloat16; weight (C, C_out / group, k_y, k_x)
    and bias (C_out,) or None, of x's type and device. stride, pad (of the deconvolution), offset,
    size (of the crop): pairs (y, x) in cells. Returns (N, C_out, *size) with sums in float32, or
    float64 for float64. From matrix products it is dense, channels_last on GPUs, and on the CPU
    where x is and group is 1; from conv_transpose2d a view of a slightly larger tensor, on the CPU
    one in channels_last. Gradients of any order for x, weight and bias.
    An infinity or NaN may reach all outputs of the blocks that read it (0 times infinity).
    FcnError on bad arguments, among them a crop that leaves the deconvolution's output of
    (H - 1) * stride + k - 2 * pad cells.
    """
    _check(x, weight, bias, group, stride, pad, offset, size)
    axes = [_axis(*a) for a in zip(weight.shape[2:], stride, pad, offset, size, strict=True)]
    margins = []        # F.pad takes the last axis first
    for axis, cells in zip(axes[::-1], x.shape[:1:-1], strict=True):
        margins += [-axis.first, axis.first + axis.count + axis.taps - 1 - cells]
    cells = F.pad(x, margins) if max(margins) > 0 else x[
        :, :, -margins[2]:x.shape[2] + margins[3], -margins[0]:x.shape[3] + margins[1]]
    columns = weight.shape[1] * axes[0].stride * axes[1].stride
    patch = x.shape[1] // group * axes[0].taps * axes[1].taps
    run = _by_torch
    if max(stride) > 1:
        if x.is_cpu and min(patch, columns) <= LARGE:
            run = _by_tasks
        elif x.is_cuda and axes[0].taps * axes[1].taps <= math.prod(stride):
            run = _by_products
    return run(cells, weight, bias, axes, group, size)


def deconv_crop_ref(x, weight, bias, stride, pad, group, offset, size):
    """The twin of deconv_crop that defines it: conv_transpose2d, then a slice."""
    wide = [None if t is None else t.to(tap_dtype(x.dtype)) for t in (x, weight, bias)]
    whole = F.conv_transpose2d(*wide, stride, pad, groups=group)
    (top, left), (height, width) = offset, size
    return whole[:, :, top:top + height, left:left + width].to(x.dtype)


def _axis(k, stride, pad, offset, size):
    first, lead = divmod(offset + pad, stride)      # the block of the first output
    taps = -(-k // stride)
    return Axis(stride, taps, lead, (lead + size - 1) // stride + 1, first - taps + 1)


def _phases(weight, axes, group):
    """The weight as (group, C / group, C_out / group, m_y, s_y, m_x, s_x)."""
    y, x = axes
    gaps = [axis.taps * axis.stride - k for axis, k in zip(axes, weight.shape[2:], strict=True)]
    if any(gaps):
        count = math.prod(weight.shape[:2]) * y.taps * y.stride * x.taps * x.stride
        check_room(weight.element_size() * count, f'deconv_crop: filters of {dims(weight.shape)} '
                   f'padded to whole strides of {y.stride}x{x.stride} take')
        weight = F.pad(weight, (0, gaps[1], 0, gaps[0]))
    weight = weight.unflatten(3, (x.taps, x.stride)).unflatten(2, (y.taps, y.stride))
    return weight.unflatten(0, (group, -1))


def _by_tasks(cells, weight, bias, axes, group, size):
    wide = tap_dtype(cells.dtype)
    last = group == 1 and cells.stride(1) == 1 < cells.shape[1] == cells.stride(3)
    filters = _phases(weight, axes, group).permute(0, 3, 5, 1, 4, *((6, 2) if last else (2, 6)))
    return torch.ops.fcn_repro.phases(
        cells.permute(0, 2, 3, 1).to(wide), filters.to(wide), None if bias is None else
        bias.to(wide), [axis.lead for axis in axes], size, cells.dtype, last)


def _by_products(cells, weight, bias, axes, group, size):
    """One matrix product for each group, (patches, taps * C / group) times (taps * C / group,
    s_y * s_x * C_out / group)."""
    taps, stride = ([getattr(axis, name) for axis in axes] for name in ('taps', 'stride'))
    # the first cell of a patch has the last tap
    filters = _phases(weight, axes, group).flip(3, 5).permute(0, 3, 5, 1, 4, 6, 2)
    filters = filters.flatten(4).flatten(1, 3)
    rows = patches(cells, taps)
    places = rows.shape[:3]
    rows = rows.unflatten(3, (math.prod(taps), group, -1)).permute(4, 0, 1, 2, 3, 5)
    rows = rows.flatten(4).flatten(1, 3)            # (group, patches, taps * C / group)
    if bias is None:
        blocks = torch.bmm(rows, filters)
    else:
        bias = bias.view(group, 1, 1, -1).expand(-1, 1, math.prod(stride), -1)
        blocks = torch.baddbmm(bias.flatten(2), rows, filters)
    blocks = blocks.view(group, *places, *stride, weight.shape[1]).permute(1, 2, 4, 3, 5, 0, 6)
    whole = blocks.flatten(5).flatten(3, 4).flatten(1, 2)
    margins = [0, 0]
    for axis, cut in zip(axes[::-1], size[::-1], strict=True):
        margins += [-axis.lead, axis.lead + cut - axis.count * axis.stride]
    return F.pad(whole, margins).permute(0, 3, 1, 2)


def _by_torch(cells, weight, bias, axes, group, size):
    """conv_transpose2d of the inputs that feed the crop, on the CPU in channels_last, which is
    faster there at any size."""
    tensors = cells, weight, bias
    if cells.is_cpu:        # on GPUs the sums are in float32 anyway
        tensors = [None if t is None else t.to(tap_dtype(cells.dtype)) for t in tensors]
        tensors[0] = tensors[0].contiguous(memory_format=torch.channels_last)
    stride = [axis.stride for axis in axes]
    gaps = [max(0, s - k) for s, k in zip(stride, weight.shape[2:], strict=True)]
    whole = F.conv_transpose2d(*tensors, stride, 0, gaps, group)
    for dim, axis, cut in zip((2, 3), axes, size, strict=True):
        whole = whole.narrow(dim, (axis.taps - 1) * axis.stride + axis.lead, cut)
    return whole.to(cells.dtype)


def _check(x, weight, bias, group, stride, pad, offset, size):
    if x.dim() != 4 or weight.dim() != 4:
        raise FcnError(f'deconv_crop: x has {x.dim()} axes, the weight {weight.dim()}',
                       do='Give (N, C, H, W) and (C, C_out / group, k_y, k_x).')
    channels = weight.shape[1] * group
    if group < 1 or x.shape[1] % group or weight.shape[0] != x.shape[1] or 0 in weight.shape:
        raise FcnError(f'deconv_crop: a weight of {dims(weight.shape)} with group {group} for '
                       f'{x.shape[1]} channels', do='Give (C, C_out / group, k_y, k_x).')
    if bias is not None and bias.shape != (channels,):
        raise FcnError(f'deconv_crop: a bias of {dims(bias.shape)} for {channels} channels',
                       do='Give one number a channel of the output.')
    for name, other in ('weight', weight), ('bias', x if bias is None else bias):
        if other.device != x.device or other.dtype != x.dtype or x.dtype not in TYPES:
            raise FcnError(f'deconv_crop: x is {x.dtype} on {x.device}, the {name} {other.dtype} '
                           f'on {other.device}', do='Use one floating type on one device.')
    for name, pair, least in (('stride', stride, 1), ('pad', pad, 0), ('offset', offset, 0),
                              ('crop size', size, 1), ('input size', x.shape[2:], 1)):
        if len(pair) != 2 or min(pair) < least:
            raise FcnError(f'deconv_crop: {name} is {dims(pair)}',
                           do=f'Give two numbers (y, x) of at least {least}.')
    for axis, *numbers in zip('yx', x.shape[2:], weight.shape[2:], stride, pad, offset, size,
                              strict=True):
        _check_axis(axis, *numbers)


def _check_axis(axis, cells, k, stride, pad, offset, size):
    whole = (cells - 1) * stride + k - 2 * pad
    if whole < 1:
        raise FcnError(f"deconv_crop: the deconvolution's output is {whole} cells along {axis} "
                       f'({cells} cells, kernel {k}, stride {stride}, pad {pad})',
                       do='Lower the pad.')
    if offset + size > whole:
        raise FcnError(f'deconv_crop: the crop ends at cell {offset + size} along {axis} (offset '
                       f"{offset} + size {size}), the deconvolution's output at {whole}",
                       do='Lower the offset or the size, or pad the input more.')


# Fake kernels and gradients of the ops `phases`

FORMATS = {True: torch.channels_last, False: torch.contiguous_format}


@fake_kernel('phases')
def _(x, filters, bias, lead, size, dtype, last):
    channels = filters.shape[0] * filters.shape[6 if last else 5]
    return torch.empty(x.shape[0], channels, *size, dtype=dtype, device=x.device,
                       memory_format=FORMATS[last])


@fake_kernel('phases_input')
def _(grad, filters, lead, cells, last):
    channels = filters.shape[0] * filters.shape[3]
    if last:
        return filters.new_empty(grad.shape[0], *cells, channels)
    return filters.new_empty(grad.shape[0], channels, *cells).permute(0, 2, 3, 1)


@fake_kernel('phases_filters')
def _(grad, x, lead, stride, taps, group, last):
    ends = [grad.shape[1] // group, stride[1]]
    return x.new_empty(group, x.shape[3] // group, ends[0], taps[0], stride[0], taps[1], stride[1]
                       ).permute(0, 3, 5, 1, 4, *((6, 2) if last else (2, 6)))


class Sizes(NamedTuple):
    """Numbers that the ops `phases` need besides tensors; pairs are (y, x)."""
    lead: tuple         # outputs of the first block that the crop leaves out
    size: tuple         # of the output
    cells: tuple        # of the input
    stride: tuple
    taps: tuple         # inputs that a block reads
    group: int
    dtype: torch.dtype  # of the output
    last: bool          # channels_last


def _sizes(output, x, filters, further):
    lead, *_, last = further
    group, *taps, _, stride, a, b = filters.shape
    return Sizes(lead, output.shape[2:], x.shape[1:3], (stride, a if last else b), taps, group,
                 output.dtype, last)


register_bilinear(
    ('phases', 'phases_input', 'phases_filters'),
    lambda x, filters, of: torch.ops.fcn_repro.phases(x, filters, None, of.lead, of.size, of.dtype,
                                                      of.last),
    lambda grad, filters, of: torch.ops.fcn_repro.phases_input(grad, filters, of.lead, of.cells,
                                                               of.last),
    lambda grad, x, of: torch.ops.fcn_repro.phases_filters(grad, x, of.lead, of.stride, of.taps,
                                                           of.group, of.last),
    _sizes)
