"""Blobs, the order of samples, and the classes behind Python data layers."""

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from data_folders import SIZES, make_sbd, make_voc, message
from goldens import CAMVID, needs
from hypothesis import given
from hypothesis import strategies as st

from fcn_repro.data import python_layers
from fcn_repro.data.image import from_blob, to_blob
from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.order import SampleOrder
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader
from fcn_repro.data.sbd import SBDDSegDataLayer, SbdFolder
from fcn_repro.data.voc import VOCSegDataLayer

MEAN = (104.00699, 116.66877, 122.67892)


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path)


@pytest.fixture
def sbd(tmp_path):
    return make_sbd(tmp_path, ['2008_000002', '2007_000001'])


# Blobs

def test_blob_is_the_release_preprocessing():
    image = np.arange(256 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    expected = np.array(image, dtype=np.float32)[:, :, ::-1]
    expected -= np.array(MEAN)
    blob = to_blob(image, MEAN)
    assert blob.dtype == np.float32 and blob.flags.c_contiguous
    np.testing.assert_array_equal(blob, expected.transpose(2, 0, 1))
    float64 = image[:, :, ::-1].astype(np.float64) - MEAN
    np.testing.assert_array_equal(blob, float64.transpose(2, 0, 1).astype(np.float32))
    np.testing.assert_array_equal(from_blob(blob, MEAN), image)


def test_mean_must_be_three_numbers():
    for mean in (0, (1, 2), (1, 2, np.nan), 'mean.npy', None, (1, 'a', 2), [[1, 2, 3]]):
        assert 'three numbers' in message(to_blob, np.zeros((1, 1, 3), np.uint8), mean)


# Order

def test_order_is_the_release_order():
    """numpy's RandomState with an array as its seed is CPython's generator, to the bit."""
    for n in (1, 7, 736, 8498):
        drawn = np.random.RandomState([1337]).random_sample(3000)
        order = SampleOrder(n, 1337, True)
        assert [order[k] for k in range(3000)] == [int(x * n) for x in drawn]
    random.seed(1337)
    order = SampleOrder(8498, 1337, True)
    assert [order[k] for k in range(5)] == [int(random.random() * 8498) for _ in range(5)]


@given(n=st.integers(1, 10 ** 5), seed=st.integers(0, 2 ** 32), k=st.integers(0, 5000))
def test_order_depends_on_n_seed_and_k_alone(n, seed, k):
    order = SampleOrder(n, seed, True)
    jumped = order[np.int64(k)]
    draw = random.Random(seed).random
    assert jumped == [int(draw() * n) for _ in range(k + 1)][-1] == SampleOrder(n, seed, True)[k]
    assert SampleOrder(n, seed, False)[k] == k % n


def test_order_has_a_default_seed_and_checks_its_input():
    assert [SampleOrder(9, None, True)[k] for k in range(9)] == [
        SampleOrder(9, 0, True)[k] for k in range(9)]
    for seed in ('now', 1.5, True):
        assert 'seed' in message(SampleOrder, 3, seed, True)
    assert 'no samples' in message(SampleOrder, 0)
    with pytest.raises(IndexError):
        SampleOrder(3)[-1]


# Python data layers

def params(voc, **changes):
    return {'voc_dir': str(voc), 'split': 'train', 'mean': MEAN, 'seed': 1337} | changes


def test_voc_layer_of_a_prototxt(voc):
    layer = python_layers['voc_layers', 'VOCSegDataLayer'](params(voc))
    assert layer.tops == 2 and len(layer) == 2 and layer.ids == list(SIZES)[:2]
    assert layer.classes == VOC_CLASSES
    order = SampleOrder(2, 1337, True)
    for k in range(8):
        data, label = layer.batch(k)
        sample = layer.sample(k)
        assert sample.id == layer.ids[order[k]]
        assert data.shape == (1, 3, *SIZES[sample.id]) and label.shape == (1, 1, *SIZES[sample.id])
        assert data.dtype == label.dtype == np.float32
        np.testing.assert_array_equal(data[0], to_blob(sample.image, MEAN))
        np.testing.assert_array_equal(label[0, 0], sample.label)


def test_only_train_splits_are_random(voc, sbd):
    val = VOCSegDataLayer(params(voc, split='val'))
    assert [val.sample(k).id for k in range(6)] == (list(SIZES)[::-1] * 2)[:6]
    train = VOCSegDataLayer(params(voc, randomize=False))
    assert [train.sample(k).id for k in range(4)] == list(SIZES)[:2] * 2
    valid = VOCSegDataLayer(params(voc, split='seg11valid', sbdd_dir=str(sbd)))
    assert [valid.sample(k).id for k in range(3)] == ['2010_000004', '2009_000003', '2010_000004']


def test_sbd_layer_of_a_prototxt(sbd):
    layer = python_layers['voc_layers', 'SBDDSegDataLayer'](
        {'sbdd_dir': str(sbd), 'seed': 1337, 'split': 'train', 'mean': MEAN, 'classes': 21})
    order = SampleOrder(2, 1337, True)
    assert [layer.sample(k).id for k in range(9)] == [layer.ids[order[k]] for k in range(9)]
    assert layer.batch(0)[1].max() == 255


def test_batches_do_not_depend_on_the_number_of_threads(voc):
    layer = VOCSegDataLayer(params(voc))
    one = [layer.batch(k)[0].sum() for k in range(40)]
    fresh = VOCSegDataLayer(params(voc))
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: fresh.batch(k)[0].sum(), range(40))) == one


def test_params_of_a_layer(voc, sbd):
    assert "'shuffle'" in message(VOCSegDataLayer, params(voc, shuffle=True))
    assert "'voc_dir'" in message(SBDDSegDataLayer, params(voc))
    assert "'sbdd_dir'" in message(SBDDSegDataLayer, {'split': 'train', 'mean': MEAN})
    without = params(voc)
    del without['mean']
    assert "'mean'" in message(VOCSegDataLayer, without)
    assert 'three numbers' in message(VOCSegDataLayer, params(voc, mean=(1, 2)))
    assert 'split' in message(VOCSegDataLayer, params(voc, split=3))
    assert 'seed' in message(VOCSegDataLayer, params(voc, seed='x'))
    for classes in (0, 256, 'many'):
        assert 'classes' in message(VOCSegDataLayer, params(voc, classes=classes))
    layer = VOCSegDataLayer(params(voc, classes=5, randomize=False))
    assert '2007_000001.png' in message(layer.batch, 0)


def test_table_of_python_layers():
    assert ('voc_layers', 'VOCSegDataLayer') in python_layers
    assert ('voc_layers', 'Other') not in python_layers
    assert python_layers.get(('voc_layers', 'Other')) is None
    assert python_layers['voc_layers', 'SBDDSegDataLayer'] is SBDDSegDataLayer
    assert issubclass(VOCSegDataLayer, SegDataLayer) and issubclass(SbdFolder, Reader)


@needs(CAMVID)
def test_camvid_folder():
    layer = VOCSegDataLayer(params(CAMVID, classes=11))
    assert len(layer) == 367 and len(layer.classes) == 11 and layer.classes[0] == 'sky'
    for k in range(3):
        data, label = layer.batch(k)
        assert data.shape == (1, 3, 360, 480) and label.shape == (1, 1, 360, 480)
        assert set(np.unique(label)) <= {*range(11), 255}
