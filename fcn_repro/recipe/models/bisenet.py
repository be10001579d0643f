"""BiSeNet (Yu et al. 2018): a shallow path of stride 8 for places, a deep one of stride 32 for
classes, both on the image, and gates by the mean of a map.

Layers, widths and recipe are those of the authors' release (ycszen/TorchSeg,
model/bisenet/cityscapes.bisenet.R18 and .X39).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ...proto.netspec import L, NetSpec, P
from ..stage import Entry, Stage
from .body_resnet import RESNET18, basic, resnet
from .body_xception39 import xception39
from .deeplabv3 import mini, mini_stage, random_crops
from .model import Model, Recipe, voc_data
from .normed import FORK, MSRA, Normed, loss
from .parts import start

CROP = 1024
TENFOLD = 10                    # the rate of the fusion and the heads
BODIES: dict[str, Callable] = {'resnet18': partial(resnet, blocks=RESNET18, block=basic),
                               'xception39': xception39}


def plain(to: Normed, bottom, name: str, width: int):
    """A 1x1 convolution without a norm or a bias, as NAME."""
    rate = {} if to.rate == 1 else {'param': [{'lr_mult': to.rate, 'decay_mult': 1}]}
    to.n[name] = L.Convolution(bottom, num_output=width, kernel_size=1, bias_term=False,
                               weight_filler=MSRA, **rate)
    return to.n[name]


def spatial(to: Normed, data, widths: tuple[int, ...]):
    """The spatial path: three convolutions of stride 2, 7x7 first, and a 1x1."""
    top = to.conv(data, 'spatial1', widths[0], 7, stride=2)
    for i, width in enumerate(widths[1:3], 2):
        top = to.conv(top, f'spatial{i}', width, 3, stride=2)
    return to.conv(top, 'spatial4', widths[3])


def mean(n: NetSpec, bottom, name: str):
    """The mean over all places, (N,C,1,1), as NAME_mean."""
    n[f'{name}_mean'] = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    return n[f'{name}_mean']


def gated(n: NetSpec, bottom, gates, name: str):
    """The bottom times the sigmoid of gates (N,C,1,1), a factor a channel, as NAME_gated."""
    n[f'{name}_sigmoid'] = L.Sigmoid(gates, in_place=True)
    n[f'{name}_gates'] = L.Flatten(n[f'{name}_sigmoid'])
    n[f'{name}_gated'] = L.Scale(bottom, n[f'{name}_gates'], scale_param={'axis': 0})
    return n[f'{name}_gated']


def context(to: Normed, maps, width: int):
    """The context path on the body's maps, the finest of stride 8 first; returns what it makes of
    the coarsest two, at strides 16 and 8. Each is refined by attention and added to what lies
    above, at first to the mean of the coarsest."""
    n, refined = to.n, []
    top = to.conv(mean(n, maps[-1], 'global'), 'global', width)
    top = to.resized('global_up', top, maps[-1])
    for stride, bottom, finer in ((32, maps[-1], maps[-2]), (16, maps[-2], maps[-3])):
        name = f'arm{stride}'
        fine = to.conv(bottom, name, width, 3)
        gates = to.conv(mean(n, fine, name), f'{name}_gate', width, active=False)
        top = to.plus(f'{name}_sum', gated(n, fine, gates, name), top, active=False)
        top = to.resized(f'{name}_up', top, finer)
        top = to.conv(top, f'refine{stride}', width, 3)
        refined.append(top)
    return refined


def fusion(to: Normed, fine, coarse, width: int):
    """The feature fusion: both maps joined and reduced, plus that times its gates."""
    n = to.n
    n.ffm_concat = L.Concat(fine, coarse)
    top = to.conv(n.ffm_concat, 'ffm', width)
    gates = plain(to, mean(n, top, 'ffm'), 'ffm_gate1', width)
    gates = plain(to, to.active(gates, 'ffm_gate1'), 'ffm_gate2', width)
    return to.plus('ffm_sum', top, gated(n, top, gates, 'ffm'), active=False)


def head(to: Normed, bottom, name: str, width: int, classes: int):
    """Scores at the size of the image: 3x3 to `width` and a 1x1, NAME_coarse, enlarged to NAME."""
    n = to.n
    top = to.conv(bottom, f'{name}_conv', width, 3)
    n[f'{name}_coarse'] = L.Convolution(top, num_output=classes, kernel_size=1, weight_filler=MSRA,
                                        param=[{'lr_mult': to.rate, 'decay_mult': 1},
                                               {'lr_mult': to.rate, 'decay_mult': 0}])
    return to.resized(name, n[f'{name}_coarse'], n.data)


def net(data: dict | None = None, *, classes: int = 19, body: str = 'resnet18',
        body_settings: dict | None = None, paths: tuple[int, ...] = (64, 64, 64, 128),
        width: int = 128, last: int = 64, auxiliary: int = 256, rate: int = TENFOLD,
        norm: dict | None = None, normalize: bool = True, mined: tuple[float, float] | None = None,
        shape: tuple[int, ...] = (1, 3, CROP, 2 * CROP), training: bool = False):
    """BiSeNet, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. body: a key of BODIES; body_settings: what else it
    takes. paths: channels of the spatial path. width: of the context path; the fusion has twice as
    many. last: before the scores. auxiliary: before the scores of strides 16 and 8, which the net
    that learns has (`training`), with a loss each. rate: lr_mult of the fusion and the heads. norm:
    of Normed. mined: (ohem_thresh, ohem_min_ratio) of all losses of the net that learns.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **({'fraction': 0.9} | (norm or {})))
    tenfold = replace(to, rate=rate)
    fine = spatial(to, n.data, paths)
    coarse = context(to, BODIES[body](to, n.data, **(body_settings or {})), width)
    top = fusion(tenfold, fine, coarse[-1], 2 * width)
    head(tenfold, top, 'score', last, classes)
    if training:
        for stride, bottom in zip((16, 8), coarse, strict=True):
            head(tenfold, bottom, f'aux{stride}', auxiliary, classes)
            if data is not None:
                loss(n, normalize, f'aux{stride}', f'loss_aux{stride}', mined=mined)
    if data is not None:
        loss(n, normalize, mined=mined if training else None)
    return n.to_proto()


ORIGIN = ('Yu et al. 2018 (BiSeNet), as released: ycszen/TorchSeg, {}; crops, rate and rule are\n'
          'those of the release, whose losses learn from the hardest pixels alone (OHEM)')
MINED = 0.7, 1 / 16
crops = random_crops(CROP, (0.75, 2.0), 16)


def cityscapes(folder: str, max_iter: int, **settings) -> Model:
    """A model on Cityscapes. folder: of the release."""
    recipe = Recipe(1e-2, momentum=0.9, max_iter=max_iter, snapshot=10000, normalize=True,
                    weight_decay=5e-4, policy='poly')
    root = '../data/cityscapes'
    return Model(net, settings, crops(root, 'train'), voc_data(root, 'val'), 500, (recipe,), crops,
                 origin=ORIGIN.format(folder), phased=True)


NETS: dict[str, dict[str, Any]] = {
    'bisenet-r18': {'mined': MINED},
    'bisenet-x39': {'body': 'xception39', 'auxiliary': 128, 'mined': MINED},
}
SMALL = {'paths': (12, 12, 16, 24), 'width': 32, 'last': 24, 'auxiliary': 32,
         'rate': 1, 'norm': {'fraction': 0.95}}
MINIS: dict[str, dict[str, Any]] = {
    'bisenet-r18-mini': {**SMALL, 'body_settings': {'stem': 16, 'widths': (16, 16, 24, 32),
                                                    'blocks': (1, 1, 1, 1)}},
    'bisenet-x39-mini': {**SMALL, 'body': 'xception39',
                         'body_settings': {'stem': 8, 'widths': (16, 24, 32), 'blocks': (2, 2, 2)}},
}
MODELS = {
    'bisenet-r18': cityscapes('cityscapes.bisenet.R18', 80000, **NETS['bisenet-r18']),
    'bisenet-x39': cityscapes('cityscapes.bisenet.X39', 140000, **NETS['bisenet-x39']),
    **{name: replace(mini(name, net, 2500, **settings), phased=True)
       for name, settings in MINIS.items()},
}
STAGES = {
    'bisenet-r18': Stage('bisenet', 'r18', weights='resnet18.caffemodel',
                         surgeries=('transplant',), takes=('voc', 'recolour', 'rotate'),
                         score_every=5000, score_layers='*_coarse'),
    'bisenet-x39': Stage('bisenet', 'x39', surgeries=('transplant',), score_every=5000,
                         takes=('voc', 'recolour', 'rotate'), score_layers='*_coarse'),
    **{name: replace(mini_stage('bisenet', name.removeprefix('bisenet-')), score_layers='*_coarse')
       for name in MINIS},
}
ENTRIES = (Entry('bisenet', 'BiSeNet, ResNet', 'bisenet-r18-mini'),
           Entry('bisenet', 'BiSeNet, Xception', 'bisenet-x39-mini'))
