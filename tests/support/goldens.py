"""Where Caffe's goldens are, which tests need files beside the project, and the measure of error.

tests/data has the goldens that the default tests need; ../shared/goldens has all of them, with more
nets and solvers and some at full width. Tests of files that are only there are skipped without it,
and conftest.py says in one line how many were left out.
"""

from collections.abc import Iterable
from pathlib import Path

import h5py
import pytest

from fcn_repro.parity import error

__all__ = ['CAMVID', 'DATA', 'NEEDS', 'NETS', 'SHARED', 'SIZES', 'SOLVERS', 'error', 'find',
           'needs', 'params', 'solver_cases', 'spoil']

ROOT = Path(__file__).parents[2]
DATA = ROOT / 'tests/data'
SHARED = ROOT.parent / 'shared/goldens'
CAMVID = ROOT.parent / 'shared/data/camvid'
NEEDS = 'needs ../'                     # how the reason of each such skip begins

NETS = ('early-fusion', 'fcn-alexnet', 'fcn16s', 'fcn32s', 'fcn8s', 'fcn8s-atonce', 'late-fusion',
        'multitask')
SIZES = '1x3x64x64', '1x3x64x64_force', '1x3x97x131', '2x3x75x50'       # of golden_SIZE.h5
SOLVERS = ('adadelta', 'adagrad', 'adam', 'adam_defaults', 'batch_size_2', 'batchnorm_scale',
           'clip_gradients', 'clip_gradients_iter_size', 'lr_exp', 'lr_fixed', 'lr_inv',
           'lr_multistep', 'lr_poly', 'lr_sigmoid', 'lr_step', 'nesterov', 'no_weight_decay',
           'regularization_l1', 'regularization_l2_strong', 'rmsprop', 'sgd_accumulate_heavy',
           'sgd_accumulate_normalized', 'sgd_heavy', 'sgd_heavy_no_momentum_field',
           'shared_params', 'shared_params_adam', 'solver_type_enum_nesterov')


def find(name):
    """The path of a golden such as 'nets/fcn8s/net.prototxt': in tests/data, else in ../shared."""
    return DATA / name if (DATA / name).exists() else SHARED / name


def needs(path):
    """A mark that skips a test if a file beside the project is missing."""
    relative = path.relative_to(ROOT.parent) if path.is_relative_to(ROOT.parent) else path
    return pytest.mark.skipif(not path.exists(), reason=f'{NEEDS}{relative}')


def params(names: Iterable[str], file='', folder=''):
    """Parameters for a test: for each name the path of folder/name/file, skipped if missing."""
    paths = {name: find('/'.join(filter(None, (folder, name, file)))) for name in names}
    return [pytest.param(path, id=name, marks=needs(path)) for name, path in paths.items()]


def solver_cases(names=SOLVERS):
    """Parameters for a test: the folder of each of Caffe's solver runs, skipped if missing."""
    return params(names, folder='solvers')


def spoil(path, name, change):
    """Change a dataset in place: change(array) -> None, or 'delete'."""
    with h5py.File(path, 'r+') as file:
        if change == 'delete':
            del file[name]
            return
        values = file[name][()]
        change(values.reshape(-1))
        file[name][...] = values
