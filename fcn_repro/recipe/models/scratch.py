"""The scratch nets: as wide as VGG16, from random weights."""

from ..stage import Stage
from .mini import mini
from .model import Model
from .vgg import WIDTHS


def scratch(stride: int, folder: str, **changes) -> Model:
    """VGG16's own width from random weights, by the recipe of the mini nets, four times as long. At
    their rate the first steps overshoot: on street scenes the loss rises from 2.4 to 6.7 and is 2.0
    after 20 iterations; at a fifth of it, 1.6."""
    return mini(stride, folder, longer=4, rate=0.2, widths=WIDTHS, fc=4096, dropout=0.5, **changes)


MODELS = {
    'scratch-fcn32s': scratch(32, 'scratch-fcn32s'),
    'scratch-fcn16s': scratch(16, 'scratch-fcn16s'),
    'scratch-fcn8s': scratch(8, 'scratch-fcn8s'),
}


def stage(net: str, parent: str | None = None) -> Stage:
    """A stage of the scratch nets."""
    return Stage('scratch', net, parent, score_every=500, takes=('voc',), scenes=True)


STAGES = {
    'scratch-fcn32s': stage('fcn32s'),
    'scratch-fcn16s': stage('fcn16s', 'scratch-fcn32s'),
    'scratch-fcn8s': stage('fcn8s', 'scratch-fcn16s'),
}
