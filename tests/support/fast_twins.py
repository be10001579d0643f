"""BiSeNet, LEDNet, DUpsampling and DFANet in plain PyTorch, under this project's layer names
(torch_twins.Twin)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from attention_twins import body
from torch import nn
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


class Blocks(nn.Module):
    """By its definition: each place's code times W is the block of scores there."""

    def __init__(self, codes, classes, side):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(codes, classes, side, side))

    def forward(self, x):
        _, classes, side, _ = self.weight.shape
        blocks = torch.einsum('nkyx,kcij->ncyixj', x, self.weight)
        return blocks.reshape(len(x), classes, x.shape[2] * side, x.shape[3] * side)


class Over(nn.Module):
    """Scores over the temperature, of which it learns the inverse."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 1, 1))

    def forward(self, x):
        return x * self.weight


@dataclass
class Dupsampling(Twin):
    """The unofficial code's, which lacks the cut: its sides are multiples of 16."""
    blocks: tuple = (3, 4, 6, 3)
    low: int = 48
    codes: int = 64

    def __call__(self, image):
        stem = ours(self, image, 'conv1', self.stem, 7, stride=2)
        maps = body(self, image, deep=False, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
        low = ours(self, torch.cat([up(stem, maps[2], True), maps[2]], 1), 'low_project', self.low)
        x = torch.cat([maps[3], low], 1)
        for i in 1, 2:
            x = ours(self, x, f'refine{i}', self.width, 3)
        x = self.conv(x, 'codes', self.codes, bias=True)
        x = self.module('up', lambda: Blocks(self.codes, self.classes, 16), x)(x)
        x = self.module('temperature', Over, x)(x)
        return x[:, :, :image.shape[2], :image.shape[3]]


@dataclass
class Dfanet(Twin):
    """The unofficial code's with a projection of its own for each attended map."""
    stem: int = 8
    widths: tuple = (48, 96, 192)
    blocks: tuple = (3, 6, 3)
    hidden: int = 1000
    width: int = 64

    def block(self, x, name, width, stride):
        y = x
        for i, wide in enumerate((width // 4, width // 4, width), 1):
            y = self.conv(y, f'{name}_{i}_dw', y.shape[1], 3, stride=stride if i == 1 else 1,
                          groups=y.shape[1], bias=True)
            y = F.relu(self.norm(self.conv(y, f'{name}_{i}', wide, bias=True), f'{name}_{i}_bn'))
        return y + self.conv(x, f'{name}_proj', width, stride=stride)

    def stage(self, x, name, k):
        for i in range(self.blocks[k]):
            x = self.block(x, f'{name}_enc{k + 2}_{i}', self.widths[k], 1 if i else 2)
        return x

    def attended(self, x, name):
        y = F.relu(self.conv(x.mean((2, 3), keepdim=True), f'{name}_fc1', self.hidden))
        return x * self.conv(y, f'{name}_fc2', x.shape[1]).sigmoid()

    def branch(self, x, name, before):
        first = self.stage(x, name, 0)
        second = self.stage(torch.cat([first, *before[1:2]], 1), name, 1)
        third = self.stage(torch.cat([second, *before[2:3]], 1), name, 2)
        return (first, second, third), self.attended(third, f'{name}_attention')

    def __call__(self, image):
        a, a_end = self.branch(ours(self, image, 'conv1', self.stem, 3, stride=2), 'branch0', ())
        b, b_end = self.branch(torch.cat([a[0], up(a_end, a[0], True)], 1), 'branch1', a)
        c, c_end = self.branch(torch.cat([b[0], up(b_end, b[0], True)], 1), 'branch2', b)
        fine = [up(ours(self, x, f'shallow{i}', self.width), a[0], True)
                for i, x in enumerate((a[0], b[0], c[0]))]
        x = self.norm(self.conv(sum(fine), 'shallow', self.width, 3, bias=True), 'shallow_bn')
        deep = [up(ours(self, y, f'deep{i}', self.width), a[0], True)
                for i, y in enumerate((a_end, b_end, c_end))]
        x = self.conv(F.relu(x) + sum(deep), 'score_coarse', self.classes, 3)
        return up(x, image, True)
