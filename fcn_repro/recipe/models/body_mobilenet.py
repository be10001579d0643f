"""MobileNet v2: inverted residuals with linear bottlenecks, without its last 1x1 convolution."""

from .normed import Normed

# (expansion, channels, blocks, stride of the first) of each group
GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
          (6, 160, 3, 2), (6, 320, 1, 1))


def inverted(to: Normed, bottom, name: str, channels: int, width: int, *, expansion: int,
             stride: int = 1, dilation: int = 1):
    """1x1 to `expansion` times the channels, depthwise 3x3, 1x1 to the width without activation,
    plus the bottom where sizes allow it; layers NAME_expand, NAME_dw, NAME_project, NAME."""
    top, wide = bottom, expansion * channels
    if expansion != 1:
        top = to.conv(top, f'{name}_expand', wide)
    top = to.conv(top, f'{name}_dw', wide, 3, stride=stride, dilation=dilation, group=wide)
    top = to.conv(top, f'{name}_project', width, active=False)
    if stride == 1 and channels == width:
        top = to.plus(name, top, bottom, active=False)
    return top


def mobilenet(to: Normed, data, *, stem: int = 32,
              groups: tuple[tuple[int, int, int, int], ...] = GROUPS, stride: int = 16):
    """MobileNet v2 on an image; returns (the low-level map, at stride 4, the last map). stride: of
    the last one; strides beyond it are left out, and dilate the depthwise convolutions that follow
    the one that would have had it."""
    top = to.conv(data, 'conv1', stem, 3, stride=2)
    channels, now, dilation, low, count = stem, 2, 1, None, 0
    for expansion, width, blocks, first in groups:
        if now == 4 and first == 2:
            low = top
        for i in range(blocks):
            by, dilated = (first if i == 0 else 1), dilation
            if now * by > stride:
                by, dilation = 1, dilation * by
            count += 1
            top = inverted(to, top, f'block{count}', channels, width, expansion=expansion,
                           stride=by, dilation=dilated)
            now, channels = now * by, width
    return low, top
