"""FastFCN (Wu et al. 2019): a ResNet that keeps its strides, joint pyramid upsampling (JPU), which
makes one map of stride 8 of the last three, and the head of another net on it.

As released (wuhuikai/FastFCN): a deep stem, an auxiliary FCN head on the maps of stride 16, layers
on top of the ResNet at ten times its rate.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...proto.netspec import L, P
from ..stage import Entry
from .body_resnet import DEEP, RESNETS, WIDTHS, resnet
from .deeplabv3 import aspp, mini, mini_stage, random_crops, voc_stage
from .model import Model, Recipe, voc_data
from .normed import FORK, SCRATCH, Normed, dropped, loss
from .parts import start

WIDTH = 512
DILATIONS = (1, 2, 4, 8)
BINS = (1, 2, 3, 6)
RATES = (12, 24, 36)        # of ASPP at stride 8
CROP = 480
TENFOLD = 10
AUXILIARY = 0.4             # weight of the auxiliary loss


def jpu(to: Normed, maps: list, width: int = WIDTH):
    """Joint pyramid upsampling: each map by a 3x3 to `width`, resized to the first and joined, the
    coarsest first; of that four separable 3x3 with dilations, joined: (N, 4 width, H, W) of the
    size of maps[0]."""
    n, tops = to.n, []
    for level, bottom in zip(range(5, 5 - len(maps), -1), reversed(maps), strict=True):
        tops.append(to.conv(bottom, f'jpu_conv{level}', width, 3))
    finest = tops[-1]
    names = [f'jpu_up{level}' for level in range(5, 5 - len(maps), -1)]
    tops = [to.resized(name, top, finest) if top is not finest else top
            for name, top in zip(names, tops, strict=True)]
    n.jpu_maps = L.Concat(*tops)
    n.jpu = L.Concat(*(to.separable(n.jpu_maps, f'jpu_dilation{i}', len(maps) * width, width,
                                    dilation=dilation, between=False)
                       for i, dilation in enumerate(DILATIONS, 1)))
    return n.jpu


def fcn(to: Normed, bottom, name: str, width: int, dropout: float):
    """FCN's head: 3x3 to `width`, and dropout of whole channels."""
    return dropped(to.n, to.conv(bottom, name, width, 3), f'{name}_drop', dropout)


def fcn_head(to: Normed, bottom, width: int, dropouts: tuple[float, float]):
    return fcn(to, bottom, 'head', width, dropouts[1])


def psp_head(to: Normed, bottom, width: int, dropouts: tuple[float, float]):
    """Pyramid pooling: the map and its means in 1, 2x2, 3x3 and 6x6 bins, each reduced to `width`
    and resized back; joined, and FCN's head."""
    n, tops = to.n, [bottom]
    for bins in BINS:
        pool = f'pyramid{bins}'
        n[pool] = L.Pooling(bottom, pool=P.Pooling.AVE, fcn_repro_param={'output_size': [bins]})
        top = to.conv(n[pool], f'{pool}_conv', width)
        tops.append(to.resized(f'{pool}_up', top, bottom))
    n.pyramid = L.Concat(*tops)
    return fcn(to, n.pyramid, 'head', width, dropouts[1])


def deeplab_head(to: Normed, bottom, width: int, dropouts: tuple[float, float],
                 rates: tuple[int, ...] = RATES):
    """DeepLab v3's ASPP of half the width, and FCN's head."""
    half = width // 2
    top = aspp(to, bottom, 4 * width, rates=rates, width=half, dropout=0)
    return fcn(to, dropped(to.n, top, 'aspp_drop', dropouts[0]), 'head', half, dropouts[1])


HEADS: dict[str, Callable] = {'fcn': fcn_head, 'psp': psp_head, 'deeplab': deeplab_head}


def net(data: dict | None = None, *, classes: int = 21, head: str = 'fcn',
        body_settings: dict | None = None, width: int = WIDTH,
        dropouts: tuple[float, float] = (0.5, 0.1), rates: tuple[int, ...] = RATES,
        rate: float = TENFOLD, norm: dict | None = None, normalize: bool = True,
        training: bool = False, shape: tuple[int, ...] = (1, 3, CROP, CROP)):
    """FastFCN, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. head: a key of HEADS. body_settings: of
    body_resnet.resnet. width: of JPU's maps. dropouts: shares of channels, after ASPP and before
    scores. rates: of ASPP. rate: of the layers on top of the ResNet. norm: of Normed. training:
    with the auxiliary head and its loss.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **(norm or {}))
    body = {'blocks': RESNETS['resnet50'], 'stem': DEEP, **(body_settings or {})}
    maps = resnet(to, n.data, **body)
    to = replace(to, rate=rate)
    of_head = {'rates': rates} if head == 'deeplab' else {}
    top = HEADS[head](to, jpu(to, maps[1:], width), width, dropouts, **of_head)
    n.score_coarse = to.classifier(top, classes)
    to.resized('score', n.score_coarse, n.data)
    if data is not None:
        loss(n, normalize)
    if training:
        top = fcn(to, maps[2], 'aux', body.get('widths', WIDTHS)[2], dropouts[1])
        n.aux_coarse = to.classifier(top, classes)
        to.resized('aux_score', n.aux_coarse, n.data)
        loss(n, normalize, 'aux_score', 'loss_aux', AUXILIARY)
    return n.to_proto()


ORIGIN = ("Wu et al. 2019 (FastFCN), as released: wuhuikai/FastFCN; its settings for VOC's 10582\n"
          'images: crops of 480x480, 16 an iteration, 0.001, poly, 50 epochs')
crops = random_crops(CROP, (0.5, 2.0), 16)


def voc(**settings) -> Model:
    """A model on VOC 2012 with the 10582 images of train and SBD as its split trainaug."""
    recipe = Recipe(1e-3, momentum=0.9, max_iter=33050, snapshot=2000, normalize=True,
                    weight_decay=1e-4, policy='poly')
    root = '../data/pascal/VOC2012'
    return Model(net, settings, crops(root, 'trainaug'), voc_data(root, 'val'), 1449, (recipe,),
                 crops, origin=ORIGIN, phased=True)


NETS: dict[str, dict[str, Any]] = {'fastfcn-resnet50': {},
                                   'fastfcn-resnet50-psp': {'head': 'psp'},
                                   'fastfcn-resnet50-deeplab': {'head': 'deeplab'}}
SMALL = {'width': 24, 'dropouts': (0.1, 0.1), 'rate': 1, 'norm': SCRATCH,
         'body_settings': {'blocks': (2, 2, 2, 2), 'stem': (8, 8, 16), 'widths': (8, 16, 24, 32)}}
# ASPP's rates are a third of the full net's, as in DeepLab v3's miniature: those would look beyond
# the map; it has half the width, and fewer than 24 channels hardly tell 11 classes apart
MINIS: dict[str, dict[str, Any]] = {
    'fastfcn-mini': SMALL, 'fastfcn-psp-mini': {**SMALL, 'head': 'psp'},
    'fastfcn-deeplab-mini': {**SMALL, 'head': 'deeplab', 'width': 48, 'rates': (4, 8, 12)}}
MODELS = {**{name: voc(**settings) for name, settings in NETS.items()},
          **{name: replace(mini(name, net, **settings), phased=True)
             for name, settings in MINIS.items()}}
STAGES = {
    **{name: voc_stage('fastfcn', name.removeprefix('fastfcn-'),
                       'resnet50 with a deep stem, under these names') for name in NETS},
    **{name: mini_stage('fastfcn', name.removeprefix('fastfcn-')) for name in MINIS},
}
ENTRIES = (Entry('fastfcn', 'FastFCN', 'fastfcn-mini'),
           Entry('fastfcn', 'FastFCN, PSP', 'fastfcn-psp-mini'),
           Entry('fastfcn', 'FastFCN, DeepLab v3', 'fastfcn-deeplab-mini'))
