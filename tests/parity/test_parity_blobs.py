"""Two things below check_goldens.py: check_parity.py, which shows one net blob by blob, and the
measure of every comparison."""

import shutil

import h5py
import numpy as np
import pytest
from goldens import DATA, spoil
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_runs import assert_error, call

from fcn_repro.formats.weights import read_weights, write_hdf5
from fcn_repro.parity import Comparison, error
from fcn_repro.parity.golden import read_golden

FCN = DATA / 'nets/fcn32s'
GOLDEN = FCN / 'golden_1x3x64x64.h5'


# One net, blob by blob

def parity(capsys, *args):
    return call(capsys, 'check_parity', FCN / 'net.prototxt', *args)


def test_every_blob_is_shown_in_net_order(capsys):
    done = parity(capsys, FCN / 'weights.caffemodel', GOLDEN)
    lines = done.out.splitlines()
    assert done.status == 0 and lines[-1] == f'all {len(lines) - 2} arrays are within their limits'
    rows = [line.split() for line in lines[1:-1]]
    data = [row[0] for row in rows if row[1] == 'data']
    assert data.index('conv1_1') < data.index('pool1') < data.index('fc6') < data.index('score')
    diffs = [row[0] for row in rows if row[1] == 'diff']
    assert diffs.index('score') < diffs.index('fc6') < diffs.index('conv1_1')
    assert ['conv1_1', 'data', '1x4x262x262'] in [row[:3] for row in rows]
    assert 'ties' in {row[-1] for row in rows if row[1] == 'diff'}


def test_the_first_that_departs(tmp_path, capsys):
    """With other weights in one layer, all that comes after it departs, and it is named."""
    layers = {name: [np.array(b) for b in blobs] for name, blobs in
              read_weights(FCN / 'weights.caffemodel').items()}
    layers['conv3_1'][0] *= np.float32(1.01)
    write_hdf5(tmp_path / 'w.h5', layers)
    done = parity(capsys, tmp_path / 'w.h5', GOLDEN)
    last = done.out.splitlines()[-1]
    assert done.status == 1
    assert last.endswith("the first is the data of 'conv3_1': it is made by layer 'conv3_1' "
                         "(Convolution), then layer 'relu3_1' (ReLU)")
    shown = {line.split()[0] for line in done.out.splitlines() if line.endswith('DEPARTS')}
    assert 'conv3_2' in shown and 'conv2_2' not in shown


def test_a_wrong_diff_is_blamed_on_the_layer_above(tmp_path, capsys):
    path = shutil.copy(GOLDEN, tmp_path)
    spoil(path, 'blob_diffs/fc7', lambda values: np.multiply(values, 1.01, out=values))
    done = parity(capsys, FCN / 'weights.caffemodel', path)
    assert done.status == 1 and done.out.splitlines()[-1].endswith(
        "arrays depart; the first is the diff of 'fc7': its gradient comes from layer 'relu7' "
        '(ReLU)')
    assert parity(capsys, FCN / 'weights.caffemodel', path, '--gradients', '0.1').status == 0


def test_goldens_that_do_not_fit_the_net(tmp_path, capsys):
    weights, path = FCN / 'weights.caffemodel', shutil.copy(GOLDEN, tmp_path)
    with h5py.File(path, 'r+') as file:
        file['blobs/conv9'] = np.zeros(3)
    assert_error(parity(capsys, weights, path), "a blob 'conv9' that the net", FCN, path)
    with h5py.File(path, 'r+') as file:
        del file['blobs/conv9'], file['blobs/fc6']
        file['blobs/fc6'] = np.zeros((1, 2))
    assert_error(parity(capsys, weights, path), "the data of 'fc6' has shape (1, 32, ", '(1, 2)')
    with h5py.File(path, 'r+') as file:
        del file['blobs'], file['blob_diffs'], file['param_diffs']
    assert_error(parity(capsys, weights, path), 'has nothing to compare (it holds: inputs)')


def test_files_that_are_not_there(tmp_path, capsys):
    assert_error(parity(capsys, tmp_path / 'no.h5', GOLDEN), tmp_path / 'no.h5')
    assert_error(parity(capsys, 'none', tmp_path / 'no.h5'), tmp_path / 'no.h5')
    (tmp_path / 'text.h5').write_text('no numbers')
    assert_error(parity(capsys, 'none', tmp_path / 'text.h5'), 'text.h5: is not an HDF5 file')


def test_a_layer_case_has_its_own_params(capsys):
    case = DATA / 'layers/scale_param'
    done = call(capsys, 'check_parity', f'{case}.prototxt', 'none', f'{case}.h5')
    assert done.status == 0 and 'param diff' in done.out


# The measure

FINITE = arrays(np.float32, st.integers(1, 20), elements=st.floats(-100, 100, width=32))


@given(FINITE, st.floats(0.01, 100))
def test_error_is_relative_to_the_largest(values, factor):
    assert error(values, values) == 0
    shifted = values.astype(float).copy()
    shifted[0] += 1
    once, scaled = error(shifted, values), error(shifted * factor, values.astype(float) * factor)
    assert once > 0
    assert scaled == pytest.approx(once if values.any() else once * factor)


def test_odd_values():
    lowest = -np.finfo(np.float32).max
    assert error([np.nan, 1, np.inf], [np.nan, 1, np.inf]) == 0
    assert error([lowest, 1], [lowest, 1.5]) == pytest.approx(1 / 3)    # not of FLT_MAX
    for ours, golden in ([1, 1], [np.nan, 1]), ([np.nan, 1], [1, 1]), ([1], [np.inf]), \
            ([-np.inf], [np.inf]), ([0.], [lowest]):
        assert error(ours, golden) == np.inf
    assert error([], []) == 0 and error([3.], [0.]) == 3
    assert error([1.5, 2], [1, 2], allowance=[0.5, 0]) == 0


def test_nan_departs():
    comparison = Comparison('x')
    comparison.compare_numbers('loss', np.nan, 1.0, 1e-5)
    assert comparison.verdict == 'DEPARTS'


def test_a_part_of_an_array(tmp_path):
    """Every third value is stored; the sums tell of the others."""
    whole = np.arange(10, dtype=np.float32).reshape(2, 5)
    with h5py.File(tmp_path / 'g.h5', 'w') as file:
        part = file.create_dataset('x', data=whole.reshape(-1)[::3])
        part.attrs.update(shape=(2, 5), step=3, sum=45., abs_sum=45.)
    golden, comparison = read_golden(tmp_path / 'g.h5')['x'], Comparison('g')
    comparison.compare('x', whole, golden, 1e-5)
    assert comparison.verdict == 'ok' and len(comparison.gaps) == 1
    whole[0, 1] = 5
    comparison.compare('x', whole, golden, 1e-5)
    assert comparison.gaps[-1] == ('x', pytest.approx(4 / 45), 1e-5, 'by its sum')
    whole[0, 1] = np.nan
    comparison.compare('x', whole, golden, 1e-5)
    assert comparison.gaps[-1].error == np.inf
    comparison.compare('x', whole.T, golden, 1e-5)
    assert comparison.gaps[-1].note == 'has shape (5, 2), the golden (2, 5)'
