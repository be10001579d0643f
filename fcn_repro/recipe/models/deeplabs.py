"""DeepLab's nets on PASCAL VOC, by the authors' solvers, and their miniatures on the scenes of
digits."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ...data.scenes import FOLDER
from ..stage import Entry, Stage
from . import deeplab, deeplab_resnet
from .model import MEAN, Model, Recipe
from .parts import fitted, python_data

VOC = '../data/pascal/VOC2012'
DEEPLAB_MEAN = (104.008, 116.669, 122.675)      # BGR, of the authors' data layers
AUTHORS = ("the authors' nets and solvers (DeepLab-Context2) in the current form; random crops of\n"
           'OwnDataLayer stand for those of ImageSegData, and score is added')


def crop_data(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
              crop: tuple[int, int], batch: int, scale: tuple[float, float] = (1, 1),
              mean: tuple[float, float, float] = MEAN, mirror: bool = True) -> dict[str, str]:
    """Data settings of random crops, scaled and perhaps mirrored, from a folder laid out as VOC's.
    size: of its images, to which crops are fitted."""
    return python_data('own_layers', 'OwnDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=mean, crop=fitted(size, crop), scale=scale, mirror=mirror,
                       batch_size=batch)


def padded_data(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
                padded: int | tuple[int, int],
                mean: tuple[float, float, float] = MEAN) -> dict[str, str]:
    """Data settings of whole images, padded, from a folder laid out as VOC's."""
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=mean, padded=padded)


def full(net: Callable, recipe: Recipe, batch: int, side: int = 321, whole: int = 513,
         scale: tuple[float, float] = (1, 1), origin: str = AUTHORS, **settings) -> Model:
    """A net on VOC 2012. side: of the crops; whole: to which images are padded to be scored; those
    of one's own, of any size, to the next multiple of 32, and 1."""
    train = partial(crop_data, crop=(side, side), batch=batch, scale=scale, mean=DEEPLAB_MEAN)
    val = partial(padded_data, mean=DEEPLAB_MEAN)
    return Model(net, settings, train(VOC, 'train'), val(VOC, 'val', padded=(whole, whole)), 1449,
                 (recipe,), train, origin=origin, phased=True, val_data=partial(val, padded=32))


# The authors' first solvers; the second ones go on with train and val together
STEPS = Recipe(1e-3, momentum=0.9, max_iter=6000, snapshot=2000, normalize=None, policy='step',
               stepsize=2000)
POLY = Recipe(2.5e-4, momentum=0.9, max_iter=20000, snapshot=10000, iter_size=10, normalize=None,
              policy='poly')
SCALES = (0.5, 1.5)
MSRA = {'type': 'msra'}
SCENE = {'classes': 11, 'weight_filler': MSRA, 'input_scale': 0.01, 'shape': (1, 3, 257, 321)}
NARROW: dict[str, Any] = {**SCENE, 'widths': (8, 16, 32, 64, 64), 'fc': 128, 'dropout': 0.1}
RESIDUAL: dict[str, Any] = {**SCENE, 'blocks': (1, 2, 3, 1), 'widths': (16, 24, 32, 48), 'stem': 16,
                            'batch_stats': True}
# From random weights, without a classifier before them: crops as large as a scene, for smaller ones
# cut most digits
WHOLE: dict[str, Any] = {'type': 'Adam', 'crop': (257, 321)}


def mini(folder: str, net: Callable, base_lr: float, max_iter: int, batch: int = 4,
         crop: tuple[int, int] = (193, 225), type: str = 'SGD', **settings) -> Model:
    """A narrow net on the scenes of digits, by a rate that falls to 0 (poly): crops of `crop`, in
    batches, and scores of whole images, padded to sides that are a multiple of 32, and 1;
    none is mirrored, for a mirrored digit is another one or none. type: of the solver. Iterations
    are for as much time as FCN-8s takes with the stages before it."""
    train = partial(crop_data, crop=crop, batch=batch, scale=(0.8, 1.25), mirror=False)
    val = partial(padded_data, padded=32)
    recipe = Recipe(base_lr, momentum=0.9, max_iter=max_iter, snapshot=500, normalize=None,
                    policy='poly', type=type, prefix=f'runs/{folder}/train')
    return Model(net, settings, train(str(FOLDER), 'train'), val(str(FOLDER), 'val'), 100,
                 (recipe,), train, phased=True, val_data=val)


MODELS = {
    'deeplab-v1': full(deeplab.fcn, STEPS, 20, 306, 514, large=False, shape=(1, 3, 514, 514)),
    'deeplab-v1-largefov': full(deeplab.fcn, replace(STEPS, stepsize=1000), 30),
    'deeplab-v1-msc': full(deeplab.fcn, STEPS, 20, large=False, msc=True),
    'deeplab-v1-msc-largefov': full(deeplab.fcn, STEPS, 30, msc=True),
    'deeplab-v2-vgg16': full(deeplab.aspp, POLY, 1, scale=SCALES, origin=(
        'the file is not public; the pyramid of the paper (arXiv 1606.00915, figure 7) on the\n'
        "authors' LargeFOV, with the solver of their ResNet-101")),
    'deeplab-v2-resnet101': full(deeplab_resnet.fcn, POLY, 1, scale=SCALES),
    'deeplab-v2-resnet101-single': full(deeplab_resnet.fcn, POLY, 1, scale=SCALES, scales=False),

    'deeplab-v1-basic-mini': mini('deeplab-v1-basic-mini', deeplab.fcn, 3e-3, 2600, large=False,
                                  crop=(194, 226), **{**NARROW, 'shape': (1, 3, 258, 322)}),
    'deeplab-v1-mini': mini('deeplab-v1-mini', deeplab.fcn, 3e-3, 3000, **NARROW),
    'deeplab-v1-msc-mini': mini('deeplab-v1-msc-mini', deeplab.fcn, 3e-3, 500, msc=True, branch=16,
                                **NARROW),
    'deeplab-v2-vgg-mini': mini('deeplab-v2-vgg-mini', deeplab.aspp, 3e-3, 1900, **NARROW),
    'deeplab-v2-single-mini': mini('deeplab-v2-single-mini', deeplab_resnet.fcn, 1e-3, 1000,
                                   scales=False, **WHOLE, **RESIDUAL),
    'deeplab-v2-mini': mini('deeplab-v2-mini', deeplab_resnet.fcn, 1e-3, 1100, **WHOLE, **RESIDUAL),
}
INIT = 'init.caffemodel'        # the authors', VGG16 with fc6 and fc7 of the net's shapes
RESNET = 'ResNet-101-model.caffemodel'


def scores(net: str) -> str:
    """The pattern of the layers that make scores; of MSc's, those that learn."""
    return '*_ms' if 'msc' in net else 'fc[18]_*'


def stage(net: str, parent: str | None = None, weights: str = '') -> Stage:
    """A stage of the nets on VOC."""
    return Stage('deeplabs', net, parent, weights=weights, surgeries=('transplant',),
                 takes=('voc',), zero_fillers=True, score_every=2000, score_layers=scores(net))


def small(net: str, parent: str | None = None, dropped: tuple[str, ...] = ()) -> Stage:
    """A stage of the miniatures."""
    return Stage('deeplabs', net, parent, trains_parent=True, surgeries=('transplant',),
                 takes=('voc',), scenes=True, score_layers=scores(net), dropped=dropped)


CLASSIFIED = 'fc6', 'fc7'       # of the small classifier, which sees other shapes there
STAGES = {
    'deeplab-v1': stage('v1', weights=INIT),
    'deeplab-v1-largefov': stage('v1-largefov', weights=INIT),
    'deeplab-v1-msc': stage('v1-msc', 'deeplab-v1'),
    'deeplab-v1-msc-largefov': stage('v1-msc-largefov', 'deeplab-v1-largefov'),
    'deeplab-v2-vgg16': stage('v2-vgg16', weights=INIT),
    'deeplab-v2-resnet101': stage('v2-resnet101', weights=RESNET),
    'deeplab-v2-resnet101-single': stage('v2-resnet101-single', weights=RESNET),

    'deeplab-v1-basic-mini': small('v1-basic-mini', 'mini-classifier', CLASSIFIED),
    'deeplab-v1-mini': small('v1-mini', 'mini-classifier', CLASSIFIED),
    'deeplab-v1-msc-mini': small('v1-msc-mini', 'deeplab-v1-mini'),
    'deeplab-v2-vgg-mini': small('v2-vgg-mini', 'mini-classifier'),
    'deeplab-v2-single-mini': small('v2-single-mini'),
    'deeplab-v2-mini': small('v2-mini'),
}
ENTRIES = (
    Entry('deeplab-v1', 'DeepLab v1', 'deeplab-v1-basic-mini'),
    Entry('deeplab-v1', 'DeepLab v1, LargeFOV', 'deeplab-v1-mini'),
    Entry('deeplab-v1', 'DeepLab v1, MSc-LargeFOV', 'deeplab-v1-msc-mini'),
    Entry('deeplab-v2', 'DeepLab v2, VGG16', 'deeplab-v2-vgg-mini'),
    Entry('deeplab-v2', 'DeepLab v2, ResNet', 'deeplab-v2-single-mini'),
    Entry('deeplab-v2', 'DeepLab v2, ResNet, three scales', 'deeplab-v2-mini'),
)
