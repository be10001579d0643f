"""Filters laid out once for the CPU's convolutions, and not in every call.

oneDNN computes on filters in an order of its own. Where a layer has many filters and few places to
use them (fc6: 411 MB for a map of 12x16), putting them in order takes as long as the products.
"""

import torch
import torch.nn.functional as F

from .kept import Kept

PLACES = 1024       # of the top, over all images: with more the order is a small part of the time
PIECE = 512         # filters that are laid out at a time, where there are more than LARGE values:
LARGE = 2 ** 24     # meanwhile there is a third copy of them


class PackedConv2d:
    """F.conv2d for the filters of one layer.

    Filters that are used for the second time are laid out then, and kept so until they change: a
    second copy of them, as large as the one that F.conv2d makes in every call. Only without
    autograd, on the CPU, in channels-last (so is then the top in either case), and for a top of at
    most PLACES places; else this is F.conv2d itself. The same sums, to rounding: mostly to the bit.
    """

    def __init__(self):
        self.used, self.packed = Kept(), Kept()

    def __call__(self, x, weight, bias, stride, pad, dilation, group):
        y = self.compute(x, weight, bias, stride, pad, dilation, group) \
            if usable(x, weight, stride, pad, dilation) else None
        return F.conv2d(x, weight, bias, stride, pad, dilation, group) if y is None else y

    def compute(self, x, weight, bias, stride, pad, dilation, group):
        """The convolution by packed filters; None where these are used for the first time."""
        times = self.used.get(weight, lambda _: [])
        if not times:
            times.append(None)
            return None

        count = PIECE if weight.numel() > LARGE and group == 1 else len(weight)

        def pack(weight):
            return [torch._C._nn.mkldnn_reorder_conv2d_weight(
                piece.to_mkldnn(), pad, stride, dilation, group, x.shape)
                for piece in weight.split(count)]
        pieces = self.packed.get(weight, pack, pad, stride, dilation, group)
        biases = [None] * len(pieces) if bias is None else bias.split(count)
        tops = [torch.ops.mkldnn._convolution_pointwise(
            x, piece, part, pad, stride, dilation, group, 'none', [], '')
            for piece, part in zip(pieces, biases)]
        return tops[0] if len(tops) == 1 else torch.cat(tops, 1)


def usable(x, weight, stride, pad, dilation):
    """Whether packed filters can serve, and are worth it."""
    places = x.shape[0]
    for size, kernel, *axis in zip(x.shape[2:], weight.shape[2:], stride, pad, dilation):
        step, rim, apart = axis
        places *= (size + 2 * rim - apart * (kernel - 1) - 1) // step + 1
    last = all(t.is_contiguous(memory_format=torch.channels_last) for t in (x, weight))
    return last and 0 < places <= PLACES and x.device.type == 'cpu' \
        and not torch.is_grad_enabled() and weight.dtype in (torch.float32, torch.bfloat16) \
        and not weight.is_inference() and torch.backends.mkldnn.is_available() \
        and torch.backends.mkldnn.enabled
