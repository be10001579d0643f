"""snapshot_format: BINARYPROTO: Caffe's own .caffemodel and .solverstate, what is ours among it,
and going on from them."""

import errno
import os

import numpy as np
import pytest
from goldens import DATA, error, solver_cases
from small_runs import contents, run, solver_maker

from fcn_repro import temporary
from fcn_repro.errors import FcnError
from fcn_repro.formats import solverstate
from fcn_repro.formats.caffemodel import field_head
from fcn_repro.formats.weights import read_extra, read_solverstate, read_weights, write_solverstate
from fcn_repro.formats.wire import PRIVATE
from fcn_repro.proto import NetParameter, SolverState
from fcn_repro.solver import Solver
from fcn_repro.solver.snapshot_files import list_snapshots
from fcn_repro.solver.snapshots import snapshot_bytes

BINARY = 'snapshot_format: BINARYPROTO '
SAID = {'commit': 'é', 'classes': 3, 'dirty': True, 'rate': 0.1}


@pytest.fixture
def make(tmp_path, monkeypatch):
    maker = solver_maker(tmp_path, monkeypatch)
    return lambda *changes, **options: maker(('base_lr', BINARY + 'base_lr'), *changes, **options)


def golden_solver(folder, prefix):
    solver = Solver(folder / 'solver.prototxt', prefix=prefix)
    solver.param.snapshot_format = solver.param.BINARYPROTO
    return solver


# As Caffe's

@pytest.mark.parametrize('folder', solver_cases())
def test_a_state_is_written_as_caffe_wrote_it(folder, tmp_path):
    """Byte by byte, without the project's own part."""
    its = folder / 'snapshot_iter_5.solverstate'
    state = read_solverstate(its)
    solverstate.write_binary(tmp_path / 'x', state.iter, state.learned_net, state.current_step,
                             state.history)
    assert (tmp_path / 'x').read_bytes() == its.read_bytes()


@pytest.mark.parametrize('folder', solver_cases(['batchnorm_scale', 'lr_fixed',
                                                 'shared_params_adam']))
def test_snapshots_are_caffes(folder, tmp_path):
    """Layer by layer and field by field, as Caffe's protobuf reads them; a shared parameter stands
    under both its layers, and our own part is a field that the messages do not know."""
    solver = golden_solver(folder, tmp_path / 'snapshot')
    solver.net.copy_from(folder / 'init.caffemodel')
    solver.step(5)
    for path, message in zip(solver.snapshot(), (NetParameter, SolverState), strict=True):
        ours, its = (message.FromString((place / path.name).read_bytes())
                     for place in (tmp_path, folder))
        ours.DiscardUnknownFields()
        blobs = [[blob for part in getattr(m, 'layer', [m]) for blob in
                  getattr(part, 'history' if m.DESCRIPTOR.name == 'SolverState' else 'blobs')]
                 for m in (ours, its)]
        for mine, caffes in zip(*blobs, strict=True):
            assert mine.shape == caffes.shape and error(mine.data, caffes.data) <= 1e-4
            del mine.data[:], caffes.data[:]
        if message is SolverState:
            ours.learned_net = os.path.basename(ours.learned_net)
        assert ours == its


@pytest.mark.parametrize('folder', solver_cases())
def test_goes_on_from_both_of_caffes_formats(folder, tmp_path):
    """To the same bits; test_restore.py compares them with Caffe."""
    ends = []
    for form in ('', '.h5'):
        solver = golden_solver(folder, tmp_path / 'x')
        solver.restore(folder / f'snapshot_iter_5.solverstate{form}')
        run(solver, 8)
        ends.append([blob.data.numpy().tobytes() for blob in solver.net.learnable_params]
                    + [history.numpy().tobytes() for history in solver.history])
    assert ends[0] == ends[1] and len(ends[0]) > 2


# Ours

def test_formats(make, tmp_path):
    run(make(), 3)
    run(make((BINARY, BINARY.replace('BINARYPROTO', 'HDF5')), prefix='five/x'), 3)
    run(make((BINARY, ''), prefix='none/x'), 3)
    names = [sorted(p.name.split('_iter_')[1] for p in (tmp_path / folder).iterdir())
             for folder in ('run', 'five', 'none')]
    assert names == [['3.caffemodel', '3.solverstate']] \
        + 2 * [['3.caffemodel.h5', '3.solverstate.h5']]
    states = [read_solverstate(tmp_path / path) for path in
              ('run/train_iter_3.solverstate', 'five/x_iter_3.solverstate.h5')]
    for state in states:
        state.extra['losses'] = list(state.extra['losses'])
    assert states[0].extra == states[1].extra and states[0].texts == states[1].texts
    for mine, its in zip(*(state.history for state in states), strict=True):
        assert np.array_equal(mine, its)
    models = [read_weights(tmp_path / path) for path in
              ('run/train_iter_3.caffemodel', 'five/x_iter_3.caffemodel.h5')]
    assert models[0].extra == models[1].extra
    assert all(np.array_equal(a, b) for name in models[1]
               for a, b in zip(models[0][name], models[1][name], strict=True))


def test_what_is_ours_survives(make, tmp_path):
    """Provenance, seed, position, loss window; a restored run writes the same bytes again."""
    solver = run(make(seed=5, provenance=SAID))
    model, state = 'run/train_iter_6.caffemodel', 'run/train_iter_6.solverstate'
    assert read_extra(model) == {**SAID, 'seed': 5, 'iteration': 6, 'loss': solver.loss}
    assert all(type(read_extra(model)[name]) is type(SAID[name]) for name in SAID)
    assert SAID.items() <= read_extra(state).items()
    assert read_extra(state)['position'] == 12
    before = contents(tmp_path / 'run')
    for path in (model, state):
        os.remove(path)
    again = make(seed=7)
    assert again.restore('run/train_iter_3.solverstate') == ''
    run(again)
    assert contents(tmp_path / 'run') == before
    assert [path.name for path in list_snapshots('run', 'solverstate')] == [
        'train_iter_3.solverstate', 'train_iter_6.solverstate']
    changed = make(('kernel_size: 3 pad: 8', 'pad: 8 kernel_size: 5'))
    with pytest.raises(FcnError, match='net, solver or data are not those'):
        changed.restore('run/train_iter_3.solverstate')


def test_snapshots_of_the_other_format_stay(make, tmp_path):
    solver = make(('snapshot: 3', 'snapshot: 1'), keep=2)
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/train_iter_1.caffemodel.h5').touch()
    temporary.name_for(tmp_path / 'run/train_iter_9.solverstate').touch()
    run(solver, 4)
    assert sorted(os.listdir('run')) == ['train_iter_1.caffemodel.h5'] + [
        f'train_iter_{i}.{kind}' for i in (3, 4) for kind in ('caffemodel', 'solverstate')]
    need = snapshot_bytes(solver)
    assert sum(path.stat().st_size for path in solver.snapshot()) <= need


def test_a_file_that_cannot_be_written_leaves_nothing(make, monkeypatch):
    solver = run(make(), 3)
    before = contents(solver.prefix.parent)

    def full(opened):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(FcnError, match=r'train_iter_3.caffemodel: cannot be written: No space'):
        solver.snapshot()
    assert contents(solver.prefix.parent) == before


def test_damaged_files(make):
    """Cut short, or with a byte changed: an error of ours, or a file that still makes sense."""
    solver = run(make(), 3)
    path = 'run/train_iter_3.solverstate'
    with open(path, 'rb') as file:
        whole = file.read()
    rng, refused = np.random.default_rng(0), 0
    for left in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        with open(path, 'wb') as file:
            file.write(whole[:left])
        with pytest.raises(FcnError, match=path):
            solver.restore(path)
    for at in rng.integers(0, len(whole), 200):
        with open(path, 'wb') as file:
            file.write(whole[:at] + bytes([whole[at] ^ int(rng.integers(1, 256))])
                       + whole[at + 1:])
        try:
            solver.restore(path)
        except FcnError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize('own', [b'{', b'[]', b'{"extra": {}}', b'{"extra": [], "texts": {}}',
                                 b'{"extra": {"seed": {}}, "texts": {}}', b'[' * 10**5,
                                 b'{"extra": {}, "texts": {"net": 3}}', b'\xff'])
def test_damage_in_our_own_part(tmp_path, own):
    path, its = tmp_path / 'x.solverstate', DATA / 'weights/snapshot_iter_30.solverstate'
    path.write_bytes(its.read_bytes() + field_head(PRIVATE, len(own)) + own)
    for read in (read_solverstate, read_extra):
        with pytest.raises(FcnError, match=r'own part of it is damaged. Use another'):
            read(path)


@pytest.mark.parametrize('name, value', [
    ('seed', -1), ('threads', 0), ('position', 'far'), ('losses', None), ('threads', None)])
def test_own_values_that_make_no_sense(make, name, value):
    solver = run(make(), 3)
    state = read_solverstate('run/train_iter_3.solverstate')
    extra = {key: its for key, its in state.extra.items() if key != name}
    extra |= {} if value is None else {name: value}
    history = [h.copy() for h in state.history]
    for write, path in ((solverstate.write_binary, 'run/a.solverstate'),
                        (write_solverstate, 'run/a.solverstate.h5')):
        write(path, 3, state.learned_net, 0, history, extra)
        with pytest.raises(FcnError, match=f'{name} of its state is missing or makes no sense'):
            solver.restore(path)


REPEATED = '''layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 3 dim: 4 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
layer { name: "ip" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 4
  weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "y" top: "loss" }
'''


def test_two_layers_of_one_name_are_each_restored(tmp_path):
    """By name, as Caffe reads a caffemodel, the first would get both layers' weights in turn."""
    (tmp_path / 'net.prototxt').write_text(REPEATED)
    (tmp_path / 'solver.prototxt').write_text(
        f'{BINARY} train_net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 9')
    solver, other = (Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 's', seed=seed)
                     for seed in (1, 2))
    solver.step(2)
    other.restore(solver.snapshot()[1])
    pairs = list(zip(solver.net.learnable_params, other.net.learnable_params, strict=True))
    assert len(pairs) == 4 and all((a.data == b.data).all() for a, b in pairs)
    assert not (pairs[0][0].data == pairs[2][0].data).all()
