"""A state of another net, solver or data is refused with the difference, unless forced; weights and
histories that do not belong to it, or are no numbers, always."""

import os
import shutil

import h5py
import numpy as np
import pytest
from small_runs import run, solver_maker

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_solverstate, write_solverstate
from fcn_repro.solver import Solver, snapshots


@pytest.fixture
def make(tmp_path, monkeypatch):
    return solver_maker(tmp_path, monkeypatch)


def refused(solver, path, *parts):
    """restore() says this and leaves the solver as it was; the lines of its difference."""
    before = [blob.data.clone() for blob in solver.net.learnable_params]
    with pytest.raises(FcnError) as caught:
        solver.restore(path)
    for part in parts:
        assert str(part) in str(caught.value), str(caught.value)
    assert solver.iter == 0 and not solver.losses
    assert all(b.data.equal(old)
               for b, old in zip(solver.net.learnable_params, before, strict=True))
    return str(caught.value).splitlines()[1:]


@pytest.fixture
def state(make):
    """Of a run of one iteration."""
    run(make(provenance={'data': 'f00d'}), 1)
    return 'run/train_iter_1.solverstate.h5'


def test_a_changed_net_is_refused_with_the_difference(make, state):
    solver = make(('kernel_size: 3 pad: 8', 'pad: 8 # wide\nkernel_size: 5'))
    lines = refused(solver, state, f'{state}: ', 'net, solver or data', 'Restore with those',
                    'force=True')
    assert lines == ['--- train net of the state', '+++ train net now', '@@ layer "conv1" @@',
                     '     pad: 8', '-    kernel_size: 3', '+    kernel_size: 5',
                     '     weight_filler {']
    with pytest.raises(FcnError, match=r'has shape \(4, 3, 3, 3\)'):
        solver.restore(state, force=True)


def test_a_changed_solver_is_refused_unless_forced(make, state, caplog):
    solver = make(('base_lr: 0.01', 'base_lr: 0.1'), ('iter_size: 2\n', ''))
    lines = refused(solver, state, 'now')
    assert [line for line in lines if line[0] in '+-'] == [
        '--- solver of the state', '+++ solver now', '-base_lr: 0.01', '+base_lr: 0.1',
        '-iter_size: 2']
    assert solver.restore(state, force=True).splitlines() == lines
    assert ('was written with other settings: base_lr: 0.01 -> 0.1; no longer iter_size: 2'
            in caplog.text)
    assert run(solver, 2).rate == pytest.approx(0.1)
    again = make(('base_lr: 0.01', 'base_lr: 0.1'), ('iter_size: 2\n', ''))
    assert again.restore('run/train_iter_2.solverstate.h5') == ''


def test_what_changes_no_iteration_does_not_count(make, state, tmp_path):
    """Comments, spaces, the order of fields, the nets' paths, max_iter, and what is only shown,
    tested or written."""
    solver = make(('display: 1', 'display: 7 # lines'), ('max_iter: 6', 'max_iter: 60'),
                  ('snapshot: 3', 'snapshot: 4'), ('average_loss: 4\n', ''),
                  ('momentum: 0.9\nweight_decay: 0.0005', 'weight_decay: 5e-4 momentum: .9'),
                  ('"train"', '"elsewhere/x" solver_mode: CPU snapshot_after_train: false '
                   'test_net: "val.prototxt" test_iter: 1 test_interval: 100'),
                  ('layer { name: "relu1"', '# a comment\nlayer {\n\n  name: "relu1"'))
    assert solver.restore(state) == ''
    (tmp_path / 'net/other.prototxt').write_text((tmp_path / 'net/train.prototxt').read_text())
    change = tmp_path / 'net/solver.prototxt'
    change.write_text(change.read_text().replace('"train.prototxt"', '"other.prototxt"'))
    assert Solver(change, prefix='run/train').restore(state) == ''


def test_max_iter_counts_for_poly(make):
    poly = ('lr_policy: "step"', 'lr_policy: "poly" power: 1')
    run(make(poly), 1)
    state = 'run/train_iter_1.solverstate.h5'
    assert make(poly).restore(state) == ''
    assert '-max_iter: 6' in refused(make(poly, max_iter=7), state)


def test_other_data_are_refused(make, state):
    assert refused(make(provenance={'data': 'beef'}), state) == [
        '--- data of the state', '+++ data now', '@@', '-data: f00d', '+data: beef']
    for unknown in ({'data': ''}, {}, {'data': 'f00d'}):
        assert make(provenance=unknown).restore(state) == ''
    shutil.copytree('voc', 'copy')
    solver = make(overrides={'VOCSegDataLayer': {'voc_dir': 'copy'}})
    assert '+VOCSegDataLayer.voc_dir: ' + os.path.abspath('copy') in refused(solver, state)
    run(solver, 1)
    for same in ('copy', os.path.abspath('copy'), 'net/../copy'):
        assert make(overrides={'VOCSegDataLayer': {'voc_dir': same}}).restore(state) == ''


def test_the_difference_is_short(make, state):
    more = ''.join(f'layer {{ name: "r{i}" type: "ReLU" bottom: "conv1" top: "conv1" }}\n'
                   for i in range(20))
    lines = refused(make(('layer { name: "pool1"', more + 'layer { name: "pool1"')), state)
    assert len(lines) == snapshots.DIFF_LINES + 1 and lines[-1] == '… 85 more lines'


def test_a_state_that_does_not_say_is_restored(make, state):
    """As Caffe's, and those of earlier versions."""
    old = read_solverstate(state)
    extra = {name: old.extra[name] for name in ('seed', 'position', 'losses', 'threads', 'torch')}
    write_solverstate(state, old.iter, old.learned_net, 0, [h.copy() for h in old.history], extra)
    assert make(('base_lr: 0.01', 'base_lr: 0.1')).restore(state) == ''


def test_weights_of_another_run_are_refused(make, tmp_path):
    """A model of the right name and shape that another run wrote beside the state."""
    run(make(seed=1), 1)
    run(make(seed=2, prefix='other/train'), 1)
    shutil.copy('other/train_iter_1.caffemodel.h5', 'run')
    refused(make(), 'run/train_iter_1.solverstate.h5', 'run/train_iter_1.caffemodel.h5: seed 2 in '
            'the weights, 1 in the state', 'different runs', 'into its folder')
    solver = make()
    solver.net.save_hdf5('run/train_iter_1.caffemodel.h5')      # weights that say nothing: surgery
    solver.restore('run/train_iter_1.solverstate.h5')


def test_a_changed_solver_type_is_refused(make, state):
    """Where the histories are of other numbers even when it is forced."""
    adam = ('momentum: 0.9', 'type: "Adam" momentum: 0.9')
    assert '+type: "Adam"' in refused(make(adam), state)
    with pytest.raises(FcnError, match='solver type: its history has 5 blobs, here it is 10'):
        make(adam).restore(state, force=True)
    run(make(adam), 2)
    with h5py.File('run/train_iter_2.solverstate.h5', 'a') as opened:
        opened['history/8'][:2] = np.nan
    refused(make(adam), 'run/train_iter_2.solverstate.h5', "layer 'score_fr'",
            'blob 1 of the second history has 2 of 3')


def test_one_device_reduces_nothing(make, state):
    """layer_wise_reduce is about several GPUs."""
    assert make(('momentum', 'layer_wise_reduce: false momentum')).restore(state) == ''


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(make, state, value):
    """In the history or the weights: with file, layer, blob and count; nothing is copied."""
    for file, key, wanted in ((state, 'history/3', 'blob 1 of the history has 2 of 3'),
                              (state.replace('solverstate', 'caffemodel'), 'data/score_fr/1',
                               'blob 1 has 2 of 3')):
        with h5py.File(file, 'a') as opened:
            good = opened[key][()]
            opened[key][:2] = value
        refused(make(), state, file, "layer 'score_fr'", wanted)
        with h5py.File(file, 'a') as opened:
            opened[key][...] = good
    assert make().restore(state) == ''
