"""BiSeNet and LEDNet in plain PyTorch, under this project's layer names (torch_twins.Twin)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch_twins import Twin, ours, up


def resnet18(twin, x):
    x = F.max_pool2d(ours(twin, x, 'conv1', twin.stem, 7, stride=2), 3, 2, 1)
    tops = []
    for k, (width, count) in enumerate(zip(twin.widths, twin.blocks, strict=True), 1):
        for i in range(count):
            name, stride, short = f'layer{k}_{i}', 2 if k > 1 and i == 0 else 1, x
            y = ours(twin, x, f'{name}_conv1', width, 3, stride=stride)
            y = ours(twin, y, f'{name}_conv2', width, 3, act=None)
            if stride > 1 or x.shape[1] != width:
                short = ours(twin, x, f'{name}_down', width, stride=stride, act=None)
            x = F.relu(y + short)
        tops.append(x)
    return tops


def xception39(twin, x):
    def separable(x, name, width, stride=1, act=F.relu):
        x = twin.conv(x, f'{name}_dw', x.shape[1], 3, stride=stride, groups=x.shape[1])
        return ours(twin, x, f'{name}_pw', width, act=act)
    x = F.max_pool2d(ours(twin, x, 'conv1', twin.stem, 3, stride=2), 3, 2, 1)
    tops = []
    for k, (width, count) in enumerate(zip(twin.widths, twin.blocks, strict=True), 1):
        for i in range(count):
            name, stride, short = f'layer{k}_{i}', 1 if i else 2, x
            y = separable(x, f'{name}_1', width, stride)
            y = separable(separable(y, f'{name}_2', width), f'{name}_3', 4 * width, act=None)
            if i == 0:
                short = separable(x, f'{name}_proj', 4 * width, stride, None)
            x = F.relu(y + short)
        tops.append(x)
    return tops


@dataclass
class Bisenet(Twin):
    """On a ResNet-18, or on Xception-39. heads: also the scores of strides 16 and 8."""
    stem: int = 64
    blocks: tuple = (2, 2, 2, 2)
    width: int = 128
    paths: tuple = (64, 64, 64, 128)
    last: int = 64
    auxiliary: int = 256
    xception: bool = False
    heads: bool = False

    def head(self, x, name, width, image):
        x = ours(self, x, f'{name}_conv', width, 3)
        return up(self.conv(x, f'{name}_coarse', self.classes, bias=True), image, True)

    def __call__(self, image):
        x = ours(self, image, 'spatial1', self.paths[0], 7, stride=2)
        x = ours(self, x, 'spatial2', self.paths[1], 3, stride=2)
        x = ours(self, x, 'spatial3', self.paths[2], 3, stride=2)
        spatial = ours(self, x, 'spatial4', self.paths[3])
        maps = (xception39 if self.xception else resnet18)(self, image)
        x = ours(self, maps[-1].mean((2, 3), keepdim=True), 'global', self.width)
        x, refined = up(x, maps[-1], True), []
        for stride, k in (32, -1), (16, -2):
            y = ours(self, maps[k], f'arm{stride}', self.width, 3)
            gate = ours(self, y.mean((2, 3), keepdim=True), f'arm{stride}_gate', self.width,
                        act=torch.sigmoid)
            x = ours(self, up(y * gate + x, maps[k - 1], True), f'refine{stride}', self.width, 3)
            refined.append(x)
        x = ours(self, torch.cat([spatial, x], 1), 'ffm', 2 * self.width)
        gate = F.relu(self.conv(x.mean((2, 3), keepdim=True), 'ffm_gate1', 2 * self.width))
        x = x + x * torch.sigmoid(self.conv(gate, 'ffm_gate2', 2 * self.width))
        scores = self.head(x, 'score', self.last, image)
        if not self.heads:
            return scores
        return [scores, *(self.head(y, f'aux{stride}', self.auxiliary, image)
                          for stride, y in zip((16, 8), refined, strict=True))]


@dataclass
class Lednet(Twin):
    """The release's for sides that are multiples of 32; for others, what it cuts is padded."""
    widths: tuple = (32, 64, 128)
    dilations: tuple = ((1, 1, 1), (1, 1), (1, 2, 5, 9, 2, 5, 9, 17))
    eps: float = 1e-3

    def line(self, x, name, vertical, dilation=1):
        size = (3, 1) if vertical else (1, 3)
        pad, by = ([dilation if k > 1 else less for k in size] for less in (0, 1))
        return self.module(name, lambda: torch.nn.Conv2d(
            x.shape[1], x.shape[1], size, 1, pad, by), x)(x)

    def square(self, x, name, width, kernel=1, stride=1):
        return F.relu(self.norm(self.conv(x, name, width, kernel, stride=stride, bias=True),
                                f'{name}_bn'))

    def block(self, x, name, dilation):
        tops = []
        for half, y in zip(('left', 'right'), x.chunk(2, 1), strict=True):
            axes = 'vh' if half == 'left' else 'hv'
            for i, by in (1, 1), (2, dilation):
                y = F.relu(self.line(y, f'{name}_{half}{i}{axes[0]}', axes[0] == 'v', by))
                y = self.line(y, f'{name}_{half}{i}{axes[1]}', axes[1] == 'v', by)
                y = self.norm(y, f'{name}_{half}{i}{axes[1]}_bn')
                y = F.relu(y) if i == 1 else y
            tops.append(y)
        y = F.relu(torch.cat(tops, 1) + x)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)

    def __call__(self, image):
        x = image
        for k, (width, dilations) in enumerate(zip(self.widths, self.dilations, strict=True), 1):
            y = self.conv(x, f'down{k}_conv', width - x.shape[1], 3, stride=2, bias=True)
            y = torch.cat([y, F.max_pool2d(x, 2, 2, ceil_mode=True)], 1)
            x = F.relu(self.norm(y, f'down{k}_bn'))
            for i, dilation in enumerate(dilations, 1):
                x = self.block(x, f'block{k}_{i}', dilation)
        mean = self.square(x.mean((2, 3), keepdim=True), 'apn_image', self.classes)
        middle = self.square(x, 'apn_mid', self.classes)
        first = self.square(x, 'apn_down1', 1, 7, 2)
        second = self.square(first, 'apn_down2', 1, 5, 2)
        y = self.square(self.square(second, 'apn_down3', 1, 3, 2), 'apn_out3', 1, 3)
        second = self.square(second, 'apn_out2', 1, 5)
        first = self.square(first, 'apn_out1', 1, 7)
        y = up(up(y, second, True) + second, first, True) + first
        return up(up(y, x, True) * middle + up(mean, x, True), image, True)
