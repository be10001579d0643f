"""Runs that are killed, at random moments and at every step of writing a snapshot: none is lost,
none is half-written, and the restored run ends in the very bits of the uninterrupted one."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count

import h5py
import pytest
from small_runs import ROOT, SOLVER, contents, small_voc, write_stage

from fcn_repro import temporary
from fcn_repro.formats.weights import read_solverstate, read_weights
from fcn_repro.processes import take_lock
from fcn_repro.recipe.folders import newest_state
from fcn_repro.solver import Solver
from fcn_repro.solver.snapshot_files import iteration, list_snapshots

KEEP, EVERY = 2, 2
PROVENANCE = {'data': 'f00', 'commit': 'c0ffee', 'parent': 'none'}
RUN = f'''
import os, sys, torch
torch.set_num_threads(1)
from fcn_repro.solver.snapshot_files import list_snapshots
from fcn_repro.solver import Solver
solver = Solver(sys.argv[1], prefix='run/train', seed=5, keep={KEEP}, provenance={PROVENANCE})
if list_snapshots('run', 'solverstate'):
    solver.restore(list_snapshots('run', 'solverstate')[-1])
print('ready', solver.iter, flush=True)
for _ in solver.run():
    print(solver.iter, solver.loss.hex(), flush=True)
    if solver.iter == solver.param.max_iter - 1:
        print('waits', flush=True)
        input()
'''


@pytest.fixture
def solver_file(tmp_path):
    def make(max_iter):
        text = SOLVER.replace('max_iter: 6', f'max_iter: {max_iter}')
        text = text.replace('snapshot: 3', f'snapshot: {EVERY}')
        text = text.replace('stepsize: 2', 'stepsize: 100').replace('display: 1', '')
        return write_stage(tmp_path / 'net', small_voc(tmp_path / 'voc'), solver=text)
    return make


def begin(solver_file, folder):
    """Start a run, which waits before its last iteration until let_end: no kill comes too late."""
    folder.mkdir(exist_ok=True)
    return subprocess.Popen([sys.executable, '-c', RUN, solver_file], cwd=folder, text=True,
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})


def losses(lines):
    """{iteration: loss} of what a run has said."""
    pairs = [line.split() for line in lines if line[0].isdigit()]
    return {int(n): loss for n, loss in pairs}


def let_end(process):
    """The losses of a run that goes on to its end."""
    out, _ = process.communicate('\n')
    assert process.returncode == 0
    return losses(out.splitlines())


def killed(process, lines, more):
    """Kill a run `more` seconds after it has said that many lines, or waits before its last
    iteration; its losses."""
    with process:
        said = [process.stdout.readline()]
        assert said[0].startswith('ready'), said
        while len(said) <= lines and said[-1] != 'waits\n':
            said.append(process.stdout.readline())
            assert said[-1], said
        time.sleep(more)
        assert process.poll() is None
        process.kill()
        said += [line for line in process.stdout if line.endswith('\n')]
    return losses(said)


def assert_whole(folder):
    """Every state and model loads, a state has its model; returns the newest state's iteration."""
    states, models = list_snapshots(folder, 'solverstate'), list_snapshots(folder)
    for model in models:
        weights = read_weights(model)
        assert weights.extra['iteration'] == iteration(model) and 'conv1' in weights
        assert {name: weights.extra[name] for name in PROVENANCE} == PROVENANCE
    for path in states:
        state = read_solverstate(path)
        assert len(state.history) == 5 and state.iter == iteration(path)
        assert path.with_name(path.name.replace('solverstate', 'caffemodel')) in models
    assert len(states) <= KEEP + 1 and len(models) <= KEEP + 2
    return iteration(states[-1]) if states else 0


def kill_and_restore(solver_file, folder, moments):
    """Kill a run at each moment (lines, seconds), restore it each time, let it end. Returns how
    many kills hit the writing of a file, and the losses."""
    newest, writing, log = 0, 0, {}
    for moment in moments:
        seen = killed(begin(solver_file, folder), *moment)
        log |= seen
        writing += any(folder.glob('run/*.tmp'))
        now = assert_whole(folder / 'run')
        assert now >= newest and now >= max(seen, default=0) - EVERY
        newest = now
    return writing, log | let_end(begin(solver_file, folder))


def assert_equal_runs(solver_file, tmp_path, moments):
    """Of a run that is killed and one that is not: the losses of all iterations (but for those that
    were killed between snapshot and line), and all bytes of the snapshots that stay."""
    process = begin(solver_file, tmp_path / 'whole')
    writing, log = kill_and_restore(solver_file, tmp_path / 'killed', moments)
    whole = let_end(process)
    assert log.items() <= whole.items() and len(log) >= len(whole) - len(moments)
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')
    assert len(contents(tmp_path / 'whole')) == 2 * KEEP
    return writing


def test_killed_twice(solver_file, tmp_path):
    """Once right after a snapshot, once in the middle of what follows."""
    assert_equal_runs(solver_file(24), tmp_path, [(6, 0), (8, 0.02)])


@pytest.mark.slow
def test_killed_at_20_random_moments(solver_file, tmp_path):
    random_ = random.Random(20)
    moments = [(random_.randint(0, 12), random_.uniform(0, 0.1)) for _ in range(20)]
    assert assert_equal_runs(solver_file(250), tmp_path, moments) >= 1


# Every step of writing

def killed_at(step, work):
    """Do `work` in a process of its own that is killed before that step which reaches the disk, or
    the HDF5 file; whether it got that far."""
    pid = os.fork()
    if not pid:
        seen = count()

        def counted(do):
            def call(*args, **options):
                if next(seen) == step:
                    os.kill(os.getpid(), signal.SIGKILL)
                return do(*args, **options)
            return call
        for owner, name in ((os, 'fsync'), (os, 'replace'), (os, 'unlink'),
                            (h5py, 'File'), (h5py.Group, 'create_group'),
                            (h5py.Group, 'create_dataset')):
            setattr(owner, name, counted(getattr(owner, name)))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_killed_at_every_step_of_a_snapshot(solver_file, tmp_path, monkeypatch):
    """What is there then is whole; the next snapshot removes what is left over, and no more."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, 'fsync', lambda opened: None)       # a step all the same
    file, run = solver_file(6), tmp_path / 'run'
    solver, other = (Solver(file, prefix='run/train', seed=5, keep=KEEP,
                            provenance=PROVENANCE) for _ in range(2))
    for _ in solver.run(4):
        pass
    solver.step(2)
    before, newest = contents(run), []
    strange = temporary.name_for(run / 'train_iter_6.caffemodel.h5')    # of a process that lives
    for step in count():
        shutil.rmtree(run)
        run.mkdir()
        for path, data in before.items():
            (run / path).write_bytes(data)
        with open(strange, 'wb') as held:
            assert take_lock(held.fileno())
            hit = killed_at(step, solver.snapshot)
            newest.append(assert_whole(run))
            other.restore(newest_state(run))
            assert other.iter == newest[-1]
            solver.snapshot()
        assert sorted(path.name for path in run.iterdir()) == sorted(
            [f'train_iter_{i}.{kind}.h5' for i in (4, 6) for kind in ('caffemodel', 'solverstate')]
            + [strange.name])
        if not hit:
            break
    assert newest == sorted(newest) and set(newest) == {4, 6} and len(newest) > 20
