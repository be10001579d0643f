"""BiSeNet in plain PyTorch, under this project's layer names (torch_twins.Twin)."""

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
