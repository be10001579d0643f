"""What pycaffe has for the whole process: CPU or GPU, which one, the seed, the log, the clock; and
the names of its training on several GPUs, which is not here: one process, one device."""

import logging
import time
import warnings

import torch

from ..errors import FcnError

log = logging.getLogger(__name__)
_state = {'gpu': False, 'number': 0, 'seed': None}


def set_mode_cpu():
    """Nets and solvers made from now on run on the CPU."""
    _state['gpu'] = False


def set_mode_gpu():
    """Nets and solvers made from now on run on the GPU; where torch sees none, a warning, and
    they run on the CPU."""
    _state['gpu'] = torch.cuda.is_available()
    if not _state['gpu']:
        warnings.warn('torch sees no GPU: running on the CPU instead', RuntimeWarning, stacklevel=2)


def set_device(number):
    """Which GPU set_mode_gpu means."""
    _state['number'] = int(number)


def set_random_seed(seed):
    """The seed of the nets made from now on (fillers, Dropout, DummyData); 0 without it."""
    _state['seed'] = int(seed)


def device():
    """The torch device name that the mode stands for."""
    return f"cuda:{_state['number']}" if _state['gpu'] else 'cpu'


def seed():
    """What set_random_seed was given, or None."""
    return _state['seed']


def init_log(level=0, stderr=True):
    """pycaffe's: the log goes to stderr, from this glog level on (0: INFO, 1: WARNING)."""
    logging.basicConfig(format='%(message)s')
    logging.getLogger('fcn_repro').setLevel(logging.INFO + 10 * level)


def log_line(text):
    """pycaffe's log: one line of the log."""
    log.info('%s', text)


class Timer:
    """start(), stop(), then `ms` between the two, a float; what a GPU has been given counts."""

    def __init__(self):
        self.ms = 0.0

    def start(self):
        self._start = self._now()

    def stop(self):
        self.ms = (self._now() - self._start) * 1000

    def _now(self):
        if _state['gpu']:
            torch.cuda.synchronize()
        return time.perf_counter()


# ---- training on several GPUs --------------------------------------------------------------------

def has_nccl():
    """False, as of a Caffe that was built without NCCL."""
    return False


class NCCL:
    """What a Caffe without NCCL has of it: a name."""

    def __init__(self, *given):
        raise FcnError('there is no training on several GPUs here', do='Use one GPU, and iter_size '
                       'for larger batches.')

    new_uid = classmethod(lambda cls: cls())


def solver_count():
    """How many solvers train together: 1."""
    return 1


def solver_rank():
    """Which of them this process has: 0, the first."""
    return 0


def set_solver_count(count):
    """1 is fine."""
    if count != 1:
        NCCL()


def set_solver_rank(rank):
    """0 is fine."""
    if rank != 0:
        NCCL()


def set_multiprocess(several):
    """With one solver it changes nothing."""
