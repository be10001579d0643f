"""Nets on PASCAL-Context, the reference release's pascalcontext-fcn32s, 16s and 8s: 59 classes and
the background, which is 0 (Table 6); and the same for the task of 33, which the release lacks."""

from ..stage import Stage
from . import vgg
from .model import RELEASED, Model, release_recipes
from .parts import python_data
from .voc import PIXELS, VGG16

VAL_IMAGES = 5105


def context(stride: int, base_lr: float, **task: int) -> Model:
    """A model of the release; task: of its data layers, 59 classes if it is left out."""
    train, val = (python_data('pascalcontext_layers', 'PASCALContextSegDataLayer',
                              context_dir='../../data/pascal-context', seed=1337, split=split,
                              voc_dir='../../data/pascal', **task)
                  for split in ('train', 'val'))
    classes = task.get('task', 59) + 1
    return Model(vgg.fcn, {'stride': stride, 'classes': classes}, train, val, VAL_IMAGES,
                 release_recipes(base_lr, 300000, PIXELS), origin=TASK_33 if task else RELEASED)


TASK_33 = "not in the release: Table 6's other task; net and solvers as for its 59 classes"


MODELS = {
    'pascalcontext-fcn32s': context(32, 1e-10),
    'pascalcontext-fcn16s': context(16, 1e-12),
    'pascalcontext-fcn8s': context(8, 1e-14),
    'pascalcontext33-fcn32s': context(32, 1e-10, task=33),
    'pascalcontext33-fcn16s': context(16, 1e-12, task=33),
    'pascalcontext33-fcn8s': context(8, 1e-14, task=33),
}


def stage(net: str, parent: str | None = None) -> Stage:
    """A stage that starts from its parent, or from VGG16's ImageNet weights."""
    return Stage('pascalcontext', net, parent, weights='' if parent else VGG16, zero_fillers=True,
                 score_every=8000, takes=('pascal', 'context'))


STAGES = {
    'pascalcontext-fcn32s': stage('fcn32s'),
    'pascalcontext-fcn16s': stage('fcn16s', 'pascalcontext-fcn32s'),
    'pascalcontext-fcn8s': stage('fcn8s', 'pascalcontext-fcn16s'),
    'pascalcontext33-fcn32s': stage('33-fcn32s'),
    'pascalcontext33-fcn16s': stage('33-fcn16s', 'pascalcontext33-fcn32s'),
    'pascalcontext33-fcn8s': stage('33-fcn8s', 'pascalcontext33-fcn16s'),
}
