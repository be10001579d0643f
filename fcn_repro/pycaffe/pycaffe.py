"""Where pycaffe has its Net and solvers: caffe.pycaffe."""

from . import io
from .mode import NCCL, Timer
from .net import Net
from .solvers import (
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    RMSPropSolver,
    SGDSolver,
)

__all__ = ['NCCL', 'AdaDeltaSolver', 'AdaGradSolver', 'AdamSolver', 'NesterovSolver', 'Net',
           'RMSPropSolver', 'SGDSolver', 'Timer', 'io']
