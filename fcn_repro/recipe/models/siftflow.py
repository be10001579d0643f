"""Nets on SIFT Flow, the reference release's siftflow-fcn32s, 16s and 8s: one trunk with two heads,
33 semantic and 3 geometric classes (section 5 of the paper, Table 5)."""

from ..stage import Stage
from . import vgg
from .model import RELEASED, Model, release_recipes
from .parts import python_data
from .voc import VGG16

HEADS = {'sem': 33, 'geo': 3}
TEST_IMAGES = 200
PIXELS = 256 * 256
# The release's solvers keep no snapshots
NOTE = 'an addition: the release keeps none before max_iter'


def siftflow(stride: int, base_lr: float) -> Model:
    """A model of the release."""
    train, test = (python_data('siftflow_layers', 'SIFTFlowSegDataLayer',
                               siftflow_dir='../data/sift-flow', seed=1337, split=split)
                   for split in ('trainval', 'test'))
    recipes = release_recipes(base_lr, 300000, PIXELS, snapshot=2000, note=NOTE)
    return Model(vgg.fcn, {'stride': stride, 'heads': HEADS}, train, test, TEST_IMAGES, recipes,
                 splits=('trainval', 'test'), origin=RELEASED)


MODELS = {
    'siftflow-fcn32s': siftflow(32, 1e-10),
    'siftflow-fcn16s': siftflow(16, 1e-12),
    'siftflow-fcn8s': siftflow(8, 1e-12),       # not 1e-14, as VOC's has
}


def stage(net: str, parent: str | None = None) -> Stage:
    """A stage that starts from its parent, or from VGG16's ImageNet weights."""
    return Stage('siftflow', net, parent, weights='' if parent else VGG16, zero_fillers=True,
                 score_every=2000, takes=('siftflow',))


STAGES = {
    'siftflow-fcn32s': stage('fcn32s'),
    'siftflow-fcn16s': stage('fcn16s', 'siftflow-fcn32s'),
    'siftflow-fcn8s': stage('fcn8s', 'siftflow-fcn16s'),
}
