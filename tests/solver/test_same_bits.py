"""Every kind of solver: a run that is snapshotted and restored ends in the bits of one that is not,
from either format."""

import h5py
import numpy as np
import pytest
import torch
from small_runs import run
from texts import conv, layer

from fcn_repro.formats.weights import write_hdf5
from fcn_repro.solver import Solver

SHARED = 'param { name: "w" decay_mult: 2 } param { lr_mult: 2 }'
NET = layer('HDF5Data', 'data', '', 'data label', 'hdf5_data_param { source: "data.txt" '
            'batch_size: 2 }') + conv('a', 'data', kernel=3, num_output=2, field='pad: 1') \
    + layer('ReLU', 'r', 'a', 'a') + layer('Dropout', 'd', 'a', 'a') \
    + conv('b', 'a', num_output=2, more=SHARED) + conv('c', 'b', num_output=2, more=SHARED) \
    + layer('SoftmaxWithLoss', 'loss', 'c label', 'loss')
TYPES = {'SGD': 'momentum: 0.9', 'Nesterov': 'momentum: 0.9', 'AdaGrad': '',
         'RMSProp': 'rms_decay: 0.9', 'AdaDelta': 'momentum: 0.9', 'Adam': 'momentum: 0.9'}
POLICIES = {'fixed': '', 'step': 'gamma: 0.5 stepsize: 2', 'exp': 'gamma: 0.9',
            'inv': 'gamma: 0.1 power: 0.75', 'multistep': 'gamma: 0.5 stepvalue: 2 stepvalue: 4',
            'poly': 'power: 2', 'sigmoid': 'gamma: 0.5 stepsize: 3'}
MORE = {'plain': '', 'clipped': 'clip_gradients: 0.1', 'L1': 'regularization_type: "L1"',
        'gathered': 'iter_size: 2 average_loss: 3',
        'tested': 'test_net: "net.prototxt" test_iter: 2 test_interval: 2 weights: "w.h5"'}
CASES = [(kind, policy, 'plain') for kind in TYPES for policy in POLICIES] + [
    (kind, 'step', more) for kind in TYPES for more in MORE if more != 'plain']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp('bits'), np.random.default_rng(0)
    with h5py.File(folder / 'data.h5', 'w') as file:
        file['data'] = rng.standard_normal((7, 2, 4, 4)).astype(np.float32)
        file['label'] = rng.integers(0, 2, (7, 1, 4, 4)).astype(np.float32)
    (folder / 'data.txt').write_text('data.h5\n')
    (folder / 'net.prototxt').write_text(NET)
    write_hdf5(folder / 'w.h5', {'a': [np.full((2, 2, 3, 3), 0.1), np.zeros(2)]})
    return folder


@pytest.mark.parametrize('kind, policy, more', CASES)
def test_restored_to_the_same_bits(folder, tmp_path, kind, policy, more):
    file = folder / f'{kind}_{policy}_{more}.prototxt'
    file.write_text(f'train_net: "net.prototxt" base_lr: 0.05 max_iter: 6 weight_decay: 0.01 '
                    f'type: "{kind}" {TYPES[kind]} lr_policy: "{policy}" {POLICIES[policy]} '
                    f'{MORE[more]}')
    whole = Solver(file, prefix=tmp_path / 'x', seed=3)
    start = [blob.data.clone() for blob in whole.net.learnable_params]
    run(whole, 3)
    whole.param.snapshot_format = whole.param.BINARYPROTO
    whole.snapshot()
    wanted = state(run(whole))
    assert not any(map(torch.equal, start, (b.data for b in whole.net.learnable_params)))
    for end in '', '.h5':
        again = Solver(file, prefix=tmp_path / 'x')         # another seed: the snapshot's counts
        again.restore(tmp_path / f'x_iter_3.solverstate{end}')
        assert state(run(again)) == wanted


def state(solver):
    """All that goes on, as bytes."""
    tensors = [*(blob.data for blob in solver.net.learnable_params), *solver.history]
    return ([t.numpy().tobytes() for t in tensors], solver.iter, solver.current_step,
            list(solver.losses), solver.rate, solver.net.state)
