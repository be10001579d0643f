"""Batches of images of one size: which samples are in the k-th, sizes from headers, refusals."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from data_folders import (
    SIZES,
    make_sbd,
    make_voc,
    message,
    save_jpeg,
    save_palette_png,
    write_split,
)
from hypothesis import given
from hypothesis import strategies as st

from fcn_repro.data.image import image_size, read_image, to_blob
from fcn_repro.data.order import BatchOrder, SampleOrder
from fcn_repro.data.sbd import SBDDSegDataLayer
from fcn_repro.data.voc import VOCSegDataLayer
from fcn_repro.errors import FcnError
from fcn_repro.layers.python import make_reader

MEAN = (104.00699, 116.66877, 122.67892)


def walked(sizes, seed, batch, count):
    """The first `count` batches by the definition: walk the order, emit a group when it is full."""
    order, waiting, batches, k = SampleOrder(len(sizes), seed, True), {}, [], 0
    while len(batches) < count:
        group = waiting.setdefault(sizes[order[k]], [])
        group.append(order[k])
        k += 1
        if len(group) == batch:
            batches.append(waiting.pop(sizes[order[k - 1]]))
    return batches


@given(n=st.integers(1, 60), groups=st.integers(1, 20), batch=st.integers(1, 9),
       seed=st.integers(0, 2 ** 32), k=st.integers(0, 400))
def test_batches_are_those_of_a_walk_through_the_order(n, groups, batch, seed, k):
    sizes = [(i * i % groups, 5) for i in range(n)]
    jumped = BatchOrder(sizes, seed, batch)[np.int64(k)]
    expected = walked(sizes, seed, batch, k + 1)
    assert jumped.tolist() == expected[-1]
    order = BatchOrder(sizes, seed, batch)
    assert [order[j].tolist() for j in range(k + 1)] == expected


def test_batches_of_one_sample_are_the_order_itself():
    order, batches = SampleOrder(30, 7, True), BatchOrder([(1, 2)] * 30, 7, 1)
    assert [batches[k].tolist() for k in range(3000)] == [[order[k]] for k in range(3000)]
    with pytest.raises(IndexError):
        batches[-1]


def test_every_draw_is_in_one_batch_but_for_those_that_wait():
    sizes = [(3, 4)] * 5 + [(4, 3)] * 3 + [(9, 9)]
    order, batches = SampleOrder(9, 1337, True), BatchOrder(sizes, 1337, 4)
    taken = np.concatenate([batches[k] for k in range(500)])
    drawn = np.array([order[k] for k in range(2000 + 3 * 3)])
    waiting = np.bincount(drawn, minlength=9) - np.bincount(taken, minlength=9)
    assert (waiting >= 0).all() and waiting.sum() == 9


# Data layers

@pytest.fixture
def voc(tmp_path):
    """Two landscape and two portrait images of as many pixels, and one of its own size."""
    voc = make_voc(tmp_path)
    for i, (id_, size) in enumerate(zip([*SIZES, 'more'], [(8, 6), (6, 8), (8, 6), (6, 8), (7, 7)],
                                        strict=True)):
        rng = np.random.default_rng(i)
        save_jpeg(rng.integers(0, 256, (*size, 3), dtype=np.uint8), voc / f'JPEGImages/{id_}.jpg')
        save_palette_png(rng.integers(0, 21, size).astype(np.uint8),
                         voc / f'SegmentationClass/{id_}.png')
    write_split(voc, 'train', [*SIZES, 'more'])
    return voc


def params(voc, **changes):
    return {'voc_dir': str(voc), 'split': 'train', 'mean': MEAN, 'seed': 1337} | changes


def test_a_batch_has_images_of_one_height_and_width(voc):
    layer = VOCSegDataLayer(params(voc, batch_size=3))
    sizes, order = set(), BatchOrder(layer.reader.sizes, 1337, 3)
    for k in range(40):
        samples = layer.samples(k)
        data, label = layer.batch(k)
        assert [sample.id for sample in samples] == [layer.ids[i] for i in order[k]]
        assert data.shape == (3, 3, *samples[0].label.shape) and data.dtype == np.float32
        assert label.shape == (3, 1, *samples[0].label.shape) and label.dtype == np.float32
        for j, sample in enumerate(samples):
            np.testing.assert_array_equal(data[j], to_blob(sample.image, MEAN))
            np.testing.assert_array_equal(label[j, 0], sample.label)
        sizes.add(data.shape[2:])
    assert sizes == {(8, 6), (6, 8), (7, 7)} and len(layer) == 2


def test_batches_do_not_depend_on_what_was_read_before(voc):
    one = VOCSegDataLayer(params(voc, batch_size=2))
    batches = [[sample.id for sample in one.samples(k)] for k in range(60)]
    other = VOCSegDataLayer(params(voc, batch_size=2))
    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(other.samples, reversed(range(60))))
    assert [[sample.id for sample in samples] for samples in reversed(read)] == batches
    assert one.fingerprint() == VOCSegDataLayer(params(voc)).fingerprint()
    again = VOCSegDataLayer(params(voc, batch_size=2, seed=1))
    assert [[sample.id for sample in again.samples(k)] for k in range(60)] != batches


def test_a_batch_size_of_one_is_the_release(voc):
    one, given_ = VOCSegDataLayer(params(voc)), VOCSegDataLayer(params(voc, batch_size=1))
    for k in range(9):
        for mine, theirs in zip(one.batch(k), given_.batch(k), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_sbd_has_batches_too(tmp_path):
    sbd = make_sbd(tmp_path, ['2008_000002', '2007_000001'])
    layer = SBDDSegDataLayer({'sbdd_dir': str(sbd), 'split': 'train', 'mean': MEAN, 'seed': 3,
                              'batch_size': 2})
    assert {layer.batch(k)[0].shape for k in range(9)} == {(2, 3, 12, 17), (2, 3, 20, 9)}


@pytest.mark.parametrize('changes, words', [
    ({'split': 'val'}, "batch_size is 2, and split 'val' is read in file order"),
    ({'randomize': False}, "split 'train' is read in file order"),
    ({'batch_size': 0}, 'batch_size is 0'), ({'batch_size': True}, 'batch_size is True'),
    ({'batch_size': 1025}, 'batch_size is 1025, not a whole number from 1 to 1024'),
    ({'batch_size': 2.0}, 'batch_size is 2.0'), ({'batch_size': None}, 'batch_size is None'),
])
def test_batches_that_are_refused(voc, changes, words):
    assert words in message(VOCSegDataLayer, params(voc, batch_size=2) | changes)


def test_scores_are_of_single_images(voc):
    """What evaluation adds to a net's params, of a train net with batches too."""
    layer = VOCSegDataLayer(params(voc, batch_size=2) | VOCSegDataLayer.in_order)
    assert [layer.sample(k).id for k in range(5)] == layer.ids and len(layer) == 5


def test_a_prototxt_takes_batch_size(voc):
    class Param:
        module, layer, param_str = 'voc_layers', 'VOCSegDataLayer', str(params(voc, batch_size=2))
    assert make_reader(Param, {}).batch(0)[0].shape[0] == 2
    assert make_reader(Param, {'VOCSegDataLayer': {'batch_size': 4}}).batch(0)[0].shape[0] == 4


# Sizes

def test_sizes_are_read_from_headers_alone(voc, monkeypatch):
    layer = VOCSegDataLayer(params(voc))
    sizes = [layer.reader.image(i).shape[:2] for i in range(5)]
    monkeypatch.setattr('PIL.Image.Image.load', lambda self: pytest.fail('decoded'))
    monkeypatch.setattr('PIL.ImageFile.ImageFile.load', lambda self: pytest.fail('decoded'))
    assert layer.reader.sizes == sizes


def test_a_file_without_a_header_says_what_reading_it_would(voc, tmp_path):
    for name, content in (('a.jpg', b''), ('b.jpg', b'\xff\xd8\xff'), ('c.jpg', b'GIF89a')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FcnError) as sized:
            image_size(tmp_path / name)
        with pytest.raises(FcnError) as read:
            read_image(tmp_path / name)
        assert str(sized.value) == str(read.value) and name in str(read.value)
    assert 'no such image' in message(image_size, tmp_path / 'd.jpg')
    (voc / 'JPEGImages/more.jpg').unlink()
    assert "the image of 'more', listed in the split 'train', is missing" in message(
        VOCSegDataLayer(params(voc, batch_size=2)).batch, 0)


def test_an_image_that_changes_while_it_is_read(voc):
    layer = VOCSegDataLayer(params(voc))
    samples = [layer.reader.load(0), layer.reader.load(1)]
    assert "is 8x6 (height x width), '2008_000002' in the same batch is 6x8" in message(
        layer.blobs, samples)
