"""The ImageNet classifiers that the nets start from, as deploy nets: what `cast` turns into fully
convolutional nets, and what the timing of section 3.1 compares."""

from ..stage import Stage
from . import alexnet, googlenet, vgg
from .model import Model

ZOO = "as the deploy net of BVLC's model zoo has it"

MODELS = {
    'vgg16': Model(vgg.ilsvrc, {}, origin="VGG_ILSVRC_16_layers, as its authors' deploy "
                   'net has it'),
    'caffenet': Model(alexnet.classifier, {}, origin=f'bvlc_reference_caffenet, {ZOO}'),
    'alexnet': Model(alexnet.classifier, alexnet.ALEXNET, origin=f'bvlc_alexnet, {ZOO}'),
    'googlenet': Model(googlenet.classifier, {}, origin=f'bvlc_googlenet, {ZOO}'),
}
STAGES: dict[str, Stage] = {}           # their weights are downloaded
