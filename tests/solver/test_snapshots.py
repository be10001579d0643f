"""Snapshots: how many stay, room on the disk, what they say of themselves."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from goldens import DATA
from small_runs import ROOT, contents, run, solver_maker

from fcn_repro import temporary
from fcn_repro.errors import FcnError
from fcn_repro.formats import atomic as files
from fcn_repro.formats.weights import read_extra, read_weights, write_hdf5
from fcn_repro.solver import snapshots
from fcn_repro.solver.snapshot_files import iteration

SAID = {'commit': 'c0ffee', 'data': 'f00d', 'parent': 'runs/é.h5', 'classes': 3, 'dirty': True,
        'rate': 0.5}


@pytest.fixture
def make(tmp_path, monkeypatch):
    return solver_maker(tmp_path, monkeypatch)


def held(folder='run'):
    """[iterations] of the states and of the models."""
    names = sorted(os.listdir(folder))
    return [[iteration(name) for name in names if kind in name] for kind in ('state', 'model')]


# Keep

def test_keep(make):
    solver = make(('snapshot: 3', 'snapshot: 1'), keep=2)
    for i in (1, 2, 3, 4):
        run(solver, i)
        assert held() == [[max(1, i - 1), i][i == 1:]] * 2


def test_keep_of_what_was_there(make):
    """All older ones go, with those that a killed process left without a state; those of other
    prefixes and kinds stay, and those of later iterations, which are not older."""
    run(make(('snapshot: 3', 'snapshot: 1')), 6)
    os.remove('run/train_iter_2.solverstate.h5')
    strangers = ['train_iter_1.caffemodel', 'train_iter_1x.caffemodel.h5', 'train2_iter_1.'
                 'solverstate.h5', 'Train_iter_1.caffemodel.h5', 'train_iter_1.png']
    for name in strangers:
        Path('run', name).touch()
    solver = make(('snapshot: 3', 'snapshot: 1'), keep=1)
    solver.restore('run/train_iter_4.solverstate.h5')
    solver.snapshot()
    for name in strangers:
        os.remove(f'run/{name}')
    assert held() == [[4, 5, 6]] * 2


@pytest.mark.parametrize('keep', [0, -1])
def test_keep_nothing(make, keep):
    with pytest.raises(FcnError, match=f'keep={keep}') as caught:
        make(keep=keep)
    assert caught.value.code == 'not-positive' and '--' not in str(caught.value)


def test_order_of_what_reaches_the_disk(make, monkeypatch):
    """File, name, folder: of the weights, then of the state; only then old states are removed, and
    when that is on the disk their weights."""
    seen = []

    def watched(name, show):
        do = getattr(os, name)

        def call(*args, **options):
            seen.append(f'{name} {show(*args)}')
            return do(*args, **options)
        monkeypatch.setattr(os, name, call)

    run(make(keep=1), 1)
    solver = make(keep=1)
    solver.restore('run/train_iter_1.solverstate.h5')
    solver.step(1)
    watched('fsync', lambda fd: os.path.basename(os.readlink(f'/proc/self/fd/{fd}')).split('.')[0])
    watched('replace', lambda old, new: os.path.basename(new))
    watched('unlink', lambda path: os.path.basename(path))
    solver.snapshot()
    new, old = ([f'train_iter_{i}.{kind}.h5' for kind in ('caffemodel', 'solverstate')]
                for i in (2, 1))
    assert seen == ['fsync train_iter_2', f'replace {new[0]}', 'fsync run', 'fsync train_iter_2',
                    f'replace {new[1]}', 'fsync run', f'unlink {old[1]}', 'fsync run',
                    f'unlink {old[0]}']


# Room

def free(monkeypatch, size):
    monkeypatch.setattr(snapshots.shutil, 'disk_usage', lambda folder: shutil._ntuple_diskusage(
        10**9, 10**9 - size, size))


def test_no_room_is_found_before_anything_is_written(make, monkeypatch):
    solver = run(make(), 1)
    need, before = snapshots.snapshot_bytes(solver), contents(solver.prefix.parent)
    files = [path.stat().st_size for path in solver.prefix.parent.iterdir()]
    assert sum(files) <= need <= sum(files) + (2 << 20)
    free(monkeypatch, need - 1)
    with pytest.raises(FcnError, match=r'run: a snapshot takes 1.\d MB, 1.\d MB are free. Free '
                                       r'space, ') as caught:
        solver.snapshot()
    assert caught.value.code == 'no-room'
    with pytest.raises(FcnError, match='are free'):
        next(solver.run())
    assert solver.iter == 1 and contents(solver.prefix.parent) == before
    free(monkeypatch, need)
    run(solver, 2)


def test_room_of_a_folder_that_is_not_there_yet(make, monkeypatch):
    free(monkeypatch, 0)
    with pytest.raises(FcnError, match='are free'):
        next(make(prefix='some/new/run/train').run())
    assert not os.path.exists('some')


def test_left_overs_make_room(make, monkeypatch, tmp_path):
    """What a killed process left half-written goes before the room is looked at."""
    solver = make()
    (tmp_path / 'run').mkdir()
    left = temporary.name_for(tmp_path / 'run/train_iter_3.solverstate.h5')
    left.touch()
    monkeypatch.setattr(snapshots, 'snapshot_bytes', lambda solver: 10**20 * left.exists())
    next(solver.run())
    assert not left.exists()


@pytest.mark.parametrize('scale', [1, 400])
def test_bytes_of_larger_nets(make, scale):
    solver = make(('num_output: 4', f'num_output: {4 * scale}'),
                  ('kernel_size: 3', 'kernel_size: 9'), keep=1)
    written = sum(path.stat().st_size for path in solver.snapshot())
    assert written <= snapshots.snapshot_bytes(solver) <= 1.05 * written + (2 << 20)


FULL = '''
import os, resource, sys
from fcn_repro.errors import FcnError
from fcn_repro.solver import Solver
solver = Solver(sys.argv[1], prefix='run/train', keep=1)
save = solver.net.save_hdf5
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def save_first(*args):
    save(*args)
    limit(size)
for _ in solver.run(1): pass
sizes = [os.path.getsize(f'run/train_iter_1.{kind}.h5') for kind in ('caffemodel', 'solverstate')]
solver.step(1)
for whole, first in zip(sizes, (save, save_first)):
    for part in (0, 0.1, 0.5, 0.9, 0.999):
        size, solver.net.save_hdf5 = int(part * whole), first
        if first is save: limit(size)
        try:
            solver.snapshot()
        except FcnError as error:
            limit(resource.RLIM_INFINITY)
            print(error, sorted(os.listdir('run')))
'''


def test_a_full_disk_all_the_same(make, tmp_path):
    """At any byte of the weights, or of the state: one error, no crash of HDF5, nothing half is
    left, and the earlier snapshot stays."""
    make()
    done = subprocess.run([sys.executable, '-c', FULL, tmp_path / 'net/solver.prototxt'],
                          capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and not done.stderr
    names = [f'train_iter_{i}.{kind}.h5' for i in (1, 2) for kind in ('caffemodel', 'solverstate')]
    said = ': cannot be written: File too large. Check that the folder exists, may be written to ' \
        'and has room; an earlier file of this name is untouched. '
    assert done.stdout.splitlines() == [
        f'run/{names[i]}{said}{names[:i]}' for i in (2, 3) for _ in range(5)]
    solver = make()
    solver.restore('run/train_iter_1.solverstate.h5')
    assert solver.iter == 1


def test_folder_that_knows_no_fsync(tmp_path, monkeypatch):
    """Some network file systems refuse it for folders; other errors are not passed over."""
    def fail(number):
        def fsync(opened):
            raise OSError(number, os.strerror(number))
        return fsync
    monkeypatch.setattr(os, 'fsync', fail(22))
    files.sync_folder(tmp_path)
    monkeypatch.setattr(os, 'fsync', fail(5))
    with pytest.raises(OSError):
        files.sync_folder(tmp_path)


# What snapshots say of themselves

def test_provenance(make):
    solver = run(make(seed=5, provenance=SAID), 3)
    model, state = 'run/train_iter_3.caffemodel.h5', 'run/train_iter_3.solverstate.h5'
    said = read_extra(model)
    assert said == {**SAID, 'seed': 5, 'iteration': 3, 'loss': solver.loss}
    assert all(type(said[name]) is type(SAID[name]) for name in SAID)
    assert read_weights(model).extra == said
    assert SAID.items() <= read_extra(state).items()
    with h5py.File(state) as file:
        assert sorted(file['fcn_repro']) == ['data', 'solver', 'train net']


def test_provenance_goes_on(make, tmp_path):
    """A restored run writes the same bytes, whether it is told everything again or nothing."""
    run(make(provenance=SAID), None)
    before = contents(tmp_path / 'run')
    for again in (dict(reversed(SAID.items())), {}, None, {'commit': 'c0ffee'}):
        solver = make(provenance=again)
        solver.restore('run/train_iter_3.solverstate.h5')
        os.remove('run/train_iter_6.caffemodel.h5')
        run(solver, None)
        assert contents(tmp_path / 'run') == before
    solver = make(provenance={'commit': 'other'})
    solver.restore('run/train_iter_3.solverstate.h5')
    assert solver.provenance == {**SAID, 'commit': 'other'}


@pytest.mark.parametrize('name, value', [('seed', 1), ('parent', None), ('data', [1])])
def test_provenance_that_cannot_be_kept(make, name, value):
    with pytest.raises(FcnError, match=f"provenance has '{name}'"):
        make(provenance={name: value})
    solver = make()
    solver.provenance = {name: value}
    with pytest.raises(FcnError, match=f"provenance has '{name}'"):
        next(solver.run())


def test_extra_of_other_files(tmp_path):
    """Nothing where Caffe wrote the file; cut short or something else is an error."""
    weights, state = DATA / 'weights', DATA / 'weights/snapshot_iter_30.solverstate'
    for path in (weights / 'snapshot_iter_30.caffemodel.h5', f'{state}.h5', state,
                 weights / 'snapshot_iter_30.caffemodel'):
        assert read_extra(path) == {}
    path = tmp_path / 'a.h5'
    write_hdf5(path, {'a': [np.ones(10**5)]}, {'seed': 1})
    data = path.read_bytes()
    for left in (0, 4, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:left])
        with pytest.raises(FcnError, match=r'a.h5: ') as caught:
            read_extra(path)
        assert caught.value.do
    path.write_text('name: "a text"')
    for wrong in (path, tmp_path, tmp_path / 'none.h5'):
        with pytest.raises(FcnError, match=str(wrong)):
            read_extra(wrong)
