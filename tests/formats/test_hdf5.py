"""HDF5: the anatomy of Caffe's own files first, round trips, other layouts, failing writes."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from goldens import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import (
    LayerBlobs,
    copy_weights,
    read_solverstate,
    read_weights,
    write_hdf5,
    write_solverstate,
)

FILES = DATA / 'weights'
SNAPSHOT = FILES / 'snapshot_iter_30.caffemodel'
ROOT = Path(__file__).parents[2]
shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)
rng = np.random.default_rng(0)


def blobs_of(params):
    return [LayerBlobs(name, blobs) for name, blobs in params.items()]


def anatomy(path):
    """All that HDF5 says about each object: kind, type, space, layout, padding of strings."""
    found = {}

    def visit(name, item):
        found[name] = ['group', dict(item.attrs)]
        if isinstance(item, h5py.Dataset):
            kind, space = item.id.get_type(), item.id.get_space()
            text = isinstance(kind, h5py.h5t.TypeStringID)
            found[name] = [item.shape, item.dtype, space.get_simple_extent_type(),
                           item.id.get_create_plist().get_layout(), dict(item.attrs),
                           kind.get_size(), (kind.get_strpad(), kind.get_cset()) if text else 0,
                           item[()].tobytes()]

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def test_our_hdf5_is_caffes(tmp_path):
    golden = f'{SNAPSHOT}.h5'
    write_hdf5(tmp_path / 'a.h5', read_weights(golden))
    assert anatomy(tmp_path / 'a.h5') == anatomy(golden)
    golden = FILES / 'snapshot_iter_30.solverstate.h5'
    state = read_solverstate(golden)
    write_solverstate(tmp_path / 's.h5', state.iter, state.learned_net, state.current_step,
                      [torch.from_numpy(h.copy()) for h in state.history])
    assert anatomy(tmp_path / 's.h5') == anatomy(golden)


# ---- HDF5 -----------------------------------------------------------------------------------

names = st.lists(st.text('ab_-.1é', min_size=1).filter(lambda s: s.strip('.')), min_size=1,
                 max_size=3).map('/'.join)


@settings(max_examples=60)
@given(layers=st.dictionaries(names, st.lists(shapes, max_size=3), max_size=5))
def test_hdf5_round_trip(tmp_path_factory, layers):
    path = tmp_path_factory.mktemp('h') / 'w.h5'
    params = {n: [rng.standard_normal(s).astype('f4') for s in blobs]
              for n, blobs in layers.items()}
    try:
        write_hdf5(path, params)
    except FcnError as error:                    # a/1 beside the blob 1 of a
        assert 'goes through a blob' in error.what
        return
    found = read_weights(path)
    assert {n for n in found if found[n]} == {n for n in params if params[n]}
    for name in found:
        for a, b in zip(found[name], params[name], strict=True):
            np.testing.assert_array_equal(a, b, strict=True)


def test_names_with_slashes_become_groups(tmp_path):
    params = {'conv1/7x7_s2': [np.ones(2)], 'conv1/relu': [], 'inception_3a/1x1': [np.ones(3)],
              'conv1': [np.ones(1)]}
    write_hdf5(tmp_path / 'w', params)
    with h5py.File(tmp_path / 'w') as file:
        assert file['data/conv1/7x7_s2/0'].dtype == 'float32'
    assert set(read_weights(tmp_path / 'w')) == set(params)


@pytest.mark.parametrize('name', ['', '/a', 'a//b', 'a/.', '..', 'a/0'])
def test_names_that_hdf5_cannot_hold(tmp_path, name):
    with pytest.raises(FcnError, match='Rename the layer'):
        write_hdf5(tmp_path / 'w', {'a': [np.ones(1)], name: []})
    assert not list(tmp_path.iterdir())


def test_shared_blobs_stay_with_their_owner(tmp_path):
    weight, bias = torch.ones(2, 2), torch.zeros(2)
    params = {'a': [weight, bias], 'b': [weight, torch.ones(2)], 'c': [weight.view(4)],
              'd': [None, bias]}
    write_hdf5(tmp_path / 'w', params)
    found = read_weights(tmp_path / 'w')
    assert [b is None for b in found['b']] == [True, False]
    assert found['c'] == [] and found['d'] == []
    fresh = [torch.full((2, 2), 5.), torch.full((2,), 5.)]
    mine = {'a': fresh, 'b': [fresh[0], torch.full((2,), 5.)], 'c': [fresh[0].view(4)]}
    rows = copy_weights(blobs_of(mine), found)
    assert torch.equal(mine['b'][0], weight) and torch.equal(mine['b'][1], torch.ones(2))
    assert rows[1].detail == '(2,), blob 0 through a' and rows[2].action == 'copied'
    with pytest.raises(FcnError, match='has 1 blobs in the file, 2 in the net'):
        copy_weights(blobs_of({'a': fresh, 'b': [torch.ones(2, 2), torch.ones(2)]}), found)


def test_any_float_type_is_written_as_float32(tmp_path):
    array = rng.standard_normal((2, 3))
    tensor = torch.from_numpy(array)
    write_hdf5(tmp_path / 'w', {'a': [array, tensor.bfloat16(), tensor.T, np.float16(array)]})
    found = read_weights(tmp_path / 'w')['a']
    assert {b.dtype.str for b in found} == {'<f4'}
    np.testing.assert_array_equal(found[2], array.T.astype('f4'))


def test_extra_travels_along(tmp_path):
    extra = {'seed': 3, 'samples': 2**40, 'rate': 0.1, 'note': 'mini', 'losses': np.arange(20.)}
    state = (7, 'net_iter_7.caffemodel.h5', 2, [np.ones((2, 2)), np.zeros(3)])
    write_solverstate(tmp_path / 's', *state, extra)
    write_hdf5(tmp_path / 'w', {'a': [np.ones(2)]}, extra)
    found = read_solverstate(tmp_path / 's')
    assert (found.iter, found.learned_net, found.current_step) == state[:3]
    for some in (found.extra, read_weights(tmp_path / 'w').extra):
        assert set(some) == set(extra)
        assert all(np.array_equal(some[k], extra[k]) for k in extra)
    with pytest.raises(FcnError, match='at most'):
        write_hdf5(tmp_path / 'x', {'a': [np.ones(2)]}, {'big': np.zeros(10**5)})


def test_integers_doubles_and_compression_are_read(tmp_path):
    with h5py.File(tmp_path / 'w', 'w', userblock_size=512) as file:
        file['data/a/0'] = np.arange(6, dtype='i4')
        file['data/a/1'] = np.arange(6.)
        file['data/a/2'] = np.arange(6, dtype='>f4')
        file.create_dataset('data/a/3', data=np.arange(6, dtype='f4'), compression='gzip')
        file['data/a/4'] = np.arange(6, dtype='f4')
    params = {'a': [torch.zeros(6) for _ in range(5)]}
    copy_weights(blobs_of(params), read_weights(tmp_path / 'w'))
    assert all(t.tolist() == [0, 1, 2, 3, 4, 5] for t in params['a'])


@pytest.mark.parametrize('path, value, text', [
    ('model_weights/a', [1.], "no group 'data'"), ('data', [1.], "no group 'data'"),
    ('data/a', [1.], 'is not a group'), ('data/a/weight', [1.], "blob's index"),
    ('data/a/0', 'text', 'no numbers')])
def test_hdf5_of_another_layout(tmp_path, path, value, text):
    with h5py.File(tmp_path / 'w', 'w') as file:
        file[path] = value
    with pytest.raises(FcnError, match=text):
        read_weights(tmp_path / 'w')


def test_solverstate_of_another_layout(tmp_path):
    with pytest.raises(FcnError, match='not a solverstate'):
        read_solverstate(f'{SNAPSHOT}.h5')
    write_solverstate(tmp_path / 's', 1, 'x', 0, [np.ones(1), np.ones(1)])
    with h5py.File(tmp_path / 's', 'a') as file:
        del file['history/0']
    with pytest.raises(FcnError, match='no blob 0 of 2'):
        read_solverstate(tmp_path / 's')


# ---- writing is atomic ----------------------------------------------------------------------

FULL = """
import resource, sys
import numpy as np
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import write_hdf5, write_solverstate
resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))
for write in (lambda: write_hdf5(sys.argv[1], {'a': [np.ones(100000, 'f4')]}),
              lambda: write_solverstate(sys.argv[1], 1, 'x', 0, [np.ones(100000, 'f4')])):
    try:
        write()
    except FcnError as error:
        assert error.file == sys.argv[1] and 'room' in error.do, error
        print('refused')
"""


def test_a_full_disk_leaves_the_earlier_file(tmp_path):
    path = tmp_path / 'w.h5'
    write_hdf5(path, {'a': [np.ones(3)]})
    before = path.read_bytes()
    done = subprocess.run([sys.executable, '-c', FULL, str(path)], capture_output=True, text=True,
                          cwd=ROOT)
    assert done.stdout == 'refused\nrefused\n', done.stderr
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize('step', ['fsync', 'replace'])
@pytest.mark.parametrize('error', [OSError(28, 'No space left on device'), KeyboardInterrupt()])
def test_failing_late_leaves_the_earlier_file(tmp_path, monkeypatch, step, error):
    def fail(*args):
        raise error

    path = tmp_path / 'w.h5'
    write_hdf5(path, {'a': [np.ones(3)]})
    before = path.read_bytes()
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(FcnError if isinstance(error, OSError) else KeyboardInterrupt):
        write_hdf5(path, {'a': [np.zeros(3)]})
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FcnError, match=r'No such file.*Check that the folder exists'):
        write_hdf5(tmp_path / 'none/w.h5', {})
