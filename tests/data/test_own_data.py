"""Random crops of one's own data: what they hold, their order, and params that make no sense."""

import numpy as np
import pytest
from data_folders import save_palette_png, write_split
from PIL import Image

from fcn_repro.data.check import check_folder
from fcn_repro.data.own import OwnDataLayer
from fcn_repro.data.reader import Sample
from fcn_repro.data.voc import VocFolder
from fcn_repro.data.weighing import Pixels, balanced, median_frequency
from fcn_repro.errors import FcnError

SIZES = (40, 50), (64, 30), (33, 47), (50, 50)
MEAN = (10.0, 20.0, 30.0)


@pytest.fixture(scope='module')
def voc(tmp_path_factory):
    """Images whose pixel (y, x) is (4 y, 4 x, 0), labelled 0 above row 20 and 1 below."""
    folder = tmp_path_factory.mktemp('own')
    for part in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (folder / part).mkdir(parents=True)
    for i, (height, width) in enumerate(SIZES):
        y, x = np.mgrid[:height, :width]
        image = np.stack([3 * y, 3 * x, 40 * i + 0 * x], -1).astype(np.uint8)
        Image.fromarray(image).save(folder / f'JPEGImages/p{i}.jpg', quality=100, subsampling=0)
        save_palette_png((y >= 20).astype(np.uint8), folder / f'SegmentationClass/p{i}.png')
    write_split(folder, 'train', [f'p{i}' for i in range(len(SIZES))])
    write_split(folder, 'some', ['p1', 'p2'])
    return folder


def layer(voc, **params):
    return OwnDataLayer({'voc_dir': str(voc), 'split': 'train', 'mean': MEAN, 'seed': 3,
                         'crop': (24, 28), **params})


def test_a_batch(voc):
    data, label = layer(voc, batch_size=5, scale=(0.5, 2), mirror=True).batch(7)
    assert data.shape == (5, 3, 24, 28) and data.dtype == np.float32
    assert label.shape == (5, 1, 24, 28) and label.dtype == np.float32


def test_a_batch_is_a_function_of_seed_and_number(voc):
    one, other = layer(voc, batch_size=3, scale=(0.5, 2)), layer(voc, batch_size=3, scale=(0.5, 2))
    later = one.batch(4)
    one.batch(0)
    for again in (one.batch(4), other.batch(4)):
        assert all(map(np.array_equal, later, again))
    assert not np.array_equal(later[0], one.batch(5)[0])
    seeded = layer(voc, batch_size=3, scale=(0.5, 2), seed=4)
    assert not np.array_equal(later[0], seeded.batch(4)[0])


def test_a_batch_holds_the_samples_one_by_one(voc):
    """So that a run with --batch sees the same crops in the same order."""
    three = layer(voc, batch_size=3).batch(2)
    ones = [layer(voc).batch(k) for k in (6, 7, 8)]
    for top, parts in zip(three, zip(*ones, strict=True), strict=True):
        assert np.array_equal(top, np.concatenate(parts))


def test_every_epoch_has_each_image_once(voc):
    found = layer(voc)
    epochs = [[found.sample(4 * e + i).id for i in range(4)] for e in range(6)]
    assert all(sorted(epoch) == ['p0', 'p1', 'p2', 'p3'] for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


@pytest.mark.parametrize('factor', [1, 0.8, 1.5])
def test_image_and_label_stay_together(voc, factor):
    """Red is 3 times the row of the image, and the label says whether that is 20 or more."""
    found = layer(voc, scale=(factor, factor))
    for k in range(12):
        sample = found.sample(k)
        inside = sample.label != 255
        below = sample.image[:, :, 0] >= 3 * 20
        assert (below == (sample.label == 1))[inside].mean() > 0.93
        steps = np.diff(sample.image[:, :, 1].astype(float), axis=1)[inside[:, 1:] & inside[:, :-1]]
        assert abs(np.median(steps) - 3 / factor) <= 1


def test_a_crop_at_scale_1_is_a_window(voc):
    found = layer(voc)
    for k in range(8):
        sample = found.sample(k)
        whole = VocFolder(voc, 'train').load(int(sample.id[1:]))
        top, left = (round(v / 3) for v in sample.image[0, 0, :2])
        near = [whole.image[y:y + 24, x:x + 28] for y in range(max(0, top - 2), top + 3)
                for x in range(max(0, left - 2), left + 3)]
        assert any(np.array_equal(sample.image, window) for window in near)


def test_half_are_mirrored(voc):
    found = layer(voc, mirror=True)
    leftward = [np.median(np.diff(found.sample(k).image[:, :, 1].astype(int), axis=1)) < 0
                for k in range(60)]
    assert 15 < sum(leftward) < 45
    assert not any(np.median(np.diff(layer(voc).sample(k).image[:, :, 1].astype(int), axis=1)) < 0
                   for k in range(20))


@pytest.mark.parametrize('how', [{}, {'rotate': 40, 'scale': (0.4, 1)}])
def test_the_mask_says_where_the_image_is(voc, how):
    """Also where its own label is void; without it nothing changes."""
    found, plain = (layer(voc, mirror=True, batch_size=2, **how, **more)
                    for more in ({'mask': True}, {}))
    assert found.tops == 3 and found.top_names == ('data', 'label', 'mask') and plain.tops == 2
    assert found.assumed_shapes({'mask': True, 'batch_size': 2, 'crop': (24, 28)}, (50, 60)) == [
        (2, 3, 24, 28), (2, 1, 24, 28), (2, 1, 24, 28)]
    seen = set()
    for k in range(6):
        data, label, mask = found.batch(k)
        assert mask.shape == label.shape and mask.dtype == np.float32
        assert all(map(np.array_equal, (data, label), plain.batch(k)))
        assert np.array_equal(mask == 1, label != 255)      # all of these labels are known
        seen |= set(np.unique(mask))
    assert seen == ({0, 1} if how else {1})


def test_what_is_outside_is_void_and_holds_the_mean(voc):
    found = layer(voc, crop=(90, 80))
    data, label = found.batch(0)
    height, width = SIZES[int(found.sample(0).id[1:])]
    assert (label != 255).sum() == height * width
    assert np.abs(data[0][:, label[0, 0] == 255]).max() <= 0.5


def test_recoloured_crops_keep_contrast_and_labels(voc):
    plain, other = layer(voc), layer(voc, recolour=1)
    for k in range(6):
        one, two = plain.sample(k), other.sample(k)
        assert np.array_equal(one.label, two.label) and not np.array_equal(one.image, two.image)


def test_turned_crops_have_the_pixels_of_the_image(voc):
    """By a quarter, about the middle: the labels of a square crop, turned; and what the image does
    not fill is void."""
    whole = Sample('x', np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8),
                   np.random.default_rng(1).integers(0, 5, (40, 40), np.uint8))
    turned = layer(voc, crop=(40, 40), scale=(1, 1), rotate=180)

    class Quarter:
        def uniform(self, low, high):
            return 90. if high == 180 else 0.
        def integers(self, high):
            return 0
        def random(self):
            return 1.
    found = turned.cut(whole, Quarter())
    assert np.array_equal(found.label, np.rot90(whole.label, -1))
    assert np.abs(found.image.astype(int) - np.rot90(whole.image, -1)).max() <= 1
    crops = [layer(voc, rotate=45).sample(k) for k in range(12)]
    assert any((crop.label == 255).any() for crop in crops)
    assert [(crop.label == found.label).all() for crop, found in zip(
        crops, [layer(voc, rotate=45).sample(k) for k in range(12)], strict=True)] == [True] * 12


def test_any_split_can_be_cropped(voc):
    assert layer(voc, split='some', batch_size=4).batch(0)[0].shape[0] == 4


BAD = {
    'no crop': {'crop': None}, 'a crop of text': {'crop': ('24', 28)}, 'one side': {'crop': (24,)},
    'an empty crop': {'crop': (0, 28)}, 'a huge crop': {'crop': (24, 10 ** 6)},
    'a scale of 0': {'scale': (0, 1)}, 'a scale the wrong way': {'scale': (2, 1)},
    'nan': {'scale': (float('nan'), 1)}, 'a huge scale': {'scale': (1, 100)},
    'recolour': {'recolour': 2}, 'unknown': {'shear': 3}, 'a turn': {'rotate': 200},
    'no turn': {'rotate': '3'}, 'batch': {'batch_size': 0},
}


@pytest.mark.parametrize('name', BAD)
def test_bad_params(voc, name):
    with pytest.raises(FcnError) as caught:
        layer(voc, **BAD[name])
    assert caught.value.do and next(iter(BAD[name])).split('_')[0] in caught.value.what


def test_histogram_and_weights(voc):
    pixels = check_folder(voc).pixels_of('train')
    below = sum((height - 20) * width for height, width in SIZES)
    assert pixels.own[1] == below and pixels.own.sum() == sum(h * w for h, w in SIZES)
    assert pixels.around[1] == sum(h * w for h, w in SIZES) and not pixels.around[7]
    weights = balanced(np.array([900, 90, 10, 0]))
    assert weights[3] == 1 and np.isclose((weights[:3] * (0.9, 0.09, 0.01)).sum(), 1)
    assert np.isclose(weights[2] / weights[0], 90 ** 0.5)


def test_median_frequency():
    """Frequencies 0.5, 0.2, 0.1 of the images with the class; the last class is in none."""
    weights = median_frequency(Pixels(np.array([500, 40, 10, 0]), np.array([1000, 200, 100, 0])))
    np.testing.assert_allclose(weights, [0.4, 1, 2, 1])
    np.testing.assert_array_equal(median_frequency(Pixels(np.zeros(2), np.zeros(2))), 1)


# ---- image tags ----------------------------------------------------------------------------------

def test_tags_take_the_place_of_labels(voc):
    found = layer(voc, tags=4, batch_size=3, scale=(0.5, 1))
    assert found.tops == 2 and found.top_names == ('data', 'tags')
    data, tags = found.batch(2)
    assert data.shape == (3, 3, 24, 28) and tags.shape == (3, 4) and tags.dtype == np.float32
    assert (tags == [1, 0, 0, 0]).all()             # class 1 in all, the background is no tag
    assert OwnDataLayer.assumed_shapes({'batch_size': 3, 'tags': 4, 'crop': (24, 28)}, None) == [
        (3, 3, 24, 28), (3, 4)]
    assert layer(voc, tags=4, mask=True).top_names == ('data', 'tags', 'mask')


@pytest.mark.parametrize('scale', [(1, 1), (0.5, 2), (0.25, 0.25)])
def test_crops_with_tags_hold_the_whole_image(voc, scale):
    """The largest size that fits, times a factor of at most 1: nothing of an image is cut off."""
    for k in range(8):
        sample = layer(voc, tags=4, scale=scale, mask=True).sample(k)
        rows, columns = np.nonzero(sample.more['mask'])
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        whole = SIZES[int(sample.id[1])]
        least, most = ((min(1, factor) * min(1, 24 / whole[0], 28 / whole[1])) for factor in scale)
        assert least * whole[0] - 1 <= height <= most * whole[0] + 1
        assert height / width == pytest.approx(whole[0] / whole[1], rel=0.2)
        assert sample.more['tags'].tolist() == [True, False, False, False]


def test_tags_that_make_no_sense(voc, tmp_path):
    for params, words in (({'tags': -1}, 'tags is -1'), ({'tags': 255}, 'tags is 255'),
                          ({'tags': True}, 'tags is True'),
                          ({'tags': 3, 'rotate': 10}, 'tags with rotate')):
        with pytest.raises(FcnError, match=words) as caught:
            layer(voc, **params)
        assert caught.value.do
    layer(voc, tags=3, rotate=0)                    # 'Leave out one of them.'
    for part in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (tmp_path / part).mkdir(parents=True)
    Image.new('RGB', (9, 9)).save(tmp_path / 'JPEGImages/a.jpg')
    write_split(tmp_path, 'train', ['a'])
    path = tmp_path / 'SegmentationClass/a.png'
    for value, words in (255, 'it has no tags'), (5, '5'):
        save_palette_png(np.full((9, 9), value, np.uint8), path)
        with pytest.raises(FcnError, match=words) as caught:
            layer(tmp_path, tags=4).sample(0)
        assert caught.value.file == path and caught.value.do
    save_palette_png(np.zeros((9, 9), np.uint8), path)          # 'background where …'
    assert not layer(tmp_path, tags=4).sample(0).more['tags'].any()
