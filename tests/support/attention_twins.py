"""FastFCN, DANet and their like in plain PyTorch, under this project's layer names: what a module
is called, its layer is, and a BatchNorm2d NAME_bn becomes NAME_bn and NAME_scale.

A twin returns the scores that have a loss, those of the deploy net first; weights: of the losses.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
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
    strides = (1, 1)            # of the scores

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


class Times(nn.Module):
    """A learned number."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return self.weight * x


@dataclass
class Danet(Deep):
    stem: int = 64
    blocks: tuple = (3, 4, 23, 3)
    weights: tuple = (1, 1, 1)
    strides = (1, 1, 1)

    def times(self, x, name):
        return self.module(name, Times, x)(x)

    def position(self, x):
        """By the definition: out_i = sum_j softmax_j(q_i k_j) v_j."""
        query, key, value = (
            self.conv(x, f'pam_{name}', width, bias=True).flatten(2) for name, width in (
                ('query', self.width // 8), ('key', self.width // 8), ('value', self.width)))
        attention = torch.einsum('nci,ncj->nij', query, key).softmax(2)
        seen = torch.einsum('nij,ncj->nci', attention, value)
        return self.times(seen.reshape(x.shape), 'pam_gamma') + x

    def channel(self, x):
        energy = torch.einsum('nai,nbi->nab', x.flatten(2), x.flatten(2))
        attention = (energy.max(2, keepdim=True)[0] - energy).softmax(2)
        seen = torch.einsum('nab,nbi->nai', attention, x.flatten(2))
        return self.times(seen.reshape(x.shape), 'cam_gamma') + x

    def __call__(self, image):
        x = body(self, image, deep=False, strides=(1, 2, 1, 1),
                 dilations=(1, 1, (1, *(2,) * 99), (4, 8, 16)))[-1]
        tops = [ours(self, module(ours(self, x, f'{name}_in', self.width, 3)), f'{name}_out',
                     self.width, 3)
                for name, module in (('pam', self.position), ('cam', self.channel))]
        coarse = [self.scores(x, f'{name}score_coarse') for name, x in (
            ('', tops[0] + tops[1]), ('pam_', tops[0]), ('cam_', tops[1]))]
        return tuple(up(x, image, True) for x in coarse)


@dataclass
class Acnet(Deep):
    """Images of odd sizes, too: what is upsampled is cut at its end to the skip's size."""
    stem: int = 64
    counts: tuple = (3, 4, 6, 3)        # of bottlenecks
    decoder: tuple = (6, 4, 3, 3, 3)    # of its blocks
    weights: tuple = (1, 1, 1, 1, 1)
    strides = (1, 16, 8, 4, 2)
    inputs = (3, 1)

    def gated(self, x, name):
        means = x.mean((2, 3))
        gate = self.module(f'{name}_attention', lambda: nn.Linear(x.shape[1], x.shape[1]), x)
        return x * gate(means).sigmoid()[:, :, None, None]

    def deconv(self, x, name, width, kernel, like, bias=False):
        pads = {'padding': 1, 'output_padding': 1} if kernel == 3 else {}
        x = self.module(name, lambda: nn.ConvTranspose2d(
            x.shape[1], width, kernel, 2, bias=bias, **pads), x)(x)
        return x[:, :, :like.shape[2], :like.shape[3]]

    def rows(self, x, name, width, count, like=None):
        for i in range(count):
            before, last = f'{name}_{i}', like is not None and i == count - 1
            y = ours(self, x, f'{before}_conv1', x.shape[1], 3)
            if last:
                y = self.norm(self.deconv(y, f'{before}_conv2', width, 3, like),
                              f'{before}_conv2_bn')
                x = self.norm(self.deconv(x, f'{before}_up', width, 2, like), f'{before}_up_bn')
            else:
                y = ours(self, y, f'{before}_conv2', x.shape[1], 3, act=None)
            x = F.relu(x + y)
        return x

    def __call__(self, color, depth):
        rgb = ours(self, color, 'conv1', self.stem, 7, stride=2)
        deep = ours(self, depth, 'conv1_d', self.stem, 7, stride=2)
        maps = [self.gated(rgb, 'gated0') + self.gated(deep, 'gated0_d')]
        rgb, deep, merged = (F.max_pool2d(x, 3, 2, 1) for x in (rgb, deep, maps[0]))
        for k in 1, 2, 3, 4:
            rgb, deep, merged = (
                group(self, x, f'layer{k}{suffix}', self.widths[k - 1], self.counts[k - 1],
                      1 if k == 1 else 2)
                for x, suffix in ((rgb, ''), (deep, '_d'), (merged, '_m')))
            merged = merged + self.gated(rgb, f'gated{k}') + self.gated(deep, f'gated{k}_d')
            maps.append(merged)
        widths = (self.stem, *self.widths)
        skips = [ours(self, x, f'skip{k}', width)
                 for k, (x, width) in enumerate(zip(maps, widths, strict=True))]
        x, ends = skips[4], []
        for k, count in zip((3, 2, 1, 0), self.decoder[:4], strict=True):
            x = self.rows(x, f'up{k}', widths[k], count, skips[k])
            ends.append(self.scores(x, f'score_s{2 ** (k + 1)}'))
            x = x + skips[k]
        x = self.rows(x, 'final', widths[0], self.decoder[4])
        return self.deconv(x, 'score_up', self.classes, 2, color, bias=True), *ends
