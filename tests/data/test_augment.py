"""Mirroring and jitter: functions of the seed and the sample's number, alike for all arrays."""

import numpy as np
import original_layouts as layouts
import pytest
from data_folders import make_voc, message

from fcn_repro.data.augment import Move, Moves, moved
from fcn_repro.data.nyud import NYUDSegDataLayer
from fcn_repro.data.own import OwnDataLayer
from fcn_repro.data.voc import VOCSegDataLayer

MEAN = (104.00699, 116.66877, 122.67892)


def test_moved_by_a_loop_over_pixels():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 99, (5, 7, 3))
    for down in range(-7, 8):
        for right in range(-9, 10, 3):
            for mirror in False, True:
                made = moved(array, Move(mirror, down, right), 255)
                source = array[:, ::-1] if mirror else array
                for y in range(5):
                    for x in range(7):
                        inside = 0 <= y - down < 5 and 0 <= x - right < 7
                        expected = source[y - down, x - right] if inside else 255
                        assert (made[y, x] == expected).all()
                assert (array == np.random.default_rng(0).integers(0, 99, (5, 7, 3))).all()


def test_moves_are_even_and_repeatable():
    moves = Moves(True, 32, 1337)
    drawn = [moves[k] for k in range(4000)]
    assert drawn == [Moves(True, 32, 1337)[k] for k in range(4000)]
    assert drawn != [Moves(True, 32, 1338)[k] for k in range(4000)]
    for shifts in ([m.down for m in drawn], [m.right for m in drawn]):
        counts = np.bincount(np.array(shifts) + 32, minlength=65)
        assert len(counts) == 65 and counts.min() > 30 and counts.max() < 100
    assert 1900 < sum(m.mirror for m in drawn) < 2100
    assert {Moves(False, 0, 1)[k] for k in range(9)} == {Move(False, 0, 0)}
    assert not any(Moves(False, 3, 1)[k].mirror for k in range(99))


@pytest.fixture
def params(tmp_path):
    return {'voc_dir': str(make_voc(tmp_path)), 'split': 'train', 'seed': 1337, 'mean': MEAN}


def test_blobs_are_moved_alike_and_the_order_stays(params):
    plain, layer = VOCSegDataLayer(params), VOCSegDataLayer({**params, 'mirror': True, 'jitter': 4})
    for k in range(20):
        whole, sample = plain.sample(k), layer.sample(k)
        assert whole.id == sample.id
        move = Moves(True, 4, 1337)[k]
        np.testing.assert_array_equal(sample.label, moved(whole.label, move, 255))
        np.testing.assert_array_equal(sample.image, moved(whole.image, move, (123, 117, 104)))
        data, label = layer.batch(k)
        inside = moved(np.ones_like(whole.label), move, 0)
        assert np.abs(data[0][:, inside == 0]).max(initial=0) < 0.5
        assert (label[0, 0][inside == 0] == 255).all()


def test_nothing_is_moved_in_file_order_or_without_the_params(params):
    for more in {'randomize': False}, {'split': 'val'}:
        layer = VOCSegDataLayer({**params, 'mirror': True, 'jitter': 9, **more})
        plain = VOCSegDataLayer({**params, **more})
        for k in range(4):
            for one, other in zip(layer.batch(k), plain.batch(k), strict=True):
                np.testing.assert_array_equal(one, other)


def test_batches_of_all_tops(tmp_path):
    nyud = layouts.make_nyud(tmp_path, {'train': ['5001', '5002', '5003']}, (30, 40))
    tops = ['color', 'depth', 'hha', 'label']
    given = {'nyud_dir': str(nyud), 'split': 'train', 'tops': tops, 'seed': 5, 'batch_size': 2}
    layer = NYUDSegDataLayer({**given, 'mirror': True, 'jitter': 7})
    plain = NYUDSegDataLayer(given)
    for k in range(3):
        for i, (one, other) in enumerate(zip(layer.samples(k), plain.samples(k), strict=True)):
            move = Moves(True, 7, 5)[2 * k + i]
            assert one.id == other.id and one.more.keys() == {'depth', 'hha'}
            np.testing.assert_array_equal(one.more['depth'], moved(other.more['depth'], move, 2550))
            np.testing.assert_array_equal(one.more['hha'], moved(other.more['hha'], move,
                                                                 (132, 94, 118)))
        data, depth, hha, label = layer.batch(k)
        gone = label[:, 0] == 255
        for blob, near in (data, 0.5), (hha, 0.5), (depth, 1e-3):
            behind = gone & (np.abs(blob).max(1) < near)
            assert behind.sum() >= gone.sum() - (other.label == 255).sum() - \
                (plain.samples(k)[0].label == 255).sum()


def test_wrong_values(params):
    for key, values in (('mirror', (1, 'yes', None)), ('jitter', (-1, 1.5, '32', True, 10 ** 9))):
        for value in values:
            assert key in message(VOCSegDataLayer, {**params, key: value})
    assert "'jitter'" in message(OwnDataLayer, {**params, 'crop': (8, 8), 'jitter': 3})
