"""Xception as DeepLab v3+ changed it: deeper, every pooling a strided separable convolution, batch
normalisation after each depthwise one (tensorflow/models, research/deeplab/core/xception.py)."""

from .normed import Normed

ENTRY = (128, 256, 728)                     # each ends with stride 2
MIDDLE = 16                                 # blocks of Xception-65
EXIT = ((728, 1024, 1024), (1536, 1536, 2048))


def block(to: Normed, bottom, name: str, channels: int, widths: tuple[int, ...], *,
          stride: int = 1, dilation: int = 1, skip: str = 'sum', inside: bool = False,
          kept: bool = False):
    """Separable convolutions NAME_1 to NAME_3, the last one with the stride, and the skip: 'conv',
    a 1x1 of the stride, 'sum', the bottom itself, or 'none'. inside: activations in the separable
    convolutions; otherwise one before each of them. Returns (top, what NAME_2 gives, the last map
    before the stride); kept: that map is read elsewhere, too."""
    top, before = bottom, None
    for i, width in enumerate(widths, 1):
        last = i == len(widths)
        if not inside:
            top = to.active(top, f'{name}_{i}', in_place=i > 1 and not (kept and last))
        top = to.separable(top, f'{name}_{i}', channels, width, stride=stride if last else 1,
                           dilation=dilation, between=inside, active=inside)
        channels = width
        before = top if i == len(widths) - 1 else before
    if skip == 'none':
        return top, before
    if skip == 'conv':
        bottom = to.conv(bottom, f'{name}_skip', channels, stride=stride, active=False)
    return to.plus(name, top, bottom, active=False), before


def xception(to: Normed, data, *, stem: tuple[int, int] = (32, 64),
             entry: tuple[int, ...] = ENTRY, middle: int = MIDDLE,
             exit: tuple[tuple[int, ...], ...] = EXIT, stride: int = 16):
    """Xception-65 on an image; returns (the low-level map, at stride 4, the last map).

    stride: of the last map, 16 or 8: what is left out of entry3 and exit1 dilates what follows.
    The low-level map is the one before the stride of entry2, and before its activation, as in
    DeepLab v3+.
    """
    top = to.conv(data, 'conv1', stem[0], 3, stride=2)
    top = to.conv(top, 'conv2', stem[1], 3)
    channels, now, dilation, low = stem[1], 2, 1, None
    for i, width in enumerate(entry, 1):
        by = 2 if now * 2 <= stride else 1
        top, before = block(to, top, f'entry{i}', channels, (width,) * 3, stride=by,
                            dilation=dilation, skip='conv', kept=i == 2)
        low = before if i == 2 else low
        channels, now, dilation = width, now * by, dilation * (2 // by)
    for i in range(1, middle + 1):
        top, _ = block(to, top, f'middle{i}', channels, (channels,) * 3, dilation=dilation)
    top, _ = block(to, top, 'exit1', channels, exit[0], dilation=dilation, skip='conv')
    dilation *= 2                           # its stride of 2 is always left out
    top, _ = block(to, top, 'exit2', exit[0][-1], exit[1], dilation=dilation, skip='none',
                   inside=True)
    return low, top
