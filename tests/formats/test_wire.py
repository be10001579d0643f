"""Binary files: Caffe's own first, then every spelling of the wire format, and bad input."""

import h5py
import numpy as np
import pytest
from goldens import DATA, NETS, SOLVERS, params
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_format import blob, numbers, save, sized, v0, v1, v2, varint

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import (
    modern,
    read_binaryproto,
    read_solverstate,
    read_weights,
    write_hdf5,
)

FILES = DATA / 'weights'
SNAPSHOT = FILES / 'snapshot_iter_30.caffemodel'
rng = np.random.default_rng(0)


# ---- Caffe's files --------------------------------------------------------------------------

@pytest.mark.parametrize('name', ['v0', 'v1', 'v2_double'])
def test_binary_of_every_age(name):
    weights = read_weights(FILES / f'{name}.caffemodel')
    with h5py.File(FILES / 'binary_models.h5') as golden:
        for layer, blobs in golden[name].items():
            ours = modern(weights)[layer]
            assert len(ours) == len(blobs)
            for i, array in enumerate(ours):
                np.testing.assert_array_equal(array, blobs[str(i)][()])
                assert array.shape == blobs[str(i)].shape
                assert array.dtype == ('f8' if name == 'v2_double' else 'f4')
    assert weights.format == 'binary' and weights.types['conv1'] == 'Convolution'


@pytest.mark.parametrize('name', ['mean', 'mean_double', 'mean_shape'])
def test_mean_binaryproto(name):
    with h5py.File(FILES / 'binary_models.h5') as golden:
        np.testing.assert_array_equal(read_binaryproto(FILES / f'{name}.binaryproto'),
                                      golden['binaryproto'][name][()])


@pytest.mark.parametrize('path', [
    pytest.param(FILES / 'snapshot_iter_30.caffemodel.h5', id='snapshot_iter_30'),
    *params(NETS, 'weights.caffemodel.h5', 'nets'),
    *params(SOLVERS, 'snapshot_iter_5.caffemodel.h5', 'solvers')])
def test_binary_and_hdf5_agree(path):
    binary, five = read_weights(path.with_suffix('')), read_weights(path)
    assert set(binary) == set(five) and five.format == 'hdf5'
    assert any(five.values())
    for name, blobs in five.items():
        for a, b in zip(binary[name], blobs, strict=True) if blobs else ():     # else shared
            np.testing.assert_array_equal(a, b, strict=True)


def test_solverstate_binary_and_hdf5_agree():
    binary = read_solverstate(FILES / 'snapshot_iter_30.solverstate')
    five = read_solverstate(FILES / 'snapshot_iter_30.solverstate.h5')
    assert (binary.iter, binary.current_step) == (five.iter, five.current_step) == (30, 0)
    assert binary.learned_net == 'snapshot_iter_30.caffemodel'
    assert five.learned_net == 'snapshot_iter_30.caffemodel.h5' and five.extra == {}
    assert len(binary.history) == len(five.history) == 14     # Adam: two for each parameter
    for a, b in zip(binary.history, five.history, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


# ---- the wire format ------------------------------------------------------------------------

shapes = st.lists(st.integers(1, 5), max_size=4).map(tuple)


@settings(max_examples=150)
@given(age=st.sampled_from(['v0', 'v1', 'v2']), shape=shapes, packed=st.booleans(),
       double=st.booleans(), legacy=st.booleans(), packed_dims=st.booleans(),
       pieces=st.integers(1, 3), pad=st.integers(0, 4))
def test_every_spelling_of_a_blob(tmp_path_factory, age, shape, packed, double, legacy,
                                  packed_dims, pieces, pad):
    shape = ((1,) * 4 + shape)[-4:] if legacy else shape
    array = rng.standard_normal(shape).astype('f8' if double else 'f4')
    raw = blob(array, packed, double, legacy, packed_dims, pieces)
    kind = {'v0': 'conv', 'v1': 4, 'v2': 'Convolution'}[age]
    raw = sized(1, b'n' * pad) + {'v0': v0, 'v1': v1, 'v2': v2}[age]('c/1', kind, raw, raw)
    weights = read_weights(save(tmp_path_factory.mktemp('w') / 'm', raw))
    layer, = weights.layers
    assert (layer.name, layer.type, layer.legacy) == ('c/1', 'Convolution',
                                                      {0, 1} if legacy else set())
    for found in weights['c/1']:
        np.testing.assert_array_equal(found, array, strict=True)


def test_arrays_are_views_of_the_file(tmp_path):
    array = rng.standard_normal((3, 5)).astype('f4')
    for packed in (True, False):
        path = save(tmp_path / f'm{packed}', v2('a', 'Convolution', blob(array, packed)))
        found = read_weights(path)['a'][0]
        assert found.base is not None and not found.flags.writeable
    write_hdf5(tmp_path / 'h', {'a': [array]})
    found = read_weights(tmp_path / 'h')['a'][0]
    assert found.base is not None and not found.flags.writeable


def test_unknown_fields_are_stepped_over(tmp_path):
    other = (varint(9 << 3 | 5) + b'abcd' + varint(77 << 3 | 1) + b'abcdefgh' + sized(999, b'xyz')
             + varint(300 << 3) + varint(-1))
    raw = other + sized(100, other + sized(1, b'a') + other + sized(7, blob(np.ones(3)) + other))
    assert read_weights(save(tmp_path / 'm', raw))['a'][0].tolist() == [1, 1, 1]


def test_layers_of_one_name(tmp_path):
    """All of them in the order of the file; by name the last one."""
    raw = v2('a', 'X', blob(np.ones((1, 1, 1, 2)), legacy=True)) + v2('a', 'Y', blob(np.zeros(3)))
    weights = read_weights(save(tmp_path / 'm', raw))
    assert weights['a'][0].shape == (3,) and weights.types == {'a': 'Y'}
    assert [(layer.name, layer.blobs[0].shape, layer.legacy) for layer in weights.layers] == [
        ('a', (1, 1, 1, 2), {0}), ('a', (3,), set())]


def test_legacy_shapes_in_todays_form(tmp_path):
    def old(*shape):
        return blob(np.ones(shape), legacy=True)

    raw = (v2('conv', 'Convolution', old(1, 1, 1, 1), old(1, 1, 1, 1))
           + v2('ip', 'InnerProduct', old(1, 1, 1, 6), old(1, 1, 1, 1))
           + v2('bn', 'BatchNorm', old(1, 1, 1, 4)) + v2('odd', 'Other', old(2, 1, 1, 4))
           + v2('new', 'Bias', blob(np.ones((1, 1, 1, 4)))))
    found = modern(read_weights(save(tmp_path / 'm', raw)))
    assert {n: [b.shape for b in blobs] for n, blobs in found.items()} == {
        'conv': [(1, 1, 1, 1), (1,)], 'ip': [(1, 6), (1,)], 'bn': [(4,)], 'odd': [(2, 1, 1, 4)],
        'new': [(1, 1, 1, 4)]}


ONES = blob(np.ones(4))


@pytest.mark.parametrize('raw, offset, text', [
    (b'\x0c\x00\x01', 0, 'no protobuf field'),
    (v2('a', 'X', ONES)[:-3], 0, 'are left'),
    (v2('a', 'X', ONES) + b'\xff\xff', 34, 'runs past the end'),
    (v2('a', 'X', ONES) + b'\xff' * 11, 34, 'longer than 10 bytes'),
    (v2('a', 'X', sized(7, sized(1, b'\x05')) + numbers([1, 2], True, False)), 11, '2 numbers'),
    (v2('a', 'X', sized(7, sized(1, varint(-2)))), 11, 'negative size'),
    (v2('a', 'X', sized(5, b'12345')), 13, 'no whole number'),
    (v2('a', 'X', varint(5 << 3) + b'\x01'), 11, 'wire type 0'),
    (sized(100, sized(1, b'\xff\xfe')), 5, 'not UTF-8'),
])
def test_damaged_binary_names_file_and_byte(tmp_path, raw, offset, text):
    path = save(tmp_path / 'bad.caffemodel', raw)
    with pytest.raises(FcnError, match=text) as error:
        read_weights(path)
    assert str(error.value).startswith(f'{path}: byte {offset}: ')


@pytest.mark.parametrize('raw, text', [
    (b'', 'is empty'), (sized(1, b'net'), 'no layer'),
    (v2('a', 'X') + v1('b', 4), "1 'layer' and 1 'layers'")])
def test_files_without_a_model(tmp_path, raw, text):
    with pytest.raises(FcnError, match=text):
        read_weights(save(tmp_path / 'm', raw))


def test_paths_that_cannot_be_read(tmp_path):
    for read in (read_weights, read_solverstate, read_binaryproto):
        for path in (tmp_path / 'none', tmp_path):
            with pytest.raises(FcnError, match=r'cannot be read|is a folder'):
                read(path)
    with pytest.raises(FcnError, match=r'not a solverstate|another kind'):
        read_solverstate(FILES / 'v0.caffemodel')


@settings(max_examples=80)
@given(name=st.sampled_from(['v1.caffemodel', SNAPSHOT.name + '.h5']), data=st.data())
def test_any_cut_reads_or_says_why(tmp_path_factory, name, data):
    raw = (FILES / name).read_bytes()
    path = save(tmp_path_factory.mktemp('cut') / name,
                raw[:data.draw(st.integers(0, len(raw) - 1))])
    try:
        read_weights(path)
    except FcnError as error:
        assert error.file == path
    else:
        assert not name.endswith('.h5')          # protobuf cut between two layers is still valid
