"""ResNet as PyTorch has it (torchvision/models/resnet.py): the stride of a bottleneck in its 3x3
convolution, no bias, max pooling that rounds down. Caffe's own has it in the first 1x1."""

from collections.abc import Callable

from ...proto.netspec import L, P
from .normed import Normed

# Blocks of the four groups, bottlenecks but for ResNet-18
RESNET18 = 2, 2, 2, 2
RESNETS = {'resnet50': (3, 4, 6, 3), 'resnet101': (3, 4, 23, 3), 'resnet152': (3, 8, 36, 3)}
EXPANSION = 4
WIDTHS = (64, 128, 256, 512)     # of the bottlenecks
DEEP = (64, 64, 128)             # a deep stem


def bottleneck(to: Normed, bottom, name: str, width: int, *, stride: int = 1, dilation: int = 1,
               projected: bool = False):
    """1x1, 3x3 and 1x1 to four times the width, plus the bottom, which a 1x1 `down` takes to that
    width and stride if `projected`; layers NAME_conv1 to 3, NAME_down, NAME."""
    top = to.conv(bottom, f'{name}_conv1', width)
    top = to.conv(top, f'{name}_conv2', width, 3, stride=stride, dilation=dilation)
    top = to.conv(top, f'{name}_conv3', EXPANSION * width, active=False)
    if projected:
        bottom = to.conv(bottom, f'{name}_down', EXPANSION * width, stride=stride, active=False)
    return to.plus(name, top, bottom)


def basic(to: Normed, bottom, name: str, width: int, *, stride: int = 1, dilation: int = 1,
          projected: bool = False):
    """Two 3x3, plus the bottom as in `bottleneck`; layers NAME_conv1 and 2, NAME_down, NAME."""
    top = to.conv(bottom, f'{name}_conv1', width, 3, stride=stride, dilation=dilation)
    top = to.conv(top, f'{name}_conv2', width, 3, dilation=dilation, active=False)
    if projected:
        bottom = to.conv(bottom, f'{name}_down', width, stride=stride, active=False)
    return to.plus(name, top, bottom)


def group(to: Normed, bottom, name: str, width: int, count: int, *, stride: int = 1,
          dilation: int = 1, first: int | None = None, grid: tuple[int, ...] = (),
          projected: bool = True, block: Callable = bottleneck):
    """`count` blocks NAME_0, NAME_1, …, of which the first has the stride. first: dilation of
    the first one, by default that of the others. grid: factors of their dilation, repeated
    (DeepLab v3's multi-grid)."""
    for i in range(count):
        by = (first or dilation) if i == 0 else dilation
        bottom = block(to, bottom, f'{name}_{i}', width, stride=stride if i == 0 else 1,
                       dilation=by * (grid[i % len(grid)] if grid else 1),
                       projected=projected and i == 0)
    return bottom


def stem_of(to: Normed, data, stem: int | tuple[int, ...]):
    """What comes before the pooling: conv1, 7x7 of `stem` channels, or, for several numbers, 3x3
    convolutions conv1_1, conv1_2, … (a deep stem); the first halves the size."""
    if isinstance(stem, int):
        return to.conv(data, 'conv1', stem, 7, stride=2)
    for i, width in enumerate(stem, 1):
        data = to.conv(data, f'conv1_{i}', width, 3, stride=2 if i == 1 else 1)
    return data


def pooled(to: Normed, bottom, name: str = 'pool1'):
    """The pooling behind the stem."""
    top = to.n[f'{to.prefix}{name}'] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3,
                                                 stride=2, pad=1, round_mode=P.Pooling.FLOOR)
    return top


def resnet(to: Normed, data, blocks: tuple[int, ...] = RESNETS['resnet101'], *,
           stem: int | tuple[int, ...] = 64, widths: tuple[int, ...] = WIDTHS, stride: int = 32,
           grid: tuple[int, ...] = (), late: bool = False, block: Callable = bottleneck):
    """The four groups layer1 to layer4 on an image; returns their tops, at strides 4 to 32.

    stem: of stem_of. stride: what the last ones have at most: beyond it convolutions are dilated
    instead, by the strides left out. grid: multi-grid of layer4. late: the first block of a dilated
    group without one still has the dilation before it (torchvision's way). block: bottleneck, or
    basic for ResNet-18 and -34, whose first group has no projection where its width is the stem's.
    """
    top = pooled(to, stem_of(to, data, stem))
    tops, now, dilation = [], 4, 1
    for k, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
        by, before = (1 if k == 1 else 2), dilation
        if now * by > stride:
            by, dilation = 1, dilation * by
        now *= by
        top = group(to, top, f'layer{k}', width, count, stride=by, dilation=dilation,
                    first=before if late and not (grid and k == len(widths)) else None,
                    grid=grid if k == len(widths) else (),
                    block=block, projected=k > 1 or block is bottleneck or stem != width)
        tops.append(top)
    return tops
