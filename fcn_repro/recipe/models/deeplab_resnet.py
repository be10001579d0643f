"""DeepLab version 2 with ResNet-101 as functions over netspec: atrous spatial pyramid pooling at
one scale, or at three whose scores' maximum is taken (MSC); layers and names of the authors'
files."""

from collections.abc import Sequence
from dataclasses import dataclass

from ...proto.netspec import L, NetSpec, P
from .deeplab import DIALECT, EXP, RATES, TENFOLD, ZERO, finished, fused, gaussian, learn
from .parts import start
from .vgg import scaled

BLOCKS = (3, 4, 23, 3)          # of ResNet-101's groups
WIDTHS = (64, 128, 256, 512)    # of their bottlenecks; the blocks' outputs are four times as wide
SCALES = {'_res05': (2, 1), '_res075': (4, 3)}      # (shrink_factor, zoom_factor) of the image


@dataclass(frozen=True)
class Body:
    """ResNet with atrous convolution: strides 2 to the third group, dilation 2 and 4 in the last
    two. batch_stats: batch normalisation by the batch, its Scale learned, for a net that begins
    with random weights; else by ImageNet's statistics, all fixed, as the authors have it.
    weight_filler: of the convolutions. suffix: of a scale; parameters are shared by name."""
    blocks: Sequence[int]
    widths: Sequence[int]
    stem: int
    batch_stats: bool
    weight_filler: dict | None

    def conv(self, n: NetSpec, bottom, name: str, suffix: str, num_output: int, kernel: int,
             pad: int, stride: int = 1, dilation: int = 1):
        """n[name]: a convolution and its normalisation."""
        n[name + suffix] = L.Convolution(
            bottom, param=[{'name': f'{name}_0', 'lr_mult': 1, 'decay_mult': 1}],
            num_output=num_output, kernel_size=kernel, pad=pad, stride=stride, bias_term=False,
            **({'dilation': dilation} if dilation > 1 else {}),
            **({'weight_filler': self.weight_filler} if self.weight_filler else {}))
        return self.norm(n, n[name + suffix], name.replace('res', '') if 'res' in name
                         else f'_{name}', suffix)

    def norm(self, n: NetSpec, top, name: str, suffix: str):
        """BatchNorm and Scale in place, bn<name> and scale<name>."""
        how = {'moving_average_fraction': 0.95} if self.batch_stats else {'use_global_stats': True}
        top = n[f'bn{name}{suffix}'] = L.BatchNorm(
            top, in_place=True, batch_norm_param=how,
            param=[{'name': f'bn{name}_{i}', 'lr_mult': 0, 'decay_mult': 0} for i in range(3)])
        learned = {'lr_mult': 1, 'decay_mult': 0} if self.batch_stats else {'lr_mult': 0}
        top = n[f'scale{name}{suffix}'] = L.Scale(
            top, in_place=True, scale_param={'bias_term': True},
            param=[{'name': f'scale{name}_{i}', **learned} for i in range(2)])
        return top

    def relu(self, n: NetSpec, top, name: str, suffix: str):
        n[f'{name}_relu{suffix}'] = L.ReLU(top, in_place=True)
        return n[f'{name}_relu{suffix}']

    def block(self, n: NetSpec, bottom, name: str, suffix: str, width: int, stride: int,
              dilation: int, first: bool):
        """A bottleneck block; the first of a group has a projection."""
        short = self.conv(n, bottom, f'{name}_branch1', suffix, 4 * width, 1, 0, stride) \
            if first else bottom
        top = bottom
        for part, count, kernel, pad, step, rate in (
                ('2a', width, 1, 0, stride, 1), ('2b', width, 3, dilation, 1, dilation),
                ('2c', 4 * width, 1, 0, 1, 1)):
            each = f'{name}_branch{part}'
            top = self.conv(n, top, each, suffix, count, kernel, pad, step, rate)
            if part != '2c':
                top = self.relu(n, top, each, suffix)
        n[name + suffix] = L.Eltwise(short, top)
        return self.relu(n, n[name + suffix], name, suffix)

    def add(self, n: NetSpec, image, suffix: str):
        """Add conv1 ... res5c on the image; returns an eighth of the size."""
        top = self.relu(n, self.conv(n, image, 'conv1', suffix, self.stem, 7, 3, 2), 'conv1',
                        suffix)
        top = n[f'pool1{suffix}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2,
                                              pad=1)
        for group, (blocks, width) in enumerate(zip(self.blocks, self.widths, strict=True), 2):
            letters = 'abcdefgh'[:blocks] if group in (2, 5) else [
                'a', *(f'b{i}' for i in range(1, blocks))]
            for letter in letters:
                top = self.block(n, top, f'res{group}{letter}', suffix, width,
                                 2 if (group, letter) == (3, 'a') else 1,
                                 {4: 2, 5: 4}.get(group, 1), letter == 'a')
        return top


def pyramid(n: NetSpec, bottom, suffix: str, classes: int, rates: Sequence[int], training: bool,
            weight_filler: dict | None = None):
    """Atrous spatial pyramid pooling: n[fc1_voc12], the sum of the scores at each rate."""
    name, scores = f'fc1_{EXP}', []
    for k, rate in enumerate(rates):
        shared = [{'name': f'{name}_c{k}_{kind}', **(spec if training else {})}
                  for kind, spec in zip('wb', TENFOLD, strict=True)]
        scored = {'weight_filler': weight_filler or gaussian(0.01),
                  'bias_filler': ZERO} if training else {}
        n[f'{name}{suffix}_c{k}'] = L.Convolution(bottom, param=shared, num_output=classes,
                                                  kernel_size=3, pad=rate, dilation=rate, **scored)
        scores.append(n[f'{name}{suffix}_c{k}'])
    n[f'{name}{suffix}'] = fused(n, scores[:-1], scores[-1])


def fcn(data: dict | None = None, *, scales: bool = True, classes: int = 21,
        blocks: Sequence[int] = BLOCKS, widths: Sequence[int] = WIDTHS, stem: int = 64,
        rates: Sequence[int] = RATES, batch_stats: bool = False,
        weight_filler: dict | None = None, shape: tuple[int, ...] = (1, 3, 513, 513),
        input_scale: float = 1, training: bool = False):
    """DeepLab version 2 with ResNet-101, a NetParameter.

    scales: also at half and at three quarters of the size, with one set of parameters, and the
    maximum of the three scores; the sides of the image are then a multiple of 32, and 1. blocks,
    widths, stem: of the ResNet. Other settings as for Body and deeplab.fcn.
    """
    n = start(data, shape, dialect=DIALECT)
    body, images = Body(blocks, widths, stem, batch_stats, weight_filler), {}
    images[''] = scaled(n, n.data, input_scale)
    for suffix, (shrink, zoom) in SCALES.items() if scales else ():
        n[f'data{suffix}'] = L.Interp(images[''], shrink_factor=shrink, pad_beg=0, pad_end=0,
                                      **({'zoom_factor': zoom} if zoom > 1 else {}))
        images[suffix] = n[f'data{suffix}']
    tops = {suffix: body.add(n, image, suffix) for suffix, image in images.items()}
    for suffix, top in tops.items():
        pyramid(n, top, suffix, classes, rates, training, weight_filler)
    name = f'fc1_{EXP}'
    if not scales:
        if training:
            learn(n, n[name])
            return n.to_proto()
        n.fc1_interp = L.Interp(n[name], zoom_factor=8)
        return finished(n, n.fc1_interp, data)
    for suffix, (shrink, zoom) in SCALES.items():       # back: the factors change places
        n[f'{name}{suffix}_interp'] = L.Interp(
            n[name + suffix], zoom_factor=shrink, pad_beg=0, pad_end=0,
            **({'shrink_factor': zoom} if zoom > 1 else {}))
    n.fc_fusion = L.Eltwise(n[name], n[f'{name}_res075_interp'], n[f'{name}_res05_interp'],
                            operation=P.Eltwise.MAX)
    if training:
        learn(n, n.fc_fusion)
        learn(n, n[name], suffix='_res1')
        learn(n, n[f'{name}_res075_interp'], suffix='_res075')
        learn(n, n[f'{name}_res05'], suffix='_res05', label='label_shrink16', factor=16)
        return n.to_proto()
    n.fc1_interp = L.Interp(n.fc_fusion, zoom_factor=8)
    return finished(n, n.fc1_interp, data)

