"""pycaffe's names over this project's nets and solvers: `import fcn_repro.pycaffe as caffe`.

`python -m fcn_repro.pycaffe SCRIPT` runs a script in which `import caffe` means this package.
"""

from ..layers import TYPES
from . import coord_map, io, net_spec
from .classifier import Classifier
from .mode import (
    NCCL,
    Timer,
    has_nccl,
    init_log,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    solver_count,
    solver_rank,
)
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

__version__ = '1.0.0'           # of the Caffe whose names and behaviour these are

__all__ = [
    'NCCL',
    'TEST',
    'TRAIN',
    'AdaDeltaSolver',
    'AdaGradSolver',
    'AdamSolver',
    'Classifier',
    'Layer',
    'NesterovSolver',
    'Net',
    'NetSpec',
    'RMSPropSolver',
    'SGDSolver',
    'Timer',
    'coord_map',
    'get_solver',
    'has_nccl',
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
    'set_multiprocess',
    'set_random_seed',
    'set_solver_count',
    'set_solver_rank',
    'solver_count',
    'solver_rank',
    'to_proto',
]


def layer_type_list():
    """The names of all layer types of Caffe, in alphabetical order."""
    return sorted(name for name, layer in TYPES.items() if not layer.internal)
