"""data check: every fault of a data set is found, told by kind, and stops a training."""

import shutil

import numpy as np
import pytest
from data_folders import make_voc
from photo_sets import as_binary, as_index, as_rgb, make_set, photo, save
from PIL import Image

from fcn_repro.data.check import check_folder
from fcn_repro.data.convert import convert
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError


@pytest.fixture
def voc(tmp_path):
    """A good folder in VOC's layout: 8 train and 2 val pairs of 4 classes."""
    return convert(make_set(tmp_path / 'photos', mask=as_index), tmp_path / 'voc').folder


def kinds(folder, **options):
    found = check_folder(folder, **options)
    return ({fault.kind for fault in found.errors}, {fault.kind for fault in found.warnings})


def relabel(voc, change, names=None):
    """Write what change(label) gives, an array or an image, for all labels, or those named."""
    for path in sorted((voc / 'SegmentationClass').iterdir()):
        if names is None or path.stem in names:
            made = change(np.asarray(Image.open(path)))
            (made if isinstance(made, Image.Image) else Image.fromarray(made)).save(path)


def test_a_good_folder(voc):
    found = check_folder(voc)
    assert found.layout == 'voc' and not found.errors and not found.warnings
    assert found.splits == {'train': 8, 'val': 2} and found.sizes == {(24, 32): 10}
    assert found.classes == 4 and found.names == ('background', 'class 1', 'class 2', 'class 3')
    counts = sum(np.bincount(photo(i)[1].ravel(), minlength=256) for i in range(10))
    np.testing.assert_array_equal(found.histogram, counts)
    assert found.images_with('train')[1] == 8
    found.raise_for_training()


def test_the_release_layout_is_good(tmp_path):
    """Every id is in it; the sizes differ; there are names without a file."""
    found = check_folder(make_voc(tmp_path))
    assert not found.errors and found.classes == 21 and len(found.sizes) == 4
    assert {fault.kind for fault in found.warnings} == {'partial', 'shared'}


def test_masks_of_0_and_255(voc):
    """What was scored as perfect: all of it void or background."""
    relabel(voc, lambda label: np.uint8(label > 0) * 255)
    errors, _ = kinds(voc)
    assert 'binary' in errors
    with pytest.raises(FcnError, match='only 0 and 255'):
        check_folder(voc).raise_for_training()


def test_one_class_alone_and_void(voc):
    relabel(voc, lambda label: np.full_like(label, 2))
    assert kinds(voc)[0] == {'one-class'}
    relabel(voc, lambda label: np.full_like(label, 255))
    assert kinds(voc)[0] == {'all-void'}


def test_mostly_void(voc):
    def change(label):
        label = label.copy()
        label[label == 0] = 255
        return label
    relabel(voc, change)
    assert kinds(voc) == (set(), {'mostly-void', 'absent'})
    relabel(voc, lambda label: np.full_like(label, 255), ['p01'])
    found = check_folder(voc)
    assert [fault.file.name for fault in found.warnings
            if fault.kind == 'void-files'] == ['p01.png']


@pytest.mark.parametrize('change, kind', [
    (as_rgb, 'colours'), (lambda label: Image.fromarray(np.uint8(label > 0) * 255).convert('1'),
                          'mask-mode'),
    (lambda label: Image.fromarray(label.astype(np.uint16)), 'mask-mode'),
    (lambda label: as_rgb(label).convert('RGBA'), 'colours'),
    (lambda label: label[:, :-1], 'size'), (lambda label: label.T, 'size'),
    (lambda label: label + 3, 'names')])
def test_wrong_masks(voc, change, kind):
    """One fault for each file, of one kind, and none of another."""
    relabel(voc, change, ['p01', 'p02', 'p03'])
    found = check_folder(voc)
    assert [fault.kind for fault in found.errors] == 3 * [kind]
    assert {fault.file.name for fault in found.errors} == {'p01.png', 'p02.png', 'p03.png'}
    assert all(fault.do for fault in found.all)


def test_a_jpeg_under_a_png_name(voc):
    Image.fromarray(photo(1)[1]).save(voc / 'SegmentationClass/p01.png', 'JPEG')
    assert kinds(voc)[0] == {'lossy'}


def test_files_missing_damaged_or_of_another_kind(voc):
    """All of them are in one list, and one error has them all."""
    images, labels = voc / 'JPEGImages', voc / 'SegmentationClass'
    (images / 'p00.jpg').unlink()
    (labels / 'p01.png').unlink()
    (images / 'p02.jpg').write_bytes((images / 'p02.jpg').read_bytes()[:300])
    (labels / 'p03.png').write_bytes(b'nothing')
    Image.open(images / 'p04.jpg').convert('L').save(images / 'p04.jpg')
    shutil.copy(images / 'p05.jpg', images / 'p05.png')
    (images / 'p06.jpg').rename(images / 'p06.gif')
    found = check_folder(voc)
    by_file = {fault.file.name: fault.kind for fault in found.errors}
    assert by_file == {'p00.jpg': 'no-image', 'p01.png': 'no-mask', 'p02.jpg': 'unreadable',
                       'p03.png': 'unreadable', 'p04.jpg': 'image-mode', 'JPEGImages': 'clash',
                       'p06.jpg': 'no-image'}
    assert 'p06.gif' in next(f.what for f in found.errors if f.file.name == 'p06.jpg')
    with pytest.raises(FcnError) as error:
        found.raise_for_training()
    assert all(text in str(error.value) for text in ('p00.jpg', 'p01.png', 'p04.jpg', '7 in all'))
    assert error.value.code == 'data-faults'


def test_suffixes_in_any_case(voc):
    images = voc / 'JPEGImages'
    before = VocFolder(voc, 'train').load(0)
    (images / 'p00.jpg').rename(images / 'p00.JPG')
    (images / 'p01.jpg').rename(images / 'p01.Jpeg')
    Image.open(images / 'p02.jpg').save(images / 'p02.PNG')
    (images / 'p02.jpg').unlink()
    (voc / 'SegmentationClass/p03.png').rename(voc / 'SegmentationClass/p03.PNG')
    assert kinds(voc) == (set(), set())
    reader = VocFolder(voc, 'train')
    assert all(reader.load(i).label.shape == (24, 32) for i in range(len(reader)))
    assert before.id == reader.load(0).id
    np.testing.assert_array_equal(before.image, reader.load(0).image)
    shutil.copy(images / 'p00.JPG', images / 'p00.jpeg')
    with pytest.raises(FcnError, match=r'2 files, p00\.JPG and p00\.jpeg'):
        VocFolder(voc, 'train').image_file('p00')


def test_splits(voc):
    lists = voc / 'ImageSets/Segmentation'
    (lists / 'train.txt').write_text((lists / 'train.txt').read_text() + 'p99\n')
    val = (lists / 'val.txt').read_text().split()
    (lists / 'val.txt').write_text('\n'.join([*val, val[0]]))
    found = check_folder(voc)
    assert {fault.kind for fault in found.errors} == {'no-image', 'no-mask', 'twice'}
    assert sum(found.splits.values()) == 11
    (lists / 'val.txt').write_text('../p00\n')
    assert kinds(voc)[0] >= {'split'}
    (lists / 'val.txt').unlink()
    assert kinds(voc)[0] >= {'split'}
    assert 'split' not in kinds(voc, splits=('train',))[0]


def test_ids_of_val_in_train_and_classes_that_one_lacks(voc):
    lists = voc / 'ImageSets/Segmentation'
    (lists / 'val.txt').write_text('p00\np01\n')
    (lists / 'train.txt').write_text('p01\np02\n')
    assert kinds(voc) == (set(), {'shared'})
    relabel(voc, lambda label: np.where(label == 3, 0, label).astype(np.uint8), ['p01', 'p02'])
    assert 'no-train' in kinds(voc)[1]
    relabel(voc, lambda label: np.where(label == 2, 0, label).astype(np.uint8), ['p00', 'p01'])
    assert {'no-train', 'no-val'} <= kinds(voc)[1]


@pytest.mark.parametrize('classes, expected', [
    (3, ({'ids'}, set())), (4, (set(), set())), (21, (set(), {'fewer'}))])
def test_the_number_of_classes(voc, classes, expected):
    assert kinds(voc, classes=classes) == expected
    found = check_folder(voc, classes=classes)
    assert all(fault.facts == {'classes': 4} for fault in found.all)


def test_without_names(voc):
    (voc / 'classes.txt').unlink()
    assert check_folder(voc).classes == 4 and kinds(voc) == (set(), set())
    (voc / 'classes.txt').write_text('a\nb\n')
    assert kinds(voc)[0] == {'names'} and kinds(voc, classes=4)[0] == set()
    (voc / 'classes.txt').write_text('a\nb\nc\nd\ne\n')
    assert kinds(voc)[1] == {'absent'} and check_folder(voc).classes == 5


def test_a_file_that_changes_is_read_again(voc):
    assert kinds(voc)[0] == set()
    save(voc / 'SegmentationClass/p00.png', as_rgb(photo(0)[1]))
    assert kinds(voc)[0] == {'colours'}


def test_turned_and_large_images(voc):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(voc / 'JPEGImages/p00.jpg')
    image.save(voc / 'JPEGImages/p00.jpg', exif=exif)
    assert kinds(voc) == (set(), {'turned'})
    relabel(voc, np.rot90, ['p00'])                 # drawn on what a viewer shows
    found = check_folder(voc)
    assert [fault.kind for fault in found.errors] == ['size'] and 'EXIF' in found.errors[0].what
    big = Image.new('RGB', (2500, 2000))
    big.save(voc / 'JPEGImages/p01.jpg')
    Image.new('L', (2500, 2000)).save(voc / 'SegmentationClass/p01.png')
    assert 'huge' in kinds(voc)[1]


@pytest.mark.parametrize('mask, image_path, mask_path, masks', [
    (as_rgb, 'images/{}.jpg', 'masks/{}.png', 'rgb'),
    (as_binary, '{}.JPG', '{}_mask.png', 'binary'),
    (as_index, '{}.jpg', '{}.png', 'index')])
def test_folders_that_are_to_be_converted(tmp_path, mask, image_path, mask_path, masks):
    root = make_set(tmp_path / 'p', mask=mask, image_path=image_path, mask_path=mask_path)
    found = check_folder(root)
    assert [fault.kind for fault in found.errors] == ['layout'] and found.masks == masks
    assert found.classes == (2 if masks == 'binary' else 4) and found.splits == {'': 10}
    with pytest.raises(FcnError, match='a layout that training does not read'):
        found.raise_for_training()


def test_nothing_to_check(tmp_path):
    assert kinds(tmp_path)[0] == {'empty'}
    save(tmp_path / 'a.jpg', Image.fromarray(photo(0)[0]))
    save(tmp_path / 'b.jpg', Image.fromarray(photo(1)[0]))
    found = check_folder(tmp_path)
    assert [fault.what for fault in found.errors] == ['there are 2 images and no mask']
    with pytest.raises(FcnError, match='no such folder'):
        check_folder(tmp_path / 'no')
    make_voc(tmp_path / 'x')
    assert 'VOC2011' in check_folder(tmp_path / 'x').errors[0].what
