"""The bundled digits, MNIST's files, single digits for stage 0, and scenes in VOC's layout."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_repro.data import python_layers
from fcn_repro.data import scenes as scenes_module
from fcn_repro.data.digits import DigitDataLayer, load_digits, read_idx, render
from fcn_repro.data.scenes import CLASSES, make_scenes, rimmed
from fcn_repro.data.voc import VOCSegDataLayer
from fcn_repro.errors import FcnError
from fcn_repro.predict.metrics import upper_bound

MEAN = (104.00699, 116.66877, 122.67892)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('scenes') / 'voc'
    assert make_scenes(folder, seed=7, train=6, val=50)
    return folder


# the digits

def test_bundled_digits_are_all_there_and_train_and_val_share_none():
    (images, labels), (held, held_labels) = load_digits('train'), load_digits('val')
    assert len(images) + len(held) == 1797 and images.shape[1:] == (8, 8)
    assert images.dtype == np.uint8 and images.max() == 255
    assert np.bincount(np.concatenate([labels, held_labels])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(held_labels, minlength=10).min() >= 34
    assert not {i.tobytes() for i in images} & {i.tobytes() for i in held}


@given(index=st.integers(0, 1441), height=st.integers(16, 220))
@settings(max_examples=40)
def test_a_rendered_digit_has_the_height_asked_for_and_touches_all_four_sides(index, height):
    alpha = render(load_digits('train')[0][index], height)
    assert alpha.shape[0] == height and alpha.dtype == np.float32
    ink = alpha > 0.4
    assert ink[:2].any() and ink[-2:].any() and ink[:, :2].any() and ink[:, -2:].any()
    assert alpha.min() >= -0.1 and alpha.max() <= 1.1


def test_a_rendered_digit_is_the_digit():
    for image in load_digits('val')[0][:20]:
        rows, cols = np.nonzero(image > 48)
        ink = image[rows.min():rows.max() + 1, cols.min():cols.max() + 1]
        small = Image.fromarray(render(image, 160)).resize(ink.shape[::-1], Image.BOX)
        assert np.corrcoef(np.asarray(small).ravel(), ink.ravel())[0, 1] > 0.6


# MNIST's files

def idx(array):
    return (bytes((0, 0, 8, array.ndim)) + np.asarray(array.shape, '>u4').tobytes()
            + array.astype(np.uint8).tobytes())


def write_mnist(folder, count=12, pack=gzip.compress):
    folder.mkdir(exist_ok=True)
    for split, name in (('train', 'train'), ('val', 't10k')):
        images, labels = load_digits(split)
        images = np.pad(np.kron(images[:count], np.ones((3, 3))), ((0, 0), (2, 2), (2, 2)))
        end = '.gz' if pack is gzip.compress else ''
        (folder / f'{name}-images-idx3-ubyte{end}').write_bytes(pack(idx(images)))
        (folder / f'{name}-labels-idx1-ubyte{end}').write_bytes(pack(idx(labels[:count])))


@pytest.mark.parametrize('pack', [gzip.compress, bytes])
def test_mnist_files_plain_or_packed_give_digits_and_scenes(tmp_path, pack):
    write_mnist(tmp_path / 'mnist', pack=pack)
    images, labels = load_digits('val', tmp_path / 'mnist')
    assert images.shape == (12, 28, 28) and labels.tolist() == load_digits('val')[1][:12].tolist()
    assert make_scenes(tmp_path / 'out', train=1, val=1, mnist=tmp_path / 'mnist')
    assert (tmp_path / 'out/SegmentationClass/train_0001.png').exists()
    layer = DigitDataLayer({'split': 'train', 'batch_size': 2, 'mnist': tmp_path / 'mnist'})
    assert layer.batch(0)[0].shape == (2, 3, 224, 224)


WHOLE = idx(np.zeros((2, 4, 4)))


@pytest.mark.parametrize('data, words', [
    (b'', 'starts with'),
    (b'\x00\x00\x08\x01' + WHOLE[4:], '00 00 08 03'),
    (WHOLE[:10], '10 bytes.* 16'),
    (WHOLE[:-1], '31 bytes after the header, 32 expected'),
    (WHOLE + b'\0', '33 bytes after the header, 32 expected'),
    (idx(np.zeros((0, 4, 4))), 'no image'),
    (gzip.compress(WHOLE, mtime=0)[:-9], 'damaged gzip'),
    (b'\x1f\x8bnonsense', 'damaged gzip'),
])
def test_bad_idx_files_say_what_is_wrong(tmp_path, data, words):
    (tmp_path / 'file').write_bytes(data)
    with pytest.raises(FcnError, match=words) as caught:
        read_idx(tmp_path / 'file', 3)
    assert str(tmp_path / 'file') in str(caught.value)


@given(data=st.binary(max_size=60), packed=st.booleans())
@settings(max_examples=100)
def test_any_bytes_are_an_array_or_an_error(tmp_path_factory, data, packed):
    path = tmp_path_factory.getbasetemp() / 'any'
    path.write_bytes(gzip.compress(data) if packed else b'\0\0\x08\x01' + data)
    try:
        assert read_idx(path, 1).ndim == 1
    except FcnError as error:
        assert 'any' in str(error)


def test_mnist_folders_that_do_not_fit(tmp_path):
    with pytest.raises(FcnError, match=r"neither 'train-images-idx3-ubyte' nor"):
        load_digits('train', tmp_path)
    write_mnist(tmp_path)
    (tmp_path / 't10k-labels-idx1-ubyte.gz').write_bytes(idx(np.zeros(11)))
    with pytest.raises(FcnError, match='12 images but 11 labels'):
        load_digits('val', tmp_path)
    (tmp_path / 't10k-labels-idx1-ubyte.gz').write_bytes(idx(np.full(12, 10)))
    with pytest.raises(FcnError, match='label 10 '):
        load_digits('val', tmp_path)


# single digits for stage 0

def test_digit_batches_depend_on_seed_split_and_number_alone():
    params = {'split': 'train', 'batch_size': 3, 'seed': 3, 'curriculum': 10}
    layer, other = DigitDataLayer(params), python_layers['digit_layers', 'DigitDataLayer'](params)
    for k in (8, 2, 0):
        later = layer.batch(k)
        assert all(np.array_equal(a, b) for a, b in zip(later, other.batch(k), strict=True))
    assert not np.array_equal(layer.batch(0)[0], layer.batch(1)[0])
    assert not np.array_equal(layer.batch(8)[0], DigitDataLayer({**params, 'seed': 4}).batch(8)[0])
    data, label = layer.batch(8)
    assert data.shape == (3, 3, 224, 224) and label.shape == (3,)
    assert data.dtype == label.dtype == np.float32 and set(label) <= set(range(10))
    raw = data + np.float32(MEAN).reshape(3, 1, 1)
    assert raw.min() > -0.01 and raw.max() < 255.01 and np.abs(raw - raw.round()).max() < 1e-4


def test_the_curriculum_goes_from_plain_and_centred_to_shifted_and_textured():
    layer = DigitDataLayer({'split': 'train', 'batch_size': 8, 'curriculum': 10})
    rough = [layer.batch(k)[0][:, :, :24, :24].std((2, 3)).mean() for k in (0, 5, 10)]
    assert rough[0] < 0.01 < rough[1] < rough[2]
    image = layer.batch(0)[0][0, 0]
    rows, cols = np.nonzero(image > image.mean())
    assert abs(rows.min() + rows.max() - 223) < 8 and abs(cols.min() + cols.max() - 223) < 8


def test_val_goes_through_the_held_out_digits_in_order_at_full_difficulty():
    layer = DigitDataLayer({'split': 'val', 'batch_size': 50, 'curriculum': 1000, 'size': 200})
    labels = load_digits('val')[1]
    seen = np.concatenate([layer.batch(k)[1] for k in range(len(layer))])
    assert len(layer) == -(-len(labels) // 50)
    assert np.array_equal(seen[:len(labels)], labels)
    assert np.array_equal(seen[len(labels):], labels[:len(seen) - len(labels)])
    assert layer.batch(0)[0][:, :, :16, :16].std((2, 3)).min() > 1


@pytest.mark.parametrize('change, words', [
    ({'splat': 1}, "'splat'.*Known are: split"), ({'split': 'test'}, "'test'"),
    ({'batch_size': 0}, 'batch_size is 0'), ({'size': 150}, 'size is 150.* 190'),
    ({'digit_sizes': (100, 90)}, 'maximum of digit_sizes is 90.* 100'), ({'mean': (1, 2)}, 'mean'),
    ({'seed': -1}, 'seed is -1'), ({'curriculum': -5}, 'curriculum is -5'),
])
def test_params_that_make_no_sense(change, words):
    with pytest.raises(FcnError, match=words):
        DigitDataLayer({'split': 'train', **change})


# scenes

def test_the_layout_is_what_the_voc_reader_reads(scenes):
    layer = VOCSegDataLayer({'voc_dir': str(scenes), 'split': 'train', 'seed': 1337,
                             'mean': MEAN, 'classes': 11})
    data, label = layer.batch(0)
    assert len(layer) == 6
    assert data.shape == (1, 3, 256, 320) and label.shape == (1, 1, 256, 320)
    assert (scenes / 'classes.txt').read_text().split() == list(CLASSES)
    assert not list(scenes.parent.glob('voc.*'))        # nothing of the making is left beside


def test_scenes_hold_two_or_three_digits_with_a_rim_and_the_image_agrees(scenes):
    for name in (scenes / 'ImageSets/Segmentation/train.txt').read_text().split():
        image = np.asarray(Image.open(scenes / f'JPEGImages/{name}.jpg'), np.float32)
        with Image.open(scenes / f'SegmentationClass/{name}.png') as file:
            assert file.mode == 'P' and file.getpalette()[3:6] == [128, 0, 0]
            label = np.asarray(file)
        inside = (label > 0) & (label < 255)
        assert 1 <= len(np.unique(label[inside])) <= 3 and label[inside].max() <= 10
        assert image[inside].mean() > image[label == 0].mean() + 30
        for axis in (0, 1):                             # ground and digit never touch
            a, b = (np.moveaxis(label, axis, 0)[cut] for cut in (slice(1, None), slice(-1)))
            assert not ((a != b) & (a != 255) & (b != 255)).any()


def test_the_strides_can_be_told_apart(scenes):
    labels = [np.asarray(Image.open(path))
              for path in (scenes / 'SegmentationClass').glob('val_*.png')]
    bounds = [upper_bound(labels, stride, 11).mean_iu for stride in (32, 16, 8)]
    assert set(np.unique(np.stack(labels))) == {*range(11), 255}      # all ten digits occur
    assert bounds[0] >= 0.70 and bounds[1] >= 0.90 and bounds[2] >= 0.97


def test_the_same_seed_gives_the_same_files_and_another_seed_others(scenes, tmp_path):
    make_scenes(tmp_path / 'same', seed=7, train=6, val=50)
    make_scenes(tmp_path / 'more', seed=7, train=3, val=1)
    make_scenes(tmp_path / 'other', seed=8, train=6, val=0)
    same, more, other = (files_of(tmp_path / n) for n in ('same', 'more', 'other'))
    assert same == files_of(scenes)
    name = 'JPEGImages/train_0003.jpg'
    assert more[name] == same[name] != other[name]
    assert not any('val_' in path for path in other)


def test_a_second_run_keeps_and_another_stamp_replaces(tmp_path):
    out = tmp_path / 'scenes'
    assert make_scenes(out, train=1, val=1)
    before = (out / 'scenes.json').stat().st_mtime_ns
    assert not make_scenes(out, train=1, val=1)
    assert (out / 'scenes.json').stat().st_mtime_ns == before
    assert make_scenes(out, train=2, val=1)
    assert json.loads((out / 'scenes.json').read_text())['train'] == 2
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


def test_a_folder_of_the_users_own_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('years of work')
    with pytest.raises(FcnError, match=r'scenes.json'):
        make_scenes(tmp_path, train=1, val=1)
    assert (tmp_path / 'thesis.txt').read_text() == 'years of work'


def test_a_broken_run_leaves_nothing_and_keeps_the_old_scenes(tmp_path, monkeypatch):
    out = tmp_path / 'scenes'
    make_scenes(out, train=1, val=0)
    old = files_of(out)

    def broken(*args):
        raise OSError('No space left on device')
    monkeypatch.setattr('fcn_repro.data.scenes.write_label', broken)
    with pytest.raises(FcnError, match='No space left on device'):
        make_scenes(out, train=2, val=0)
    assert files_of(out) == old
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


@pytest.mark.parametrize('theirs, drawn', [({'train': 2}, False), ({'train': 3}, True)])
def test_another_process_is_done_first(tmp_path, monkeypatch, theirs, drawn):
    """Of the same scenes the first are kept, as nets may be reading them; others are replaced."""
    out, write = tmp_path / 'scenes', scenes_module.write_scenes

    def write_second(folder, stamp):
        monkeypatch.setattr(scenes_module, 'write_scenes', write)
        assert make_scenes(out, val=0, **theirs)
        write(folder, stamp)
    monkeypatch.setattr(scenes_module, 'write_scenes', write_second)
    assert make_scenes(out, train=2, val=0) is drawn
    assert json.loads((out / 'scenes.json').read_text())['train'] == 2
    assert [path.name for path in tmp_path.iterdir()] == ['scenes']


def test_a_file_or_link_in_the_folders_place(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(FcnError, match='cannot be written: Not a directory'):
        make_scenes(tmp_path / 'file', train=1, val=0)
    (tmp_path / 'link').symlink_to('nowhere')
    assert make_scenes(tmp_path / 'link', train=1, val=0)
    assert not (tmp_path / 'link').is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file', 'link']


@pytest.mark.parametrize('change, words', [
    ({'size': (64, 84)}, 'scene height is 64'), ({'digits': (3, 2)}, 'most digits is 2'),
    ({'train': -1}, 'train is -1'), ({'digit_sizes': (4, 9)}, 'least digit size is 4'),
])
def test_scenes_that_make_no_sense(tmp_path, change, words):
    with pytest.raises(FcnError, match=words):
        make_scenes(tmp_path / 'out', **change)
    assert not list(tmp_path.iterdir())


def test_scenes_too_small_for_their_digits_end_in_an_error(tmp_path):
    with pytest.raises(FcnError, match='6 digits'):
        make_scenes(tmp_path / 'out', train=1, val=0, digits=(6, 6))


@given(height=st.integers(16, 60), index=st.integers(0, 300))
@settings(max_examples=20)
def test_the_rim_is_three_pixels_out_and_three_in(height, index):
    alpha = render(load_digits('val')[0][index], height)
    patch = rimmed(alpha, 4)
    ink = np.pad(alpha > 0.5, 7)
    assert patch.shape == ink.shape and set(np.unique(patch)) <= {0, 4, 255}
    assert ink[patch == 4].all() and not ink[patch == 0].any()


def test_the_tool_prints_the_bounds(tmp_path):
    root = Path(__file__).parents[2]
    env = {**os.environ, 'PYTHONPATH': str(root)}
    command = [sys.executable, root / 'tools/make_scenes.py', '--out', tmp_path / 'out',
               '--train', '1', '--val', '2']
    first, second = (subprocess.run(command, capture_output=True, text=True, env=env)
                     for _ in range(2))
    assert first.returncode == second.returncode == 0, first.stderr
    assert '1 train and 2 val scenes' in first.stdout and 'made' in first.stdout
    assert 'already there' in second.stdout and 'stride 32' in second.stdout
    bad = subprocess.run([*command, '--mnist', tmp_path], capture_output=True, text=True, env=env)
    assert bad.returncode == 1 and bad.stderr.startswith('error: ') and 'idx' in bad.stderr
