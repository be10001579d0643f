"""pycaffe's names over this project's nets and solvers: `import fcn_repro.pycaffe as caffe`.

After `install()`, `import caffe` means this package; `python -m fcn_repro.pycaffe SCRIPT` runs a
script with that done.
"""

from . import _caffe, classifier, coord_map, detector, draw, io, net_spec, proto, pycaffe
from ._caffe import __version__
from .alias import install
from .classifier import Classifier
from .detector import Detector
from .layer_types import layer_type_list
from .mode import (
    NCCL,
    Timer,
    has_nccl,
    init_log,
    set_blas,
    set_device,
    set_mode_cpu,
    set_mode_gpu,
    set_multiprocess,
    set_random_seed,
    set_solver_count,
    set_solver_rank,
    set_user_code,
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

__all__ = [
    'NCCL',
    'TEST',
    'TRAIN',
    'AdaDeltaSolver',
    'AdaGradSolver',
    'AdamSolver',
    'Classifier',
    'Detector',
    'Layer',
    'NesterovSolver',
    'Net',
    'NetSpec',
    'RMSPropSolver',
    'SGDSolver',
    'Timer',
    '__version__',
    '_caffe',
    'classifier',
    'coord_map',
    'detector',
    'draw',
    'get_solver',
    'has_nccl',
    'init_log',
    'install',
    'io',
    'layer_type_list',
    'layers',
    'log',
    'net_spec',
    'params',
    'proto',
    'pycaffe',
    'set_blas',
    'set_device',
    'set_mode_cpu',
    'set_mode_gpu',
    'set_multiprocess',
    'set_random_seed',
    'set_solver_count',
    'set_solver_rank',
    'set_user_code',
    'solver_count',
    'solver_rank',
    'to_proto',
]
