"""Scribbles of masks: strokes along the middle of each region, folders of them, and what is said of
labels that are no scribbles."""

import numpy as np
import pytest
from commands import call
from data_folders import save_palette_png, write_split
from PIL import Image
from scipy import ndimage
from shape_images import make_shapes

from fcn_repro.data.check import check_folder
from fcn_repro.data.image import VOID, read_label
from fcn_repro.data.scenes import FOLDER, make_scenes
from fcn_repro.data.scribbles import (
    SCENES,
    make_scribbled_scenes,
    scribble_folder,
    scribbled,
    stroke,
)
from fcn_repro.data.voc import VocFolder
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.recipe.stages import shipped


def draw(label, width=3, seed=0):
    return scribbled(np.asarray(label, np.uint8), width, np.random.default_rng(seed))


@pytest.fixture
def voc(tmp_path):
    return make_shapes(tmp_path / 'shapes', counts={'train': 4, 'val': 2})


def labels(folder, split='train'):
    reader = VocFolder(folder, split)
    return {id_: reader.label(i) for i, id_ in enumerate(reader.ids)}


# ---- a mask --------------------------------------------------------------------------------------

@pytest.mark.parametrize('width', [1, 3, 6])
def test_each_region_has_one_stroke_inside(voc, width):
    for label in labels(voc).values():
        drawn, strokes = draw(label, width)
        kept = drawn != VOID
        assert (drawn[kept] == label[kept]).all() and kept.mean() < 0.2
        assert set(np.unique(drawn)) == {*np.unique(label), VOID}
        large = 0
        for value in np.unique(label):
            regions, count = ndimage.label(label == value)
            for region in range(1, count + 1):
                parts = ndimage.label(kept & (regions == region), np.ones((3, 3)))[1]
                assert parts <= 1
                large += parts
        assert large == strokes


def test_a_stroke_is_as_wide_as_asked_and_in_the_middle():
    region = np.zeros((41, 120), bool)
    region[10:31, 5:115] = True
    for seed in range(5):
        for width in 1, 2, 3, 5, 8:
            found = stroke(region, width, np.random.default_rng(seed))
            across = found.sum(0)
            assert np.median(across[across > 0]) == width       # its ends are round
        line = stroke(region, 1, np.random.default_rng(seed))
        assert np.median(np.nonzero(line)[0]) == 20          # the middle row
        assert 45 <= np.ptp(np.nonzero(line)[1]) + 1 <= 110   # half of the core's length, or more


def test_a_stroke_follows_a_ring_and_crosses_a_narrow_place():
    y, x = np.mgrid[:60, :60] - 30
    ring = abs(np.hypot(y, x) - 20) < 4
    found = stroke(ring, 1, np.random.default_rng(1))
    assert found.sum() >= 25 and abs(np.hypot(y, x)[found] - 20).mean() < 1
    rooms = np.zeros((20, 60), bool)
    rooms[2:18, 2:18] = rooms[2:18, 42:58] = rooms[9:12, 18:42] = True
    crossing = [stroke(rooms, 1, np.random.default_rng(seed)) for seed in range(6)]
    assert all((line & ~rooms).sum() == 0 for line in crossing)
    assert any(line[:, 25:35].any() for line in crossing)


def test_each_class_has_a_stroke_however_small_and_specks_have_none():
    label = np.zeros((30, 30), np.uint8)
    label[4, 4] = 1                                 # the largest region of its class: one pixel
    label[10:20, 10:20] = 2
    label[25, 25] = 2                               # a speck
    label[0, 28:] = 3                               # two pixels at the edge
    drawn, strokes = draw(label)
    assert strokes == 4 and drawn[4, 4] == 1 and (drawn == 3).any()
    assert drawn[25, 25] == VOID and (drawn[10:20, 10:20] == 2).any()
    line, strokes = draw(np.full((1, 9), 4))
    assert strokes == 1 and (line == 4).sum() >= 4


def test_strokes_are_those_of_the_seed(voc):
    label = next(iter(labels(voc).values()))
    assert np.array_equal(draw(label, seed=1)[0], draw(label, seed=1)[0])
    assert not np.array_equal(draw(label, seed=1)[0], draw(label, seed=2)[0])


# ---- a folder ------------------------------------------------------------------------------------

def test_a_folder(voc, tmp_path):
    made = scribble_folder(voc, tmp_path / 'out', width=2, seed=5)
    again = scribble_folder(voc, tmp_path / 'again', width=2, seed=5)
    other = scribble_folder(voc, tmp_path / 'other', width=2, seed=6)
    assert made.images == {'train': 4, 'val': 2} and made.strokes == again.strokes
    found = labels(made.folder)
    for id_, whole in labels(voc).items():
        kept = found[id_] != VOID
        assert (found[id_][kept] == whole[kept]).all()
        assert set(np.unique(found[id_])) == {*np.unique(whole), VOID}
    share = np.mean([label != VOID for label in found.values()])
    assert share == pytest.approx(made.labelled) and share < 0.05
    for id_, whole in labels(voc, 'val').items():
        assert np.array_equal(labels(made.folder, 'val')[id_], whole)
    for path in (voc / 'JPEGImages').iterdir():
        assert (made.folder / 'JPEGImages' / path.name).read_bytes() == path.read_bytes()
    assert (made.folder / 'classes.txt').read_text() == (voc / 'classes.txt').read_text()
    assert all(np.array_equal(found[id_], label) for id_, label in labels(again.folder).items())
    assert not all(np.array_equal(found[id_], label)
                   for id_, label in labels(other.folder).items())
    assert not check_folder(made.folder).for_scribbles().all


def test_names_of_classes_and_ids_may_be_of_any_kind(voc, tmp_path):
    """No classes.txt, ids in folders, an image that is a PNG."""
    (voc / 'classes.txt').unlink()
    for folder, end in ('JPEGImages', 'jpg'), ('SegmentationClass', 'png'):
        (voc / folder / 'a').mkdir()
        (voc / folder / f'train000.{end}').rename(voc / folder / f'a/é 0.{end}')
    image = voc / 'JPEGImages/a/é 0.jpg'
    Image.open(image).save(image.with_suffix('.png'))
    image.unlink()
    write_split(voc, 'train', ['a/é 0', 'train001'])
    made = scribble_folder(voc, tmp_path / 'out')
    assert set(labels(made.folder)) == {'a/é 0', 'train001'}
    assert (made.folder / 'JPEGImages/a/é 0.png').is_file()
    assert not (made.folder / 'classes.txt').exists()


def refused(*args, **options):
    with pytest.raises(FcnError) as caught:
        scribble_folder(*args, **options)
    assert caught.value.do
    return caught.value


def test_what_is_refused_and_its_remedy(voc, tmp_path):
    out = tmp_path / 'out'
    assert 'width is 0' in refused(voc, out, width=0).what
    assert 'seed is -1' in refused(voc, out, seed=-1).what
    assert refused(voc, voc / 'inside').code == 'output-inside'
    write_split(voc, 'val', ['val000', 'train001'])
    error = refused(voc, out)
    assert 'train001' in error.what and error.file.name == 'val.txt'
    write_split(voc, 'val', ['val000'])             # 'Remove them from one of the two lists.'
    void = voc / 'SegmentationClass/train002.png'
    save_palette_png(np.full((160, 224), VOID, np.uint8), void)
    error = refused(voc, out)
    assert error.file == void and 'nothing to scribble on' in error.what and not out.exists()
    write_split(voc, 'train', ['train000', 'train001', 'train003'])     # 'remove its id'
    scribble_folder(voc, out)
    assert refused(voc, out).code == 'output-exists'


def test_scribbles_of_the_generated_scenes(tmp_path, monkeypatch):
    """Those that the shipped net of own-scribbles names, made once for the scenes that are there,
    and anew for others."""
    monkeypatch.chdir(tmp_path)
    make_scenes(FOLDER, train=3, val=1)
    make_scribbled_scenes()
    for id_, whole in labels(FOLDER).items():
        drawn = labels(SCENES)[id_]
        assert set(np.unique(drawn)) == {*np.unique(whole), VOID} and (drawn != VOID).mean() < 0.1
    made = SCENES.stat().st_ino
    make_scribbled_scenes()
    assert SCENES.stat().st_ino == made
    make_scenes(FOLDER, train=2, val=1, seed=5)
    make_scribbled_scenes()
    assert len(labels(SCENES)) == 2 and SCENES.stat().st_ino != made
    net = Net.read(shipped('own-scribbles') / 'train.prototxt', 'TRAIN')
    assert net.blobs['label'].shape == net.blobs['mask'].shape == (6, 1, 224, 288)


# ---- what is said of scribbles -------------------------------------------------------------------

@pytest.fixture
def strokes(voc, tmp_path):
    return scribble_folder(voc, tmp_path / 'strokes').folder


def change(folder, id_, new):
    path = folder / f'SegmentationClass/{id_}.png'
    save_palette_png(new(read_label(path)), path)


def said(folder, classes=None):
    found = check_folder(folder, classes=classes).for_scribbles()
    assert all(fault.do for fault in found.all)
    return [fault.kind for fault in found.errors], [fault.kind for fault in found.warnings], found


def test_an_image_without_a_stroke(strokes):
    assert said(strokes)[:2] == ([], [])
    change(strokes, 'train001', lambda label: np.full_like(label, VOID))
    errors, warnings, found = said(strokes)
    assert (errors, warnings) == (['no-scribble'], [])
    assert found.errors[0].file.name == 'train001.png'
    before = (strokes / 'ImageSets/Segmentation/train.txt').read_text()
    write_split(strokes, 'train', ['train000', 'train002', 'train003'])     # 'remove the id'
    assert said(strokes)[0] == []
    (strokes / 'ImageSets/Segmentation/train.txt').write_text(before)
    change(strokes, 'train001', one_stroke(0))                              # 'Draw one'
    assert said(strokes)[0] == []


def one_stroke(value):
    def add(label):
        label[80:83, 20:60] = value
        return label
    return add


def test_a_class_without_a_stroke(strokes):
    def without(label):
        label[label == 3] = VOID
        return label
    for id_ in labels(strokes):
        change(strokes, id_, without)
    errors, warnings, found = said(strokes)
    assert (errors, warnings) == (['no-stroke'], [])
    assert '3 triangle' in found.errors[0].what
    change(strokes, 'train000', one_stroke(3))                  # 'Draw one'
    assert said(strokes)[0] == []
    change(strokes, 'train000', without)
    for id_ in labels(strokes, 'val'):                          # 'or take the class out'
        change(strokes, id_, without)
    names = (strokes / 'classes.txt').read_text().split()[:-1]
    (strokes / 'classes.txt').write_text('\n'.join(names))
    assert said(strokes)[0] == []
    assert said(strokes, classes=4)[0] == ['no-stroke']         # of a net with a class more


def test_masks_that_are_no_scribbles(voc):
    errors, warnings, found = said(voc)
    assert (errors, warnings) == ([], ['whole-masks'])
    assert '100 % of the train pixels' in found.warnings[0].what
    found.raise_for_training()


def test_commands(voc, tmp_path, monkeypatch, capsys):
    """The tool names the stage, check says what is missing, with the options to check again."""
    monkeypatch.chdir(tmp_path)
    status, out, err = call('data scribbles shapes --out s --width 0', capsys)
    assert status == 1 and 'Give --width 1 to 255.' in err
    status, out, err = call('data scribbles shapes --out s --width 2 --seed 3', capsys)
    assert status == 0 and not err and '4 train images with' in out
    assert 'next: fcn-repro train own-scribbles --voc s' in out
    status, out, _ = call('data check s --scribbles', capsys)
    assert status == 0 and 'ready to train\n' in out
    assert 'next: fcn-repro train own-scribbles --voc s --classes 4' in out
    status, out, _ = call('data check s', capsys)
    assert 'if the labels are scribbles, give --scribbles' in out
    status, out, _ = call('data check shapes --scribbles', capsys)
    assert status == 0 and 'Train with `fcn-repro train own`; or make scribbles' in out
    change(tmp_path / 's', 'train001', lambda label: np.full_like(label, VOID))
    status, out, _ = call('data check s --scribbles', capsys)
    assert status == 1 and 'images without a scribble' in out
    assert 'then fcn-repro data check s --scribbles' in out
