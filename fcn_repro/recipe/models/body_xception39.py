"""Xception-39 as BiSeNet has it (ycszen/TorchSeg, furnace/base_model/xception.py): three groups of
residual blocks of separable convolutions without normalisation after the depthwise ones."""

from ...proto.netspec import L, P
from .normed import MSRA, Normed

BLOCKS = 4, 8, 4
WIDTHS = 16, 32, 64
EXPANSION = 4


def separable(to: Normed, bottom, name: str, channels: int, width: int, *, stride: int = 1,
              active: bool = True):
    """A depthwise 3x3 convolution of `channels`, NAME_dw, and a normalised 1x1 to `width`,
    NAME_pw."""
    to.n[f'{name}_dw'] = L.Convolution(
        bottom, num_output=channels, kernel_size=3, pad=1, group=channels, bias_term=False,
        weight_filler=MSRA, **({'stride': stride} if stride > 1 else {}))
    return to.conv(to.n[f'{name}_dw'], f'{name}_pw', width, active=active)


def block(to: Normed, bottom, name: str, channels: int, width: int, *, stride: int = 1):
    """Three separable convolutions, the last one to four times the width, plus the bottom; with a
    stride, plus one of it and of that width, NAME_proj."""
    top = separable(to, bottom, f'{name}_1', channels, width, stride=stride)
    top = separable(to, top, f'{name}_2', width, width)
    top = separable(to, top, f'{name}_3', width, EXPANSION * width, active=False)
    if stride > 1:
        bottom = separable(to, bottom, f'{name}_proj', channels, EXPANSION * width, stride=stride,
                           active=False)
    return to.plus(name, top, bottom)


def xception39(to: Normed, data, blocks: tuple[int, ...] = BLOCKS, *,
               widths: tuple[int, ...] = WIDTHS, stem: int = 8):
    """The three groups layer1 to layer3 on an image; returns their tops, at strides 8, 16, 32."""
    top = to.conv(data, 'conv1', stem, 3, stride=2)
    top = to.n.pool1 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2, pad=1,
                                 round_mode=P.Pooling.FLOOR)
    tops, channels = [], stem
    for k, (width, count) in enumerate(zip(widths, blocks, strict=True), 1):
        for i in range(count):
            top = block(to, top, f'layer{k}_{i}', channels, width, stride=1 if i else 2)
            channels = EXPANSION * width
        tops.append(top)
    return tops
