"""make-scenes --kind and data hha: what they print, their status, and the remedies they name."""

import re

import numpy as np
import pytest
from commands import call
from PIL import Image

from fcn_repro.data.miniatures import KINDS

MAKE = 'make-scenes --kind {} --train 3 --val 1 --size 96 128 --digit-sizes 40 50'


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize('kind', KINDS)
def test_miniatures_are_made_once_where_the_stages_look_for_them(here, kind, capsys):
    for done in 'made', 'already there':
        assert call(MAKE.format(kind), capsys) == (
            0, f'data/digits/{kind}: 3 train and 1 val scenes of 96x128 pixels, 13 classes, '
            f'{done}\n', '')
    assert (here / 'data/digits' / kind / 'scenes.json').is_file()
    status, out, _ = call(f'data check data/digits/{kind}', capsys)
    assert status == 0 and 'ready to train' in out


def test_scenes_in_vocs_layout_are_still_the_default(here, capsys):
    status, out, _ = call('make-scenes --out voc --train 1 --val 1 --size 96 128 --digit-sizes '
                          '40 50', capsys)
    assert status == 0 and out.startswith('voc: 1 train and 1 val scenes of 96x128 pixels, 11 ')
    assert 'upper bound of mean IU at stride 32' in out


def test_hha_is_made_told_and_left_alone(here, capsys):
    call(MAKE.format('nyud'), capsys)
    folder = here / 'data/digits/nyud'
    (folder / 'data/hha/img_5002.png').unlink()
    status, out, err = call('data hha data/digits/nyud', capsys)
    assert (status, err) == (0, '')
    assert out.startswith('data/digits/nyud/data/hha: 1 made, 3 there already, left as they are\n')
    assert 'fx 118.629' in out and 'for 96x128 pixels' in out
    for words in 'depth    median', 'where data/rawdepth is 0', 'from upright':
        assert words in out
    status, out, _ = call('data hha data/digits/nyud --overwrite', capsys)
    assert status == 0 and 'hha: 4 made\n' in out and 'warning' not in out


def test_the_remedy_for_images_of_an_unknown_camera(here, capsys):
    """It is told once for all of them; with what it names the files are made."""
    call(MAKE.format('nyud'), capsys)
    camera = here / 'data/digits/nyud/camera.txt'
    numbers = camera.read_text().strip()
    camera.unlink()
    status, out, err = call('data hha data/digits/nyud --overwrite', capsys)
    assert (status, err) == (1, '')
    assert out.count('is not known') == 1 and 'and 1 more' in out
    assert 'hha: 0 made, 4 not made' in out
    option = re.search(r'Give (--camera) FX FY CX CY', out)[1]
    status, out, _ = call(f'data hha data/digits/nyud --overwrite {option} {numbers}', capsys)
    assert status == 0 and 'hha: 4 made' in out


def test_comparison_with_files_that_are_there(here, capsys):
    assert call(MAKE.format('nyud'), capsys)[::2] == (0, '')
    status, out, err = call('data hha data/digits/nyud --compare', capsys)
    assert (status, out.splitlines()[:1], err) == (0, ['4 images compared, 4 equal'], ''), out
    assert out.count('100.00 % of the pixels equal, 100.00 % within 1; the most is 0, in ') == 3
    image = here / 'data/digits/nyud/data/hha/img_5003.png'
    image.unlink()
    status, out, _ = call('data hha data/digits/nyud --compare', capsys)
    assert status == 1 and 'img_5003.png: no such image' in out and '3 images compared' in out
    assert not image.exists()


def test_warnings_of_a_wrong_unit_and_of_a_wall_alone(here, capsys):
    call(MAKE.format('nyud'), capsys)
    status, out, _ = call('data hha data/digits/nyud --overwrite --per-metre 20000', capsys)
    assert status == 0 and 'warning: the median depth of 4 images' in out and '--per-metre N' in out
    for path in (here / 'data/digits/nyud/data').glob('*depth/*.png'):
        Image.fromarray(np.full((96, 128), 2000, np.uint16)).save(path)
    status, out, _ = call('data hha data/digits/nyud --overwrite', capsys)
    assert status == 0 and 'warning: 4 images show too little but one wall' in out


@pytest.mark.parametrize('words, named', [
    ('data hha nowhere', 'nowhere/data/depth: there are no depth images'),
    ('data hha . --camera 1 0 1 1', 'is no camera'),
    ('data hha . --per-metre 0', 'per_metre is 0'),
    ('data hha . --camera 1 1 1', 'expected 4'),
    ('make-scenes --kind nyu', "'nyu'"),
])
def test_bad_input_is_one_message(here, words, named, capsys):
    status, out, err = call(words, capsys)
    assert status in (1, 2) and not out and named in err.splitlines()[-1]
    assert not list(here.iterdir())
