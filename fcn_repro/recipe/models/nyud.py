"""Nets on NYUDv2 (40 classes): the reference release's nyud-fcn32s-color, -hha, -color-d (early
fusion), -color-hha (late fusion), and FCN-16s RGB-HHA of Table 4, which it lacks."""

from typing import Any

from ..stage import Stage
from . import vgg
from .model import RELEASED, Model, release_recipes
from .parts import python_data
from .voc import VGG16

CLASSES, TEST_IMAGES = 40, 654
PIXELS = 425 * 560      # of an image as Gupta et al. crop it
LATE: dict[str, Any] = {'inputs': {'color': 3, 'hha': 3}, 'fusion': vgg.LATE}


def nyud(*images: str, stride: int = 32, base_lr: float = 1e-10, origin: str = RELEASED,
         **settings) -> Model:
    """A model of the release whose data layer has these images; settings: of vgg.fcn."""
    train, test = (python_data('nyud_layers', 'NYUDSegDataLayer', tops=[*images, 'label'],
                               seed=1337, nyud_dir='../data/nyud', split=split)
                   for split in ('trainval', 'test'))
    recipes = release_recipes(base_lr, 300000, PIXELS, snapshot=2000)
    return Model(vgg.fcn, {'stride': stride, 'classes': CLASSES, **settings}, train, test,
                 TEST_IMAGES, recipes, splits=('trainval', 'test'), origin=origin)


MODELS = {
    'nyud-fcn32s-color': nyud('color'),
    'nyud-fcn32s-hha': nyud('hha'),
    'nyud-fcn32s-color-d': nyud('color', 'depth', inputs={'color': 3, 'depth': 1},
                                fusion=vgg.EARLY),
    'nyud-fcn32s-color-hha': nyud('color', 'hha', base_lr=1e-12, **LATE),
    'nyud-fcn16s-color-hha': nyud('color', 'hha', stride=16, base_lr=1e-14, origin=(
        'not in the release: CVPR 2015, Table 4, says its score alone. Ours: the skip of each\n'
        'stream is scored, the mean of both is fused as the mean of the scores is, and the rate\n'
        "falls by 100, as from VOC's FCN-32s to FCN-16s"), **LATE),
}


def stage(net: str, parent: str | None = None, **further) -> Stage:
    """A stage that starts from VGG16's ImageNet weights unless it has a parent or streams."""
    weights = '' if parent or further.get('streams') else VGG16
    return Stage('nyud', net, parent, weights=weights, zero_fillers=True, score_every=2000,
                 takes=('nyud',), **further)


STAGES = {
    'nyud-fcn32s-color': stage('fcn32s-color'),
    'nyud-fcn32s-hha': stage('fcn32s-hha'),
    'nyud-fcn32s-color-d': stage('fcn32s-color-d', expanded=(('conv1_1_bgrd', 'conv1_1'),)),
    'nyud-fcn32s-color-hha': stage('fcn32s-color-hha', streams=(
        ('nyud-fcn32s-color', 'color'), ('nyud-fcn32s-hha', 'hha'))),
    'nyud-fcn16s-color-hha': stage('fcn16s-color-hha', 'nyud-fcn32s-color-hha'),
}
