"""The names of pycaffe's compiled module: caffe._caffe."""

from .blob import Blob
from .layer_types import layer_type_list
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
from .proto.caffe_pb2 import LayerParameter, SolverParameter
from .solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
    Solver,
    get_solver,
)
from .userlayer import BlobVec, Layer

__version__ = '1.0.0'           # of the Caffe whose names and behaviour these are

__all__ = ['NCCL', 'AdaDeltaSolver', 'AdaGradSolver', 'AdamSolver', 'Blob', 'BlobVec', 'Layer',
           'LayerParameter', 'NesterovSolver', 'Net', 'RMSPropSolver', 'SGDSolver', 'Solver',
           'SolverParameter', 'Timer', 'get_solver', 'has_nccl', 'init_log', 'layer_type_list',
           'log', 'set_device', 'set_mode_cpu', 'set_mode_gpu', 'set_multiprocess',
           'set_random_seed', 'set_solver_count', 'set_solver_rank', 'solver_count', 'solver_rank']

LISTS = ('RawBlobVec', 'LayerVec', 'StringVec', 'IntVec', 'DtypeVec', 'NetVec', 'BoolVec')
OLD = {'CaffeNet': 'Net', 'CaffeLayer': 'Layer', 'CaffeBlob': 'Blob', 'PyNet': 'Net',
       'PyBlob': 'Blob', 'PySGDSolver': 'SGDSolver'}        # of pycaffe before 2015


def __getattr__(name):
    if name in LISTS:
        raise AttributeError(f'caffe._caffe.{name} is a container of Caffe in C++; here such '
                             'things are lists. Use list.')
    if name in OLD:
        raise AttributeError(f'caffe._caffe.{name} is a name of old versions of Caffe. Use '
                             f'caffe.{"_caffe." if OLD[name] == "Blob" else ""}{OLD[name]}.')
    raise AttributeError(f"module 'caffe._caffe' has no attribute '{name}'")
