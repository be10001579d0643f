"""M2NIST's data: digits and scenes drawn here, and the published arrays."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from small_runs import assert_error, call
from test_scenes import idx, write_mnist

from fcn_repro.data import python_layers
from fcn_repro.data.digits import load_digits
from fcn_repro.data.m2nist import (
    BACKGROUND,
    CLASSES,
    Digits,
    M2nistDataLayer,
    M2nistDigitDataLayer,
    draw_scene,
)
from fcn_repro.errors import FcnError

TRAIN_DIGITS = Digits('train')


# scenes and digits, drawn

@given(seed=st.integers(0, 10 ** 6))
@settings(max_examples=60)
def test_a_pixel_has_a_digits_label_exactly_where_there_is_ink(seed):
    image, label = draw_scene(np.random.default_rng(seed), TRAIN_DIGITS)
    assert image.shape == label.shape == (64, 84) and image.dtype == label.dtype == np.uint8
    assert np.array_equal(label != BACKGROUND, image > 0) and label.max() == BACKGROUND
    assert 1 <= len(np.unique(label)) - 1 <= 3 and image.max() > 200
    rows = np.nonzero(image)[0]
    assert np.ptp(rows) >= 14 and 20 < len(rows) < 3 * 21 * 28


@given(index=st.integers(0, len(TRAIN_DIGITS) - 1), seed=st.integers(0, 100))
@example(index=1067, seed=4)
@settings(max_examples=40, derandomize=True, database=None)
def test_a_boxed_digit_is_in_the_middle_and_is_the_digit(index, seed):
    box = TRAIN_DIGITS.box(np.random.default_rng(seed), index)
    assert box.shape == (28, 28) and box.dtype == np.uint8 and box.max() > 150
    rows, cols = np.nonzero(box)
    assert 14 <= np.ptp(rows) + 1 <= 21 and abs(rows.min() + rows.max() - 27) <= 3
    assert abs(cols.min() + cols.max() - 27) <= 4
    source = TRAIN_DIGITS.images[index]
    ink = np.nonzero(source > 48)
    source = source[ink[0].min():ink[0].max() + 1, ink[1].min():ink[1].max() + 1]
    box = box[rows.min():rows.max() + 1, cols.min():cols.max() + 1]
    small = Image.fromarray(box).resize(source.shape[::-1], Image.BOX)
    # with a frame of background: the 1 of index 1067 is ink all over
    assert np.corrcoef(np.pad(small, 1).ravel(), np.pad(source, 1).ravel())[0, 1] > 0.6


@pytest.mark.parametrize('layer', [M2nistDataLayer, M2nistDigitDataLayer])
@pytest.mark.parametrize('split', ['train', 'val'])
def test_batches_depend_on_seed_split_and_number_alone(layer, split):
    params = {'split': split, 'batch_size': 3, 'seed': 3}
    one, other = layer(params), python_layers['m2nist_layers', layer.__name__](params)
    for k in (8, 2, 0):
        later = one.batch(k)
        assert all(np.array_equal(a, b) for a, b in zip(later, other.batch(k), strict=True))
    assert not np.array_equal(one.batch(0)[0], one.batch(1)[0])
    different = layer({**params, 'seed': 4})
    assert not np.array_equal(one.batch(0)[0], different.batch(0)[0])
    data, label = one.batch(5)
    size = (64, 84) if layer is M2nistDataLayer else (28, 28)
    assert data.shape == (3, 1, *size) and data.dtype == label.dtype == np.float32
    assert label.shape == ((3, 1, 64, 84) if layer is M2nistDataLayer else (3,))
    assert data.min() == 0 and 0.9 < data.max() <= 1
    assert set(np.unique(label)) <= set(range(11 if layer is M2nistDataLayer else 10))
    assert one.fingerprint() == other.fingerprint() != layer({**params, 'split': {
        'train': 'val', 'val': 'train'}[split]}).fingerprint()


def test_val_goes_through_its_digits_in_order_and_shares_none_with_train():
    layer = M2nistDigitDataLayer({'split': 'val', 'batch_size': 50})
    labels = load_digits('val')[1]
    seen = np.concatenate([layer.batch(k)[1] for k in range(len(layer))])
    assert np.array_equal(seen[:len(labels)], labels) and len(layer) == -(-len(labels) // 50)
    train, val = ({image.tobytes() for image in Digits(split).images} for split in ('train', 'val'))
    assert len(train) + len(val) > 1700 and not train & val


def test_val_scenes_are_scored_one_by_one_in_order():
    layer = M2nistDataLayer({'split': 'val', 'batch_size': 1})
    assert len(layer) == 500 and layer.classes == CLASSES
    for k in (0, 7):
        sample, (data, label) = layer.sample(k), layer.batch(k)
        assert sample.id == f'val_{k + 1:04d}' and sample.image.shape == (64, 84, 3)
        assert np.array_equal(sample.image[:, :, 1], np.rint(255 * data[0, 0]))
        assert np.array_equal(sample.label, label[0, 0])
    with pytest.raises(FcnError, match='batch_size is 2'):
        M2nistDataLayer({'split': 'val', 'batch_size': 2}).sample(0)


@pytest.mark.parametrize('layer', [M2nistDataLayer, M2nistDigitDataLayer])
@pytest.mark.parametrize('params, words', [
    ({'splat': 1}, "'splat'.*Known are: split"), ({'split': 'test'}, "'test'"),
    ({'batch_size': 0}, 'batch_size is 0'), ({'batch_size': '8'}, "batch_size is '8'"),
    ({'seed': -1}, 'seed is -1'), ({'mnist': 'nowhere'}, 'neither'),
])
def test_params_that_make_no_sense(layer, params, words):
    with pytest.raises(FcnError, match=words):
        layer({'split': 'train', **params})


def test_mnists_own_digits_are_taken_as_they_are(tmp_path):
    folder = tmp_path / 'mnist'
    write_mnist(folder)
    layer = M2nistDataLayer({'split': 'train', 'batch_size': 2, 'mnist': folder})
    plain = Digits('train', folder)
    assert plain.images.shape == (12, 28, 28)
    assert np.array_equal(plain.box(None, 3), plain.images[3])
    assert plain.images.sum() < load_digits('train', folder)[0].sum()      # the bold ones
    assert (layer.batch(0)[1] != BACKGROUND).any()
    assert M2nistDigitDataLayer({'split': 'val', 'mnist': folder}).batch(0)[0].shape[2:] == (28, 28)
    with pytest.raises(FcnError, match='both mnist and m2nist'):
        M2nistDataLayer({'split': 'train', 'mnist': folder, 'm2nist': folder})
    for name in ('train', 't10k'):
        (folder / f'{name}-images-idx3-ubyte.gz').write_bytes(idx(np.ones((12, 20, 20))))
    with pytest.raises(FcnError, match=r'mnist: .*20x20 .*28x28'):
        M2nistDataLayer({'split': 'train', 'mnist': folder})


# the published arrays

def published(folder, count=20, dtype=np.uint8, **changes):
    """The two files as they are published, of few scenes; `changes` replace an array."""
    folder.mkdir(exist_ok=True)
    scenes = [draw_scene(np.random.default_rng(i), TRAIN_DIGITS) for i in range(count)]
    arrays = {'combined': np.stack([image for image, _ in scenes]),
              'segmented': np.stack([label[:, :, None] == np.arange(11) for _, label in scenes])}
    for name, array in (arrays | changes).items():
        np.save(folder / f'{name}.npy', array.astype(dtype))
    return folder


@pytest.mark.parametrize('dtype', [np.uint8, np.int64, np.float64])
def test_published_arrays_give_the_scenes_they_hold(tmp_path, dtype):
    folder = published(tmp_path / 'm2nist', dtype=dtype)
    train, val = (M2nistDataLayer({'split': split, 'batch_size': 1, 'm2nist': folder})
                  for split in ('train', 'val'))
    assert (len(train), len(val)) == (18, 2)
    for k in (0, 1):
        image, label = draw_scene(np.random.default_rng(18 + k), TRAIN_DIGITS)
        sample, (data, labels) = val.sample(k), val.batch(k)
        assert sample.id == f'scene_{18 + k:04d}' and np.array_equal(sample.image[:, :, 0], image)
        assert np.array_equal(sample.label, label) and np.array_equal(labels[0, 0], label)
        assert np.array_equal(data[0, 0], image / np.float32(255))
    ids = {train.sample(k).id for k in range(200)}
    assert ids == {f'scene_{k:04d}' for k in range(18)}
    assert train.fingerprint() != val.fingerprint()


def test_where_two_masks_meet_the_lower_digit_counts(tmp_path):
    masks = np.zeros((2, 64, 84, 11))
    masks[..., BACKGROUND] = 1
    masks[1, 5, 6, [7, 3, BACKGROUND]] = 1
    layer = M2nistDataLayer({'split': 'val', 'batch_size': 1, 'm2nist': published(
        tmp_path, 2, segmented=masks)})
    label = layer.sample(0).label
    assert label[5, 6] == 3 and (label == BACKGROUND).sum() == 64 * 84 - 1


SCENES = np.zeros((4, 64, 84), np.uint8)
MASKS = np.repeat(np.eye(11, dtype=np.uint8)[BACKGROUND][None], 4 * 64 * 84, 0).reshape(
    4, 64, 84, 11)


@pytest.mark.parametrize('changes, file, words', [
    ({'combined': SCENES.transpose(0, 2, 1)}, 'combined', r'\(4, 84, 64\) .*\(N, 64, 84\)'),
    ({'combined': SCENES[0]}, 'combined', r'\(64, 84\) '),
    ({'segmented': MASKS.transpose(0, 3, 1, 2)}, 'segmented', r'\(4, 11, 64, 84\)'),
    ({'segmented': MASKS[..., :10]}, 'segmented', r'\(4, 64, 84, 10\).*\(N, 64, 84, 11\)'),
    ({'segmented': MASKS[:3]}, 'segmented', '3 scenes, but combined.npy .* 4'),
    ({'combined': SCENES[:1], 'segmented': MASKS[:1]}, 'combined', '1 scene'),
    ({'combined': SCENES + 256.}, 'combined', 'scene 3 .*from 256.0 to 256.0 .*from 0 to 255'),
    ({'combined': SCENES + .5}, 'combined', 'from 0.5 to 0.5'),
    ({'segmented': 0 * MASKS}, 'segmented', '5376 pixels in none of its 11 masks'),
    ({'segmented': 255 * MASKS}, 'segmented', 'scene 3 .*from 0 to 255 .*0 and 1'),
    ({'combined': SCENES.astype(complex)}, 'combined', 'complex128'),
])
def test_arrays_that_are_not_m2nists(tmp_path, changes, file, words):
    dtype = next(iter(changes.values())).dtype
    published(tmp_path, **{'combined': SCENES, 'segmented': MASKS} | changes, dtype=dtype)
    with pytest.raises(FcnError, match=words) as caught:
        M2nistDataLayer({'split': 'val', 'batch_size': 1, 'm2nist': tmp_path}).batch(0)
    assert str(tmp_path / f'{file}.npy') in str(caught.value)


@pytest.mark.parametrize('old, new', [
    (b'NUMPY', b'NUMPU'), (b"'descr'", b"'descr("), (b'84, 11', b'99, 11'), (b'(3', b'(4'),
    (b'(3', b'(-'), (b'<f8', b'|O8'), (b'<f8', b'<U8'), (None, 1), (None, 80), (None, 10 ** 9)])
def test_damaged_arrays_are_named(tmp_path, old, new):
    """A part of the header replaced, or so many bytes cut off."""
    file = published(tmp_path, 3, np.float64) / 'segmented.npy'
    data = file.read_bytes()
    assert old is None or data.count(old) == 1
    file.write_bytes(data[:-new] if old is None else data.replace(old, new))
    with pytest.raises(FcnError, match=r'the array is|not a complete .npy file') as caught:
        M2nistDataLayer({'split': 'train', 'm2nist': tmp_path})
    assert str(file) in str(caught.value)


def test_missing_arrays_and_pickles_are_refused(tmp_path):
    with pytest.raises(FcnError, match=r'No such file.*folder with M2NIST'):
        M2nistDataLayer({'split': 'train', 'm2nist': tmp_path})
    np.save(tmp_path / 'combined.npy', np.array([{}], object))
    with pytest.raises(FcnError, match=r'combined.npy: not a complete .npy file'):
        M2nistDataLayer({'split': 'train', 'm2nist': tmp_path})


def test_the_published_arrays_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Trained on the first nine tenths, scored on the last, every channel drawn; in a run of its
    own. What does not fit together is refused before anything is written."""
    folder = published(tmp_path / 'arrays')
    monkeypatch.chdir(tmp_path)
    words = ['train', 'm2nist', '--weights', 'none', '--iterations', 1]
    assert_error(call(capsys, *words, '--m2nist', 'nowhere'), 'nowhere', 'no such folder',
                 'Give --m2nist')
    assert_error(call(capsys, *words, '--m2nist', folder, '--mnist', 'x'), 'mnist and m2nist')
    assert_error(call(capsys, *words, '--voc', 'x'), "takes no 'voc'")
    assert not (tmp_path / 'runs').exists()
    done = call(capsys, *words, '--m2nist', folder)
    assert done.status == 0 and '2 images, rule of the paper' in done.out
    assert 'made bilinear' not in done.out              # they are learned
    run = tmp_path / 'runs/m2nist-published'
    assert (run / 'train_iter_1.caffemodel.h5').exists() and (run / 'eval/channels.png').exists()
