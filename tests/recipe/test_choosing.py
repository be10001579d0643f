"""Which run is meant where none is named."""

import os
import shutil
from pathlib import Path

import pytest
from small_runs import ROOT

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.proto import TEST
from fcn_repro.recipe.choosing import choose_run

DATA = 'layer { name: "data" type: "Python" top: "data" top: "label" python_param { module: ' \
    '"voc_layers" layer: "VOCSegDataLayer" param_str: "{\'voc_dir\': \'%s\'}" } }'


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Weights of the mini FCN-32s, as files of its run."""
    path = tmp_path_factory.mktemp('weights') / 'w.h5'
    Net.read(ROOT / 'prototxt/mini-fcn32s/deploy.prototxt', TEST).save_hdf5(path)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch, weights):
    """Makes a run: its name, its age in hours, its iteration, the folder of its data."""
    monkeypatch.chdir(tmp_path)

    def make(name, hours, iteration=100000, data=None):
        folder = Path('runs', name)
        folder.mkdir(parents=True)
        file = folder / f'train_iter_{iteration}.caffemodel.h5'
        shutil.copy(weights, file)
        os.utime(file, (1e9 - 3600 * hours,) * 2)
        if data:
            (folder / 'net').mkdir()
            shutil.copy(ROOT / 'prototxt/mini-fcn32s/deploy.prototxt', folder / 'net')
            (folder / 'net/val.prototxt').write_text(DATA % data)
        return folder
    return make


def test_the_newest_finished_run(run):
    run('mini-fcn8s', 5)
    only = choose_run()
    assert only.run.folder.name == 'mini-fcn8s' and only.why == 'the only finished run'
    run('mini-fcn16s', 1, iteration=3)
    run('mini-fcn32s', 3)
    run('mini-fcn8s-atonce', 4)
    chosen = choose_run([Path('photo.jpg')])
    assert chosen.run.folder.name == 'mini-fcn32s'
    assert chosen.why == 'the newest of 3 finished runs; others: mini-fcn8s-atonce, mini-fcn8s'


def test_street_scenes_are_not_labelled_with_digits(run):
    """A coarser net of one's own data is newer than the finest one of digits; and where the images
    are those of a run's data, its age does not count."""
    run('mini-fcn8s', 2)
    run('mini-fcn32s', 1, data='streets')
    assert choose_run([Path('photo.jpg')]).run.folder.name == 'mini-fcn32s'
    run('shapes', 0, data='shapes')
    images = [Path(f'streets/JPEGImages/{i}.jpg') for i in range(2)]
    assert choose_run([Path('photo.jpg')]).run.folder.name == 'shapes'
    chosen = choose_run(images)
    assert chosen.run.folder.name == 'mini-fcn32s' and 'trained on the data' in chosen.why
    assert choose_run([*images, Path('photo.jpg')]).run.folder.name == 'shapes'
    run('more', 9, data='streets')
    chosen = choose_run(images)
    assert chosen.run.folder.name == 'mini-fcn32s' and 'the newest of 2 that' in chosen.why


def test_a_run_that_fits_and_is_not_finished_is_said(run):
    run('shapes', 0, data='shapes')
    run('mini-fcn32s', 1, iteration=7, data='streets')
    chosen = choose_run([Path('streets/a.jpg')])
    assert chosen.run.folder.name == 'shapes'
    assert 'mini-fcn32s, for the data that the images are of, is not finished (iteration 7 of 2000'\
        in chosen.why


def test_runs_that_cannot_be_read_are_said(run):
    run('shapes', 0, data='shapes')
    broken = run('mini-fcn32s', -1)
    next(broken.glob('*.h5')).write_bytes(b'\x89HDF\r\n\x1a\n')
    chosen = choose_run()
    assert chosen.run.folder.name == 'shapes'
    assert f'left out is {next(broken.glob("*.h5"))}: ' in chosen.why


def test_classifiers_and_nothing(run):
    with pytest.raises(FcnError, match=r'no finished run is in runs\. Train one'):
        choose_run()
    run('mini-classifier', 0)
    with pytest.raises(FcnError, match=r'with weights are mini-classifier \(iteration 100000\)'):
        choose_run()
    assert choose_run(classifier=True).run.folder.name == 'mini-classifier'
    with pytest.raises(FcnError, match='no finished run of a classifier is in nowhere'):
        choose_run(runs='nowhere', classifier=True)
