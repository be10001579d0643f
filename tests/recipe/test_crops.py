"""Crops, and nets for images of one size, of data of one's own: they fit the images."""

import ast

import pytest
from small_runs import small_voc

from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.models.lednet import crops as lednet_crops
from fcn_repro.recipe.models.parts import fitted
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import STAGES
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

LARGE = 1024, 2048      # above all crops of the authors'
SMALL = 200, 264
ROOM = 32               # of a crop around its image, at most


def params_of(data):
    return ast.literal_eval(data['param_str'])


CROPPED = [name for name, model in MODELS.items() if 'crop' in model.train.get('param_str', '')
           and 'voc' in STAGES[name].takes]


def on_data(name, size):
    return MODELS[name].on_data(12, 'mine', size=size, val_images=2)


@pytest.mark.parametrize('name', CROPPED)
@pytest.mark.parametrize('size', [SMALL, (264, 200), (97, 129)])
def test_no_crop_is_far_larger_than_the_images(name, size):
    crop = params_of(on_data(name, size).train)['crop']
    assert all(side < image + ROOM for side, image in zip(crop, size, strict=True))


@pytest.mark.parametrize('name', [name for name in CROPPED if 'mini' not in name])
def test_large_images_have_the_crops_of_the_authors(name):
    own, theirs = (params_of(model.train) for model in (on_data(name, LARGE), MODELS[name]))
    if not name.startswith('own-'):         # whose are by the images on any data
        assert own['crop'] == theirs['crop'] and own['scale'] == theirs['scale']
        assert own['batch_size'] == theirs['batch_size']


@pytest.mark.parametrize('name', CROPPED)
@pytest.mark.parametrize('size', [SMALL, (225, 401)])
def test_the_nets_take_what_the_images_become(name, size):
    """Every shape fits, of the net that learns and of the one that scores images of this size."""
    files = on_data(name, size).files()
    for file, phase in (('train.prototxt', 'TRAIN'), ('val.prototxt', 'TEST')):
        drawn = describe(parse_source(files[file], file), phase, size=size)
        odd = [note.what for note in drawn.notes
               if not note.what.startswith(('read in the dialect', 'assumed without its data',
                                            'its bottoms lie'))]
        assert drawn.whole and not odd, (file, odd)
        scores = {blob.name: blob.shape for blob in drawn.blobs.values()}
        if phase == 'TEST' and not STAGES[name].tags:
            assert scores['score'][2:] == size


def test_sides_keep_what_a_net_asks_of_them():
    """473 is a multiple of 8, and 1."""
    for size in range(40, 600):
        height, width = fitted((size, 473), (473, 512))
        assert height % 8 == 1 and min(size, 473) <= height < min(size, 473) + ROOM
        assert width == 480
    assert fitted(None, (473, 512)) == (473, 512)


@pytest.mark.parametrize('size, scale, crop', [
    (None, (0.5, 1.0), (512, 512)), (LARGE, (0.5, 1.0), (512, 512)),
    (SMALL, (0.7, 1.4), (224, 288))])
def test_lednet_s_crops_are_filled(size, scale, crop):
    params = params_of(lednet_crops('mine', 'train', size, rotate=5))
    assert params['scale'] == scale and params['crop'] == crop and params['rotate'] == 5


def test_the_largest_sides_of_the_val_images_count(tmp_path):
    """Which are 24x32 and 24x36 here."""
    run = Run('danet-mini', Options(voc=str(small_voc(tmp_path / 'voc')), classes=3,
                                    out=str(tmp_path / 'run')))
    assert run.model.settings['shape'] == (1, 3, 24, 40)
    assert params_of(run.model.train)['crop'] == (24, 40)
