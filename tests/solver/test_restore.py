"""Snapshots, and going on from them: to the same bits, from Caffe's files, after signals."""

import os
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest
import torch
from goldens import solver_cases
from small_runs import (
    NET,
    ROOT,
    SOLVER,
    assert_error,
    call,
    contents,
    small_voc,
    start,
    wait,
    write_stage,
)

from fcn_repro.distributed import Processes
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_solverstate, write_solverstate
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.solvers import check_resumed
from fcn_repro.recipe.iterating import stopped_by_signals
from fcn_repro.solver import Solver
from fcn_repro.solver.snapshot_files import iteration

GO_ON = '''
import sys
from fcn_repro.parity import Comparison, Limits
from fcn_repro.parity.comparison import OK
from fcn_repro.parity.solvers import check_resumed
from fcn_repro.solver import Solver
solver = Solver(sys.argv[1], prefix='train')
solver.restore('train_iter_3.solverstate.h5')
for _ in solver.run(): print(solver.loss.hex(), solver.smoothed_loss.hex(), solver.rate)
'''
RESUMED = ['lr_fixed', 'lr_multistep', 'shared_params', 'nesterov', 'adagrad', 'rmsprop',
           'adadelta', 'adam', 'adam_defaults', 'shared_params_adam']
TYPES = {'Nesterov': 'momentum: 0.9', 'AdaGrad': '', 'RMSProp': 'rms_decay: 0.9',
         'AdaDelta': 'momentum: 0.9', 'Adam': 'momentum: 0.9'}


@pytest.fixture
def solver_file(tmp_path):
    return write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'))


def record(solver, until=None):
    return [(solver.loss.hex(), solver.smoothed_loss.hex(), solver.rate)
            for _ in solver.run(until)]


# The same bits

def test_restore_is_the_uninterrupted_run(solver_file, tmp_path, monkeypatch):
    """Random order, Dropout, iter_size 2, a loss window, a step policy: log, weights, history and
    the files themselves are equal, in the same process and in a new one."""
    whole, again, process = (tmp_path / name for name in ('whole', 'again', 'process'))
    for folder in (whole, again, process):
        folder.mkdir()
    monkeypatch.chdir(whole)
    first = Solver(solver_file, prefix='train', seed=5)
    log = record(first)
    assert len(log) == 6 and len({loss for loss, *_ in log}) == 6
    assert sorted(p.name for p in whole.iterdir()) == [
        f'train_iter_{i}.{kind}.h5' for i in (3, 6) for kind in ('caffemodel', 'solverstate')]

    for folder in (again, process):
        for path in whole.glob('*_iter_3.*'):
            shutil.copy(path, folder)
    monkeypatch.chdir(again)
    second = Solver(solver_file, prefix='train')            # another seed: the snapshot's counts
    second.restore('train_iter_3.solverstate.h5')
    assert record(second) == log[3:]
    assert contents(again) == contents(whole)
    for mine, other in zip(second.history, first.history, strict=True):
        assert mine.equal(other)
    for mine, other in zip(second.net.learnable_params, first.net.learnable_params, strict=True):
        assert mine.data.equal(other.data)

    done = subprocess.run([sys.executable, '-c', GO_ON, solver_file], cwd=process, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True)
    assert not done.stderr and contents(process) == contents(whole)
    assert [tuple(line.split()) for line in done.stdout.splitlines()] == [
        (loss, smoothed, str(rate)) for loss, smoothed, rate in log[3:]]


@pytest.mark.parametrize('kind', TYPES)
def test_every_solver_type_goes_on_to_the_same_bits(kind, tmp_path):
    """The files say it all: weights, every history, iteration, loss window."""
    text = SOLVER.replace('momentum: 0.9', f'type: "{kind}" {TYPES[kind]}')
    file = write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'), solver=text)
    first = Solver(file, prefix=tmp_path / 'run/train')
    log = record(first)
    assert any(h.any() for h in first.history[-5:])
    whole = contents(tmp_path / 'run')
    for name in ('train_iter_6.caffemodel.h5', 'train_iter_6.solverstate.h5'):
        os.remove(tmp_path / 'run' / name)
    second = Solver(file, prefix=tmp_path / 'run/train')
    second.restore(tmp_path / 'run/train_iter_3.solverstate.h5')
    assert record(second) == log[3:] and contents(tmp_path / 'run') == whole


def test_the_seed_counts(solver_file, tmp_path):
    runs = [record(Solver(solver_file, prefix=tmp_path / 'train', seed=seed), 1)
            for seed in (1, 2, 1)]
    assert runs[0] == runs[2] != runs[1]


def test_restore_forgets_what_came_before(solver_file, tmp_path):
    """The loss window of a solver that has run already is replaced."""
    solver = Solver(solver_file, prefix=tmp_path / 'train')
    log = record(solver)
    solver.restore(tmp_path / 'train_iter_3.solverstate.h5')
    assert record(solver) == log[3:]


def test_snapshot_says_what_caffe_ignores(solver_file, tmp_path):
    solver = Solver(solver_file, prefix=tmp_path / 'new' / 'train', seed=5)
    log = record(solver, 3)
    state = read_solverstate(tmp_path / 'new/train_iter_3.solverstate.h5')
    assert (state.iter, state.current_step) == (3, 1)
    assert state.extra['seed'] == 5 and state.extra['position'] == 6
    assert [x.hex() for x in state.extra['losses']] == [loss for loss, *_ in log]
    with h5py.File(state.file) as file:
        assert sorted(file) == ['current_step', 'fcn_repro', 'history', 'iter', 'learned_net']


# Caffe's own snapshots

@pytest.mark.parametrize('form', ['', '.h5'])
@pytest.mark.parametrize('folder', solver_cases(RESUMED))
def test_restore_from_caffe(folder, form):
    comparison = Comparison(folder.name)
    check_resumed(comparison, folder, folder / f'snapshot_iter_5.solverstate{form}', Limits())
    assert comparison.verdict == OK, comparison.departing
    assert len(comparison.gaps) > 3


# What does not fit

@pytest.fixture
def snapped(solver_file, tmp_path):
    """(solver, its snapshot's weights, its state)"""
    solver = Solver(solver_file, prefix=tmp_path / 'train', seed=5)
    record(solver, 1)
    return solver, tmp_path / 'train_iter_1.caffemodel.h5', tmp_path / 'train_iter_1.solverstate.h5'


def refused(solver, state, *parts):
    """restore() says this and leaves the solver as it was."""
    before = [blob.data.clone() for blob in solver.net.learnable_params]
    with pytest.raises(FcnError) as caught:
        solver.restore(state)
    assert caught.value.do
    for part in parts:
        assert str(part) in str(caught.value)
    assert solver.iter == 1 and solver.net.state.position == 2
    for blob, old in zip(solver.net.learnable_params, before, strict=True):
        assert blob.data.equal(old)


def test_state_without_its_weights(snapped):
    solver, model, state = snapped
    model.unlink()
    refused(solver, state, state, model, 'are missing', 'into its folder')


@pytest.mark.parametrize('name', ['', '/nowhere/x.h5', '.'])
def test_state_that_names_nothing(snapped, name):
    solver, _, state = snapped
    write_solverstate(state, 1, name, 0, solver.history)
    refused(solver, state, state, 'are missing')


@pytest.mark.parametrize('which', ['weights', 'state'])
@pytest.mark.parametrize('left', [0, 100, 0.5, 0.98])
def test_snapshot_cut_short(snapped, which, left):
    solver, model, state = snapped
    path = model if which == 'weights' else state
    data = path.read_bytes()
    path.write_bytes(data[:left if isinstance(left, int) else int(left * len(data))])
    refused(solver, state, path)


def test_history_of_another_net(snapped):
    solver, model, state = snapped
    write_solverstate(state, 1, str(model), 0, solver.history[:2])
    refused(solver, state, state, '2 blobs', '5', 'solver and net that wrote it')
    write_solverstate(state, 1, str(model), 0, [*solver.history] * 2)
    refused(solver, state, 'another net or solver type', '10 blobs', '5')
    write_solverstate(state, 1, str(model), 0, [np.zeros(3)] * 5)
    refused(solver, state, state, 'blob 0', '(3,)', '(4, 3, 3, 3)')


def test_weights_of_another_net(snapped, tmp_path):
    solver, model, state = snapped
    other = NET.replace('num_output: 3', 'num_output: 7')
    Solver(write_stage(tmp_path / 'other', tmp_path / 'voc', other)).net.save_hdf5(model)
    refused(solver, state, model, "layer 'score_fr'", '(7, 4, 1, 1)', '(3, 4, 1, 1)')


def test_weights_beside_the_state_win(solver_file, tmp_path, monkeypatch):
    """A run set aside is restored with its own weights, whatever now has its old path."""
    monkeypatch.chdir(tmp_path)
    solver = Solver(solver_file, prefix='run/train', seed=1)
    log = record(solver)
    os.rename('run', 'run.old1')
    record(Solver(solver_file, prefix='run/train', seed=2), 3)
    solver.restore('run.old1/train_iter_3.solverstate.h5')
    assert record(solver) == log[3:]


# Signals

@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_run_with_a_snapshot(solver_file, tmp_path, number):
    before = signal.getsignal(number)
    solver = Solver(solver_file, prefix=tmp_path / 'train')
    with stopped_by_signals(solver):
        for _ in solver.run():
            if solver.iter == 2:
                os.kill(os.getpid(), number)
    assert solver.stop_requested and solver.iter in (2, 3) and signal.getsignal(number) is before
    assert (tmp_path / f'train_iter_{solver.iter}.solverstate.h5').exists()


ITERATIONS = 10 ** 6     # more than pass before a signal is sent


@pytest.fixture
def stopped(tmp_path):
    """Start the command line of a long run, and send it a signal: (its words, Done, iteration)."""
    words = ['mini-fcn32s', '--voc', small_voc(tmp_path / 'voc', 3), '--classes', 3,
             '--weights', 'none', '--out', 'run']

    def stop(number):
        process = start('train', *words, '--iterations', ITERATIONS, cwd=tmp_path)
        log = tmp_path / 'run/train.log'
        while process.poll() is None and not (log.exists() and ', lr = ' in log.read_text()):
            time.sleep(0.05)
        process.send_signal(number)
        done = wait(process)
        state, = (tmp_path / 'run').glob('train_iter_*.solverstate.h5')
        return words, done, iteration(state)
    return stop


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_to_a_training_process(stopped, number, tmp_path, capsys, monkeypatch):
    words, done, last = stopped(number)
    assert done.status == 130 and not done.err
    assert done.out.endswith(f'stopped at iteration {last} with a snapshot; resume it with '
                             '--restore (make: RESTORE=1)\n')
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path / 'run')
    again = call(capsys, 'train', *words, '--iterations', ITERATIONS, '--classes', 9)
    assert_error(again, f'run: this run stopped at iteration {last} of {ITERATIONS}', '--restore',
                 '--fresh')
    assert contents(tmp_path / 'run') == before
    if number == signal.SIGINT:
        further = call(capsys, 'train', *words, '--iterations', last + 1, '--restore')
        assert further.status == 0 and not further.err
        assert f'restored run/train_iter_{last}.solverstate.h5\n' in further.out
        assert f'iteration {last + 1}/{last + 1}: loss' in further.out
        assert (tmp_path / f'run/train_iter_{last + 1}.caffemodel.h5').exists()


@pytest.mark.parametrize('rank', [0, 1])
def test_several_processes_keep_their_threads_and_one_warns(snapped, caplog, rank):
    solver, _, state = snapped
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    solver.processes = Processes()
    solver.processes.size, solver.processes.rank = 2, rank
    try:
        solver.restore(state)
        assert torch.get_num_threads() == before + 1
        said = [record.getMessage() for record in caplog.records if 'computes with' in record.msg]
        assert len(said) == (rank == 0)
        assert all(f'{before + 1} threads, and with {before} in' in text for text in said)
    finally:
        torch.set_num_threads(before)


def test_threads_are_restored_with_a_warning(snapped, caplog):
    """The snapshot's number holds for the whole process, so both numbers are said; nothing where
    they are equal."""
    solver, _, state = snapped
    before = torch.get_num_threads()
    solver.restore(state)
    assert torch.get_num_threads() == before and 'computes with' not in caplog.text
    torch.set_num_threads(before + 1)
    try:
        solver.restore(state)
        assert torch.get_num_threads() == before
        said, = [record.getMessage() for record in caplog.records if 'computes with' in record.msg]
        assert f'{before} threads' in said and str(before + 1) in said
    finally:
        torch.set_num_threads(before)
