"""RefineNet (Lin et al. 2016): blocks that refine the maps of a ResNet from the coarsest on, each
by residual convolution units, fusion, and chained residual pooling.

What a block computes, and in which widths, is that of the released nets (guosheng/refinenet, and
DrSleep/refinenet-pytorch for PyTorch): the three units at the end of a block are the one that the
paper gives its output and the two that it gives the next block's input.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...proto.netspec import L, P
from ..stage import Entry
from .body_resnet import RESNETS, resnet
from .deeplabv3 import mini, mini_stage, random_crops, voc_stage
from .model import Model, Recipe, voc_data
from .normed import FORK, MSRA, SCRATCH, WEIGHT, Normed, loss
from .parts import start

XAVIER = {'type': 'xavier'}
SMALL = {'type': 'gaussian', 'std': 0.01}       # of what is added: units start near the identity
BIAS = {'lr_mult': 2, 'decay_mult': 0}
WIDTH = 256
CROP = 400
# Which maps of the ResNet, 4 the coarsest, each block takes, from the first block on
CASCADES = {1: ((4, 3, 2, 1),), 2: ((4, 3), (2, 1)), 4: ((4,), (3,), (2,), (1,))}
# The paper's two scales, 0.6 and 1.2, as Interp's factors: (zoom, shrink), exact for sides 5 n + 1
TWO_SCALES = {'a': (3, 5), 'b': (6, 5)}


def conv(n, bottom, name: str, width: int, filler: dict = XAVIER, bias: bool = False):
    """A 3x3 convolution, as NAME."""
    more = {'param': [*WEIGHT, BIAS]} if bias else {'bias_term': False}
    n[name] = L.Convolution(bottom, num_output=width, kernel_size=3, pad=1, weight_filler=filler,
                            **more)
    return n[name]


def unit(n, bottom, name: str, width: int):
    """A residual convolution unit: ReLU, 3x3, ReLU, 3x3, plus the bottom."""
    n[f'{name}_relu'] = L.ReLU(bottom)
    top = conv(n, n[f'{name}_relu'], f'{name}_conv1', width, MSRA, bias=True)
    n[f'{name}_conv1_relu'] = L.ReLU(top, in_place=True)
    top = conv(n, n[f'{name}_conv1_relu'], f'{name}_conv2', width, SMALL)
    n[name] = L.Eltwise(top, bottom, operation=P.Eltwise.SUM)
    return n[name]


def units(n, top, name: str, width: int, count: int):
    for i in range(1, count + 1):
        top = unit(n, top, f'{name}_rcu{i}', width)
    return top


def chained(n, bottom, name: str, width: int, stages: int = 4):
    """Chained residual pooling: `stages` times 5x5 max pooling and a 3x3 convolution, each on what
    the one before gives, and the sum of all with the bottom. (The paper's code for training
    convolves first; its released nets pool first.)"""
    tops, top = [bottom], bottom
    for i in range(1, stages + 1):
        top = n[f'{name}_pool{i}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=5, pad=2)
        top = conv(n, top, f'{name}_crp{i}', width, SMALL)
        tops.append(top)
    n[f'{name}_crp'] = L.Eltwise(*tops, operation=P.Eltwise.SUM)
    return n[f'{name}_crp']


def block(to: Normed, name: str, maps: Sequence[tuple[str, Any, int]], before=None):
    """A RefineNet block; returns its top and the top's width.

    maps: (name, map of the ResNet, width that it is reduced to), the finest last; before: the top
    of the block before. Each map is reduced and adapted by two units; where there are several
    inputs each is convolved to the least width, resized to the finest, and they are summed."""
    n = to.n
    width = min(wide for _, _, wide in maps)
    paths = [] if before is None else [(f'{name}_fuse', before)]
    for path, bottom, wide in maps:
        top = conv(n, bottom, f'{path}_dimred', wide)
        paths.append((f'{path}_fuse', units(n, top, path, wide, 2)))
    top = paths[0][1]
    if len(paths) > 1:
        tops = [conv(n, top, fuse, width) for fuse, top in paths]
        tops = [top if top is tops[-1] else to.resized(f'{fuse}_up', top, tops[-1])
                for (fuse, _), top in zip(paths, tops, strict=True)]
        top = n[f'{name}_sum'] = L.Eltwise(*tops, operation=P.Eltwise.SUM)
    n[f'{name}_relu'] = L.ReLU(top)
    top = chained(n, n[f'{name}_relu'], name, width)
    return units(n, top, name, width, 3), width


def net(data: dict | None = None, *, classes: int = 21, cascade: int = 4,
        scales: dict[str, tuple[int, int] | None] | None = None, width: int = WIDTH,
        body_settings: dict | None = None, norm: dict | None = None, dropout: float = 0.5,
        normalize: bool = True, shape: tuple[int, ...] = (1, 3, CROP, CROP)):
    """RefineNet, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. cascade: blocks, a key of CASCADES. scales:
    {letter: (zoom, shrink)} of the ResNets, smaller ones first, each on the image resized by zoom /
    shrink; None is one on the image itself. width: of the blocks; the maps of the coarsest level
    are reduced to twice that. body_settings: of body_resnet.resnet. norm: of Normed; by default the
    ResNet's statistics, scales and biases are frozen. dropout: of the two coarsest maps, and before
    the scores.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **({'frozen': True} if norm is None else norm))
    maps: dict[int, list[tuple[str, Any, int]]] = {level: [] for level in (4, 3, 2, 1)}
    for letter, factors in (scales or {'': None}).items():
        prefix, image = (f'{letter}_' if letter else ''), n.data
        if factors is not None:
            image = n[f'{prefix}data'] = L.Interp(image, zoom_factor=factors[0],
                                                  shrink_factor=factors[1])
        tops = resnet(replace(to, prefix=prefix), image, **(body_settings or {}))
        for level, top in enumerate(tops, 1):
            name = f'{prefix}l{level}'
            if level > 2 and dropout:
                top = n[f'{name}_drop'] = L.Dropout(top, dropout_ratio=dropout)
            maps[level].append((name, top, 2 * width if level == 4 else width))
    top = None
    for levels in CASCADES[cascade]:
        wanted = [each for level in levels for each in maps[level]]
        top, _ = block(to, f'refine{levels[-1]}', wanted, top)
    if dropout:
        top = n.refine1_drop = L.Dropout(top, in_place=True, dropout_ratio=dropout)
    n.score_coarse = to.classifier(top, classes, 3)
    to.resized('score', n.score_coarse, n.data)
    if data is not None:
        loss(n, normalize)
    return n.to_proto()


ORIGIN = ('Lin et al. 2016 (RefineNet), as released: guosheng/refinenet; crops of 400x400, one an\n'
          'iteration, 5e-4, then 5e-5 (solver_on)')
crops = random_crops(CROP, (0.7, 1.3), 1)       # the paper's


def voc(**settings) -> Model:
    """A model on VOC 2012 with the 10582 images of train and SBD as its split trainaug."""
    recipe = Recipe(5e-4, momentum=0.9, max_iter=100000, snapshot=4000, normalize=True)
    root = '../data/pascal/VOC2012'
    return Model(net, settings, crops(root, 'trainaug'), voc_data(root, 'val'), 1449,
                 (recipe, replace(recipe, base_lr=5e-5, suffix='_on', prefix='snapshot/train_on')),
                 crops, origin=ORIGIN)


def of(body: str, **settings) -> dict[str, Any]:
    """Settings of a net on a ResNet, a key of RESNETS."""
    return {'body_settings': {'blocks': RESNETS[body]}, **settings}


NETS: dict[str, dict[str, Any]] = {
    'refinenet-resnet50': of('resnet50'),
    'refinenet-resnet101': of('resnet101'),
    'refinenet-resnet152': of('resnet152'),
    'refinenet-resnet50-single': of('resnet50', cascade=1),
    'refinenet-resnet50-2cascade': of('resnet50', cascade=2),
    'refinenet-resnet50-2scales': of('resnet50', scales=TWO_SCALES),
}
# Without batch normalisation MSRA's filler would make scores of 10 and more
MINI: dict[str, Any] = {
    'width': 24, 'dropout': 0.1,
    'norm': {**SCRATCH, 'score_filler': {'type': 'gaussian', 'std': 0.03}},
    'body_settings': {'blocks': (2, 2, 2, 2), 'stem': 16, 'widths': (8, 16, 24, 32)}}
MODELS = {**{name: voc(**settings) for name, settings in NETS.items()},
          'refinenet-mini': mini('refinenet-mini', net, base_lr=1e-3, **MINI)}
STAGES = {
    **{name: voc_stage('refinenet', name.removeprefix('refinenet-'),
                       f"{name.split('-')[1]}.caffemodel") for name in NETS},
    # as RefineNet begins with a trained ResNet: from random weights it hardly learns
    'refinenet-mini': replace(mini_stage('refinenet', 'mini'), parent='deeplab-v3-mini',
                              trains_parent=True, dropped=('score_coarse',)),
}
ENTRIES = (Entry('refinenet', 'RefineNet', 'refinenet-mini'),)
