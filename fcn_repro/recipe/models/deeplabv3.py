"""DeepLab v3 and v3+ (Chen et al. 2017 and 2018): parallel dilated convolutions with the pooled
image, and a decoder that adds a map of stride 4."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...data.image import MEAN
from ...data.scenes import FOLDER
from ...proto.netspec import L, P
from ..stage import Entry, Stage
from .body_drn import drn
from .body_mobilenet import mobilenet
from .body_resnet import RESNETS, resnet
from .body_xception import xception
from .mini import SCENE
from .model import Model, Recipe, voc_data
from .normed import FORK, RELU, RELU6, SCRATCH, Normed, loss
from .parts import fitted, python_data, start

RATES = (6, 12, 18)         # at stride 16; twice these at 8
CROP = 513
GRID = (1, 2, 4)            # DeepLab v3's multi-grid
Body = Callable[..., tuple[Any, Any, int]]


def of_resnet(to: Normed, data, *, blocks: tuple[int, ...] = RESNETS['resnet101'],
              grid: tuple[int, ...] = GRID, **settings) -> tuple[Any, Any, int]:
    """ResNet's (low-level map, last map, its channels)."""
    tops = resnet(to, data, blocks, grid=grid, **settings)
    return tops[0], tops[-1], 4 * settings.get('widths', (512,))[-1]


def of_xception(to: Normed, data, **settings) -> tuple[Any, Any, int]:
    low, top = xception(to, data, **settings)
    return low, top, settings.get('exit', ((2048,),))[-1][-1]


def of_mobilenet(to: Normed, data, **settings) -> tuple[Any, Any, int]:
    low, top = mobilenet(to, data, **settings)
    return low, top, settings.get('groups', ((0, 320),))[-1][1]


def of_drn(to: Normed, data, *, stride: int = 8, **settings) -> tuple[Any, Any, int]:
    """DRN's; its stride is 8 and no other."""
    low, top = drn(to, data, **settings)
    return low, top, settings.get('widths', (512,))[-1]


BODIES: dict[str, Body] = {'resnet': of_resnet, 'xception': of_xception, 'mobilenet': of_mobilenet,
                           'drn': of_drn}


def aspp(to: Normed, bottom, channels: int, *, rates: tuple[int, ...], width: int = 256,
         separable: bool = False, dropout: float = 0.1, aligned: bool = True):
    """Atrous spatial pyramid pooling: a 1x1, a dilated 3x3 for each rate, and the mean of the map,
    each to `width`; joined, and a 1x1 to `width` again. separable: the 3x3 are."""
    n = to.n
    tops = [to.conv(bottom, 'aspp0', width)]
    for i, rate in enumerate(rates, 1):
        tops.append(to.separable(bottom, f'aspp{i}', channels, width, dilation=rate) if separable
                    else to.conv(bottom, f'aspp{i}', width, 3, dilation=rate))
    n.pool_image = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    pooled = to.conv(n.pool_image, 'aspp_image', width)
    tops.append(to.resized('aspp_image_up', pooled, tops[0], aligned))
    n.aspp = L.Concat(*tops)
    top = to.conv(n.aspp, 'aspp_project', width)
    if dropout:
        top = n.aspp_drop = L.Dropout(top, in_place=True, dropout_ratio=dropout)
    return top


def decoded(to: Normed, top, low, *, low_width: int = 48, low_first: bool = False,
            aligned: bool = True):
    """ASPP's map resized to the low-level map's size and joined with it, reduced to low_width
    channels. low_first: it comes first."""
    low = to.conv(low, 'low_project', low_width)
    up = to.resized('aspp_up', top, low, aligned)
    to.n.decoder = L.Concat(*((low, up) if low_first else (up, low)))
    return to.n.decoder


def net(data: dict | None = None, *, classes: int = 21, body: str = 'resnet',
        body_settings: dict | None = None, stride: int = 16, rates: tuple[int, ...] | None = None,
        width: int = 256, dropout: float = 0.1, decoder: dict | None = None, refinements: int = 0,
        separable: bool = False, aligned: bool = True, norm: dict | None = None,
        normalize: bool = True, shape: tuple[int, ...] = (1, 3, CROP, CROP)):
    """DeepLab v3 or v3+, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. body: a key of BODIES; body_settings: what else it
    takes. stride: of its last map. rates: of ASPP, by default RATES, which are for stride 16, times
    16 / stride. width: channels of ASPP and of what follows it. dropout: after ASPP.
    decoder: settings of v3+'s decoder, which may be {}; None is v3, without one. refinements: 3x3
    convolutions before the scores. separable: they and ASPP's are. aligned: of every resizing,
    whether corners are. norm: of Normed.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **(norm or {}))
    low, top, channels = BODIES[body](to, n.data, stride=stride, **(body_settings or {}))
    # the heads of MobileNet's net have plain ReLUs
    to = replace(to, activation=RELU)
    top = aspp(to, top, channels, rates=rates or tuple(16 * rate // stride for rate in RATES),
               width=width, separable=separable, dropout=dropout, aligned=aligned)
    channels = width
    if decoder is not None:
        top = decoded(to, top, low, aligned=aligned, **decoder)
        channels += decoder.get('low_width', 48)
    for i in range(1, refinements + 1):
        top = to.separable(top, f'refine{i}', channels, width) if separable else \
            to.conv(top, f'refine{i}', width, 3)
        channels = width
    n.score_coarse = to.classifier(top, classes)
    to.resized('score', n.score_coarse, n.data, aligned)
    if data is not None:
        loss(n, normalize)
    return n.to_proto()


# ---- the papers' nets on PASCAL VOC --------------------------------------------------------------

TRAINING = ("crops, rate and rule are those of the authors' release (research/deeplab):\n"
            '16 crops of 513x513 an iteration, 0.007, poly, 30000 iterations')
ORIGIN = {
    'v3': 'Chen et al. 2017 (DeepLab v3): multi-grid 1, 2, 4; ASPP of rates 6, 12, 18 with the\n'
          f'pooled image; ResNet-101 as PyTorch has it; {TRAINING}',
    'v3plus': 'Chen et al. 2018 (DeepLab v3+): ASPP, and a decoder of two 3x3 convolutions on the\n'
              f'map of stride 4; {TRAINING}',
}
PLUS: dict[str, Any] = {'decoder': {}, 'refinements': 2}
TENSORFLOW = {'eps': 1e-3, 'decay_depthwise': False}
NETS: dict[str, dict[str, Any]] = {
    'deeplab-v3-resnet101': {},
    'deeplab-v3plus-resnet101': PLUS,
    'deeplab-v3plus-xception65': {**PLUS, 'body': 'xception', 'separable': True,
                                  'norm': TENSORFLOW},
    'deeplab-v3plus-mobilenet': {**PLUS, 'body': 'mobilenet', 'separable': True,
                                 'norm': {**TENSORFLOW, 'activation': RELU6}},
    'deeplab-v3plus-drn54': {**PLUS, 'body': 'drn', 'stride': 8},
}


def random_crops(side: int, scale: tuple[float, float], batch_size: int
                 ) -> Callable[..., dict[str, str]]:
    """The data settings, as functions like model.voc_data give them, of random square crops from a
    folder laid out as VOC's; for images of one's own that are smaller, fitted to these."""
    def crops(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
              recolour: float | None = None, rotate: float = 0) -> dict[str, str]:
        return python_data('own_layers', 'OwnDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                           mean=MEAN, crop=fitted(size, (side, side)), scale=scale, mirror=True,
                           recolour=recolour or 0, batch_size=batch_size,
                           **({'rotate': rotate} if rotate else {}))
    return crops


crops = random_crops(CROP, (0.5, 2.0), 16)      # the papers'


def voc(name: str, **settings) -> Model:
    """A model on VOC 2012 with the 10582 images of train and SBD as its split trainaug."""
    recipe = Recipe(0.007, momentum=0.9, max_iter=30000, snapshot=2000, normalize=True,
                    weight_decay=4e-5, policy='poly')
    root = '../data/pascal/VOC2012'
    return Model(net, settings, crops(root, 'trainaug'), voc_data(root, 'val'), 1449, (recipe,),
                 crops, origin=ORIGIN['v3plus' if 'decoder' in settings else 'v3'])


# ---- miniatures ----------------------------------------------------------------------------------

RESNET_MINI = {'blocks': (2, 2, 2, 3), 'stem': 16, 'widths': (8, 16, 24, 32)}
XCEPTION_MINI = {'stem': (12, 24), 'entry': (32, 48, 96), 'middle': 2,
                 'exit': ((96, 128, 128), (160, 160, 192))}
SMALL = {'width': 48, 'rates': (2, 4, 6), 'norm': SCRATCH}
SMALL_PLUS: dict[str, Any] = {'decoder': {'low_width': 16}, 'refinements': 2}
MINIS: dict[str, dict[str, Any]] = {
    'deeplab-v3-mini': {**SMALL, 'body_settings': RESNET_MINI},
    'deeplab-v3plus-mini': {**SMALL, **SMALL_PLUS, 'body_settings': RESNET_MINI},
    'deeplab-v3plus-xception-mini': {**SMALL, **SMALL_PLUS, 'max_iter': 2000, 'separable': True,
                                     'body': 'xception', 'body_settings': XCEPTION_MINI,
                                     'norm': {**SCRATCH, 'decay_depthwise': False}},
}


def mini_crops(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
               recolour: float | None = None, rotate: float = 0) -> dict[str, str]:
    """Data settings of crops as large as the images, at most as a scene: of smaller ones few digits
    are whole, and a mirrored digit is another one or none."""
    height, width = SCENE if size is None else map(min, size, SCENE)
    return scene_crops(voc_dir, split, (height, width), recolour, rotate)


def scene_crops(voc_dir: str, split: str, crop: tuple[int, int], recolour: float | None = None,
                rotate: float = 0) -> dict[str, str]:
    """Data settings of crops as they are coloured unless recolour says otherwise, not mirrored."""
    return python_data('own_layers', 'OwnDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN, crop=crop, scale=(0.8, 1.25), mirror=False,
                       recolour=recolour or 0, batch_size=4,
                       **({'rotate': rotate} if rotate else {}))


def mini(name: str, net: Callable = net, max_iter: int = 1500, base_lr: float = 2e-3,
         **settings) -> Model:
    """A small net by the recipe of the own nets, on the digit scenes until a VOC folder is given;
    longer than they are trained, as its scores are coarser. max_iter: for about five minutes of one
    thread."""
    recipe = Recipe(base_lr, momentum=0.9, max_iter=max_iter, snapshot=500, normalize=True,
                    weight_decay=1e-4, policy='poly', type='Adam', prefix=f'runs/{name}/train')
    return Model(net, {'classes': 11, 'shape': (1, 3, 224, 288), **settings},
                 mini_crops(str(FOLDER), 'train'), voc_data(str(FOLDER), 'val'), 100, (recipe,),
                 mini_crops)


MODELS = {**{name: voc(name, **settings) for name, settings in NETS.items()},
          **{name: mini(name, **settings) for name, settings in MINIS.items()}}


def mini_stage(family: str, net: str) -> Stage:
    """A stage of a miniature, trained from random weights."""
    return Stage(family, net, surgeries=('transplant',), scenes=True, counts_classes=True,
                 takes=('voc', 'mnist', 'recolour', 'rotate'))


def voc_stage(family: str, net: str, weights: str) -> Stage:
    """A stage that starts from a file of weights of its body."""
    return Stage(family, net, weights=weights, surgeries=('transplant',), score_every=2000,
                 takes=('voc', 'recolour', 'rotate'))


STAGES = {
    **{name: voc_stage('deeplabv3', name.removeprefix('deeplab-'),
                       f"{settings.get('body', 'resnet101')}.caffemodel")
       for name, settings in NETS.items()},
    **{name: mini_stage('deeplabv3', name.removeprefix('deeplab-')) for name in MINIS},
}
ENTRIES = (Entry('deeplabv3', 'DeepLab v3', 'deeplab-v3-mini'),
           Entry('deeplabv3', 'DeepLab v3+', 'deeplab-v3plus-mini'),
           Entry('deeplabv3', 'DeepLab v3+, Xception', 'deeplab-v3plus-xception-mini'))
