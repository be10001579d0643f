"""The shipped net families: the files of each folder under prototxt/, and the stages they form."""

from importlib import import_module

from ..stage import Entry, Stage
from .model import MEAN, Model, Recipe, summed_rate, voc_data
from .parts import python_data
from .vgg import WIDTHS, classifier, fcn

__all__ = ['FAMILIES', 'MEAN', 'MODELS', 'STAGES', 'WIDTHS', 'ZOO', 'Model', 'Recipe', 'classifier',
           'fcn', 'python_data', 'summed_rate', 'voc_data']

# Modules of this package with MODELS and STAGES, both by stage name, and ENTRIES, nets of the zoo
# (paper/zoo.py), if they have some. A new family: its name here.
FAMILIES = ('voc', 'nyud', 'siftflow', 'pascalcontext', 'imagenet', 'mini', 'minis', 'scratch',
            'm2nist', 'own', 'tags', 'segnet', 'enet', 'deeplabs', 'pspnet', 'dilation', 'crfrnn',
            'refinenet', 'deeplabv3', 'icnet', 'fastfcn', 'danet', 'acnet', 'bisenet', 'lednet',
            'dupsampling', 'dfanet')

MODELS: dict[str, Model] = {}       # how each folder of prototxt/ is made
STAGES: dict[str, Stage] = {}       # how it is trained
ZOO: tuple[Entry, ...] = ()         # the nets of the zoo, in the order of the families
for _name in FAMILIES:
    _family = import_module(f'.{_name}', __name__)
    MODELS |= _family.MODELS
    STAGES |= _family.STAGES
    ZOO += getattr(_family, 'ENTRIES', ())
