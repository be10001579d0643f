"""Where pycaffe has its Net and solvers: caffe.pycaffe."""

from . import io
from ._caffe import (
    NCCL,
    AdaDeltaSolver,
    AdaGradSolver,
    AdamSolver,
    NesterovSolver,
    Net,
    RMSPropSolver,
    SGDSolver,
    Timer,
)

__all__ = ['NCCL', 'AdaDeltaSolver', 'AdaGradSolver', 'AdamSolver', 'NesterovSolver', 'Net',
           'RMSPropSolver', 'SGDSolver', 'Timer', 'io']
