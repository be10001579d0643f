"""Readers on small folders of the real layouts, and every kind of bad input."""

import struct
import zlib

import numpy as np
import pytest
import scipy.io
from data_folders import (
    SIZES,
    make_sbd,
    make_voc,
    message,
    sample_arrays,
    save_jpeg,
    save_mat,
    save_palette_png,
    write_split,
)
from PIL import Image

from fcn_repro.data import python_layers
from fcn_repro.data.image import read_image, read_label
from fcn_repro.data.palette import VOC_CLASSES, palette
from fcn_repro.data.sbd import SbdFolder, read_mat
from fcn_repro.data.voc import VocFolder


@pytest.fixture
def voc(tmp_path):
    return make_voc(tmp_path)


@pytest.fixture
def sbd(tmp_path):
    return make_sbd(tmp_path, ['2008_000002', '2007_000001'])


# Readers

def test_voc_folder(voc):
    reader = VocFolder(voc, 'val')
    assert reader.ids == list(SIZES)[::-1] and len(reader) == 4
    assert reader.classes == VOC_CLASSES and len(VOC_CLASSES) == 21
    for i, id_ in enumerate(reader.ids):
        sample = reader.load(i)
        index = list(SIZES).index(id_)
        assert sample.id == id_ and sample.image.shape == (*SIZES[id_], 3)
        assert sample.image.dtype == sample.label.dtype == np.uint8
        np.testing.assert_array_equal(sample.label, sample_arrays(index, SIZES[id_])[1])
        np.testing.assert_array_equal(
            sample.image, np.asarray(Image.open(voc / f'JPEGImages/{id_}.jpg')))


def test_sbd_folder_is_the_mat_struct(sbd):
    mat = scipy.io.loadmat(sbd / 'cls/2007_000001.mat')
    reader = SbdFolder(sbd, 'train')
    assert reader.ids == ['2008_000002', '2007_000001'] and reader.classes == VOC_CLASSES
    sample = reader.load(1)
    np.testing.assert_array_equal(sample.label, mat['GTcls'][0]['Segmentation'][0])
    np.testing.assert_array_equal(sample.label, sample_arrays(0, (12, 17))[1])
    assert sample.image.shape == (12, 17, 3) and sample.label.dtype == np.uint8
    assert SbdFolder(str(sbd), 'val').ids == ['2010_000004']


def test_any_folder_like_voc(tmp_path):
    folder = make_voc(tmp_path, 'ours')
    assert VocFolder(folder, 'val').classes is None
    (folder / 'classes.txt').write_text('sky\nbuilding\npole\n\nand a note\n')
    assert VocFolder(folder, 'val').classes == ('sky', 'building', 'pole')
    path = folder / 'ImageSets/Segmentation/windows.txt'
    path.write_bytes(b'\xef\xbb\xbf2007_000001\r\n\r\n2008_000002 \r\n')
    reader = VocFolder(folder, 'windows')
    assert reader.ids == ['2007_000001', '2008_000002'] and reader.load(1).id == '2008_000002'


def test_seg11valid_is_val_without_sbd_train(voc, sbd):
    reader = VocFolder(voc, 'seg11valid', sbd)
    assert reader.ids == ['2010_000004', '2009_000003'] and reader.load(1).label.shape == (5, 30)
    write_split(voc, 'seg11valid', ['2008_000002'])     # a file of that name wins
    assert VocFolder(voc, 'seg11valid', sbd).ids == ['2008_000002']
    assert VocFolder(voc, 'seg11valid').ids == ['2008_000002']


def test_seg11valid_errors(voc, sbd, tmp_path):
    text = message(VocFolder, voc, 'seg11valid')
    assert 'seg11valid.txt' in text and 'sbdd_dir' in text and 'SBD train' in text
    assert 'VOC2012' in message(VocFolder, make_voc(tmp_path, 'VOC2012'), 'seg11valid', sbd)
    (sbd / 'train.txt').write_text('\n'.join(SIZES))
    assert 'all 4 images' in message(VocFolder, voc, 'seg11valid', sbd)
    (sbd / 'train.txt').unlink()
    assert 'train.txt' in message(VocFolder, voc, 'seg11valid', sbd)


# Bad input

def test_missing_folder_and_split(voc, tmp_path):
    assert 'nowhere' in message(VocFolder, tmp_path / 'nowhere', 'val')
    text = message(VocFolder, voc, 'trainval')
    assert 'ImageSets/Segmentation/trainval.txt' in text and 'train, val' in text
    (tmp_path / 'empty').mkdir()
    assert 'JPEGImages/' in message(VocFolder, tmp_path / 'empty', 'val')
    assert 'cls/' in message(SbdFolder, tmp_path / 'empty', 'train')
    write_split(voc, 'none', [])
    assert 'empty' in message(VocFolder, voc, 'none')
    (voc / 'ImageSets/Segmentation/binary.txt').write_bytes(b'\xff\xfe\x00\x93')
    assert 'binary.txt' in message(VocFolder, voc, 'binary')


def test_missing_image_or_label(voc, sbd):
    (voc / 'SegmentationClass/2007_000001.png').unlink()
    text = message(VocFolder(voc, 'train').load, 0)
    assert 'SegmentationClass/2007_000001.png' in text and 'train.txt' in text
    assert VocFolder(voc, 'train').image(0).shape == (12, 17, 3)    # the image alone still reads
    (voc / 'JPEGImages/2008_000002.jpg').unlink()
    assert 'JPEGImages/2008_000002.jpg' in message(VocFolder(voc, 'train').load, 1)
    (sbd / 'cls/2008_000002.mat').unlink()
    assert 'cls/2008_000002.mat' in message(SbdFolder(sbd, 'train').load, 0)


def test_label_ids_beyond_the_classes(voc, sbd):
    label = np.full((12, 17), 255, np.uint8)
    label[3, 4] = 21
    save_palette_png(label, voc / 'SegmentationClass/2007_000001.png')
    save_mat(label, sbd / 'cls/2007_000001.mat')
    for reader, i, name in ((VocFolder(voc, 'train', n_classes=21), 0, '2007_000001.png'),
                            (SbdFolder(sbd, 'train', n_classes=21), 1, '2007_000001.mat')):
        text = message(reader.load, i)
        assert name in text and 'id 21' in text and '21 classes' in text and '(1 pix' in text
    assert VocFolder(voc, 'train', n_classes=22).load(0).label[3, 4] == 21
    assert VocFolder(voc, 'train').load(0).label[3, 4] == 21


def test_sizes_that_differ(voc):
    save_palette_png(np.zeros((17, 12), np.uint8), voc / 'SegmentationClass/2007_000001.png')
    text = message(VocFolder(voc, 'train').load, 0)
    assert '2007_000001.png' in text and '17x12' in text and '12x17' in text


@pytest.mark.parametrize('mode', ['L', 'CMYK', '1'])
def test_image_that_is_not_rgb(tmp_path, mode):
    path = tmp_path / ('a.png' if mode == '1' else 'a.jpg')
    Image.new(mode, (8, 6)).save(path)
    text = message(read_image, path)
    assert str(path) in text and repr(mode) in text and "convert('RGB')" in text


def test_truncated_files(tmp_path):
    image, label = sample_arrays(0, (40, 50))
    save_jpeg(image, tmp_path / 'a.jpg')
    save_palette_png(label, tmp_path / 'a.png')
    save_mat(label, tmp_path / 'a.mat')
    for name, read in (('a.jpg', read_image), ('a.png', read_label), ('a.mat', read_mat)):
        whole = (tmp_path / name).read_bytes()
        cut = tmp_path / f'cut_{name}'
        for size in (0, 1, 5, 20, 100, len(whole) // 2, len(whole) * 9 // 10):
            cut.write_bytes(whole[:size])
            text = message(read, cut)
            assert str(cut) in text and 'it again' in text, (name, size)
        read(tmp_path / name)


def test_label_formats(tmp_path):
    label = sample_arrays(0, (6, 7))[1]
    path = tmp_path / 'a.png'
    Image.fromarray(label).save(path)                       # plain grey values are indices too
    np.testing.assert_array_equal(read_label(path), label)
    few = Image.fromarray(label % 4)
    few.putpalette(palette(4).reshape(-1).tolist())
    few.save(path, bits=2)                                  # a 2-bit palette PNG: still indices
    np.testing.assert_array_equal(read_label(path), label % 4)
    Image.fromarray(palette()[label]).save(path)
    text = message(read_label, path)
    assert str(path) in text and 'colours' in text and 'class index' in text
    for image in (Image.fromarray(label.astype(np.uint16)), Image.fromarray(label > 3)):
        image.save(path)
        assert '8-bit' in message(read_label, path)


def test_label_of_four_bit_grey_is_not_rescaled(tmp_path):
    """Pillow multiplies 4-bit grey by 17: class 1 would silently become class 17."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))

    path = tmp_path / 'a.png'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 2, 1, 4, 0, 0, 0,
                     0)) + chunk(b'IDAT', zlib.compress(b'\x00\x12')) + chunk(b'IEND', b''))
    assert 'L;4' in message(read_label, path)


def test_mat_of_another_kind(tmp_path):
    path = tmp_path / 'a.mat'
    scipy.io.savemat(path, {'GTinst': {'Segmentation': np.zeros((2, 2))}})
    text = message(read_mat, path)
    assert str(path) in text and 'GTinst' in text and 'cls/' in text
    scipy.io.savemat(path, {'GTcls': {'Boundaries': np.zeros((2, 2))}})
    assert 'Segmentation' in message(read_mat, path)
    scipy.io.savemat(path, {'GTcls': np.zeros((2, 2))})
    assert 'Segmentation' in message(read_mat, path)
    for bad in (np.full((2, 2), 300), np.full((2, 2), 0.5), np.full((2, 2), -1)):
        save_mat(bad, path)
        assert 'whole numbers from 0 to 255' in message(read_mat, path)
    save_mat(np.full((2, 2), 7.0), path)                    # MATLAB's own doubles
    assert read_mat(path).dtype == np.uint8 and (read_mat(path) == 7).all()


# Values of param_str that are no path, and names that are none

@pytest.mark.parametrize('value', [5, None, {'a': 1}, ['x'], 'x' * 300, 'a\0b', b'x', '\ud800'])
@pytest.mark.parametrize('key, module, layer', [
    ('voc_dir', 'voc_layers', 'VOCSegDataLayer'), ('sbdd_dir', 'voc_layers', 'VOCSegDataLayer'),
    ('sbdd_dir', 'voc_layers', 'SBDDSegDataLayer'), ('mnist', 'digit_layers', 'DigitDataLayer'),
    ('mnist', 'm2nist_layers', 'M2nistDataLayer'), ('m2nist', 'm2nist_layers', 'M2nistDataLayer')])
def test_folders_that_are_no_path(voc, key, module, layer, value):
    if value is None and key in ('mnist', 'm2nist', 'sbdd_dir') and layer != 'SBDDSegDataLayer':
        return                                          # optional: None is to leave it out
    params = {'split': 'train'} | ({'mean': (1, 2, 3)} if module == 'voc_layers' else {})
    params |= {'voc_dir': str(voc)} if layer == 'VOCSegDataLayer' else {}
    text = message(python_layers[module, layer], params | {key: value})
    assert any(word in text for word in ('is no path', 'control', '300 bytes', 'character'))


@pytest.mark.parametrize('name', ['batch_size', 'size', 'seed', 'curriculum', 'digit_sizes'])
@pytest.mark.parametrize('value', [None, 'x', float('nan'), float('inf'), (1,), {}])
def test_digit_params_that_are_no_number(name, value):
    params = {'split': 'val', name: value}
    assert name in message(python_layers['digit_layers', 'DigitDataLayer'], params)


@pytest.mark.parametrize('name', ['\x1b[2Jcat', 'x' * 201])
def test_class_names_are_printable(voc, name):
    (voc / 'classes.txt').write_text(f'background\n{name}\n')
    text = message(VocFolder, voc, 'val')
    assert 'classes.txt:2: the class name' in text and text.isprintable()
