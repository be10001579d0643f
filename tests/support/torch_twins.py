"""DeepLab v3, v3+ and RefineNet in plain PyTorch, under the names that their releases give the
tensors, or, for bodies of which no release is converted, under this project's layer names.

A twin makes its modules when it first sees an image, which may be a meta tensor: that counts the
parameters of a net of full width. Its state dict and its parameters are {name: tensor}.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

RESNET101 = 3, 4, 23, 3


@dataclass
class Twin:
    """Settings, and the modules by their dotted names. frozen: batch normalisation by the stored
    statistics, whatever is trained."""
    classes: int = 21
    width: int = 256
    stem: int = 64
    widths: tuple = (64, 128, 256, 512)
    blocks: tuple = RESNET101
    frozen: bool = True
    eps: float = 1e-5
    modules: dict = field(default_factory=dict)
    inputs = (3,)       # channels of each image

    def images(self, *size):
        return [torch.zeros(1, channels, *size) for channels in self.inputs]

    def module(self, name, make, x):
        if name not in self.modules:
            self.modules[name] = make().to(x.device)
        return self.modules[name].train(not self.frozen)

    def conv(self, x, name, width, kernel=1, *, stride=1, dilation=1, groups=1, pad=None,
             bias=False):
        pad = dilation * (kernel // 2) if pad is None else pad
        return self.module(name, lambda: nn.Conv2d(
            x.shape[1], width, kernel, stride, pad, dilation, groups, bias), x)(x)

    def norm(self, x, name):
        return self.module(name, lambda: nn.BatchNorm2d(x.shape[1], self.eps), x)(x)

    def cbr(self, x, conv, norm, width, kernel=1, act=F.relu, **options):
        x = self.norm(self.conv(x, conv, width, kernel, **options), norm)
        return act(x) if act else x

    def state(self):
        return {f'{name}.{key}': value for name, module in self.modules.items()
                for key, value in module.state_dict().items()}

    def parameters(self):
        return {f'{name}.{key}': value for name, module in self.modules.items()
                for key, value in module.named_parameters()}

    def double(self):
        """The same in float64."""
        for module in self.modules.values():
            module.double()
        return self

    def count(self, size=65):
        """Its learnable parameters, without memory for them."""
        with torch.device('meta'):
            self(*self.images(size, size))
        return sum(value.numel() for value in self.parameters().values())

    def filled(self, size, seed=0):
        """The twin with weights that keep values about as large, made for images of this size."""
        with torch.no_grad():
            self(*self.images(*size))
            generator = torch.Generator().manual_seed(seed)
            for name, value in self.state().items():
                if name.endswith('running_var'):
                    value.uniform_(0.5, 1.5, generator=generator)
                elif value.dim() == 4:
                    fan = value[0].numel()
                    value.normal_(0, (1.5 / fan) ** 0.5, generator=generator)
                elif value.is_floating_point():
                    value.normal_(0, 0.1, generator=generator)
                    if f'{name[:-7]}.running_mean' in self.state() and name.endswith('.weight'):
                        value += 1
        return self


def up(x, like, aligned):
    return F.interpolate(x, like.shape[2:], mode='bilinear', align_corners=aligned)


# ---- bodies --------------------------------------------------------------------------------------

def bottleneck(twin, x, name, width, stride, dilation, first):
    y = twin.cbr(x, f'{name}.conv1', f'{name}.bn1', width)
    y = twin.cbr(y, f'{name}.conv2', f'{name}.bn2', width, 3, stride=stride, dilation=dilation)
    y = twin.cbr(y, f'{name}.conv3', f'{name}.bn3', 4 * width, act=None)
    if first:
        x = twin.cbr(x, f'{name}.downsample.0', f'{name}.downsample.1', 4 * width, act=None,
                     stride=stride)
    return F.relu(y + x)


def resnet(twin, x, strides, dilations, before=''):
    """Four groups; dilations: of each bottleneck of a group, a list or one for all."""
    x = twin.cbr(x, f'{before}conv1', f'{before}bn1', twin.stem, 7, stride=2)
    x = F.max_pool2d(x, 3, 2, 1)
    tops = []
    for k in range(4):
        for i in range(twin.blocks[k]):
            dilation = dilations[k] if isinstance(dilations[k], int) else dilations[k][i]
            x = bottleneck(twin, x, f'{before}layer{k + 1}.{i}', twin.widths[k],
                           strides[k] if i == 0 else 1, dilation, i == 0)
        tops.append(x)
    return tops


def drn(twin, x, widths, blocks, before='backbone.'):
    """Type D."""
    x, low = twin.cbr(x, f'{before}layer0.0', f'{before}layer0.1', widths[0], 7), None
    for k, (stride, dilation) in enumerate(
            ((1, 1), (2, 1), (2, 1), (2, 1), (1, 2), (1, 4), (1, 2), (1, 1)), 1):
        for i in range(blocks[k - 1]):
            by = stride if i == 0 else 1
            if 3 <= k <= 6:
                x = bottleneck(twin, x, f'{before}layer{k}.{i}', widths[k - 1], by, dilation,
                               i == 0)
            else:
                x = twin.cbr(x, f'{before}layer{k}.{3 * i}', f'{before}layer{k}.{3 * i + 1}',
                             widths[k - 1], 3, stride=by, dilation=dilation)
        low = x if k == 3 else low
    return low, x


def ours(twin, x, name, width, kernel=1, **options):
    """A normalised convolution under this project's names."""
    return twin.cbr(x, name, f'{name}_bn', width, kernel, **options)


def separable(twin, x, name, width, *, stride=1, dilation=1, act=F.relu):
    x = ours(twin, x, f'{name}_dw', x.shape[1], 3, stride=stride, dilation=dilation,
             groups=x.shape[1], act=act)
    return ours(twin, x, f'{name}_pw', width, act=act)


def xception(twin, x, stem, entry, middle, exits):
    """Xception-65 of output stride 16."""
    x = ours(twin, ours(twin, x, 'conv1', stem[0], 3, stride=2), 'conv2', stem[1], 3)

    def block(x, name, widths, stride=1, skip=None, dilation=1):
        y, before = x, None
        for i, width in enumerate(widths, 1):
            y = separable(twin, F.relu(y), f'{name}_{i}', width, dilation=dilation,
                          stride=stride if i == 3 else 1, act=None)
            before = y if i == 2 else before
        if skip == 'conv':
            x = ours(twin, x, f'{name}_skip', widths[-1], stride=stride, act=None)
        return y + x, before
    x, _ = block(x, 'entry1', [entry[0]] * 3, 2, 'conv')
    x, low = block(x, 'entry2', [entry[1]] * 3, 2, 'conv')
    x, _ = block(x, 'entry3', [entry[2]] * 3, 2, 'conv')
    for i in range(1, middle + 1):
        x, _ = block(x, f'middle{i}', [entry[2]] * 3)
    x, _ = block(x, 'exit1', exits[0], 1, 'conv')
    for i, width in enumerate(exits[1], 1):
        x = separable(twin, x, f'exit2_{i}', width, dilation=2)
    return low, x


def mobilenet(twin, x, stem, groups):
    """MobileNet v2 of output stride 16."""
    def relu6(x):
        return x.clamp(0, 6)
    x = ours(twin, x, 'conv1', stem, 3, stride=2, act=relu6)
    stride, dilation, count, low = 2, 1, 0, None
    for t, c, n, s in groups:
        if (stride, s) == (4, 2):
            low = x
        for i in range(n):
            by, rate = (s if i == 0 else 1), dilation
            if by == 2 and stride == 16:
                by, dilation = 1, 2 * dilation
            stride, count = stride * by, count + 1
            y, wide, name = x, t * x.shape[1], f'block{count}'
            if t > 1:
                y = ours(twin, y, f'{name}_expand', wide, act=relu6)
            y = ours(twin, y, f'{name}_dw', wide, 3, stride=by, dilation=rate, groups=wide,
                     act=relu6)
            y = ours(twin, y, f'{name}_project', c, act=None)
            x = y + x if by == 1 and x.shape[1] == c else y
    return low, x


# ---- heads ---------------------------------------------------------------------------------------

def pyramid(twin, x, rates, names, aligned, split=False):
    """ASPP. names: (conv, norm) of each of the six; split: the 3x3 are separable."""
    tops = [twin.cbr(x, *names[0], twin.width)]
    for rate, (conv, norm) in zip(rates, names[1:4], strict=True):
        tops.append(separable(twin, x, conv, twin.width, dilation=rate) if split else
                    twin.cbr(x, conv, norm, twin.width, 3, dilation=rate))
    pooled = twin.cbr(x.mean((2, 3), keepdim=True), *names[4], twin.width)
    tops.append(up(pooled, x, aligned))
    return twin.cbr(torch.cat(tops, 1), *names[5], twin.width)


def torchvision_names(before):
    return [(f'{before}convs.{i}.0', f'{before}convs.{i}.1') for i in range(4)] + [
        (f'{before}convs.4.1', f'{before}convs.4.2'), (f'{before}project.0', f'{before}project.1')]


OUR_NAMES = [(f'aspp{i}', f'aspp{i}_bn') for i in range(4)] + [
    ('aspp_image', 'aspp_image_bn'), ('aspp_project', 'aspp_project_bn')]


def late(blocks, before, dilation):
    """torchvision's dilations of a group whose stride is left out."""
    return [before] + [dilation] * (blocks - 1)


@dataclass
class TorchvisionV3(Twin):
    """deeplabv3_resnet*, stride 8; head='classifier.classifier.', stride 16: VainF's v3."""
    head: str = 'classifier.'
    stride: int = 8
    rates: tuple = (12, 24, 36)

    def body(self, x):
        if self.stride == 8:
            dilations = [1, 1, late(self.blocks[2], 1, 2), late(self.blocks[3], 2, 4)]
            return resnet(self, x, (1, 2, 1, 1), dilations, 'backbone.')
        return resnet(self, x, (1, 2, 2, 1), [1, 1, 1, late(self.blocks[3], 1, 2)], 'backbone.')

    def __call__(self, image):
        x = pyramid(self, self.body(image)[-1], self.rates, torchvision_names(f'{self.head}0.'),
                    False)
        x = self.cbr(x, f'{self.head}1', f'{self.head}2', self.width, 3)
        return up(self.conv(x, f'{self.head}4', self.classes, bias=True), image, False)


@dataclass
class VainfPlus(TorchvisionV3):
    """VainF's v3+ on a ResNet, stride 16."""
    stride: int = 16
    rates: tuple = (6, 12, 18)
    low: int = 48

    def __call__(self, image):
        maps, head = self.body(image), 'classifier.'
        x = pyramid(self, maps[-1], self.rates, torchvision_names(f'{head}aspp.'), False)
        low = self.cbr(maps[0], f'{head}project.0', f'{head}project.1', self.low)
        x = torch.cat([low, up(x, low, False)], 1)
        x = self.cbr(x, f'{head}classifier.0', f'{head}classifier.1', self.width, 3)
        return up(self.conv(x, f'{head}classifier.3', self.classes, bias=True), image, False)


@dataclass
class Jfzhang95(Twin):
    """v3+ on ResNet (stride 16, multi-grid 1, 2, 4) or DRN (stride 8). dropouts: whether the
    decoder's numbers count dropout layers."""
    drn: tuple = ()
    low: int = 48
    dropouts: bool = False

    def __call__(self, image):
        if self.drn:
            low, x = drn(self, image, *self.drn)
        else:
            maps = resnet(self, image, (1, 2, 2, 1), [1, 1, 1, [2, 4, 8]], 'backbone.')
            low, x = maps[0], maps[-1]
        names = [(f'aspp.aspp{i}.atrous_conv', f'aspp.aspp{i}.bn') for i in range(1, 5)] + [
            ('aspp.global_avg_pool.1', 'aspp.global_avg_pool.2'), ('aspp.conv1', 'aspp.bn1')]
        x = pyramid(self, x, (12, 24, 36) if self.drn else (6, 12, 18), names, True)
        low = self.cbr(low, 'decoder.conv1', 'decoder.bn1', self.low)
        x, last = torch.cat([up(x, low, True), low], 1), 'decoder.last_conv.'
        second, scores = (4, 8) if self.dropouts else (3, 6)
        for i in 0, second:
            x = self.cbr(x, f'{last}{i}', f'{last}{i + 1}', self.width, 3)
        return up(self.conv(x, f'{last}{scores}', self.classes, bias=True), image, True)


@dataclass
class Paper(Twin):
    """The papers' v3 (grid: its multi-grid ResNet), and v3+ on Xception or MobileNet with separable
    heads, under this project's names but for the ResNet's."""
    body: str = 'resnet'
    settings: tuple = ()
    low: int = 48
    rates: tuple = (6, 12, 18)

    def __call__(self, image):
        if self.body == 'resnet':
            low = None
            x = resnet(self, image, (1, 2, 2, 1), [1, 1, 1, [2, 4, 8]])[-1]
        else:
            low, x = {'xception': xception, 'mobilenet': mobilenet}[self.body](
                self, image, *self.settings)
        x = pyramid(self, x, self.rates, OUR_NAMES, True, low is not None)
        if low is not None:
            low = ours(self, low, 'low_project', self.low)
            x = torch.cat([up(x, low, True), low], 1)
            for i in 1, 2:
                x = separable(self, x, f'refine{i}', self.width)
        return up(self.conv(x, 'score_coarse', self.classes, bias=True), image, True)


# ---- RefineNet -----------------------------------------------------------------------------------

@dataclass
class Refinenet(Twin):
    """refinenet-pytorch's, of four blocks."""

    def unit(self, x, name, i):
        y = self.conv(F.relu(x), f'{name}.{i}_conv', x.shape[1], 3, bias=True)
        return self.conv(F.relu(y), f'{name}.{i}_conv_relu_varout_dimred', x.shape[1], 3) + x

    def __call__(self, image):
        maps, x = resnet(self, image, (1, 2, 2, 2), (1, 1, 1, 1)), None
        for k, bottom in enumerate(reversed(maps), 1):
            wide = 2 * self.width if k == 1 else self.width
            y = self.conv(bottom, f'p_ims1d2_outl{k}_dimred', wide, 3)
            for i in 1, 2:
                y = self.unit(y, f'adapt_stage{k}_b.0', i)
            if k > 1:
                y = self.conv(y, f'adapt_stage{k}_b2_joint_varout_dimred', wide, 3)
                y = y + up(x, y, True)
            top = x = F.relu(y)
            for i in range(1, 5):
                top = self.conv(F.max_pool2d(top, 5, 1, 2),
                                f'mflow_conv_g{k}_pool.0.{i}_outvar_dimred', wide, 3)
                x = x + top
            for i in 1, 2, 3:
                x = self.unit(x, f'mflow_conv_g{k}_b.0', i)
            if k < 4:
                x = self.conv(x, f'mflow_conv_g{k}_b3_joint_varout_dimred', self.width, 3)
        return up(self.conv(x, 'clf_conv', self.classes, 3, bias=True), image, True)


@dataclass
class Cascade(Twin):
    """RefineNet of one or two blocks, or of two scales, under this project's names; the maps, the
    coarsest first, that each block takes, by scale."""
    blocks_of: tuple = ((4, 3, 2, 1),)
    scales: tuple = ()

    def three(self, x, name, width, bias=False):
        return self.conv(x, name, width, 3, bias=bias)

    def units(self, x, name, count):
        for i in range(1, count + 1):
            wide = x.shape[1]
            y = self.three(F.relu(x), f'{name}_rcu{i}_conv1', wide, True)
            x = self.three(F.relu(y), f'{name}_rcu{i}_conv2', wide) + x
        return x

    def __call__(self, image):
        maps = {}
        for letter, (zoom, shrink) in self.scales or (('', (1, 1)),):
            size = [(n - 1) // shrink * zoom + 1 for n in image.shape[2:]]
            x = image if zoom == shrink else F.interpolate(
                image, size, mode='bilinear', align_corners=True)
            maps[letter] = resnet(self, x, (1, 2, 2, 2), (1, 1, 1, 1),
                                  f'{letter}_' if letter else '')
        x = None
        for levels in self.blocks_of:
            inputs = [(f'{letter}_l{level}' if letter else f'l{level}', maps[letter][level - 1],
                       self.width * (2 if level == 4 else 1))
                      for level in levels for letter in maps]
            name, least = f'refine{levels[-1]}', min(wide for *_, wide in inputs)
            tops = [] if x is None else [self.three(x, f'{name}_fuse', least)]
            for path, bottom, wide in inputs:
                y = self.units(self.three(bottom, f'{path}_dimred', wide), path, 2)
                if len(inputs) > 1 or x is not None:
                    y = self.three(y, f'{path}_fuse', least)
                tops.append(y)
            x = top = F.relu(sum(up(y, tops[-1], True) for y in tops))
            for i in range(1, 5):
                top = self.three(F.max_pool2d(top, 5, 1, 2), f'{name}_crp{i}', least)
                x = x + top
            x = self.units(x, name, 3)
        return up(self.conv(x, 'score_coarse', self.classes, 3, bias=True), image, True)
