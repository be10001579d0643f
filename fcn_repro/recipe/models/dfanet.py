"""DFANet (Li et al. 2019): three light backbones one behind the other, each on the last one's
result and, stage by stage, on its maps.

The authors released no code; this is after unofficial code (huaifeng1993/DFANet, model/dfanet.py).
"""

from dataclasses import replace
from typing import Any

from ...proto.netspec import L
from ..stage import Entry, Stage
from .bisenet import gated, mean, plain
from .deeplabv3 import mini, mini_stage, random_crops
from .model import Model, Recipe, voc_data
from .normed import FORK, MSRA, Normed, loss
from .parts import start

WIDTHS = 48, 96, 192            # of the stages 2, 3 and 4
BLOCKS = 3, 6, 3
BRANCHES = 3
SHRINK = 4                      # a block's inner channels are so many times fewer
CROP = 512


def separable(to: Normed, bottom, name: str, channels: int, width: int, stride: int = 1):
    """A depthwise 3x3 convolution NAME_dw and a 1x1 NAME, both with biases; a norm and a ReLU
    behind the second alone."""
    n = to.n
    n[f'{name}_dw'] = L.Convolution(bottom, num_output=channels, kernel_size=3, pad=1,
                                    group=channels, weight_filler=MSRA,
                                    **({'stride': stride} if stride > 1 else {}))
    n[name] = L.Convolution(n[f'{name}_dw'], num_output=width, kernel_size=1, weight_filler=MSRA)
    return to.active(to.norm(n[name], name), name)


def block(to: Normed, bottom, name: str, channels: int, width: int, stride: int = 1):
    """Three separable convolutions, the last one four times as wide, plus a 1x1 of the bottom. That
    is linear, so its filler keeps the variance, which MSRA's would double in each block."""
    inner = width // SHRINK
    top = separable(to, bottom, f'{name}_1', channels, inner, stride)
    top = separable(to, top, f'{name}_2', inner, inner)
    top = separable(to, top, f'{name}_3', inner, width)
    n = to.n
    n[f'{name}_proj'] = L.Convolution(bottom, num_output=width, kernel_size=1, bias_term=False,
                                      weight_filler={'type': 'xavier'},
                                      **({'stride': stride} if stride > 1 else {}))
    return to.plus(name, top, n[f'{name}_proj'], active=False)


def attended(to: Normed, bottom, name: str, hidden: int, width: int):
    """The bottom times gates, a factor a channel: the mean through two fully connected layers."""
    top = plain(to, mean(to.n, bottom, name), f'{name}_fc1', hidden)
    gates = plain(to, to.active(top, f'{name}_fc1'), f'{name}_fc2', width)
    return gated(to.n, bottom, gates, name)


def branch(to: Normed, bottom, name: str, channels: int, earlier: list, widths: tuple[int, ...],
           blocks: tuple[int, ...], hidden: int):
    """A backbone: its stages, each of half the size of its bottom, and the attention; returns
    (their tops, the attended last one). earlier: the tops of the branch before: all but the first
    are joined with the bottom of the stage that makes the same of it."""
    n = to.n
    tops: list[Any] = []
    for k, (width, count) in enumerate(zip(widths, blocks, strict=True), 2):
        if tops and earlier:
            bottom = n[f'{name}_join{k}'] = L.Concat(bottom, earlier[k - 2])
            channels += width
        for i in range(count):
            bottom = block(to, bottom, f'{name}_enc{k}_{i}', channels, width, 1 if i else 2)
            channels = width
        tops.append(bottom)
    return tops, attended(to, bottom, f'{name}_attention', hidden, widths[-1])


def encoder(to: Normed, data, stem: int, widths: tuple[int, ...], blocks: tuple[int, ...],
            hidden: int) -> tuple[list, list]:
    """The branches' (first stages, attended last ones), the first branch on a convolution of the
    image, each other one on the first stage before it with the attended map resized to it."""
    n = to.n
    bottom, channels = to.conv(data, 'conv1', stem, 3, stride=2), stem
    tops: list[Any] = []
    shallow: list[Any] = []
    deep: list[Any] = []
    for i in range(BRANCHES):
        name = f'branch{i}'
        if tops:
            up = to.resized(f'{name}_up', deep[-1], tops[0])
            bottom = n[f'{name}_in'] = L.Concat(tops[0], up)
            channels = widths[0] + widths[-1]
        tops, last = branch(to, bottom, name, channels, tops, widths, blocks, hidden)
        shallow.append(tops[0])
        deep.append(last)
    return shallow, deep


def decoder(to: Normed, shallow: list, deep: list, width: int, classes: int):
    """Scores at a quarter of the image's size: the first stages, each reduced and resized to the
    first one's size, summed and convolved; plus the attended maps, reduced and resized."""
    n, sums = to.n, []
    for kind, maps in (('shallow', shallow), ('deep', deep)):
        tops = []
        for i, bottom in enumerate(maps):
            top = to.conv(bottom, f'{kind}{i}', width)
            tops.append(top if bottom is shallow[0] else
                        to.resized(f'{kind}{i}_up', top, shallow[0]))
        sums.append(tops)
    top = to.plus('shallow_sum', *sums[0], active=False)
    n.shallow = L.Convolution(top, num_output=width, kernel_size=3, pad=1, weight_filler=MSRA)
    top = to.active(to.norm(n.shallow, 'shallow'), 'shallow')
    top = to.plus('decoder', top, *sums[1], active=False)
    n.score_coarse = L.Convolution(top, num_output=classes, kernel_size=3, pad=1, bias_term=False,
                                   weight_filler=MSRA)
    return n.score_coarse


def net(data: dict | None = None, *, classes: int = 19, stem: int = 8,
        widths: tuple[int, ...] = WIDTHS, blocks: tuple[int, ...] = BLOCKS, hidden: int = 1000,
        width: int = 64, norm: dict | None = None, normalize: bool = True,
        shape: tuple[int, ...] = (1, 3, 1024, 1024)):
    """DFANet, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. stem: channels of the first convolution. widths,
    blocks: of a branch's three stages; widths are multiples of SHRINK. hidden: between the fully
    connected layers of the attention. width: of the decoder. norm: of Normed.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **({'fraction': 0.9} | (norm or {})))
    shallow, deep = encoder(to, n.data, stem, widths, blocks, hidden)
    to.resized('score', decoder(to, shallow, deep, width, classes), n.data)
    if data is not None:
        loss(n, normalize)
    return n.to_proto()


ORIGIN = ('Li et al. 2019 (DFANet), after unofficial code: huaifeng1993/DFANet, model/dfanet.py,\n'
          'with a projection of its own for each attended map; its crops, rate and rule')
crops = random_crops(CROP, (0.75, 1.75), 16)


def cityscapes() -> Model:
    """The model on Cityscapes."""
    recipe = Recipe(0.05, momentum=0.9, max_iter=400000, snapshot=10000, normalize=True,
                    weight_decay=1e-5, policy='poly')
    root = '../data/cityscapes'
    return Model(net, {}, crops(root, 'train'), voc_data(root, 'val'), 500, (recipe,), crops,
                 origin=ORIGIN)


MINI: dict[str, Any] = {'widths': (32, 48, 64), 'blocks': (1, 2, 1), 'hidden': 64, 'width': 32,
                        'norm': {'fraction': 0.95}}
MODELS = {'dfanet': cityscapes(), 'dfanet-mini': mini('dfanet-mini', net, 2000, **MINI)}
STAGES = {
    'dfanet': Stage('dfanet', 'full', surgeries=('transplant',), score_every=10000,
                    takes=('voc', 'recolour', 'rotate'), score_layers='*_coarse'),
    'dfanet-mini': replace(mini_stage('dfanet', 'mini'), score_layers='*_coarse'),
}
ENTRIES = (Entry('dfanet', 'DFANet', 'dfanet-mini'),)
