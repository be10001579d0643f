"""Miniatures of NYUDv2, SIFT Flow and PASCAL-Context: read with PIL and scipy as the originals'
files are, and by this project's readers."""

import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_repro.data import hha, python_layers
from fcn_repro.data.digits import load_digits
from fcn_repro.data.hha_files import encode_folder, read_camera
from fcn_repro.data.miniatures import KINDS, folder_of, make_miniature
from fcn_repro.data.rooms import CLASSES, camera_of, draw_room, orientation
from fcn_repro.data.scenes import make_scenes
from fcn_repro.errors import FcnError

SMALL = {'seed': 5, 'train': 5, 'val': 2, 'size': (96, 128), 'digit_sizes': (40, 50)}
SCENES = 'spatial_envelope_256x256_static_8outdoorcategories'
ROOM = {'size': (96, 128), 'digits': (2, 3), 'digit_sizes': (40, 50)}


@pytest.fixture(scope='module', params=sorted(KINDS))
def kind(request):
    return request.param


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp('miniatures')
    for kind in KINDS:
        assert make_miniature(kind, folder / kind, **SMALL)
    return folder


def room(split, number):
    """The room of this number, as the generator draws it."""
    rng = np.random.default_rng((SMALL['seed'], ('train', 'val').index(split), number))
    return draw_room(rng, *load_digits(split), ROOM)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}


def layer(name, folder, **params):
    module = {'NYUDSegDataLayer': 'nyud_layers', 'SIFTFlowSegDataLayer': 'siftflow_layers',
              'PASCALContextSegDataLayer': 'pascalcontext_layers'}[name]
    return python_layers[module, name]({'randomize': False, **{
        key: folder if value is ... else value for key, value in params.items()}})


# ---- what is written -----------------------------------------------------------------------------

def test_files_of_nyud(made):
    root, one = made / 'nyud', room('train', 1)
    image, depth, raw, encoded = (np.array(Image.open(root / f'data/{name}/img_5002.png'))
                                  for name in ('images', 'depth', 'rawdepth', 'hha'))
    assert (image == one.image).all()
    assert raw.dtype == depth.dtype == np.uint16 and depth.min() > 300
    assert ((raw == 0) == (one.measured == 0)).all() and (depth[raw > 0] == raw[raw > 0]).all()
    assert np.abs(raw / 1000 - one.measured).max() <= 0.0005 + 1e-9
    assert (encoded == hha.encode(depth / 1000, one.camera, raw == 0).image).all()
    label = scipy.io.loadmat(root / 'segmentation/img_5002.mat')['segmentation']
    assert (np.uint8(label - 1) == one.label).all() and label.max() <= len(CLASSES)
    assert read_camera(root / 'camera.txt') == camera_of(*SMALL['size'])


def test_lists_of_nyud(made):
    lists = {split: (made / f'nyud/{split}.txt').read_text().split()
             for split in ('train', 'val', 'trainval', 'test')}
    assert lists == {'train': ['5001', '5002', '5003', '5004'], 'val': ['5005'],
                     'trainval': ['5001', '5002', '5003', '5004', '5005'],
                     'test': ['5006', '5007']}


def test_files_of_siftflow(made):
    root, one = made / 'siftflow', room('val', 0)
    image = Image.open(root / f'Images/{SCENES}/room_dig6.jpg')
    assert image.format == 'JPEG' and image.size == (128, 96)
    semantic, geometric = (scipy.io.loadmat(root / f'{name}/{SCENES}/room_dig6.mat')
                           for name in ('SemanticLabels', 'GeoLabels'))
    assert (np.uint8(semantic['S'] - 1) == one.label).all()
    assert [str(name[0]) for name in semantic['names'][0]] == list(KINDS['siftflow'].classes)
    void = one.label == 255
    assert (geometric['S'][void] == -1).all()
    assert (geometric['S'][~void] == orientation(one.surface)[~void] + 1).all()
    assert [str(name[0]) for name in geometric['names'][0]] == ['sky', 'horizontal', 'vertical']
    assert (root / 'test.txt').read_text() == 'room_dig6\nroom_dig7\n'


def test_files_of_context(made):
    root, one = made / 'context', room('train', 0)
    label = scipy.io.loadmat(root / 'trainval/2010_000001.mat')['LabelMap']
    names = dict(line.split(': ') for line in (root / 'labels.txt').read_text().splitlines())
    for index, name in enumerate(CLASSES):
        assert {names[str(id_)] for id_ in label[one.solid == index]} <= {name}
    assert label.min() > 0                                      # no void
    assert (root / 'VOC2010/ImageSets/Main/val.txt').read_text() == '2010_000006\n2010_000007\n'


# ---- this project's readers ----------------------------------------------------------------------

def test_read_as_nyud(made):
    found = layer('NYUDSegDataLayer', made / 'nyud', nyud_dir=..., split='test', classes=13,
                  tops=['color', 'depth', 'hha', 'label'])
    assert len(found) == 2 and found.classes == CLASSES
    one = room('val', 1)
    color, depth, encoded, label = found.batch(1)
    assert (label[0, 0] == one.label).all()
    assert color.shape == encoded.shape == (1, 3, 96, 128) and np.isfinite(depth).all()


def test_read_as_siftflow(made):
    found = layer('SIFTFlowSegDataLayer', made / 'siftflow', siftflow_dir=..., split='trainval',
                  classes=13)
    _, semantic, geometric = found.batch(3)
    one = room('train', 3)
    assert len(found) == 5 and (semantic[0, 0] == one.label).all()
    assert (geometric[0, 0] == np.where(one.label == 255, 255, orientation(one.surface))).all()


def test_read_as_context(made):
    """Two tasks of the same labels: all but the wall, and the digits alone."""
    one = room('train', 2)
    for task, first in (12, 1), (10, 3):
        found = layer('PASCALContextSegDataLayer', made / 'context', voc_dir=..., context_dir=...,
                      split='train', task=task)
        assert found.classes == ('background', *CLASSES[first:])
        wanted = np.maximum(one.solid.astype(int) - first + 1, 0)
        assert (found.batch(2)[1][0, 0] == wanted).all()


def test_hha_made_anew_is_the_same(made):
    """The command's function, on a folder as it lies there."""
    before = contents(made / 'nyud')
    result = encode_folder(made / 'nyud', overwrite=True)
    assert len(result.written) == 7 and not result.faults and not result.implausible
    assert contents(made / 'nyud') == before


# ---- folders -------------------------------------------------------------------------------------

def test_the_same_seed_gives_the_same_bytes(kind, made, tmp_path):
    assert make_miniature(kind, tmp_path / 'again', **SMALL)
    assert contents(tmp_path / 'again') == contents(made / kind)


def test_more_rooms_do_not_change_the_first_ones(made, tmp_path):
    make_miniature('context', tmp_path / 'more', **{**SMALL, 'train': 6})
    first = 'VOC2010/JPEGImages/2010_000005.jpg'
    assert (tmp_path / 'more' / first).read_bytes() == (made / 'context' / first).read_bytes()


def test_a_folder_is_kept_or_replaced_but_never_another_one(made, tmp_path):
    before = contents(made / 'siftflow')
    assert not make_miniature('siftflow', made / 'siftflow', **SMALL)
    assert contents(made / 'siftflow') == before
    assert json.loads(before['scenes.json'])['kind'] == 'siftflow'
    make_scenes(tmp_path / 'a', train=1, val=1, size=(96, 128), digit_sizes=(40, 50))
    assert make_miniature('siftflow', tmp_path / 'a', **{**SMALL, 'train': 1, 'val': 0})
    assert not (tmp_path / 'a/JPEGImages').exists()
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b/mine').write_text('')
    with pytest.raises(FcnError, match='does not hold generated scenes'):
        make_miniature('nyud', tmp_path / 'b', **SMALL)


@pytest.mark.parametrize('kind, changes, words', [
    ('nyu', {}, "'nyu'.*'nyud'"), ('nyud', {'train': 0, 'val': 0}, 'both 0'),
    ('nyud', {'size': (40, 128)}, 'scene height is 40')])
def test_what_cannot_be_made(tmp_path, kind, changes, words):
    with pytest.raises(FcnError, match=words):
        make_miniature(kind, tmp_path / 'out', **{**SMALL, **changes})
    assert not list(tmp_path.iterdir())


def test_by_default_they_lie_beside_the_scenes():
    assert folder_of('nyud').as_posix() == 'data/digits/nyud'
