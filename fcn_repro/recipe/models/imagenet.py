"""The ImageNet classifiers that the nets start from, as deploy nets: what `cast` turns into fully
convolutional nets, and what the timing of section 3.1 compares."""

from ..stage import Stage
from . import alexnet, googlenet, vgg
from .model import Model

MODELS = {
    'vgg16': Model(vgg.ilsvrc, {}),
    'caffenet': Model(alexnet.classifier, {}),
    'alexnet': Model(alexnet.classifier, alexnet.ALEXNET),
    'googlenet': Model(googlenet.classifier, {}),
}
STAGES: dict[str, Stage] = {}           # their weights are downloaded
