"""What pycaffe sets for the whole process: CPU or GPU, which one, the seed."""

import logging
import warnings

import torch

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
