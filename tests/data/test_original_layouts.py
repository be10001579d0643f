"""NYUDv2, SIFT Flow and PASCAL-Context: each blob equals what Pillow, scipy and numpy make of the
files of the original layout, to the bit."""

from pathlib import Path

import numpy as np
import original_layouts as layouts
import pytest
import scipy.io
from data_folders import message
from PIL import Image

from fcn_repro.data import python_layers
from fcn_repro.data.context import IDS_59, NAMES_33, ContextFolder, PASCALContextSegDataLayer, Task
from fcn_repro.data.nyud import NYUD_CLASSES, NyudFolder, NYUDSegDataLayer
from fcn_repro.data.siftflow import (
    GEOMETRIC_CLASSES,
    SCENES,
    SEMANTIC_CLASSES,
    SIFTFlowSegDataLayer,
)

SIZE = 12, 17
ROOMS = {'train': ['5003', '5004'], 'val': ['5005'], 'test': ['5001', '5002']}
SCENE_IDS = {'trainval': ['coast_art1', 'street_par9'], 'test': ['forest_for7']}
VOC_IDS = {'train': ['2008_000002', '2008_000007'], 'val': ['2008_000003']}


def picture(path):
    return np.array(Image.open(path), np.float32)


def matrix(path, name):
    return scipy.io.loadmat(path)[name]


@pytest.fixture
def nyud(tmp_path):
    return layouts.make_nyud(tmp_path, ROOMS, SIZE)


@pytest.fixture
def sift(tmp_path):
    return layouts.make_siftflow(tmp_path, SCENE_IDS, SIZE)


@pytest.fixture
def context(tmp_path):
    pascal, folder = layouts.make_context(tmp_path, VOC_IDS, (12, 60))
    return {'voc_dir': str(pascal), 'context_dir': str(folder)}


# What the release's names are

def test_layers_have_the_names_of_the_release():
    for module, layer in (('nyud_layers', 'NYUDSegDataLayer'),
                          ('siftflow_layers', 'SIFTFlowSegDataLayer'),
                          ('pascalcontext_layers', 'PASCALContextSegDataLayer')):
        assert python_layers[module, layer].__name__ == layer
    assert (len(NYUD_CLASSES), len(SEMANTIC_CLASSES), len(GEOMETRIC_CLASSES)) == (40, 33, 3)
    assert len(IDS_59) == len(set(IDS_59.values())) == 59
    assert len(set(NAMES_33)) == 33 and set(NAMES_33) <= set(IDS_59)


# NYUDv2

def nyud_tops(folder, id_):
    """What nyud_layers.py of the release makes of the files, in numpy's own words."""
    image = picture(folder / f'data/images/img_{id_}.png')[:, :, ::-1]
    hha = picture(folder / f'data/hha/img_{id_}.png')
    label = matrix(folder / f'segmentation/img_{id_}.mat', 'segmentation').astype(np.uint8)
    depth = np.log(picture(folder / f'data/depth/img_{id_}.png'))
    return {'color': (image - np.float32((116.190, 97.203, 92.318))).transpose(2, 0, 1),
            'hha': (hha - np.float32((132.431, 94.076, 118.477))).transpose(2, 0, 1),
            'depth': (depth - np.float32(7.844))[None],
            'label': (label - np.uint8(1))[None].astype(np.float32)}


@pytest.mark.parametrize('tops', [['color', 'label'], ['hha', 'label'], ['color', 'hha', 'label'],
                                  ['color', 'depth', 'label'], ['label', 'depth', 'hha', 'color'],
                                  ['depth'], ['depth', 'hha', 'label']])
def test_nyud_tops_are_those_of_the_release(nyud, tops):
    layer = NYUDSegDataLayer({'nyud_dir': str(nyud), 'split': 'test', 'tops': tops, 'seed': 1337})
    assert layer.tops == len(tops) and len(layer) == 2 and layer.classes == NYUD_CLASSES
    for k, id_ in enumerate(ROOMS['test']):
        expected = nyud_tops(nyud, id_)
        for name, blob in zip(tops, layer.batch(k), strict=True):
            assert blob.dtype == np.float32
            np.testing.assert_array_equal(blob[0], expected[name])
    assert [blob.shape for blob in layer.batch(0)] == layer.assumed_shapes({'tops': tops}, SIZE)


def test_depth_of_zero_is_the_mean_where_the_release_has_minus_infinity(nyud):
    path = nyud / 'data/depth/img_5001.png'
    depth = np.array(Image.open(path))
    depth[:3, :4] = 0
    Image.fromarray(depth).save(path)
    layer = NYUDSegDataLayer({'nyud_dir': str(nyud), 'split': 'test', 'tops': ['depth', 'label']})
    blob = layer.batch(0)[0][0, 0]
    assert not blob[:3, :4].any() and np.isfinite(blob).all()
    np.testing.assert_array_equal(blob[3:], np.log(np.float32(depth[3:])) - np.float32(7.844))


def test_trainval_is_train_and_then_val_without_a_list_of_its_own(nyud):
    assert NyudFolder(nyud, 'trainval').ids == ['5003', '5004', '5005']
    (nyud / 'trainval.txt').write_text('5005\n')
    assert NyudFolder(nyud, 'trainval').ids == ['5005']
    (nyud / 'trainval.txt').unlink()
    (nyud / 'val.txt').unlink()
    assert "no split 'trainval'" in message(NyudFolder, nyud, 'trainval')


def test_missing_hha_is_told_before_the_first_image(nyud):
    (nyud / 'data/hha/img_5002.png').unlink()
    params = {'nyud_dir': str(nyud), 'split': 'test', 'tops': ['color', 'hha', 'label']}
    text = message(NYUDSegDataLayer, params)
    assert 'hha is missing for 1 of 2 images' in text and 'img_5002.png' in text
    NYUDSegDataLayer({**params, 'split': 'train'}).batch(0)
    NYUDSegDataLayer({**params, 'tops': ['color', 'label']}).batch(1)
    (nyud / 'data/depth/img_5001.png').unlink()
    assert 'depth is missing for 1 of 2' in message(
        NYUDSegDataLayer, {**params, 'tops': ['depth', 'label']})


def test_nyud_params(nyud):
    params = {'nyud_dir': str(nyud), 'split': 'test', 'tops': ['color', 'label']}
    for tops in (None, [], 'color', ['colour'], ['color', 'color'], 3, {'color': 1}):
        assert 'tops' in message(NYUDSegDataLayer, {**params, 'tops': tops})
    assert "lacks 'tops'" in message(NYUDSegDataLayer, {'nyud_dir': 'x', 'split': 'test'})
    assert "'voc_dir'" in message(NYUDSegDataLayer, {**params, 'voc_dir': 'x'})
    layer = NYUDSegDataLayer({**params, 'mean': (0, 0, 0)})
    np.testing.assert_array_equal(
        layer.batch(0)[0][0], picture(nyud / 'data/images/img_5001.png')[:, :, ::-1]
        .transpose(2, 0, 1))


def test_nyud_with_other_classes(nyud):
    params = {'nyud_dir': str(nyud), 'split': 'test', 'tops': ['color', 'label'], 'classes': 50}
    (nyud / 'classes.txt').write_text(''.join(f'thing {i}\n' for i in range(50)))
    layer = NYUDSegDataLayer(params)
    assert layer.classes[49] == 'thing 49' == NYUDSegDataLayer.class_names(params)[49]
    layer = NYUDSegDataLayer({**params, 'classes': 40})
    assert layer.classes == NYUD_CLASSES
    text = message(NYUDSegDataLayer({**params, 'classes': 20}).batch, 0)
    assert 'not whole numbers from 0 to 20' in text and 'img_5001.mat' in text


# SIFT Flow

def test_siftflow_tops_are_those_of_the_release(sift):
    layer = SIFTFlowSegDataLayer({'siftflow_dir': str(sift), 'split': 'test', 'seed': 1337})
    id_, = SCENE_IDS['test']
    image = picture(sift / f'Images/{SCENES}/{id_}.jpg')[:, :, ::-1]
    semantic = matrix(sift / f'SemanticLabels/{SCENES}/{id_}.mat', 'S')
    geometric = matrix(sift / f'GeoLabels/{SCENES}/{id_}.mat', 'S')
    assert geometric.min() == -1 and semantic.max() == 33
    geometric[geometric == -1] = 0
    expected = ((image - np.float32((114.578, 115.294, 108.353))).transpose(2, 0, 1),
                (semantic.astype(np.uint8) - np.uint8(1))[None],
                (geometric.astype(np.uint8) - np.uint8(1))[None])
    for blob, array in zip(layer.batch(0), expected, strict=True):
        np.testing.assert_array_equal(blob[0], array)
    assert layer.classes == SEMANTIC_CLASSES == layer.classes_of('')
    assert layer.classes_of('geometric') == GEOMETRIC_CLASSES
    sample = layer.sample(0)
    np.testing.assert_array_equal(sample.labelled('geometric').label, expected[2][0])
    assert sample.labelled('') is sample
    assert layer.label_file(sample, 'geometric').parts[-3] == 'GeoLabels'


def test_the_prose_in_the_release_s_classes_is_not_taken_for_names(sift):
    (sift / 'classes.txt').write_text('Semantic and geometric classes.\n\n01 awning\n')
    assert SIFTFlowSegDataLayer({'siftflow_dir': str(sift), 'split': 'test'}).classes == \
        SEMANTIC_CLASSES


def test_siftflow_without_geometric_labels(sift):
    (sift / f'GeoLabels/{SCENES}/forest_for7.mat').unlink()
    layer = SIFTFlowSegDataLayer({'siftflow_dir': str(sift), 'split': 'test'})
    assert "geometric of 'forest_for7'" in message(layer.batch, 0)


# PASCAL-Context

def context_label(context, id_, task_names):
    """As pascalcontext_layers.py: by comparing names, one class after the other."""
    folder = Path(context['context_dir'])
    names = [line.split(':')[1].strip().replace(' ', '')
             for line in (folder / 'labels.txt').read_text().splitlines()]
    renamed = {'diningtable': 'table', 'bedcloth': 'bedclothes', 'clothes': 'cloth'}
    found = matrix(folder / f'trainval/{id_}.mat', 'LabelMap')
    label = np.zeros(found.shape, np.uint8)
    for index, name in enumerate(task_names, 1):
        label[found == names.index(renamed.get(name, name)) + 1] = index
    return label


@pytest.mark.parametrize('task, names', [(59, tuple(IDS_59)), (33, NAMES_33)])
def test_context_tops_are_those_of_the_release(context, task, names):
    layer = PASCALContextSegDataLayer({**context, 'split': 'val', 'seed': 1337, 'task': task})
    image = picture(Path(context['voc_dir'], 'VOC2010/JPEGImages/2008_000003.jpg'))[:, :, ::-1]
    data, label = layer.batch(0)
    np.testing.assert_array_equal(
        data[0], (image - np.float32((104.007, 116.669, 122.679))).transpose(2, 0, 1))
    expected = context_label(context, '2008_000003', names)
    np.testing.assert_array_equal(label[0, 0], expected)
    assert set(np.unique(label)) == set(range(task + 1))
    assert layer.classes == ('background', *names) == layer.class_names(
        {**context, 'task': task})


def test_context_needs_no_lists_of_its_own_classes(context):
    layer = PASCALContextSegDataLayer({**context, 'split': 'val'})
    expected = layer.batch(0)[1]
    for name in 'labels.txt', '59_labels.txt':
        (Path(context['context_dir']) / name).unlink()
    layer = PASCALContextSegDataLayer({**context, 'split': 'val'})
    np.testing.assert_array_equal(layer.batch(0)[1], expected)


def test_context_tasks_of_a_list(context):
    folder = Path(context['context_dir'])
    (folder / '2_labels.txt').write_text('1: sky\n2: other thing 3\n')
    task = Task(folder, 2)
    assert task.names == ('background', 'sky', 'otherthing3')
    assert task.table[360] == 1 and task.table[3] == 2 and task.table.sum() == 3
    for text, what in (('1: sky\n', '1 classes, the task has 2'), ('1: sky\n2: skyy\n', "'skyy'"),
                       ('x: sky\n2: a\n', 'number of its own'), ('1: sky\n1: a\n', 'of its own'),
                       ('sky\n', 'no classes'), ('1: sky\n2: a\x1b[m\n', 'control')):
        (folder / '2_labels.txt').write_text(text)
        assert what in message(Task, folder, 2)
    assert 'no list of 7 classes' in message(Task, folder, 7)
    for value in 0, 255, '59', None, 59.0:
        assert 'task' in message(PASCALContextSegDataLayer,
                                 {**context, 'split': 'val', 'task': value})


def test_context_of_another_year(context):
    pascal = Path(context['voc_dir'])
    (pascal / 'VOC2010').rename(pascal / 'VOC2012')
    text = message(PASCALContextSegDataLayer, {**context, 'split': 'val'})
    assert 'VOC2010' in text and 'there is VOC2012' in text
    assert 'no such folder' in message(ContextFolder, pascal, pascal / 'nowhere', 'val')


# .mat files of another layout

def bad_labels(folder, low):
    """{what a message says: the variables of a .mat file}."""
    good = np.full((*SIZE,), 3)
    return {'has no S': {'T': good}, 'shape (2, 3, 4)': {'S': np.zeros((2, 3, 4))},
            'type str': {'S': 'wall'}, 'holds 34': {'S': good + 31}, 'holds 1.5': {'S': good / 2},
            f'holds {low - 1}': {'S': good - 4 + low}, 'holds nan': {'S': good * np.nan}}


@pytest.mark.parametrize('part, low', [('SemanticLabels', 0), ('GeoLabels', -1)])
def test_labels_of_another_layout_are_one_message(sift, part, low):
    path = sift / f'{part}/{SCENES}/forest_for7.mat'
    layer = SIFTFlowSegDataLayer({'siftflow_dir': str(sift), 'split': 'test'})
    for what, variables in bad_labels(sift, low).items():
        scipy.io.savemat(path, variables)
        text = message(layer.batch, 0)
        assert what in text and str(path) in text, text
    path.write_bytes(b'MATLAB 7.3 MAT-file' + bytes(600))
    assert '7.3' in message(layer.batch, 0)
