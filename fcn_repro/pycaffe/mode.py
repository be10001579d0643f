"""pycaffe's settings of the whole process: device, seed, arithmetic, log and clock; and the names
of its training on several GPUs, which is not available: one process, one device."""

import logging
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from .. import glog
from ..errors import FcnError
from ..proto.dialects import Dialect, find_dialect

log = logging.getLogger(__name__)


@dataclass
class Mode:
    """What pycaffe's set_ functions set for nets and solvers made from then on. Caffe has one such
    mode a process, and so has this package."""
    gpu: bool = False
    number: int = 0
    seed: int | None = None
    blas: bool = False
    user_code: bool = True
    dialect: Dialect | None = None
    define: Mapping[str, object] = field(default_factory=dict)


_mode = Mode()


def set_mode_cpu():
    """Nets and solvers made from now on run on the CPU."""
    _mode.gpu = False


def set_mode_gpu():
    """Nets and solvers made from now on run on the GPU; where torch sees none, a warning, and
    they run on the CPU."""
    _mode.gpu = torch.cuda.is_available()
    if not _mode.gpu:
        warnings.warn('torch sees no GPU: running on the CPU instead', RuntimeWarning, stacklevel=2)


def set_device(number):
    """Which GPU set_mode_gpu means."""
    _mode.number = int(number)


def set_random_seed(seed):
    """The seed of the nets made from now on (fillers, Dropout, DummyData); 0 without it."""
    _mode.seed = int(seed)


def set_blas(enabled=True):
    """Whether nets and solvers made from now on multiply matrices as Caffe does on the CPU, by
    im2col and OpenBLAS (ops/blas.py); not in pycaffe."""
    _mode.blas = bool(enabled)


def set_user_code(allowed=True):
    """Whether nets made from now on may have Python layers of the user's own, whose modules are
    imported and run; without, those of fcn_repro.data remain. Not in pycaffe."""
    _mode.user_code = bool(allowed)


def set_dialect(dialect=None, define=None):
    """The fork of Caffe that nets and solvers read from now on were written for (None: found by
    their texts), and the values of the ${NAME} in them; not in pycaffe."""
    _mode.dialect = None if dialect is None else find_dialect(dialect)
    _mode.define = dict(define or {})


def fork():
    """{'dialect': …, 'define': …} of set_dialect, as read_net takes them."""
    return {'dialect': _mode.dialect, 'define': _mode.define}


def device():
    """The torch device name that the mode stands for."""
    return f'cuda:{_mode.number}' if _mode.gpu else 'cpu'


def seed():
    """The argument of set_random_seed, or None."""
    return _mode.seed


def blas():
    """Whether set_blas is on."""
    return _mode.blas


def user_code():
    """Whether a net may have users' Python layers."""
    return _mode.user_code


def init_log(level=0, stderr=True):
    """Log as glog does: to stderr, or only errors there; from this level on (0: INFO, 1: WARNING,
    2: ERROR), or from GLOG_minloglevel on where that is set and higher."""
    lowest = max(level, glog.settings()['minloglevel'])
    glog.setup('caffe', {'minloglevel': lowest}, to_stderr=stderr)


def ensure_log():
    """Log to stderr, as Caffe does without init_log, where nothing else was set up."""
    if not glog.ROOT.handlers:
        init_log()


def log_line(text):
    """Write one line to the log (pycaffe's `log`)."""
    ensure_log()
    log.info('%s', text, extra=glog.at('_caffe.cpp', 68))


class Timer:
    """Time in `ms`, a float, between start() and stop(), queued work of a GPU included."""

    def __init__(self):
        self.ms = 0.0

    def start(self):
        self._start = self._now()

    def stop(self):
        self.ms = (self._now() - self._start) * 1000

    def _now(self):
        if _mode.gpu:
            torch.cuda.synchronize()
        return time.perf_counter()


# ---- training on several GPUs --------------------------------------------------------------------

def has_nccl():
    """False, as of a Caffe that was built without NCCL."""
    return False


class NCCL:
    """Stand-in, as in a Caffe that was built without NCCL."""

    def __init__(self, *given):
        raise FcnError('training on several GPUs is not supported', do='Train on one GPU, by '
                       'get_solver(file).solve(), with iter_size for larger batches.')

    new_uid = classmethod(lambda cls: cls())
    bcast = new_uid


def solver_count():
    """The number of solvers that train together: 1."""
    return 1


def solver_rank():
    """The rank of this process's solver: 0."""
    return 0


def set_solver_count(count):
    """FcnError for any number but 1."""
    if count != 1:
        NCCL()


def set_solver_rank(rank):
    """FcnError for any rank but 0."""
    if rank != 0:
        NCCL()


def set_multiprocess(several):
    """No effect with one solver."""
