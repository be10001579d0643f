"""Training on the paper's data sets: folders and files are looked at before weights are."""

import numpy as np
import original_layouts as layouts
import pytest
import scipy.io
from small_runs import assert_error, call

from fcn_repro.errors import FcnError
from fcn_repro.recipe import training
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run

SIZE = 12, 60
LOST = {'nyud': 'nyud/segmentation/img_5002.mat',
        'siftflow': f'sift-flow/GeoLabels/{layouts.SCENES}/coast_art2.mat',
        'context': 'pascal/VOC2010/JPEGImages/2008_000000.jpg',
        'sbd': 'sbdd/dataset/cls/2008_000001.mat'}
GIVEN = {'nyud': ('nyud-fcn32s-color', {'nyud': 'nyud'}),
         'siftflow': ('siftflow-fcn32s', {'siftflow': 'sift-flow'}),
         'context': ('pascalcontext-fcn32s', {'context': 'pascal-context', 'pascal': 'pascal'}),
         'sbd': ('voc-fcn32s', {'sbd': 'sbdd/dataset', 'voc': 'pascal/VOC2011'})}


class Weights(Exception):
    """The training has come as far as to look for weights."""


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.chdir(layouts.make_all(tmp_path))

    def looked_for(*_):
        raise Weights
    monkeypatch.setattr(training, 'starting_weights', looked_for)
    return tmp_path / 'data'


@pytest.mark.parametrize('name', GIVEN)
def test_all_files_are_there_before_weights_are_looked_for(data, name):
    stage, folders = GIVEN[name]
    run = Run(stage, Options(**folders, out=str(data / 'run')))
    with pytest.raises(Weights):
        training.train(run)
    (data / LOST[name]).unlink()
    with pytest.raises(FcnError) as error:
        training.train(run)
    text = str(error.value)
    assert error.value.do and data.joinpath(LOST[name]).name in text
    if name == 'sbd':                   # whose files are all decoded: a list of faults by kind
        assert '1 x ' in text
    else:
        assert '1 of ' in text and '.txt' in text and '\n' not in text


def test_the_remedy_of_missing_weights_names_the_classifier(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(layouts.make_all(tmp_path))
    with pytest.raises(FcnError) as error:
        training.train(Run('nyud-fcn32s-color', Options(nyud='nyud')))
    assert error.value.code == 'classifier-needed'
    done = call(capsys, 'train', 'nyud-fcn32s-color', '--nyud', 'nyud')
    assert_error(done, 'Give --weights VGG_ILSVRC_16_layers.caffemodel (make: WEIGHTS=')


@pytest.mark.parametrize('name, file, label, said', [
    ('nyud', 'nyud/segmentation/img_5002.mat', {'label': np.ones(layouts.SIZE)},
     'has no segmentation; it holds label'),
    ('siftflow', f'sift-flow/SemanticLabels/{layouts.SCENES}/coast_art2.mat',
     {'S': np.full((256, 256), 77, np.uint8)}, 'S holds 77'),
    ('context', 'pascal-context/trainval/2008_000002.mat',
     {'LabelMap': np.full(layouts.SIZE, 500, np.uint16)}, 'LabelMap holds 500')])
def test_all_labels_are_decoded_before_weights_are_looked_for(data, name, file, label, said):
    """As those of VOC and SBD are: a fault in the last file does not end a long training."""
    stage, folders = GIVEN[name]
    scipy.io.savemat(data / file, label)
    with pytest.raises(FcnError, match='training would fail') as error:
        training.train(Run(stage, Options(**folders, out=str(data / 'run'))))
    assert said in str(error.value) and data.joinpath(file).name in str(error.value)


def test_images_that_a_net_does_not_read_may_be_damaged(data):
    (data / 'nyud/data/hha/img_5001.png').write_bytes(b'no picture')
    with pytest.raises(FcnError, match=r'training would fail[^$]*img_5001.png'):
        training.train(Run('nyud-fcn32s-hha', Options(nyud='nyud', out=str(data / 'run'))))
    with pytest.raises(Weights):
        training.train(Run('nyud-fcn32s-color', Options(nyud='nyud', out=str(data / 'run'))))


def test_hha_is_there_before_weights_are_looked_for(data):
    (data / 'nyud/data/hha/img_5001.png').unlink()
    with pytest.raises(FcnError, match='hha is missing for 1 of 3') as error:
        training.train(Run('nyud-fcn32s-hha', Options(nyud='nyud', out=str(data / 'run'))))
    assert error.value.code == 'no-hha'
    with pytest.raises(Weights):
        training.train(Run('nyud-fcn32s-color', Options(nyud='nyud', out=str(data / 'run'))))


@pytest.mark.parametrize('stage, words, parts', [
    ('nyud-fcn32s-color', ['--siftflow', 'x'], ["takes no 'siftflow'"]),
    ('nyud-fcn32s-color', ['--nyud', 'nowhere'], ['no such folder', 'Give --nyud']),
    ('nyud-fcn32s-color', ['--nyud', 'sift-flow'], ['3 of 3 samples', 'with data/images/']),
    ('siftflow-fcn8s', ['--siftflow', 'nyud'], ['3 of 3 samples', 'SemanticLabels/']),
    ('pascalcontext-fcn32s', ['--context', 'pascal-context', '--pascal', 'nyud'],
     ['VOC2010', 'Unpack VOC2010']),
    ('pascalcontext-fcn32s', ['--context', 'nyud', '--pascal', 'pascal'], ['trainval'])])
def test_wrong_folders_are_one_message(data, capsys, stage, words, parts):
    done = call(capsys, 'train', stage, *words, '--out', 'run')
    assert_error(done, *parts)
    assert len(done.err.splitlines()) == 1 and not (data / 'run').exists()
