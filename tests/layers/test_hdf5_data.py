"""HDF5Data: rows of several files, their order, and files that do not fit."""

import h5py
import numpy as np
import pytest
import torch
from layer_evidence import reference_for
from texts import assert_facts, layer, message
from texts import net as build_net

WHERE = "net.prototxt:1: layer 'd' (HDF5Data)"


def text(more='', batch=3):
    return layer('HDF5Data', 'd', '', 'a b', f'hdf5_data_param {{ source: "list.txt" batch_size: '
                 f'{batch} {more} }}')


def write(folder, *files):
    """rows0.h5, … with the datasets of each dict, and their list."""
    for i, datasets in enumerate(files):
        with h5py.File(folder / f'rows{i}.h5', 'w') as file:
            for name, values in datasets.items():
                file[name] = values
    (folder / 'list.txt').write_text(''.join(f'rows{i}.h5\n' for i in range(len(files))))


def rows(first, count):
    """Rows of which a holds the number twice, and b the number, as whole numbers."""
    numbers = np.arange(first, first + count)
    return {'a': np.stack([numbers, numbers], 1).astype(np.float64), 'b': numbers}


@pytest.fixture
def folder(tmp_path):
    write(tmp_path, rows(0, 4), rows(4, 1), rows(5, 2))
    return tmp_path


def batches(folder, count, more='', **options):
    net = build_net(text(more), search=folder, **options)
    out = [net.forward() for _ in range(count)]
    assert all(torch.equal(b['a'], b['b'][:, None].expand(3, 2)) for b in out)
    return np.concatenate([b['b'].numpy() for b in out])


@reference_for('HDF5Data')
def test_files_follow_one_another_and_start_again(folder):
    assert batches(folder, 7).tolist() == [*range(7)] * 3


def test_a_batch_of_one_has_its_axis(folder):
    net = build_net(text(batch=1), search=folder)
    assert net.blobs['a'].shape == (1, 2) and net.forward()['a'].tolist() == [[0, 0]]


def test_a_batch_may_be_longer_than_all_rows(folder):
    net = build_net(text(batch=16), search=folder)
    assert net.forward()['b'].tolist() == [*range(7), *range(7), 0, 1]
    assert net.forward()['b'][:2].tolist() == [2, 3]


def test_shuffled_files_stay_together_and_each_epoch_has_its_own_order(folder):
    epochs = batches(folder, 35, 'shuffle: true').reshape(15, 7)
    assert (np.sort(epochs) == np.arange(7)).all() and len({tuple(e) for e in epochs}) > 10
    files = np.array([0, 0, 0, 0, 1, 2, 2])[epochs.astype(int)]
    assert ((np.diff(files) != 0).sum(1) == 2).all()
    assert len({tuple(f) for f in files}) > 3
    again = build_net(text('shuffle: true'), search=folder)
    again.state.position = 20
    assert again.forward()['b'].tolist() == epochs.ravel()[60:63].tolist()
    assert (batches(folder, 35, 'shuffle: true', seed=1) != epochs.ravel()).any()
    again.state.seed, again.state.position = 1, 20       # as a restored run gets its seed
    wanted = batches(folder, 21, 'shuffle: true', seed=1)[60:]
    assert again.forward()['b'].tolist() == wanted.tolist()


@pytest.mark.parametrize('files, wanted', [
    ([{'a': np.zeros((2, 3))}], ('rows0.h5', "'b'")),
    ([{'a': np.zeros((2, 3)), 'b': np.zeros(3)}], ('rows0.h5', '2', '3')),
    ([{'a': np.float32(1), 'b': np.zeros(3)}], ("'a'", 'rows0.h5')),
    ([{'a': np.zeros(3), 'b': [b'x', b'y', b'z']}], ("'b'", 'rows0.h5')),
    ([{'a/c': np.zeros(3), 'b': np.zeros(3)}], ("'a'", 'rows0.h5')),
    ([rows(0, 2), {'a': np.zeros((2, 3)), 'b': np.zeros(2)}],
     ("'a'", '3', 'rows1.h5', '2', 'rows0.h5')),
    ([rows(0, 0), rows(0, 0)], ('rows0.h5', 'rows1.h5')),
    ([], ('list.txt', 'HDF5'))], ids=range(8))
def test_files_that_do_not_fit(tmp_path, files, wanted):
    write(tmp_path, *files)
    assert_facts(message(build_net, text(), search=tmp_path), WHERE, *wanted)


@pytest.mark.parametrize('kind', ['bool', 'float16', 'float64', 'int8', 'uint64', '>i4', '>f4'])
def test_kinds_of_numbers(tmp_path, kind):
    write(tmp_path, {'a': np.array([[0, 1]] * 3, kind), 'b': np.array([1, 0, 1], kind)})
    found = build_net(text(), search=tmp_path).forward()
    assert found['a'].tolist() == [[0, 1]] * 3 and found['b'].tolist() == [1, 0, 1]
    assert found['b'].dtype == torch.float32


@pytest.mark.parametrize('values', [
    [b'x', b'y'], np.array([(1, 2.), (3, 4.)], [('u', 'i4'), ('v', 'f4')]), np.array([1j, 2j])],
    ids=['text', 'records', 'complex'])
def test_what_is_no_number_is_refused_with_what_to_do(tmp_path, values):
    write(tmp_path, {'a': np.zeros(2), 'b': values})
    assert_facts(message(build_net, text(), search=tmp_path), WHERE, "'b'", 'rows0.h5',
                 "'float32'", 'class numbers')


def test_a_file_that_is_missing_or_no_hdf5(tmp_path):
    write(tmp_path, {})
    (tmp_path / 'rows0.h5').write_bytes(b'no HDF5')
    assert_facts(message(build_net, text(), search=tmp_path), WHERE, tmp_path / 'rows0.h5')
    (tmp_path / 'rows0.h5').unlink()
    assert_facts(message(build_net, text(), search=tmp_path), WHERE, tmp_path / 'rows0.h5')
