"""Nets on PASCAL-Context, the reference release's pascalcontext-fcn32s, 16s and 8s: 59 classes and
the background, which is 0 (Table 6)."""

from ..stage import Stage
from . import vgg
from .model import Model, release_recipes
from .parts import python_data
from .voc import PIXELS, VGG16

CLASSES, VAL_IMAGES = 60, 5105


def context(stride: int, base_lr: float) -> Model:
    """A model of the release."""
    train, val = (python_data('pascalcontext_layers', 'PASCALContextSegDataLayer',
                              context_dir='../../data/pascal-context', seed=1337, split=split,
                              voc_dir='../../data/pascal') for split in ('train', 'val'))
    return Model(vgg.fcn, {'stride': stride, 'classes': CLASSES}, train, val, VAL_IMAGES,
                 release_recipes(base_lr, 300000, PIXELS))


MODELS = {
    'pascalcontext-fcn32s': context(32, 1e-10),
    'pascalcontext-fcn16s': context(16, 1e-12),
    'pascalcontext-fcn8s': context(8, 1e-14),
}


def stage(net: str, parent: str | None = None) -> Stage:
    """A stage that starts from its parent, or from VGG16's ImageNet weights."""
    return Stage('pascalcontext', net, parent, weights='' if parent else VGG16, zero_fillers=True,
                 score_every=8000, takes=('pascal', 'context'))


STAGES = {
    'pascalcontext-fcn32s': stage('fcn32s'),
    'pascalcontext-fcn16s': stage('fcn16s', 'pascalcontext-fcn32s'),
    'pascalcontext-fcn8s': stage('fcn8s', 'pascalcontext-fcn16s'),
}
