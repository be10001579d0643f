"""MAT-files: equal to what scipy reads of the files that it writes; damage is an error."""

import random
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from fuzz_mutations import generic
from fuzz_readers import CORPUS

from fcn_repro.data import matfile
from fcn_repro.data.sbd import read_mat
from fcn_repro.errors import FcnError

NUMERIC = ('int8', 'uint8', 'int16', 'uint16', 'int32', 'uint32', 'int64', 'uint64', 'float32',
           'float64')
GRID = np.arange(24).reshape(2, 3, 4)


def plain(value):
    """What scipy returns (struct_as_record=False), as matfile has it."""
    if isinstance(value, scipy.io.matlab.mat_struct):
        return {name: plain(getattr(value, name)) for name in value._fieldnames}
    if value.dtype == object:
        if value.size and isinstance(value.flat[0], scipy.io.matlab.mat_struct) \
                and value.size == 1:
            return plain(value.flat[0])
        found = np.empty(value.size, object)
        found[:] = [plain(one) for one in value.ravel()]
        return found.reshape(value.shape)
    if value.dtype.kind == 'U':
        texts = [str(text) for text in value]
        return texts[0] if len(texts) == 1 else texts or ''
    return value


def assert_same(mine, theirs):
    assert type(mine) is type(theirs)
    if isinstance(mine, dict):
        assert list(mine) == list(theirs)
        for name in mine:
            assert_same(mine[name], theirs[name])
    elif isinstance(mine, np.ndarray) and mine.dtype == object:
        assert mine.shape == theirs.shape
        for a, b in zip(mine.ravel(), theirs.ravel(), strict=True):
            assert_same(a, b)
    elif isinstance(mine, np.ndarray):
        assert mine.shape == theirs.shape
        assert mine.dtype == theirs.dtype or (mine.dtype, theirs.dtype) == (bool, np.uint8)
        assert np.array_equal(mine, theirs, equal_nan=mine.dtype.kind in 'fc')
    else:
        assert mine == theirs


def cell(*values, shape=None):
    found = np.empty(len(values), object)
    found[:] = values
    return found.reshape(shape or (1, -1))


def structs(*values):
    found = np.empty((1, len(values)), [(name, object) for name in values[0]])
    for i, value in enumerate(values):
        found[0, i] = tuple(value.values())
    return found


VARIABLES = {
    **{f'n_{name}': GRID.astype(name) for name in NUMERIC},
    **{f'one_{name}': np.array([[7]], name) for name in NUMERIC},
    'wide': np.linspace(-1e9, 1e9, 999)[None], 'odd': np.array([[np.nan, np.inf, -0.0, 1e308]]),
    'logical': GRID[0] > 3, 'empty': np.zeros((0, 3)), 'complex': np.array([[1 + 2j, 3 - 1j]]),
    'text': 'boundaries', 'accents': 'été 日本', 'none': '', 'rows': np.array(['abc', 'xyz']),
    'names': cell('sky', 'building', 'tree', 'a', np.zeros((0, 0)), shape=(5, 1)),
    'nested': cell(cell(1.0, 'x'), GRID.astype('u1'), {'a': 1, 'b': cell('q')}),
    'struct': {'Segmentation': GRID[0].astype('u1'), 'deep': {'deeper': {'deepest': 'yes'}}},
    'many': structs({'x': 1.0, 'name': 'one'}, {'x': np.arange(3), 'name': 'two'})}


@pytest.mark.parametrize('compressed', [False, True])
def test_files_of_scipy(tmp_path, compressed):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, VARIABLES, do_compression=compressed)
    wanted = scipy.io.loadmat(path, struct_as_record=False)
    found = matfile.read(path)
    assert list(found) == list(VARIABLES)
    for name, value in found.items():
        assert_same(value, plain(wanted[name]))
    assert matfile.read(path, 'struct', 'deep', 'deeper', 'deepest') == 'yes'
    assert (matfile.read(path, 'struct', 'Segmentation') == GRID[0]).all()
    assert found['names'].shape == (5, 1) and found['many'][0, 1]['name'] == 'two'


def element(order, kind, payload):
    return struct.pack(order + 'II', kind, len(payload)) + payload + bytes(-len(payload) % 8)


def array(order, cls, shape, *rest, name=b'', flags=0):
    return element(order, 14, element(order, 6, struct.pack(order + 'II', cls | flags, 0)) +
                   element(order, 5, struct.pack(f'{order}{len(shape)}i', *shape)) +
                   element(order, 1, name) + b''.join(rest))


def whole(*variables, order='<'):
    return b'MATLAB 5.0'.ljust(124) + (b'\0\1IM' if order == '<' else b'\1\0MI') + \
        b''.join(variables)


def compressed(variable, order='<'):
    data = zlib.compress(variable)
    return struct.pack(order + 'II', 15, len(data)) + data


@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('stored, code', [('u1', 2), ('i2', 3), ('f4', 7), ('i4', 5)])
def test_small_types_and_both_orders_of_bytes(tmp_path, order, stored, code):
    """MATLAB stores doubles in the smallest type that holds them; scipy does so nowhere."""
    values = np.array([[1, 2, 3], [4, 5, 100]])
    data = values.astype(order + stored).tobytes('F')
    variable = array(order, 6, (2, 3), element(order, code, data), name=b'x')
    for part in (variable, compressed(variable, order)):
        path = tmp_path / 'a.mat'
        path.write_bytes(whole(part, order=order))
        found = matfile.read(path, 'x')
        assert found.dtype == np.float64 and (found == values).all()
        assert np.array_equal(scipy.io.loadmat(path)['x'], found)


def refused(path, data, *names, **options):
    path.write_bytes(data)
    with pytest.raises(FcnError) as error:
        matfile.read(path, *names, **options)
    assert str(path) in str(error.value) and error.value.do
    return str(error.value)


def test_kinds_that_are_not_read(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'s': scipy.sparse.eye(3).tocsc(), 'x': np.eye(2)})
    assert matfile.read(path, 'x').shape == (2, 2)          # what is not asked for does not matter
    assert "'s' is a sparse matrix" in refused(path, path.read_bytes(), 's')
    assert "'f' is a function" in refused(path, whole(array('<', 16, (1, 1), name=b'f')), 'f')
    assert "'o' is an object" in refused(path, whole(array('<', 3, (1, 1), name=b'o')), 'o')
    scipy.io.savemat(path, {'x': np.eye(2)}, format='4')
    assert 'level 4' in refused(path, path.read_bytes())
    assert 'version 7.3' in refused(path, b'MATLAB 7.3 MAT-file'.ljust(512) + b'\x89HDF')
    for other in (b'', b'\x89PNG', bytes(300), b'x' * 300):
        assert 'no MAT-file' in refused(path, other)
    with pytest.raises(matfile.NoVariable, match='it holds x'):
        path.write_bytes(whole(array('<', 6, (1, 1), element('<', 9, bytes(8)), name=b'x')))
        matfile.read(path, 'y')


def deep(levels):
    inner = array('<', 6, (0, 0), element('<', 9, b''))
    for _ in range(levels):
        inner = array('<', 1, (1, 1), inner)
    return inner


BOMBS = {
    'zeros': whole(struct.pack('<II', 15, 600_000) + zlib.compress(
        struct.pack('<II', 14, 2 ** 29 - 8) + bytes(2 ** 26))),
    'claim': whole(compressed(struct.pack('<II', 14, 2 ** 32 - 1) + bytes(100))),
    'shape': whole(array('<', 9, (2 ** 30, 2 ** 30), element('<', 2, bytes(8)))),
    'axes': whole(array('<', 9, (0, *(2 ** 31 - 1,) * 20), element('<', 2, b''))),
    'cells': whole(array('<', 1, (2 ** 31 - 1, 1))),
    'structs': whole(array('<', 2, (2 ** 31 - 1, 1), element('<', 5, b'\1\0\0\0'),
                           element('<', 1, b''))),
    'fields': whole(array('<', 2, (1, 1), element('<', 5, b'\1\0\0\0'),
                          element('<', 1, b'a' * 1_000_000))),
    'deep': whole(deep(4000)),
    'wide': whole(*[element('<', 14, b'')] * 1_500_000),
    'negative': whole(array('<', 9, (-1, 1), element('<', 2, b'')))}


@pytest.mark.parametrize('kind', BOMBS)
def test_claims_are_compared_with_the_bytes_that_there_are(tmp_path, kind):
    path = tmp_path / 'a.mat'
    path.write_bytes(BOMBS[kind])
    start = time.process_time()
    tracemalloc.start()
    try:
        assert len(refused(path, BOMBS[kind])) < 500
        assert tracemalloc.get_traced_memory()[1] < 3 * len(BOMBS[kind]) + 2 ** 27
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 20                 # tracemalloc takes most of it


def test_the_limit_on_what_is_decompressed(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'x': np.zeros((1000, 1000))}, do_compression=True)
    assert '8,000' in refused(path, path.read_bytes(), most=10 ** 6)
    assert matfile.read(path, 'x', most=10 ** 7).shape == (1000, 1000)


def test_the_bit_that_ends_scipy(tmp_path):
    """An SBD label whose Segmentation claims to be complex: a SIGSEGV in scipy 1.17."""
    segv = (CORPUS / 'mat/segv.mat').read_bytes()
    path = tmp_path / 'a.mat'
    path.write_bytes(segv)
    with pytest.raises(FcnError, match='damaged') as error:
        read_mat(path)
    assert str(path) in str(error.value)
    mended = bytearray(segv)
    mended[0x111] ^= 8
    path.write_bytes(mended)
    label = read_mat(path)
    assert label.shape == (24, 32) and np.array_equal(
        label, scipy.io.loadmat(path)['GTcls'][0]['Segmentation'][0])


@pytest.mark.parametrize('compression', [False, True])
def test_any_damage(tmp_path, compression):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, VARIABLES, do_compression=compression)
    data, rng = path.read_bytes(), random.Random(5)
    for _ in range(300):
        path.write_bytes(generic(data, [data], rng))
        with suppress(FcnError):
            matfile.read(path)
