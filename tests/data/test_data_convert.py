"""data convert: every kind of masks becomes the same label maps, and wrong ones are refused."""

import base64
import io
import json
import os
from itertools import cycle

import numpy as np
import pytest
from photo_sets import COLOURS, TABLE, as_binary, as_index, as_rgb, make_set, photo, save
from PIL import Image, ImageColor

from fcn_repro.data.check import check_folder
from fcn_repro.data.convert import convert
from fcn_repro.data.convert.colours import colour_name
from fcn_repro.data.convert.shapes import fill_polygon, filled, runs
from fcn_repro.data.palette import palette
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError
from fcn_repro.temporary import NAME


def labels(folder):
    """{id: label} of train and val."""
    return {sample.id: sample.label for split in ('train', 'val')
            for reader in [VocFolder(folder, split)]
            for sample in (reader.load(i) for i in range(len(reader)))}


def expected(count=10, change=lambda label: label):
    return {f'p{i:02}': change(photo(i)[1]) for i in range(count)}


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / 'table.txt'
    path.write_text('# of the shapes\n' + TABLE)
    return path


def grey(label):
    return Image.fromarray(label * 80)


def sixteen(label):
    return Image.fromarray(label.astype(np.uint16))


def palette_anew(label):
    """As an editor that makes a palette for each file: its order says nothing."""
    return as_rgb(label).quantize(4)


# ---- kinds of masks ------------------------------------------------------------------------------

@pytest.mark.parametrize('mask, masks', [
    (as_rgb, 'rgb'), (as_rgb, None), (palette_anew, 'rgb'), (as_index, 'index'), (as_index, None),
    (sixteen, 'index'), (lambda label: as_rgb(label).convert('RGBA'), 'rgb'),
    (lambda label: Image.merge('RGB', 3 * [as_index(label)]), 'index')])
def test_the_same_labels_of_every_kind(tmp_path, table, mask, masks):
    root = make_set(tmp_path / 'p', mask=mask)
    colours = table if masks == 'rgb' or mask is as_rgb else None
    made = convert(root, tmp_path / 'voc', masks, colours=colours)
    assert_same(labels(tmp_path / 'voc'), expected())
    assert not made.faults and made.splits == {'train': 8, 'val': 2}
    assert check_folder(tmp_path / 'voc').errors == []
    stored = Image.open(tmp_path / 'voc/SegmentationClass/p00.png')
    shown = VocFolder(tmp_path / 'voc', 'train').colours
    own = palette()
    if made.masks == 'rgb':             # the colours of the masks are kept
        own[:4] = COLOURS
    assert (shown == own).all()
    assert stored.mode == 'P' and stored.getpalette() == own.ravel().tolist()
    names = ('background', 'disc', 'square', 'bar') if colours else \
        ('background', 'class 1', 'class 2', 'class 3')
    assert VocFolder(tmp_path / 'voc', 'train').classes == names == made.names


@pytest.mark.parametrize('mask', [
    as_binary, lambda label: Image.fromarray(np.uint8(label > 0)),
    lambda label: as_binary(label).convert('1'), lambda label: as_binary(label).convert('RGB'),
    lambda label: Image.fromarray(np.uint16(label > 0) * 255)])
def test_binary(tmp_path, mask):
    convert(make_set(tmp_path / 'p', mask=mask), tmp_path / 'voc', 'binary', names=('sky', 'bird'))
    assert_same(labels(tmp_path / 'voc'), expected(change=lambda label: np.uint8(label > 0)))
    assert VocFolder(tmp_path / 'voc', 'val').classes == ('sky', 'bird')


def test_colours_without_a_table(tmp_path):
    made = convert(make_set(tmp_path / 'p'), tmp_path / 'voc')
    assert made.masks == 'rgb' and made.names == ('background', 'blue', 'green', 'red')
    order = np.array([0, 3, 2, 1], np.uint8)
    assert_same(labels(tmp_path / 'voc'), expected(change=lambda label: order[label]))
    rows = (tmp_path / 'voc/mask-colours.txt').read_text().splitlines()[1:]
    assert rows == ['0 0 0 background', '0 0 255 blue', '0 128 0 green', '255 0 0 red']
    again = convert(tmp_path / 'p', tmp_path / 'again', colours=tmp_path / 'voc/mask-colours.txt')
    assert_same(labels(tmp_path / 'voc'), labels(tmp_path / 'again'))
    shown = (tmp_path / 'voc/colours.txt').read_text().splitlines()[1:]
    assert shown == [*rows, '224 224 192 void']
    assert again.names == made.names


CHOSEN = (10, 20, 30), (250, 200, 10), (10, 200, 250), (200, 10, 250)


def in_palette(colours):
    """Masks of indices with these colours in their palettes."""
    def mask(label):
        image = Image.fromarray(label, 'P')
        image.putpalette(np.ravel(colours).tolist())
        return image
    return mask


def test_index_masks_keep_the_colours_of_their_palettes(tmp_path):
    made = convert(make_set(tmp_path / 'p', mask=in_palette(CHOSEN)), tmp_path / 'voc', 'index')
    assert 'the colours are those of the palettes' in made.decided
    assert_same(labels(tmp_path / 'voc'), expected())
    own = palette()
    own[:4] = CHOSEN
    assert (VocFolder(tmp_path / 'voc', 'train').colours == own).all()
    void = tmp_path / 'void'
    convert(tmp_path / 'p', void, 'index', void=3)
    assert VocFolder(void, 'val').colours[[2, 3, 255]].tolist() == [
        list(CHOSEN[2]), palette()[3].tolist(), list(CHOSEN[3])]


@pytest.mark.parametrize('colours', [
    [(i, i, i) for i in range(4)], [(9, 9, 9), (250, 0, 0), (0, 0, 9), (250, 0, 0)], palette(4)],
    ids=['grey', 'one colour twice', 'VOC'])
def test_palettes_that_tell_no_classes_apart(tmp_path, colours):
    made = convert(make_set(tmp_path / 'p', mask=in_palette(colours)), tmp_path / 'voc', 'index')
    assert not made.decided
    assert (VocFolder(tmp_path / 'voc', 'train').colours == palette()).all()


def test_palettes_that_differ_by_file(tmp_path):
    palettes = cycle([in_palette(CHOSEN), in_palette(CHOSEN[::-1])])
    convert(make_set(tmp_path / 'p', mask=lambda label: next(palettes)(label)), tmp_path / 'voc',
            'index')
    assert (VocFolder(tmp_path / 'voc', 'train').colours == palette()).all()


def test_grey_levels_are_colours(tmp_path):
    made = convert(make_set(tmp_path / 'p', mask=grey), tmp_path / 'voc')
    assert made.masks == 'rgb'
    assert_same(labels(tmp_path / 'voc'), expected())


def test_known_colours(tmp_path):
    colours = palette()

    def mask(label):
        return Image.fromarray(colours[np.where(label == 3, 255, label * 5)])
    made = convert(make_set(tmp_path / 'p', mask=mask), tmp_path / 'voc', 'rgb', colours='voc')
    assert len(made.names) == 21 and made.names[5] == 'bottle'
    assert_same(labels(tmp_path / 'voc'), expected(
        change=lambda label: np.where(label == 3, 255, label * 5).astype(np.uint8)))


def test_void(tmp_path, table):
    made = convert(make_set(tmp_path / 'p', mask=as_index), tmp_path / 'a', 'index', void=2)
    assert made.names[-1] == 'class 3' and 255 in labels(tmp_path / 'a')['p00']
    table.write_text(TABLE.replace('square', 'void'))
    convert(make_set(tmp_path / 'q'), tmp_path / 'b', 'rgb', colours=table)
    assert_same(labels(tmp_path / 'b'), expected(
        change=lambda label: np.array([0, 1, 255, 2], np.uint8)[label]))


@pytest.mark.parametrize('text, line', [
    ('0 0 0\n', 1), ('0 0 0 a\n0 0 300 b\n', 2), ('red a\n', 1), ('0 0 0 a\n0 0 0 b\n', None),
    ('0 0 0 void\n', None), ('', None)])
def test_wrong_tables(tmp_path, table, text, line):
    table.write_text(text)
    with pytest.raises(FcnError) as error:
        convert(make_set(tmp_path / 'p', 2), tmp_path / 'voc', 'rgb', colours=table)
    assert error.value.line == line and error.value.do and not (tmp_path / 'voc').exists()


# ---- masks of the wrong kind ---------------------------------------------------------------------

@pytest.mark.parametrize('mask, masks, suffix, kind', [
    (as_rgb, 'rgb', 'jpg', 'lossy'), (as_binary, 'binary', 'jpg', 'lossy'),
    (as_rgb, 'rgb', 'webp', 'lossy'), (as_rgb, 'index', 'png', 'colours'), (grey, 'binary', 'png',
                                                                            'edges'),
    (lambda label: Image.fromarray(label.astype(np.uint16) * 1000), 'index', 'png', 'mask-mode'),
    (lambda label: Image.fromarray(label[:, ::2].copy()), 'index', 'png', 'size'),
    (lambda label: Image.fromarray(label.T.copy()), 'index', 'png', 'size')])
def test_wrong_masks(tmp_path, mask, masks, suffix, kind):
    root = make_set(tmp_path / 'p', mask=mask, mask_path=f'masks/{{}}.{suffix}')
    with pytest.raises(FcnError) as error:
        convert(root, tmp_path / 'voc', masks)
    assert error.value.code == f'data-{kind}' and '10 in all' in str(error.value)
    assert os.listdir(tmp_path) == ['p']


def test_smoothed_edges(tmp_path, table):
    def smooth(label):
        return as_rgb(np.kron(label, np.ones((4, 4), np.uint8))).resize(
            label.shape[::-1], Image.Resampling.BILINEAR)
    root = make_set(tmp_path / 'p', mask=smooth, size=(48, 64))
    with pytest.raises(FcnError, match='not in the table') as error:
        convert(root, tmp_path / 'voc', 'rgb', colours=table)
    assert error.value.code == 'data-edges'
    convert(root, tmp_path / 'near', 'rgb', colours=table, other='nearest')
    wrong = [np.mean(found != photo(int(name[1:]), (48, 64))[1])
             for name, found in labels(tmp_path / 'near').items()]
    assert max(wrong) < 0.05
    convert(root, tmp_path / 'void', 'rgb', colours=table, other='void')
    for name, found in labels(tmp_path / 'void').items():
        label = photo(int(name[1:]), (48, 64))[1]
        assert (found == 255).any() and (found == label)[found != 255].all()


def test_edges_are_no_classes(tmp_path):
    """Most colours of smoothed masks are those of edges: none is made a class by itself."""
    rng = np.random.default_rng(0)

    def smooth(label):
        rgb = np.asarray(as_rgb(label)).copy()
        rgb[::6, ::5] = rng.integers(0, 60, (*rgb[::6, ::5].shape[:2], 3))
        return Image.fromarray(rgb)
    root = make_set(tmp_path / 'p', 2, mask=smooth)
    with pytest.raises(FcnError, match='4 of them fill areas'):
        convert(root, tmp_path / 'voc')
    made = convert(root, tmp_path / 'voc', other='nearest')
    assert set(made.names) == {'background', 'red', 'green', 'blue'}


def test_a_jpeg_of_two_values_can_be_rounded(tmp_path):
    root = make_set(tmp_path / 'p', mask=as_binary, mask_path='masks/{}.jpg', size=(96, 128))
    convert(root, tmp_path / 'voc', 'binary', other='nearest')
    found = labels(tmp_path / 'voc')
    assert all(np.mean(found[f'p{i:02}'] != (photo(i, (96, 128))[1] > 0)) < 0.01 for i in range(10))


# ---- files that are left out ---------------------------------------------------------------------

def test_bad_files_are_left_out(tmp_path):
    root = make_set(tmp_path / 'p', mask=as_index)
    (root / 'masks/p00.png').unlink()
    (root / 'images/p01.jpg').unlink()
    (root / 'images/p02.jpg').write_bytes(b'nothing')
    save(root / 'masks/p03.png', as_rgb(photo(3)[1]))
    save(root / 'images/p04.png', Image.fromarray(photo(4)[0]))
    made = convert(root, tmp_path / 'voc', 'index')
    assert {fault.file.name: fault.kind for fault in made.faults} == {
        'p00.jpg': 'no-mask', 'p01.png': 'no-image', 'p02.jpg': 'unreadable',
        'p03.png': 'colours', 'p04.png': 'clash'}
    assert labels(tmp_path / 'voc').keys() == {f'p{i:02}' for i in range(5, 10)}
    assert sum(made.splits.values()) == 5


def test_what_is_there_is_not_overwritten(tmp_path):
    root = make_set(tmp_path / 'p', 4, mask=as_index)
    (tmp_path / 'voc').mkdir()
    convert(root, tmp_path / 'voc')                     # an empty folder is none
    before = sorted(path for path in (tmp_path / 'voc').rglob('*'))
    with pytest.raises(FcnError) as error:
        convert(root, tmp_path / 'voc')
    assert error.value.code == 'output-exists' and before == sorted((tmp_path / 'voc').rglob('*'))
    for out, code in ((root / 'voc', 'output-inside'), (root, 'output-exists'),
                      (root / 'classes.txt/x', 'output-inside')):
        with pytest.raises(FcnError) as error:
            convert(root, out)
        assert error.value.code == code
    (tmp_path / 'file').write_text('')
    with pytest.raises(FcnError) as error:
        convert(root, tmp_path / 'file/voc')
    assert error.value.code == 'no-folder'


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    root = make_set(tmp_path / 'p', 4, mask=as_index)

    def interrupt(*args):
        raise KeyboardInterrupt
    monkeypatch.setattr('fcn_repro.data.convert.writing.assigned', interrupt)
    with pytest.raises(KeyboardInterrupt):
        convert(root, tmp_path / 'voc')
    assert os.listdir(tmp_path) == ['p'] and not any(NAME.match(n) for n in os.listdir(tmp_path))


@pytest.mark.parametrize('options', [
    {'split': 0}, {'split': 1.5}, {'longest': 3}, {'other': 'x'}, {'void': 300}, {'masks': 'rbg'},
    {'colours': 'no-such-file'}])
def test_wrong_options(tmp_path, options):
    root = make_set(tmp_path / 'p', 2)
    with pytest.raises(FcnError) as error:
        convert(root, tmp_path / 'voc', **options)
    assert error.value.do and not (tmp_path / 'voc').exists()


# ---- splits and layouts --------------------------------------------------------------------------

def test_the_draw_is_reproducible(tmp_path):
    root = make_set(tmp_path / 'p', mask=as_index)
    ids = {}
    for name, options in {'a': {}, 'b': {}, 'c': {'seed': 1}, 'd': {'split': 0.5},
                          'e': {'split': 0.99}}.items():
        convert(root, tmp_path / name, **options)
        ids[name] = [VocFolder(tmp_path / name, split).ids for split in ('train', 'val')]
    assert ids['a'] == ids['b'] != ids['c'] and ids['a'][0] == sorted(ids['a'][0])
    assert [len(part) for part in ids['d']] == [5, 5] and [len(part) for part in ids['e']] == [9, 1]


@pytest.mark.parametrize('image_path, mask_path', [
    ('Images/{}.JPEG', 'labels/{}.PNG'), ('{}.png', '{}_mask.png'), ('{}.jpg', '{}_L.png'),
    ('{}.jpg', 'mask_{}.png'), ('set/img/{}.jpg', 'set/gt/{}_gt.png'),
    ('x/{}.jpg', 'y/{}.png'), ('{}.jpg', 'masks/{}.png'), ('{}_sat.jpg', '{}_mask.png'),
    ('JPEGImages/{}.jpg', 'SegmentationClass/{}.png'), ('imgs/{}.bmp', 'annotations/{}.tif')])
def test_layouts(tmp_path, image_path, mask_path):
    root = make_set(tmp_path / 'p', mask=as_index, image_path=image_path, mask_path=mask_path)
    made = convert(root, tmp_path / 'voc')
    assert not made.faults and made.masks == 'index'
    assert_same(labels(tmp_path / 'voc'), expected())


@pytest.mark.parametrize('image_path, mask_path', [
    ('{}/images/{{}}.jpg', '{}/masks/{{}}.png'), ('images/{}/{{}}.jpg', 'masks/{}/{{}}.png'),
    ('{}/{{}}.jpg', '{}_masks/{{}}.png'), ('{}/{{}}.jpg', '{}/{{}}.png')])
def test_splits_of_the_folders(tmp_path, image_path, mask_path):
    """Names that are in both get their split before them."""
    for split in 'train', 'valid':
        make_set(tmp_path / 'p', 3, as_index, image_path.format(split), mask_path.format(split))
    made = convert(tmp_path / 'p', tmp_path / 'voc')
    assert made.splits == {'train': 3, 'val': 3} and not made.faults
    assert VocFolder(tmp_path / 'voc', 'val').ids == ['val_p00', 'val_p01', 'val_p02']
    made = convert(tmp_path / 'p', tmp_path / 'again', split=0.5, seed=3)
    assert made.splits == {'train': 3, 'val': 3}
    assert VocFolder(tmp_path / 'again', 'val').ids != ['val_p00', 'val_p01', 'val_p02']


def test_a_voc_folder_keeps_its_lists(tmp_path):
    convert(make_set(tmp_path / 'p', mask=as_binary), tmp_path / 'voc', 'binary')
    for path in (tmp_path / 'voc/SegmentationClass').iterdir():     # as they are found in the wild
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path)
    assert [fault.kind for fault in check_folder(tmp_path / 'voc').errors] == ['binary']
    convert(tmp_path / 'voc', tmp_path / 'good', 'binary')
    for split in 'train', 'val':
        assert VocFolder(tmp_path / 'good', split).ids == VocFolder(tmp_path / 'voc', split).ids
    assert check_folder(tmp_path / 'good').errors == []


# ---- images --------------------------------------------------------------------------------------

def test_images_are_copied_byte_by_byte(tmp_path):
    root = make_set(tmp_path / 'p', 3, mask=as_index)
    made = convert(root, tmp_path / 'voc')
    assert made.notes == {'copied as they are': 3}
    for name in 'p00', 'p01', 'p02':
        assert (root / f'images/{name}.jpg').read_bytes() == \
            (tmp_path / f'voc/JPEGImages/{name}.jpg').read_bytes()


@pytest.mark.parametrize('orientation', range(2, 9))
@pytest.mark.parametrize('upright', [True, False])
def test_turned_images(tmp_path, orientation, upright):
    """The mask is taken as drawn on what a viewer shows where its size fits that, else on the
    pixels as they are stored; both are upright in the result."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored, label = photo(0)
    path = tmp_path / 'p/images/p00.png'
    path.parent.mkdir(parents=True)
    Image.fromarray(stored).save(path, exif=exif)
    seen = Image.fromarray(label)
    seen.getexif()[0x0112] = orientation
    from PIL import ImageOps
    shown = np.asarray(ImageOps.exif_transpose(seen))
    save(tmp_path / 'p/masks/p00.png', Image.fromarray(shown if upright else label))
    save(tmp_path / 'p/images/p01.png', Image.fromarray(photo(1)[0]))
    save(tmp_path / 'p/masks/p01.png', Image.fromarray(photo(1)[1]))
    made = convert(tmp_path / 'p', tmp_path / 'voc', 'index')
    assert not made.faults and any('turned upright' in note for note in made.notes)
    sample = labels(tmp_path / 'voc')['p00']
    image = np.asarray(Image.open(tmp_path / 'voc/JPEGImages/p00.png'))
    if upright or orientation >= 5:
        np.testing.assert_array_equal(sample, shown)
    expected_image = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(image, np.asarray(expected_image))


@pytest.mark.parametrize('change, note', [
    (lambda image: image.convert('L'), 'grey'), (lambda image: image.convert('RGBA'), 'laid on'),
    (lambda image: image.convert('P'), 'palette'),
    (lambda image: Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257), '16-bit')])
def test_images_of_other_modes(tmp_path, change, note):
    root = make_set(tmp_path / 'p', 2, mask=as_index, image_path='images/{}.png')
    save(root / 'images/p00.png', change(Image.open(root / 'images/p00.png')))
    made = convert(root, tmp_path / 'voc')
    assert any(note in each for each in made.notes), made.notes
    assert check_folder(tmp_path / 'voc').errors == []


def test_a_grey_image_of_unknown_range_and_an_animation(tmp_path):
    root = make_set(tmp_path / 'p', 3, mask=as_index, image_path='images/{}.png')
    Image.fromarray(np.full((24, 32), 1e6, np.float32)).save(root / 'images/p00.tif')
    (root / 'images/p00.png').unlink()
    frames = [Image.fromarray(photo(i)[0]) for i in (1, 2)]
    (root / 'images/p01.png').unlink()
    frames[0].save(root / 'images/p01.gif', save_all=True, append_images=frames[1:])
    made = convert(root, tmp_path / 'voc', 'index')
    assert [fault.file.name for fault in made.faults] == ['p00.tif']
    assert any('first frame' in note for note in made.notes)
    assert (tmp_path / 'voc/JPEGImages/p01.png').exists()
    assert 'animated' in {fault.kind for fault in check_folder(root).warnings}


def test_longest(tmp_path):
    root = make_set(tmp_path / 'p', 2, mask=as_index, size=(96, 128))
    convert(root, tmp_path / 'voc', longest=64)
    found = labels(tmp_path / 'voc')
    assert found['p00'].shape == (48, 64) and set(np.unique(found['p00'])) <= {0, 1, 2, 3}
    assert check_folder(tmp_path / 'voc').errors == []


# ---- COCO ----------------------------------------------------------------------------------------

# As pycocotools 2.0.11 encodes a hollow rectangle of 90x70
RLE = {'size': [90, 70], 'counts': (
    '\\>V2d00000000000000000000000000000^NAi0?WOAi0?WOAi0?WOAi0?WOAi0?WOAi0?WOAi0?WO'
    'Ai0?WOAi0?WOAi0?i00000000000000000000000000000000000000000000000000000000000jk0')}


def hollow():
    mask = np.zeros((90, 70), bool)
    mask[10:80, 5:60] = True
    mask[30:35, 20:30] = False
    return mask


def test_run_lengths():
    np.testing.assert_array_equal(filled(runs(RLE['counts']), (90, 70)), hollow())
    assert filled(runs([2, 1, 3]), (2, 3)).tolist() == [[False, True, False], [False] * 3]
    for counts, size in ([1, 2], (2, 2)), ([-1, 5], (2, 2)), ('\n', (1, 1)), (3, (1, 1)):
        with pytest.raises(ValueError):
            filled(runs(counts), size)


def test_polygons():
    label = np.zeros((5, 6), np.uint8)
    fill_polygon(label, [(1, 1), (4, 1), (4, 3), (1, 3)], 7)
    assert label.sum() == 7 * 6 and (label[1:3, 1:4] == 7).all()
    fill_polygon(label, [(-9, -9), (99, -9), (99, 99), (-9, 99)], 1)
    assert (label == 1).all()
    for points in ([], [(2, 2)], [(1, 1), (3, 3)]):     # without an inside
        fill_polygon(label, points, 5)
    assert (label == 1).all()


def coco(root, **changes):
    """A folder of COCO: an image with a polygon, an RLE, a crowd and a smaller one on top."""
    for name in 'a', 'b':
        save(root / f'train2017/{name}.jpg', Image.fromarray(photo(0, (90, 70))[0]))
    boxes = [{'image_id': 1, 'category_id': 7, 'area': 3850, 'segmentation': RLE, 'iscrowd': 0},
             {'image_id': 1, 'category_id': 3, 'area': 100, 'iscrowd': 0,
              'segmentation': [[30, 50, 40, 50, 40, 60, 30, 60]]},
             {'image_id': 1, 'category_id': 3, 'area': 700, 'iscrowd': 1,
              'segmentation': {'size': [90, 70], 'counts': [0, 900, 5400]}}]
    found = {'info': {}, 'images': [
        {'id': i, 'file_name': f'{name}.jpg', 'height': 90, 'width': 70}
        for i, name in ((1, 'a'), (2, 'b'))],
        'annotations': boxes, 'categories': [{'id': 7, 'name': 'cat'}, {'id': 3, 'name': 'dog'}]}
    path = root / 'annotations/instances_train2017.json'
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**found, **changes}))
    return root


def test_coco_instances(tmp_path):
    made = convert(coco(tmp_path / 'c'), tmp_path / 'voc', 'coco', split=0.5)
    assert made.names == ('background', 'dog', 'cat') and not made.faults
    wanted = np.where(hollow(), 2, 0).astype(np.uint8)
    wanted[:, :10] = np.where(wanted[:, :10], 2, 255)
    wanted[50:60, 30:40] = 1
    found = labels(tmp_path / 'voc')
    np.testing.assert_array_equal(found['a'], wanted)
    assert not found['b'].any()
    assert check_folder(tmp_path / 'c').masks == 'coco'


@pytest.mark.parametrize('changes', [
    {'images': 3}, {'categories': [{'id': 1}]}, {'annotations': [{'image_id': 1}]},
    {'annotations': [{'image_id': 1, 'category_id': 99, 'segmentation': []}]},
    {'annotations': [{'category_id': 3, 'segmentation': []}]},
    {'images': [{'id': 1, 'file_name': '../../x.jpg', 'height': 90, 'width': 70}]},
    {'images': [{'id': 1, 'file_name': 'a.jpg', 'height': -90, 'width': 70}]},
    {'categories': [{'id': i, 'name': f'{i}'} for i in range(300)]}])
def test_wrong_coco_files(tmp_path, changes):
    with pytest.raises(FcnError) as error:
        convert(coco(tmp_path / 'c', **changes), tmp_path / 'voc', 'coco')
    assert 'instances_train2017.json' in str(error.value) and not (tmp_path / 'voc').exists()


@pytest.mark.parametrize('shape', [
    [[1, 2, 3]], [['x', 'y']], {'size': [9, 9], 'counts': [81]}, {'size': [90, 70], 'counts': [1]},
    {'counts': 'x'}, 'x', None, [[1e30, 1, 2, 3, 4, 5]]])
def test_wrong_coco_shapes(tmp_path, shape):
    rows = [{'image_id': 1, 'category_id': 3, 'segmentation': shape}]
    made = convert(coco(tmp_path / 'c', annotations=rows), tmp_path / 'voc', 'coco')
    assert [fault.kind for fault in made.faults] == ['unreadable']
    assert labels_of_one(tmp_path / 'voc') == ['b']


def labels_of_one(folder):
    return VocFolder(folder, 'train').ids


def test_coco_images_that_are_missing(tmp_path):
    root = coco(tmp_path / 'c')
    (root / 'train2017/b.jpg').unlink()
    made = convert(root, tmp_path / 'voc', 'coco')
    assert [fault.kind for fault in made.faults] == ['no-image']


def test_coco_panoptic(tmp_path):
    root = tmp_path / 'c'
    save(root / 'val2017/a.jpg', Image.fromarray(photo(0)[0]))
    ids = np.where(photo(0)[1] > 0, photo(0)[1].astype(np.int64) * 1000, 0)
    save(root / 'panoptic_val2017/a.png',
         Image.fromarray(np.stack([ids & 255, ids >> 8, ids >> 16], 2).astype(np.uint8)))
    segments = [{'id': 1000, 'category_id': 5, 'iscrowd': 0}, {'id': 2000, 'category_id': 1},
                {'id': 3000, 'category_id': 1, 'iscrowd': 1}]
    (root / 'panoptic_val2017.json').write_text(json.dumps({
        'images': [{'id': 'a', 'file_name': 'a.jpg'}],
        'annotations': [{'image_id': 'a', 'file_name': 'a.png', 'segments_info': segments}],
        'categories': [{'id': 5, 'name': 'sky'}, {'id': 1, 'name': 'sea'}]}))
    made = convert(root, tmp_path / 'voc', 'coco')
    assert made.names == ('sea', 'sky') and made.splits == {'val': 1}
    label = VocFolder(tmp_path / 'voc', 'val').label(0)
    np.testing.assert_array_equal(label, np.array([255, 1, 0, 255], np.uint8)[photo(0)[1]])


# ---- labelme -------------------------------------------------------------------------------------

def labelme(root, name, shapes, size=(24, 32), **changes):
    save(root / f'{name}.jpg', Image.fromarray(photo(0, size)[0]))
    (root / f'{name}.json').write_text(json.dumps({
        'version': '5.0', 'flags': {}, 'shapes': shapes, 'imagePath': f'{name}.jpg',
        'imageData': None, 'imageHeight': size[0], 'imageWidth': size[1], **changes}))


def shape(label, points, kind='polygon', **more):
    return {'label': label, 'points': points, 'shape_type': kind, **more}


def test_labelme(tmp_path):
    file = io.BytesIO()
    Image.fromarray(np.ones((2, 3), np.uint8)).save(file, 'PNG')
    shapes = [shape('leaf', [[2, 2], [12, 2], [12, 12], [2, 12]]),
              shape('bug', [[6, 8], [4, 4]], 'rectangle'),
              shape('ignore', [[20, 12], [20, 15]], 'circle'),
              shape('bug', [[28, 1], [30, 2]], 'mask',
                    mask=base64.b64encode(file.getvalue()).decode()),
              shape('leaf', [[1, 20], [5, 20]], 'line'), shape('bug', [[9, 21]], 'point')]
    labelme(tmp_path / 'p', 'a', shapes)
    labelme(tmp_path / 'p', 'b', [])
    made = convert(tmp_path / 'p', tmp_path / 'voc', 'labelme')
    assert made.names == ('background', 'bug', 'leaf') and not made.faults
    label = labels(tmp_path / 'voc')['a']
    assert (label[2:4, 2:12] == 2).all() and (label[4:8, 4:6] == 1).all()
    assert label[12, 20] == 255 and abs((label == 255).sum() - 9 * np.pi) < 4
    assert (label[1:3, 28:31] == 1).all() and label[3, 28] == 0
    assert label[20, 3] == 2 and label[21, 9] == 1


def test_wrong_labelme_files(tmp_path):
    root = tmp_path / 'p'
    labelme(root, 'good', [shape('a', [[0, 0], [9, 0], [9, 9]])])
    labelme(root, 'kind', [shape('a', [[0, 0]], 'cloud')])
    labelme(root, 'text', [shape('a', 'x')])
    labelme(root, 'label', [shape(None, [])])
    labelme(root, 'height', [], imageHeight='x')
    labelme(root, 'size', [], (20, 20), imageHeight=10)
    labelme(root, 'lost', [], imagePath='../../../etc/lost.png')
    (root / 'lost.jpg').unlink()
    (root / 'cut.json').write_text('{"shapes": [')
    made = convert(root, tmp_path / 'voc', 'labelme')
    assert {fault.file.stem for fault in made.faults} == {
        'kind', 'text', 'label', 'height', 'size', 'lost', 'cut'}
    assert labels_of_one(tmp_path / 'voc') == ['good']


# ---- Cityscapes ----------------------------------------------------------------------------------

def test_cityscapes(tmp_path):
    root, ids = tmp_path / 'c', np.array([0, 7, 33, 26], np.uint8)
    for split in 'train', 'val', 'test':
        image, label = photo(0)
        save(root / f'leftImg8bit/{split}/bonn/x_{split}_leftImg8bit.png', Image.fromarray(image))
        save(root / f'gtFine/{split}/bonn/x_{split}_gtFine_labelIds.png',
             Image.fromarray(ids[label]))
        save(root / f'gtFine/{split}/bonn/x_{split}_gtFine_color.png', as_rgb(label))
    made = convert(root, tmp_path / 'voc', 'cityscapes')
    assert made.splits == {'train': 1, 'val': 1} and len(made.names) == 19
    np.testing.assert_array_equal(labels(tmp_path / 'voc')['x_val'],
                                  np.array([255, 0, 18, 13], np.uint8)[photo(0)[1]])
    save(root / 'gtFine/train/bonn/x_train_gtFine_labelIds.png', Image.fromarray(ids[label] * 5))
    assert [fault.kind for fault in convert(root, tmp_path / 'b').faults] == ['ids']
    with pytest.raises(FcnError, match='leftImg8bit'):
        convert(make_set(tmp_path / 'p', 1), tmp_path / 'd', 'cityscapes')


def test_the_table_of_the_set_is_what_the_tests_draw():
    assert [tuple(map(int, line.split()[:3])) for line in TABLE.splitlines()] == list(COLOURS)


def test_names_of_colours_do_not_change_with_their_use():
    """Pillow's table of colours changes when one is looked up."""
    ImageColor.getrgb('red')
    assert colour_name((255, 0, 0)) == 'red' and colour_name((1, 2, 3)) == '#010203'
