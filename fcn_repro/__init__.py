"""Fully convolutional networks (Long, Shelhamer, Darrell), faithful to Caffe, in PyTorch.

    import fcn_repro
    labels = fcn_repro.segment('photo.jpg', net='deploy.prototxt', weights='fcn8s.caffemodel')
    model = fcn_repro.load('runs/own-fcn16s')       # to label many images, of a run or such files

The names below are imported at their first use, so that `import fcn_repro` does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import FcnError
    from .model import Model, load
    from .net import Net
    from .net.placement import place
    from .predict.crf import Crf
    from .predict.segment import segment
    from .predict.views import Views
    from .proto import TEST, TRAIN
    from .solver import Solver

__version__ = '0.2.0'           # the only place; packaging, `--version` and CITATION.cff follow
__all__ = ['TEST', 'TRAIN', 'Crf', 'FcnError', 'Model', 'Net', 'Solver', 'Views', 'load', 'place',
           'segment']

_MODULES = {'Crf': '.predict.crf', 'FcnError': '.errors', 'Model': '.model', 'Net': '.net',
            'Solver': '.solver', 'TEST': '.proto', 'TRAIN': '.proto', 'Views': '.predict.views',
            'load': '.model', 'place': '.net.placement', 'segment': '.predict.segment'}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    value = globals()[name] = getattr(import_module(_MODULES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith('__'))})
