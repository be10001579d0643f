"""A finished run is not taken for another one: its messages, and that nothing is changed."""

import json
import shutil
from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
from data_folders import write_split
from small_runs import NET, assert_error, call, contents, small_stage, small_voc, write_stage

from fcn_repro.data.scenes import make_scenes
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra, read_weights, write_hdf5
from fcn_repro.recipe import runs
from fcn_repro.recipe.comparison import compare
from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.options import Options

LAST = 'train_iter_6.caffemodel.h5'


@pytest.fixture
def train(tmp_path, monkeypatch, capsys):
    """tools/train.py with the stages `parent` and `child`; words as in one line."""
    small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent')
    return lambda words: call(capsys, 'train', *words.split())


@pytest.fixture
def trained(train):
    """With parent and child trained to their ends."""
    for stage in ('parent', 'child'):
        assert train(stage).status == 0
    return train


def weights_and_states(folder):
    return {path: data for path, data in contents(folder).items() if path.suffix == '.h5'}


def assert_refused(tmp_path, done, *parts):
    """call() without its capsys; below runs/ all is as before it."""
    before = contents(tmp_path / 'runs')
    assert_error(done(), *parts)
    assert contents(tmp_path / 'runs') == before


def assert_kept(tmp_path, done, run, last=6):
    """The run is the one that is asked for: it is scored again, not trained again."""
    before = weights_and_states(tmp_path / 'runs')
    done = done()
    assert done.status == 0 and f'{run}: trained already, up to iteration {last} ' in done.out
    assert weights_and_states(tmp_path / 'runs') == before


# Seed, stage, data, classes

def test_another_seed(trained, tmp_path):
    assert_refused(tmp_path, lambda: trained('parent --seed 5'), 'runs/parent: the run here has '
                   'another seed: 0, here it is 5')
    assert_kept(tmp_path, lambda: trained('parent --seed 0'), 'runs/parent')
    assert trained('parent --seed 5 --fresh').status == 0
    assert read_extra(f'runs/parent/{LAST}')['seed'] == 5


def test_another_stage(trained, tmp_path):
    assert_refused(tmp_path, lambda: trained('child --out runs/parent'), 'runs/parent: the run '
                   'here has another stage: parent, here it is child')


def test_other_data_of_the_same_place(trained, tmp_path):
    split = tmp_path / 'voc/ImageSets/Segmentation/train.txt'
    ids = split.read_text()
    split.write_text('im3\n')
    assert_refused(tmp_path, lambda: trained('parent'), 'another data (hash): ')
    split.write_text(ids)
    assert_kept(tmp_path, lambda: trained('parent'), 'runs/parent')


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The model of mini-fcn32s with a few channels; tmp_path, where we are then, has a data set."""
    model = MODELS['mini-fcn32s']
    monkeypatch.setitem(MODELS, 'mini-fcn32s', replace(
        model, settings={**model.settings, 'widths': (2,) * 5, 'fc': 4}))
    monkeypatch.chdir(tmp_path)
    small_voc(tmp_path / 'a')


def test_other_classes_and_other_folders(narrow, tmp_path, capsys):
    words = ['train', 'mini-fcn32s', '--weights', 'none', '--iterations', 1, '--voc', 'a',
             '--classes', 3]
    assert call(capsys, *words).status == 0
    assert_refused(tmp_path, lambda: call(capsys, *words[:-1], 4), 'runs/mini-fcn32s: the run here '
                   'has another number of classes: 3, here it is 4')
    shutil.copytree('a', 'b')
    other = [word if word != 'a' else 'b' for word in words]
    assert_refused(tmp_path, lambda: call(capsys, *other), '/a, not b')
    assert_kept(tmp_path, lambda: call(capsys, *words), 'runs/mini-fcn32s', 1)


# The weights that it starts from

def test_other_weights_given(trained, tmp_path):
    """By what is in the file, not by its name; random ones are others, too."""
    shutil.copy(f'runs/parent/{LAST}', 'one.h5')
    weights = read_weights('one.h5')
    write_hdf5('other.h5', {**weights, 'score_fr': [blob + 1 for blob in weights['score_fr']]})
    assert trained('child --weights one.h5 --out runs/third').status == 0
    third = ' --out runs/third'
    assert_refused(tmp_path, lambda: trained('child --weights other.h5' + third), 'runs/third: the '
                   'run here has another parent, its weights having the SHA-256: ')
    assert_refused(tmp_path, lambda: trained('parent --weights one.h5'), 'runs/parent: ',
                   'SHA-256: none, here it is ')
    for words in ('child', 'child --out runs/third'):
        assert_refused(tmp_path, lambda words=words: trained(f'{words} --weights none'),
                       'another parent, its weights having the SHA-256: ', ', here it is none')
    shutil.move('one.h5', 'renamed.h5')
    for weights in ('--weights renamed.h5', ''):        # the parent's own are the same
        assert_kept(tmp_path, lambda words=weights: trained(f'child {words}{third}'), 'runs/third')


def test_a_child_of_a_parent_that_was_trained_anew(trained, tmp_path):
    before = contents(tmp_path / 'runs/child')
    assert trained('parent --fresh').status == 0        # to the same bits
    assert_kept(tmp_path, lambda: trained('child'), 'runs/child')
    assert trained('parent --fresh --iterations 5').status == 0
    assert_refused(tmp_path, lambda: trained('child'), 'runs/child: the run here has another '
                   'parent, its weights having the SHA-256: ')
    done = trained('child --fresh')
    assert done.status == 0 and 'is now runs/child.old1' in done.out
    assert weights_and_states(tmp_path / 'runs/child.old1') == {
        path: data for path, data in before.items() if path.suffix == '.h5'}
    assert read_extra(f'runs/child/{LAST}')['parent'] == 'runs/parent/train_iter_5.caffemodel.h5'


def test_a_parent_that_says_nothing(train, tmp_path):
    """As Caffe, or an earlier version, wrote it: its child starts from it, and knows it again."""
    assert train('parent').status == 0
    shutil.rmtree('runs/parent/eval')
    weights = read_weights(f'runs/parent/{LAST}')
    for path in (tmp_path / 'runs/parent').glob('*.h5'):
        path.unlink()
    write_hdf5(f'runs/parent/{LAST}', weights)
    assert read_extra(f'runs/parent/{LAST}') == {}
    done = train('child')
    assert done.status == 0 and ' copied, 0 cast' in done.out
    said = read_extra(f'runs/child/{LAST}')
    assert said['parent'] == f'runs/parent/{LAST}' and said['parent_stage'] == ''
    assert_kept(tmp_path, lambda: train('child'), 'runs/child')
    assert_kept(tmp_path, lambda: train('parent'), 'runs/parent')
    write_hdf5(f'runs/parent/{LAST}', {name: [blob + 1 for blob in blobs]
                                       for name, blobs in weights.items()})
    assert_refused(tmp_path, lambda: train('child'), 'runs/child: the run here has another parent')


def test_a_parent_with_values_that_are_none(train, tmp_path):
    assert train('parent').status == 0
    with h5py.File(f'runs/parent/{LAST}', 'r+') as file:
        file['data/score_fr/0'][1, 2] = np.nan
    assert_refused(tmp_path, lambda: train('child --out child'), f"runs/parent/{LAST}: layer "
                   "'score_fr': blob 0 has 1 of 12 values that are NaN", 'use an earlier snapshot')
    assert not list(tmp_path.glob('child/*.h5'))


def test_random_weights_for_a_net_that_cannot_learn_from_them(trained, tmp_path):
    for words in ('voc-fcn32s', 'voc-fcn32s --sbd x', 'voc-fcn16s --voc voc --sbd x'):
        assert_refused(tmp_path, lambda words=words: trained(f'{words} --weights none'),
                       'all layers of the shipped net voc-', 'start from 0 without weights')
    assert sorted(path.name for path in (tmp_path / 'runs').iterdir()) == ['child', 'parent']


# Going on

def test_an_earlier_state_than_the_newest(trained, tmp_path):
    state = 'runs/parent/train_iter_3.solverstate.h5'
    assert_refused(tmp_path, lambda: trained(f'parent --restore {state}'), 'runs/parent: this run '
                   'has a later snapshot, of iteration 6, which would be taken for its newest')
    for path in (tmp_path / 'runs/parent').glob('*_iter_6.*'):
        path.unlink()
    done = trained(f'parent --restore {state}')
    assert done.status == 0 and f'restored {state}\n' in done.out


def test_force_without_restore(trained, tmp_path):
    for words in ('--force', '--force --fresh'):
        assert_refused(tmp_path, lambda words=words: trained(f'parent {words}'),
                       'force applies to restore alone')


# The comparison

@pytest.fixture
def compared(tmp_path, monkeypatch, capsys):
    """A comparison of two small stages, done; a function that does it again and returns what it
    says."""
    small_stage(tmp_path, monkeypatch, 'small-fcn32s')
    small_stage(tmp_path, monkeypatch, 'small-fcn16s', parent='small-fcn32s')

    def again(**options):
        compare('small', Options(**{'iterations': 2, 'pictures': 0} | options))
        return capsys.readouterr().out
    assert again().count('trained already') == 0
    assert again().count('there already') == 2
    return again


def test_runs_of_another_length(compared, tmp_path):
    """Shorter ones are not taken for what is asked for, longer ones say their length."""
    before = contents(tmp_path / 'runs')
    with pytest.raises(FcnError, match='runs/small-fcn32s: this run stopped at iteration 2 of 3'):
        compared(iterations=3)
    assert contents(tmp_path / 'runs') == before
    weights = weights_and_states(tmp_path / 'runs')
    out = compared(iterations=1)
    assert out.count('trained already, up to iteration 2') == 2 and '| FCN-16s | 2 |' in out
    assert weights_and_states(tmp_path / 'runs') == weights


@pytest.mark.parametrize('words', ['--images 1', '--rule release', '--split other'])
def test_a_score_that_is_another(compared, tmp_path, capsys, words):
    """By tools/eval_voc.py: the run is scored again, for the table that it was."""
    table = (tmp_path / 'runs/staged-small/table.json').read_text()
    weights = weights_and_states(tmp_path / 'runs')
    prototxt = tmp_path / 'prototxt/small-fcn16s/val.prototxt'
    write_split(tmp_path / 'voc', 'other', ['im2', 'im3'])
    done = call(capsys, 'eval_voc', '--net', prototxt, '--weights',
                'runs/small-fcn16s/train_iter_2.caffemodel.h5', '--out', 'runs/small-fcn16s/eval',
                *words.split())
    assert done.status == 0, done
    out = compared()
    assert out.count('there already') == 1
    assert 'runs/small-fcn16s: trained already, up to iteration 2' in out
    assert (tmp_path / 'runs/staged-small/table.json').read_text() == table
    said = json.loads((tmp_path / 'runs/small-fcn16s/eval/metrics.json').read_text())
    assert (said['rule'], said['images']) == ('paper', 2)
    assert weights_and_states(tmp_path / 'runs') == weights
    assert compared().count('there already') == 2


def test_a_comparison_of_other_data_or_parents(compared, tmp_path, capsys):
    split = tmp_path / 'voc/ImageSets/Segmentation/train.txt'
    ids = split.read_text()
    split.write_text('im3\n')
    before = contents(tmp_path / 'runs')
    with pytest.raises(FcnError, match=r'runs/small-fcn32s: the run here has another data'):
        compared()
    split.write_text(ids)
    assert contents(tmp_path / 'runs') == before
    done = call(capsys, 'train', 'small-fcn32s', '--fresh', '--iterations', 2, '--seed', 1)
    assert done.status == 0
    with pytest.raises(FcnError, match='runs/small-fcn32s: the run here has another seed: 1, here'):
        compared()
    shutil.rmtree('runs/small-fcn32s')
    shutil.move('runs/small-fcn32s.old1', 'runs/small-fcn32s')
    with h5py.File('runs/small-fcn32s/train_iter_2.caffemodel.h5', 'r+') as file:
        file['data/conv1/1'][0] += 1
    assert call(capsys, 'train', 'small-fcn32s', '--iterations', 2).status == 0     # scores it
    with pytest.raises(FcnError, match='runs/small-fcn16s: the run here has another parent'):
        compared()


def test_weights_that_no_row_takes(compared, tmp_path, capsys):
    assert_refused(tmp_path, lambda: call(capsys, 'staged', '--family', 'mini', '--weights', 'x'),
                   'no stage of mini takes weights')
    with pytest.raises(FcnError, match=r'runs/small-fcn32s: .*SHA-256: none, here it is'):
        compared(weights='runs/small-fcn16s/train_iter_2.caffemodel.h5')


def test_scenes_that_were_deleted(tmp_path, monkeypatch, capsys):
    """They are made again, and are the run's own; scenes of another kind are not."""
    name, size = 'small-fcn32s', {'size': (60, 70), 'digits': (1, 1), 'digit_sizes': (20, 30)}
    folder, _ = small_stage(tmp_path, monkeypatch, name, scenes=True)
    write_stage(folder, 'data/digits/VOC', NET.replace('num_output: 3', 'num_output: 11'))
    monkeypatch.setattr(runs, 'make_scenes', partial(make_scenes, train=3, val=2, **size))
    options = Options(iterations=1, pictures=0)
    compare('small', options)
    scenes = contents(tmp_path / 'data')
    shutil.rmtree('data')
    assert_kept(tmp_path, lambda: call(capsys, 'train', name, '--iterations', 1), f'runs/{name}', 1)
    assert contents(tmp_path / 'data') == scenes
    shutil.rmtree('data')
    compare('small', options)
    assert contents(tmp_path / 'data') == scenes and 'there already' in capsys.readouterr().out
    shutil.rmtree('data')
    monkeypatch.setattr(runs, 'make_scenes', partial(make_scenes, train=4, val=2, **size))
    assert_refused(tmp_path, lambda: call(capsys, 'train', name, '--iterations', 1),
                   f'runs/{name}: the run here has another data (hash)')
