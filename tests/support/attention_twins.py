"""FastFCN, DANet and their like in plain PyTorch, under this project's layer names: what a module
is called, its layer is, and a BatchNorm2d NAME_bn becomes NAME_bn and NAME_scale.

A twin returns the scores that have a loss, those of the deploy net first; weights: of the losses.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch_twins import Twin, ours, up


def body(twin, x, *, deep=True, strides=(1, 2, 2, 2), dilations=(1, 1, 1, 1), suffix=''):
    """The stem and four groups of a ResNet; dilations: of each group, or of each bottleneck."""
    if deep:
        for i, width in enumerate(twin.stem, 1):
            x = ours(twin, x, f'conv1_{i}{suffix}', width, 3, stride=2 if i == 1 else 1)
    else:
        x = ours(twin, x, f'conv1{suffix}', twin.stem, 7, stride=2)
    x, tops = F.max_pool2d(x, 3, 2, 1), []
    for k in range(4):
        rates = dilations[k] if isinstance(dilations[k], tuple) else (dilations[k],) * 99
        x = group(twin, x, f'layer{k + 1}{suffix}', twin.widths[k], twin.blocks[k], strides[k],
                  rates)
        tops.append(x)
    return tops


def group(twin, x, name, width, count, stride, rates=(1,) * 99):
    for i in range(count):
        before, by = f'{name}_{i}', stride if i == 0 else 1
        y = ours(twin, x, f'{before}_conv1', width)
        y = ours(twin, y, f'{before}_conv2', width, 3, stride=by, dilation=rates[i])
        y = ours(twin, y, f'{before}_conv3', 4 * width, act=None)
        if i == 0:
            x = ours(twin, x, f'{before}_down', 4 * width, stride=by, act=None)
        x = F.relu(x + y)
    return x


@dataclass
class Deep(Twin):
    """Settings of a twin of several scores."""
    width: int = 512
    stem: tuple = (64, 64, 128)
    blocks: tuple = (3, 4, 6, 3)
    weights: tuple = (1,)

    def scores(self, x, name):
        return self.conv(x, name, self.classes, bias=True)


@dataclass
class FastFcn(Deep):
    head: str = 'fcn'
    weights: tuple = (1, float(np.float32(0.4)))         # as a prototxt holds it

    def jpu(self, maps):
        tops = [ours(self, x, f'jpu_conv{level}', self.width, 3)
                for level, x in zip((3, 4, 5), maps, strict=True)]
        x = torch.cat([up(tops[2], tops[0], True), up(tops[1], tops[0], True), tops[0]], 1)
        joined = []
        for i, rate in enumerate((1, 2, 4, 8), 1):
            y = ours(self, x, f'jpu_dilation{i}_dw', x.shape[1], 3, dilation=rate,
                     groups=x.shape[1], act=None)
            joined.append(ours(self, y, f'jpu_dilation{i}_pw', self.width))
        return torch.cat(joined, 1)

    def ended(self, x):
        if self.head == 'psp':
            tops = [x]
            for bins in 1, 2, 3, 6:
                y = ours(self, F.adaptive_avg_pool2d(x, bins), f'pyramid{bins}_conv', self.width)
                tops.append(up(y, x, True))
            x = torch.cat(tops, 1)
        elif self.head == 'deeplab':
            half = self.width // 2
            tops = [ours(self, x, 'aspp0', half)]
            tops += [ours(self, x, f'aspp{i}', half, 3, dilation=12 * i) for i in (1, 2, 3)]
            y = ours(self, x.mean((2, 3), keepdim=True), 'aspp_image', half)
            x = ours(self, torch.cat([*tops, up(y, x, True)], 1), 'aspp_project', half)
            return ours(self, x, 'head', half, 3)
        return ours(self, x, 'head', self.width, 3)

    def __call__(self, image):
        maps = body(self, image)
        x = self.scores(self.ended(self.jpu(maps[1:])), 'score_coarse')
        aux = self.scores(ours(self, maps[2], 'aux', self.widths[2], 3), 'aux_coarse')
        return up(x, image, True), up(aux, image, True)
