"""Scoring a val net: numbers worked out by hand, pictures, and everything that can be wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from data_folders import save_palette_png, write_split
from PIL import Image
from small_runs import DATA, assert_error, call, contents, image_path, label_path, small_stage

from fcn_repro.data.palette import palette
from fcn_repro.formats.weights import write_hdf5

SCORE = '''layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 } }
'''
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
WEIGHT = np.float32([[0, 0, 1], [1, 0, 0], [0, 1, 0]]).reshape(3, 3, 1, 1)  # BGR: red 0, blue 1

# The three images of the fixture: rows are ground truth, columns red, blue, green.
HIST = [[496, 248, 256], [256, 248, 0], [0, 0, 0]]
PIXEL, MEAN_ACCURACY = 744 / 1504, (496 / 1000 + 248 / 504) / 2
IU = [496 / (1000 + 752 - 496), 248 / (504 + 496 - 248)]
FW_IU = (1000 * IU[0] + 504 * IU[1]) / 1504


def solid(size, colour):
    return np.full((*size, 3), colour, np.uint8)


def save(voc, id_, image, label):
    Image.fromarray(image).save(image_path(voc, id_), quality=100)
    save_palette_png(label.astype(np.uint8), label_path(voc, id_))


@pytest.fixture
def scored(tmp_path, monkeypatch):
    """The words that score a net of one layer on images in three colours; and their VOC folder."""
    monkeypatch.chdir(tmp_path)
    voc = tmp_path / 'voc'
    for part in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (voc / part).mkdir(parents=True)
    truth = np.zeros((32, 32))
    truth[:, 24:] = 1
    truth[0] = 255
    save(voc, 'a', np.concatenate([solid((32, 16), RED), solid((32, 16), BLUE)], 1), truth)
    save(voc, 'b', solid((16, 16), RED), np.ones((16, 16)))
    save(voc, 'c', solid((16, 16), GREEN), np.zeros((16, 16)))
    write_split(voc, 'val', 'abc')
    write_split(voc, 'train', 'ca')
    (tmp_path / 'val.prototxt').write_text(DATA % ('elsewhere', 'val') + SCORE)
    write_hdf5(tmp_path / 'w.h5', {'score': [WEIGHT, np.zeros(3)]})
    return ['--net', 'val.prototxt', '--weights', 'w.h5', '--voc', 'voc', '--out', 'out'], voc


# Numbers

@pytest.mark.parametrize('rule', ['paper', 'release'])
def test_metrics_by_hand(scored, capsys, rule):
    """The release counts the class that is predicted but absent as 0; the paper leaves it out."""
    done = call(capsys, 'eval_voc', *scored[0], '--rule', rule)
    assert done.status == 0 and not done.err
    iu = [*IU, 0.0 if rule == 'release' else None]
    mean_iu = sum(IU) / (3 if rule == 'release' else 2)
    saved = json.loads(Path('out/metrics.json').read_text())
    assert saved['confusion'] == HIST and saved['rule'] == rule and saved['images'] == 3
    assert list(saved['class_iu'].values()) == iu
    wanted = PIXEL, MEAN_ACCURACY, mean_iu, FW_IU
    assert [saved[k] for k in ('pixel_accuracy', 'mean_accuracy', 'mean_iu', 'fw_iu')] == \
        pytest.approx(wanted, rel=1e-14)
    lines = done.out.splitlines()
    at = lines.index('pixel acc.  mean acc.  mean IU  f.w. IU')
    assert lines[at + 1].split() == [f'{100 * v:.1f}' for v in wanted]
    assert [line.split() for line in lines[at + 4:at + 7]] == [
        [str(i), '-' if v is None else f'{100 * v:.1f}'] for i, v in enumerate(iu)]
    assert f'3 images, rule of the {rule}; median ' in done.out and 'warning' not in done.out


def test_class_names(scored, capsys):
    """Of classes.txt, where there are as many as the net has classes."""
    (scored[1] / 'classes.txt').write_text('sky\nroad\ncar\n')
    assert list(json_of(capsys, scored[0])['class_iu']) == ['sky', 'road', 'car']
    (scored[1] / 'classes.txt').write_text('sky\nroad\n')
    assert list(json_of(capsys, scored[0])['class_iu']) == ['0', '1', '2']


def json_of(capsys, words):
    done = call(capsys, 'eval_voc', *words)
    assert done.status == 0 and not done.err
    return json.loads(Path('out/metrics.json').read_text())


def test_some_images_and_another_split(scored, capsys):
    words = scored[0]
    assert json_of(capsys, [*words, '--images', 1])['confusion'] == [
        [496, 248, 0], [0, 248, 0], [0, 0, 0]]
    assert json_of(capsys, [*words, '--images', 99])['images'] == 3
    assert json_of(capsys, [*words, '--split', 'train'])['confusion'] == [
        [496, 248, 256], [0, 248, 0], [0, 0, 0]]        # each once and in order, as for val
    assert json_of(capsys, [*words, '--split', 'train', '--images', 1])['confusion'] == [
        [0, 0, 256], [0, 0, 0], [0, 0, 0]]


def test_one_class_only_is_said(scored, capsys):
    write_hdf5('w.h5', {'score': [0 * WEIGHT, np.float32([0, 0, 1])]})
    done = call(capsys, 'eval_voc', *scored[0])
    assert done.status == 0
    assert 'warning: every pixel is predicted as 2, the ground truth has 2 classes' in done.out


# Pictures

def test_pictures(scored, capsys):
    """image | ground truth | prediction, in VOC's colours, void included, enlarged; under headings,
    with id, IU and a legend; all on one sheet."""
    (scored[1] / 'classes.txt').write_text('sky\nroad\ncar\n')
    done = call(capsys, 'eval_voc', *scored[0], '--pictures', 2)
    assert 'pictures (image, ground truth, prediction): out/pictures.png' in done.out
    assert names_in('out/pictures') == {'a.png', 'c.png'}
    picture = np.asarray(Image.open('out/pictures/a.png'))
    assert picture.shape[1] == 3 * 160 + 2 * 6
    image, truth, prediction = (picture[48 + 2:208:5, x + 2:x + 160:5] for x in (0, 166, 332))
    assert (image == np.asarray(Image.open('voc/JPEGImages/a.jpg'))).all()
    colours = palette(256)
    assert (truth[0] == colours[255]).all() and (truth[1:, :24] == colours[0]).all()
    assert (truth[1:, 24:] == colours[1]).all()
    assert (prediction[:, :16] == colours[0]).all() and (prediction[:, 16:] == colours[1]).all()
    legend = picture[214:]
    assert all((legend == colours[c]).all(2).any() for c in (0, 1, 255))
    sheet = Image.open('out/pictures.png')
    assert sheet.width == picture.shape[1] and sheet.height == 24 + 2 * (24 + 160 + 6) + 24


def names_in(folder):
    return {path.name for path in Path(folder).iterdir()}


@pytest.mark.parametrize('pictures, names', [(0, ''), (1, 'a'), (3, 'abc'), (8, 'abc')])
def test_as_many_pictures_as_asked_for(scored, capsys, tmp_path, pictures, names):
    assert call(capsys, 'eval_voc', *scored[0], '--pictures', pictures).status == 0
    found = tmp_path / 'out/pictures'
    assert ''.join(sorted(p.stem for p in found.glob('*'))) == names
    assert (tmp_path / 'out/pictures.png').exists() == bool(names)


# Wrong input: one line, and an earlier score stays

def replaced(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def bad_label(voc):
    save_palette_png(np.full((16, 16), 7, np.uint8), label_path(voc, 'b'))


def bad_size(voc):
    save_palette_png(np.zeros((16, 9), np.uint8), label_path(voc, 'b'))


def all_void(voc):
    for id_ in 'abc':
        label = np.asarray(Image.open(label_path(voc, id_)))
        save_palette_png(np.full_like(label, 255), label_path(voc, id_))


def cut_jpeg(voc):
    path = image_path(voc, 'b')
    path.write_bytes(path.read_bytes()[:-20])


DATA_ERRORS = [
    (bad_label, ['SegmentationClass/b.png', 'id 7', '3 classes', 'Mark void pixels with 255']),
    (bad_size, ['SegmentationClass/b.png', '16x9', '16x16', 'same size']),
    (cut_jpeg, ['JPEGImages/b.jpg', 'runcated', 'copy it again']),
    (lambda voc: label_path(voc, 'c').unlink(), ['SegmentationClass/c.png', "label of 'c'",
                                                 "split 'val'", 'val.txt']),
    (lambda voc: image_path(voc, 'c').unlink(), ['JPEGImages/c.jpg', "image of 'c'"]),
    (lambda voc: (voc / 'ImageSets/Segmentation/val.txt').unlink(),
     ['ImageSets/Segmentation/val.txt', "no split 'val'", 'Splits found: train']),
    (all_void, ['no pixel has been counted', 'all void']),
]


@pytest.mark.parametrize('spoil, parts', DATA_ERRORS)
def test_wrong_data(scored, capsys, tmp_path, spoil, parts):
    words, voc = scored
    assert call(capsys, 'eval_voc', *words, '--pictures', 0).status == 0
    before = contents(tmp_path / 'out')
    spoil(voc)
    assert_error(call(capsys, 'eval_voc', *words, '--pictures', 0), *parts)
    (tmp_path / 'out/partial.jsonl').unlink(missing_ok=True)
    assert contents(tmp_path / 'out') == before


@pytest.mark.parametrize('words, parts', [
    (['--images', 0], ['0 images', 'Give 1 or more']),
    (['--pictures', -1], ['pictures is -1', 'Give --pictures 0 or more']),
    (['--split', 'test'], ['test.txt', "no split 'test'", 'Splits found: train, val']),
    (['--voc', 'none'], ['none: ', 'no such folder', 'Give a folder with JPEGImages/']),
    (['--net', 'none.prototxt'], ['none.prototxt', 'cannot be read', 'Check the path']),
    (['--net', 'w.h5'], ['w.h5', 'is an HDF5 file', '.prototxt here']),
    (['--weights', 'none.h5'], ['none.h5', 'cannot be read', 'Check the path']),
    (['--weights', 'val.prototxt'], ['val.prototxt', 'is a text that begins']),
    (['--out', 'w.h5'], ['w.h5', 'cannot make this folder']),
    (['--out', 'w.h5/x'], ['w.h5/x', 'cannot make this folder']),
    (['--device', 'cuda:99'], ['cuda:99', '--device cpu']),
], ids=lambda v: ' '.join(map(str, v)) if v[0].startswith('--') else '')
def test_wrong_words(scored, capsys, words, parts):
    assert_error(call(capsys, 'eval_voc', *scored[0], *words), *parts)


@pytest.mark.parametrize('old, new, parts', [
    ('num_output: 3', 'num_output: 1', ['w.h5', '(3, 3, 1, 1)', '(1, 3, 1, 1)']),
    ('name: "score"', 'name: "other"', ['w.h5', 'no layer matches', 'other', 'score']),
    ('num_output: 3', 'num_output: 5', ['w.h5', "layer 'score'", '(3, 3, 1, 1)', '(5, 3, 1, 1)',
                                        'Use the net definition']),
    ('kernel_size: 1', 'kernel_size: 1 stride: 2', ['val.prototxt', "layer 'score'", '16x16',
                                                    '32x32', 'Crop it']),
    ('type: "Python"', 'type: "LiveData"', ['val.prototxt:1', "'LiveData'"]),
    ("'mean'", "'means'", ['val.prototxt:1', "layer 'data'", "'means'", 'Known: ']),
    ('VOCSegDataLayer', 'NYUDSegDataLayer', ['val.prototxt:1', 'NYUDSegDataLayer']),
])
def test_wrong_nets(scored, capsys, tmp_path, old, new, parts):
    replaced(tmp_path / 'val.prototxt', old, new)
    assert_error(call(capsys, 'eval_voc', *scored[0]), *parts)


def test_a_deploy_net_has_no_data(scored, capsys, tmp_path):
    (tmp_path / 'val.prototxt').write_text('layer { name: "data" type: "Input" top: "data" '
                                           'input_param { shape { dim: 1 dim: 3 dim: 9 dim: 9 } } }'
                                           + SCORE)
    words = [word for word in scored[0] if word not in ('--voc', 'voc')]
    assert_error(call(capsys, 'eval_voc', *words), 'val.prototxt', 'no Python data layer',
                 'Give a val net', '--voc')


def test_no_weights_yet(tmp_path, monkeypatch, capsys):
    small_stage(tmp_path, monkeypatch)
    assert_error(call(capsys, 'eval_voc', '--stage', 'small'), 'runs/small',
                 'runs/small: ', 'no weights', 'Train it first, or name a file with --weights')
    assert_error(call(capsys, 'eval_voc', '--stage', 'smal'), "unknown stage 'smal'",
                 "Did you mean 'small'?")


def test_pictures_that_cannot_be_written(scored, capsys, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/pictures').touch()
    assert_error(call(capsys, 'eval_voc', *scored[0]), 'out/pictures/a.png', 'cannot be written',
                 'Check the folder')
    (tmp_path / 'out/pictures').unlink()
    (tmp_path / 'out/metrics.json').mkdir()
    assert_error(call(capsys, 'eval_voc', *scored[0]), 'out/metrics.json', 'cannot write the file',
                 'Check the folder')
    assert not list((tmp_path / 'out').glob('*.part'))


# Ids that lead out of their folder

@pytest.mark.parametrize('id_', ['../../x', '/x', 'a/../../../x', 'a\x01', 'x' * 256])
def test_ids_lead_to_no_file_outside(scored, capsys, tmp_path, id_):
    """The pictures lie under out/pictures: an id of '../../x' would overwrite x.png beside out."""
    voc = scored[1]
    outside = {name: tmp_path / f'{name}' for name in ('x.png', 'x.jpg')}
    save(voc, '../../x', solid((16, 16), RED), np.ones((16, 16)))
    for path in outside.values():
        path.write_bytes(b'mine')
    write_split(voc, 'val', ['a', id_])
    before = contents(tmp_path)
    done = call(capsys, 'eval_voc', *scored[0])
    assert_error(done, 'val.txt:2: ', 'the id', 'stays below the folder')
    assert contents(tmp_path) == before


@pytest.mark.parametrize('split', ['../../../x', '/etc/passwd', 'val\0', '', 'x' * 300])
def test_splits_lead_to_no_file_outside(scored, capsys, tmp_path, split):
    (tmp_path / 'val.prototxt').write_text((DATA % ('voc', split.replace('\0', r'\\x00'))) + SCORE)
    assert_error(call(capsys, 'eval_voc', *scored[0]), 'the split')


def test_ids_with_folders_keep_theirs(scored, capsys, tmp_path):
    voc = scored[1]
    for part in ('JPEGImages', 'SegmentationClass'):
        (voc / part / '2007').mkdir()
    for id_ in ('2007/a', '{}', '{0}'):
        save(voc, id_, solid((16, 16), RED), np.ones((16, 16)))
    write_split(voc, 'val', ['2007/a', '{}', '{0}'])
    assert call(capsys, 'eval_voc', *scored[0]).status == 0
    found = tmp_path / 'out/pictures'
    assert sorted(str(path.relative_to(found)) for path in found.rglob('*.png')) == [
        '2007/a.png', '{0}.png', '{}.png']


def test_layers_that_write(scored, capsys, tmp_path):
    """One behind the scores is not run; one before them is refused, with a remedy that works."""
    output = '''layer { name: "o" type: "HDF5Output" bottom: "data" bottom: "label"
      hdf5_output_param { file_name: "../mine.h5" } }'''
    mine, words = tmp_path.parent / 'mine.h5', [*scored[0], '--output', 'score', '--images', 1]
    (tmp_path / 'val.prototxt').write_text(DATA % ('voc', 'val') + SCORE + output)
    assert call(capsys, 'eval_voc', *words).status == 0 and not mine.exists()
    (tmp_path / 'val.prototxt').write_text(DATA % ('voc', 'val') + output + SCORE)
    remedy = ['--allow-writes', mine.parent]
    assert_error(call(capsys, 'eval_voc', *words), "layer 'o' (HDF5Output)", mine,
                 f'Give {remedy[0]} {remedy[1]}, or another name')
    assert not mine.exists()
    assert call(capsys, 'eval_voc', *words, *remedy).status == 0 and mine.exists()
