"""pycaffe's names over this project's nets and solvers: `import fcn_repro.pycaffe as caffe`.

`python -m fcn_repro.pycaffe SCRIPT` runs a script in which `import caffe` means this package.
"""

from ..layers import TYPES
from . import coord_map, io, net_spec
from .mode import init_log, set_device, set_mode_cpu, set_mode_gpu, set_random_seed
from .mode import log_line as log
from .net import Net
from .net_spec import NetSpec, layers, params, to_proto
from .proto.caffe_pb2 import TEST, TRAIN
from .solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    get_solver,
)
from .userlayer import Layer

__all__ = [
    'TEST',
    'TRAIN',
    'AdaDeltaSolver',
    'AdaGradSolver',
    'AdamSolver',
    'Layer',
    'NesterovSolver',
    'Net',
    'NetSpec',
    'RMSPropSolver',
    'SGDSolver',
    'coord_map',
    'get_solver',
    'init_log',
    'io',
    'layer_type_list',
    'layers',
    'log',
    'net_spec',
    'params',
    'set_device',
    'set_mode_cpu',
    'set_mode_gpu',
    'set_random_seed',
    'to_proto',
]


def layer_type_list():
    """The names of all layer types, in alphabetical order."""
    return sorted(set(TYPES) - {'UpCrop'})          # which a pass of this project makes
