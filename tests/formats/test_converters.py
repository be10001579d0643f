"""Converters to databases. What they wrote is read by lmdb and by the wire format's reader of the
tests; images are decoded by Pillow."""

import gzip
import io
import logging
import os

import numpy as np
import pytest
from digit_files import fields, idx, image_and_label, records, write_cifar, write_idx
from PIL import Image

from fcn_repro.data.digits import MNIST_FILES
from fcn_repro.errors import FcnError
from fcn_repro.formats.converters import (
    check_backend,
    convert_cifar,
    convert_imageset,
    convert_mnist,
    mean_image,
)
from fcn_repro.formats.database import Writer


@pytest.fixture
def pictures(tmp_path):
    """A folder of pictures, {name: RGB array}, and their list."""
    rng = np.random.default_rng(3)
    root, arrays, lines = tmp_path / 'root', {}, []
    (root / 'sub').mkdir(parents=True)
    for i, name in enumerate(('a.png', 'sub/b c.png', 'd.bmp', 'e.jpg', 'f.jpeg')):
        array = rng.integers(0, 256, (5 + i, 7, 3), np.uint8)
        Image.fromarray(array).save(root / name, quality=95)
        arrays[name] = np.array(Image.open(root / name).convert('RGB'))
        lines.append(f'{name} {i * 100 - 1}')
    (tmp_path / 'list.txt').write_text('\n'.join(lines) + '\n')
    return arrays


def convert(folder, **options):
    return convert_imageset(f'{folder}/root/', folder / 'list.txt', folder / 'db', **options)


def left(folder):
    """Names that a failed conversion would have left."""
    return [name for name in os.listdir(folder) if 'db' in name or 'part' in name]


def test_images_are_stored_as_blue_green_red_planes(tmp_path, pictures, caplog):
    caplog.set_level(logging.INFO, 'fcn_repro')
    assert convert(tmp_path) == (5, 0)
    stored = records(tmp_path / 'db')
    assert [key.decode() for key, _ in stored] == [
        f'{i:08d}_{name}' for i, name in enumerate(pictures)]
    for i, ((_, value), array) in enumerate(zip(stored, pictures.values(), strict=True)):
        image, label = image_and_label(value)
        assert label == i * 100 - 1
        assert np.array_equal(image, array[:, :, ::-1].transpose(2, 0, 1))
    assert 'A total of 5 images.' in caplog.messages and 'Processed 5 files.' in caplog.messages


def test_gray_and_resized(tmp_path, pictures):
    convert(tmp_path, gray=True, size=(4, 6), check_size=True)
    assert {image_and_label(value)[0].shape for _, value in records(tmp_path / 'db')} == {(1, 4, 6)}


def test_only_both_sizes_resize(tmp_path, pictures, caplog):
    """As in Caffe, where one of them is 0; but the log says so."""
    convert(tmp_path, size=(4, 0))
    assert '4 x 0 changes nothing' in caplog.text
    assert image_and_label(records(tmp_path / 'db')[0][1])[0].shape == (3, 5, 7)


def test_encoded_keeps_the_bytes_of_the_files(tmp_path, pictures):
    convert(tmp_path, encoded=True)
    for (_, value), name in zip(records(tmp_path / 'db'), pictures, strict=True):
        datum = fields(value)
        assert datum[4][0] == (tmp_path / 'root' / name).read_bytes()
        assert datum[7] == [1]


@pytest.mark.parametrize('kind, kept', [('jpg', {'e.jpg', 'f.jpeg'}), ('PNG', {'a.png',
                                                                               'sub/b c.png'})])
def test_encode_type(tmp_path, pictures, kind, kept):
    """Files of that type as they are, others encoded; jpg is jpeg, but jpeg is not jpg."""
    convert(tmp_path, encode_type=kind)
    for (_, value), (name, array) in zip(records(tmp_path / 'db'), pictures.items(), strict=True):
        data = fields(value)[4][0]
        assert (data == (tmp_path / 'root' / name).read_bytes()) == (name in kept)
        image = Image.open(io.BytesIO(data))
        assert image.format == {'jpg': 'JPEG', 'PNG': 'PNG'}[kind]
        if kind == 'PNG':
            assert np.array_equal(np.array(image), array)


def test_encoded_and_resized(tmp_path, pictures):
    convert(tmp_path, encoded=True, size=(3, 2))
    images = [Image.open(io.BytesIO(fields(value)[4][0])) for _, value in records(tmp_path / 'db')]
    assert {image.size for image in images} == {(2, 3)}
    assert [image.format for image in images] == ['PNG', 'PNG', 'BMP', 'JPEG', 'JPEG']


def test_shuffle_keeps_names_with_labels(tmp_path, pictures):
    convert(tmp_path, shuffle=True)
    keys = [key.decode() for key, _ in records(tmp_path / 'db')]
    names = [key[9:] for key in keys]
    assert sorted(names) == sorted(pictures) and names != list(pictures)
    assert [key[:8] for key in keys] == [f'{i:08d}' for i in range(5)]
    for name, (_, value) in zip(names, records(tmp_path / 'db'), strict=True):
        assert image_and_label(value)[1] == list(pictures).index(name) * 100 - 1


def test_unreadable_images_are_left_out_and_keep_their_number(tmp_path, pictures, caplog):
    (tmp_path / 'root/a.png').unlink()
    (tmp_path / 'root/d.bmp').write_bytes(b'no picture')
    assert convert(tmp_path) == (3, 2)
    assert [key[:8] for key, _ in records(tmp_path / 'db')] == [b'00000001', b'00000003',
                                                                b'00000004']
    assert sum('Could not open or find file' in line for line in caplog.messages) == 2
    assert '2 of 5 images could not be read and are left out.' in caplog.messages


@pytest.mark.parametrize('text, message', [
    ('', 'lists no image'),
    ('a.png\n', "'a.png' is not an image and a label"),
    ('a.png 1\n\nd.bmp 2\n', 'is not an image and a label. Remove the empty line'),
    ('a.png 1 5\n', "one label after each image .'a.png 1' is taken as a name"),
    ('a.png 1.5\n', 'is not an image and a label'),
    ('a.png 3000000000\n', 'no 32-bit number'),
    ('x.png 1\ny.png 2\n', 'none of the 2 images can be read'),
    ('a.png 1\nd.bmp 1\n', '147 values, the first one 105'),
])
def test_bad_lists(tmp_path, pictures, text, message):
    (tmp_path / 'list.txt').write_text(text)
    with pytest.raises(FcnError, match=message):
        convert(tmp_path, check_size=True)
    assert not left(tmp_path)


def test_lists_of_windows_and_empty_lines_at_the_end(tmp_path, pictures):
    (tmp_path / 'list.txt').write_bytes(b'\xef\xbb\xbfa.png 3\r\nd.bmp 4\r\n\r\n \r\n')
    assert convert(tmp_path) == (2, 0)
    assert [key for key, _ in records(tmp_path / 'db')] == [b'00000000_a.png', b'00000001_d.bmp']


def test_a_root_without_its_slash(tmp_path, pictures):
    """The remedy, as it is advised."""
    root = str(tmp_path / 'root')
    with pytest.raises(FcnError, match=f"Write '{root}/': it is put before the names"):
        convert_imageset(root, tmp_path / 'list.txt', tmp_path / 'db')
    assert convert_imageset(f'{root}/', tmp_path / 'list.txt', tmp_path / 'db') == (5, 0)


def test_other_faults_of_image_sets(tmp_path, pictures):
    with pytest.raises(FcnError, match="cannot be encoded as 'nef'"):
        convert(tmp_path, encode_type='nef')
    (tmp_path / 'root/g').write_bytes((tmp_path / 'root/a.png').read_bytes())
    (tmp_path / 'list.txt').write_text('g 1\n')
    with pytest.raises(FcnError, match="the name 'g' has no extension"):
        convert(tmp_path, encoded=True)
    (tmp_path / 'list.txt').unlink()
    with pytest.raises(FcnError, match='cannot be read'):
        convert(tmp_path)
    assert not left(tmp_path)


def test_a_database_that_exists_is_kept(tmp_path, pictures):
    (tmp_path / 'db').mkdir()
    (tmp_path / 'db/mine').write_text('x')
    with pytest.raises(FcnError, match='exists already'):
        convert(tmp_path)
    assert (tmp_path / 'db/mine').exists() and left(tmp_path) == ['db']


def test_a_place_that_cannot_be_written(tmp_path, pictures):
    (tmp_path / 'file').write_text('')
    with pytest.raises(FcnError, match='cannot make this folder') as caught:
        convert_imageset(f'{tmp_path}/root/', tmp_path / 'list.txt', tmp_path / 'file/db')
    assert 'part' not in str(caught.value)


def test_a_key_that_is_too_long_leaves_nothing(tmp_path):
    with pytest.raises(FcnError, match='a key of 600 bytes') as caught, \
            Writer(tmp_path / 'db') as writer:
        writer.put(b'k' * 600, b'v')
    assert not left(tmp_path) and 'part' not in str(caught.value)


def test_an_interrupt_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), Writer(tmp_path / 'db') as writer:
        writer.put(b'k', b'v')
        raise KeyboardInterrupt
    assert not left(tmp_path)


def test_backends(tmp_path):
    check_backend('LMDB', 'x')
    with pytest.raises(FcnError, match='neither written nor read'):
        check_backend('leveldb', 'x')
    (tmp_path / 'CURRENT').touch()
    with pytest.raises(FcnError, match='plyvel'):
        check_backend('LevelDB', tmp_path)
    with pytest.raises(FcnError, match="unknown backend 'hdf5'"):
        check_backend('hdf5', 'x')


# ---- MNIST and CIFAR-10 ----------------------------------------------------------------------


def test_mnist(tmp_path):
    folder = write_idx(tmp_path / 'mnist')
    images, labels = (folder / name for name in MNIST_FILES['val'])
    count = convert_mnist(images, labels, tmp_path / 'db')
    stored = records(tmp_path / 'db')
    assert count == len(stored) > 300 and stored[12][0] == b'00000012'
    pixels = np.frombuffer(images.read_bytes()[16:], 'u1').reshape(-1, 1, 28, 28)
    for (_, value), image, label in zip(stored, pixels, labels.read_bytes()[8:], strict=True):
        found, number = image_and_label(value)
        assert np.array_equal(found, image) and number == label


def test_mnist_from_gzip(tmp_path):
    for name, array in ('i', np.ones((2, 3, 4))), ('l', np.array([1, 2])):
        (tmp_path / name).write_bytes(gzip.compress(idx(array)))
    assert convert_mnist(tmp_path / 'i', tmp_path / 'l', tmp_path / 'db') == 2
    assert image_and_label(records(tmp_path / 'db')[1][1])[0].shape == (1, 3, 4)


IMAGES, LABELS = idx(np.ones((2, 3, 4))), idx(np.array([1, 2]))


@pytest.mark.parametrize('images, labels, message', [
    (None, LABELS, 'cannot be read'),
    (IMAGES, None, 'cannot be read'),
    (b'', LABELS, 'starts with'),
    (IMAGES[:10], LABELS, 'its header alone needs'),
    (IMAGES[:-1], LABELS, '23 bytes after the header, 24 expected'),
    (IMAGES + b'x', LABELS, '25 bytes after the header'),
    (LABELS, IMAGES, 'starts with 00 00 08 01'),
    (IMAGES, idx(np.array([1, 2, 3])), '2 images but 3 labels'),
    (idx(np.ones((0, 3, 4))), idx(np.ones(0)), 'holds no image'),
    (gzip.compress(IMAGES, mtime=0)[:-9], LABELS, 'damaged gzip'),
])
def test_bad_idx_files(tmp_path, images, labels, message):
    for name, data in ('i', images), ('l', labels):
        if data is not None:
            (tmp_path / name).write_bytes(data)
    with pytest.raises(FcnError, match=message):
        convert_mnist(tmp_path / 'i', tmp_path / 'l', tmp_path / 'db')
    assert not left(tmp_path)


def test_cifar(tmp_path):
    batches = write_cifar(tmp_path)
    train, test = convert_cifar(tmp_path, tmp_path / 'out')
    assert (train.name, test.name) == ('cifar10_train_lmdb', 'cifar10_test_lmdb')
    stored = records(train)
    assert len(stored) == 50000 and stored[-1][0] == b'49999' and stored[7][0] == b'00007'
    for k in 0, 9999, 10000, 49999:
        row = batches[f'data_batch_{k // 10000 + 1}.bin'][k % 10000]
        image, label = image_and_label(stored[k][1])
        assert np.array_equal(image, row[1:].reshape(3, 32, 32)) and label == row[0]
    stored = records(test)
    assert len(stored) == 10000 and image_and_label(stored[5][1])[1] == batches[
        'test_batch.bin'][5, 0]


def test_bad_cifar(tmp_path):
    with pytest.raises(FcnError, match='cannot be read'):
        convert_cifar(tmp_path, tmp_path / 'out')
    for name in (*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin'):
        (tmp_path / name).write_bytes(bytes(10000 * 3073))
    (tmp_path / 'test_batch.bin').write_bytes(bytes(10000 * 3073 - 1))
    with pytest.raises(FcnError, match='30729999 bytes, not 30730000'):
        convert_cifar(tmp_path, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
    (tmp_path / 'test_batch.bin').write_bytes(bytes(10000 * 3073))
    (tmp_path / 'out/cifar10_test_lmdb').mkdir(parents=True)
    with pytest.raises(FcnError, match='exists already'):
        convert_cifar(tmp_path, tmp_path / 'out')
    assert os.listdir(tmp_path / 'out') == ['cifar10_test_lmdb']


# ---- compute_image_mean ----------------------------------------------------------------------


def store(path, values):
    with Writer(path) as writer:
        for i, value in enumerate(values):
            writer.put(f'{i:08d}'.encode(), value)
    return path


def raw(array, number=4):
    """A raw Datum by hand; number 6: as float_data."""
    head = b''.join(bytes((i << 3, n)) for i, n in enumerate(array.shape, 1))
    if number == 4:
        return head + b'\x22' + bytes((array.size,)) + array.tobytes()
    return head + b''.join(b'\x35' + np.float32(x).tobytes() for x in array.flat)


def test_the_mean_is_summed_as_in_caffe(tmp_path, caplog):
    """To the bits: one float32 addition after another. The float_data are such that the order and
    the precision of the sum matter."""
    caplog.set_level(logging.INFO, 'fcn_repro')
    arrays = np.random.default_rng(0).normal(0, 1e6, (50, 2, 3, 4)).astype('f4')
    mean = mean_image(store(tmp_path / 'db', [raw(a, 6) for a in arrays]), tmp_path / 'm')
    total = [np.float32(0)] * 24
    for array in arrays:
        total = [a + b for a, b in zip(total, array.flat, strict=True)]
    expected = np.array([a / np.float32(50) for a in total], 'f4').reshape(2, 3, 4)
    assert np.array_equal(mean, expected) and mean.dtype == np.float32
    assert not np.array_equal(mean, arrays.astype('f8').mean(0).astype('f4'))
    blob = fields((tmp_path / 'm').read_bytes())
    assert [blob[i] for i in (1, 2, 3, 4)] == [[1], [2], [3], [4]]
    assert blob[5] == [expected.tobytes()] and blob.keys() == {1, 2, 3, 4, 5}
    assert 'Number of channels: 2' in caplog.messages
    assert any(line.startswith('mean_value channel [1]: ') for line in caplog.messages)


def test_the_mean_of_bytes_and_of_encoded_images(tmp_path, pictures, caplog):
    arrays = np.random.default_rng(1).integers(0, 256, (7, 3, 4, 5), np.uint8)
    mean = mean_image(store(tmp_path / 'raw', map(raw, arrays)))
    assert np.allclose(mean, arrays.mean(0), rtol=1e-6)
    convert(tmp_path, encode_type='png', size=(6, 8))
    convert_imageset(f'{tmp_path}/root/', tmp_path / 'list.txt', tmp_path / 'other', size=(6, 8))
    assert np.array_equal(mean_image(tmp_path / 'db'), mean_image(tmp_path / 'other'))


def test_bad_databases_for_a_mean(tmp_path):
    a, b = np.ones((3, 4, 5), 'u1'), np.ones((3, 5, 4), 'u1')
    with pytest.raises(FcnError, match=r"'00000001' has the shape \(3, 5, 4\)"):
        mean_image(store(tmp_path / 'a', [raw(a), raw(b)]), tmp_path / 'm')
    with pytest.raises(FcnError, match="record '00000001'"):
        mean_image(store(tmp_path / 'b', [raw(a), b'\xff\xff\xff']), tmp_path / 'm')
    with pytest.raises(FcnError, match='no such database'):
        mean_image(tmp_path / 'c', tmp_path / 'm')
    assert not (tmp_path / 'm').exists()
    with pytest.raises(FcnError, match='cannot be written'):
        mean_image(store(tmp_path / 'd', [raw(a)]), tmp_path / 'no/m')
