"""Dilated residual networks, type D (fyu/drn): stride 8, dilation 2 and 4 instead of further ones,
and two convolutions without residuals at the end that take the gridding away."""

from .body_resnet import group
from .normed import Normed

DRN_D_54 = (1, 1, 3, 4, 6, 3, 1, 1)         # convolutions, bottlenecks of layer3 to layer6
WIDTHS = (16, 32, 64, 128, 256, 512, 512, 512)
# (stride, dilation) of layer1 to layer8
PLACES = ((1, 1), (2, 1), (2, 1), (2, 1), (1, 2), (1, 4), (1, 2), (1, 1))


def drn(to: Normed, data, blocks: tuple[int, ...] = DRN_D_54, *,
        widths: tuple[int, ...] = WIDTHS):
    """layer0 to layer8 on an image; returns (the low-level map layer3, at stride 4, the last)."""
    top, low = to.conv(data, 'layer0', widths[0], 7), None
    for k, (width, count, (stride, dilation)) in enumerate(
            zip(widths, blocks, PLACES, strict=True), 1):
        if 3 <= k <= 6:
            top = group(to, top, f'layer{k}', width, count, stride=stride, dilation=dilation)
        else:
            for i in range(count):
                top = to.conv(top, f'layer{k}_{i}', width, 3, stride=stride if i == 0 else 1,
                              dilation=dilation)
        low = top if k == 3 else low
    return low, top
