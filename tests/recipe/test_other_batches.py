"""Runs with other batches: another recipe in name, folder, snapshots and table."""

from pathlib import Path

import h5py
import pytest
from small_runs import assert_error, call, contents, small_stage

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra, read_solverstate
from fcn_repro.recipe.checks import check_options
from fcn_repro.recipe.comparison import compare
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import OWN_RECIPE, Run

TRAIN = 'train', 'small', '--weights', 'none'
WORDS = '4 samples an iteration, 2 a pass'


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The stage `small`, whose iteration is two passes of one image."""
    return small_stage(tmp_path, monkeypatch)[0]


@pytest.mark.parametrize('name, options, folder', [
    ('mini-fcn32s', {}, 'mini-fcn32s'), ('mini-fcn32s', {'batch': 1}, 'mini-fcn32s'),
    ('mini-fcn32s', {'batch': 1, 'samples': 1}, 'mini-fcn32s'),
    ('mini-fcn32s', {'batch': 4}, 'mini-fcn32s-batch4'),
    ('mini-fcn32s', {'batch': 4, 'samples': 4}, 'mini-fcn32s-batch4'),
    ('mini-fcn32s', {'samples': 20}, 'mini-fcn32s-samples20'),
    ('mini-fcn32s', {'batch': 4, 'samples': 20}, 'mini-fcn32s-batch4-samples20'),
    ('mini-fcn32s', {'batch': 4, 'solver': 'solver_accumulated.prototxt'},
     'mini-fcn32s-accumulated-batch4'),
    ('mini-fcn32s', {'batch': 4, 'samples': 20, 'solver': 'solver_accumulated.prototxt'},
     'mini-fcn32s-accumulated-batch4-samples20'),
    ('m2nist', {'samples': 16}, 'm2nist'), ('m2nist', {'samples': 32}, 'm2nist-samples32'),
    ('mini-fcn32s', {'batch': 4, 'out': 'here'}, '../here'),
])
def test_folders(name, options, folder):
    run = Run(name, Options(**options))
    assert run.folder == Path('runs', folder) or run.folder == Path('here')
    own = folder in (name, '../here') and not options.get('out')
    assert (run.recipe == OWN_RECIPE) == own
    assert (run.batches is None) == own


def test_the_solver_and_the_data_of_another_recipe():
    run = Run('mini-fcn32s', Options(batch=4))
    assert run.max_iter == 500 and run.score_every == 125
    assert run.train_overrides['VOCSegDataLayer'] == {'batch_size': 4}
    assert 'batch_size' not in run.options.overrides['VOCSegDataLayer']
    assert Run('mini-fcn32s', Options(batch=4, iterations=7)).max_iter == 7
    same = Run('mini-fcn32s', Options(batch=4, samples=20, solver='solver_accumulated.prototxt'))
    assert same.max_iter == 100 and same.score_every == 500
    assert Run('voc-fcn32s', Options(samples=20)).train_overrides['SBDDSegDataLayer'] == {}
    assert Run('mini-fcn16s', Options(batch=4)).parent.options.batch is None


def test_a_run_of_another_recipe_says_so(small, tmp_path, capsys):
    done = call(capsys, *TRAIN, '--batch', 2)
    assert done.status == 0, done
    assert f"another recipe than the stage's own: {WORDS}, instead of 2 samples an iteration, 1 a" \
        ' pass: base_lr 0.01 -> 0.02, max_iter 6 -> 3\n' in done.out
    assert '3 iterations of 2 x 2 images' in done.out
    run = tmp_path / 'runs/small-batch2'
    weights = run / 'train_iter_3.caffemodel.h5'
    assert read_extra(weights)['recipe'] == WORDS and not (tmp_path / 'runs/small').exists()
    state = read_solverstate(run / 'train_iter_3.solverstate.h5')
    assert state.extra['position'] == 6 and 'VOCSegDataLayer.batch_size: 2' in state.texts['data']
    done = call(capsys, *TRAIN, '--batch', 2)
    assert done.status == 0 and 'trained already' in done.out
    done = call(capsys, *TRAIN)
    assert done.status == 0 and 'another recipe' not in done.out
    assert read_extra(tmp_path / 'runs/small/train_iter_6.caffemodel.h5')['recipe'] == OWN_RECIPE


def test_it_resumes_to_the_same_bits(small, tmp_path, capsys):
    assert call(capsys, *TRAIN, '--batch', 2, '--out', 'whole').status == 0
    assert call(capsys, *TRAIN, '--batch', 2, '--iterations', 2).status == 0
    assert call(capsys, *TRAIN, '--batch', 2, '--restore').status == 0
    whole, resumed = (contents(tmp_path / folder) for folder in ('whole', 'runs/small-batch2'))
    name = Path('train_iter_3.caffemodel.h5')
    assert whole[name] == resumed[name]


def test_another_recipe_in_its_folder_is_refused(small, tmp_path, capsys):
    assert call(capsys, *TRAIN, '--batch', 2, '--out', 'here').status == 0
    before = contents(tmp_path / 'here')
    for words, now in ((('--iterations', 3), OWN_RECIPE),
                       (('--batch', 2, '--samples', 8, '--iterations', 3),
                        '8 samples an iteration, 2 a pass')):
        assert_error(call(capsys, *TRAIN, '--out', 'here', *words),
                     f'here: the run here has another recipe: {WORDS}, here it is {now}')
    for path in before:
        (tmp_path / 'here' / path).unlink() if '_iter_3' in path.name else None
    done = call(capsys, *TRAIN, '--out', 'here', '--restore', '--batch', 3)
    assert done.status == 1 and 'net, solver or data are not those' in done.err
    assert '-VOCSegDataLayer.batch_size: 2' in done.err
    assert '+VOCSegDataLayer.batch_size: 3' in done.err
    done = call(capsys, *TRAIN, '--out', 'here', '--restore', '--batch', 3, '--force',
                '--iterations', 3)
    assert done.status == 0


def test_a_run_from_before_this_was_recorded_is_the_own_recipe(small, tmp_path, capsys):
    assert call(capsys, *TRAIN, '--iterations', 3, '--out', 'here').status == 0
    with h5py.File(tmp_path / 'here/train_iter_3.caffemodel.h5', 'r+') as file:
        for group in (file, *(item for item in file.values() if isinstance(item, h5py.Group))):
            if 'recipe' in group.attrs:
                del group.attrs['recipe']
    assert 'recipe' not in read_extra(tmp_path / 'here/train_iter_3.caffemodel.h5')
    assert call(capsys, *TRAIN, '--iterations', 3, '--out', 'here').status == 0
    assert_error(call(capsys, *TRAIN, '--out', 'here', '--batch', 2),
                 f"another recipe: {OWN_RECIPE}, here it is {WORDS}")


def test_a_test_net_reads_single_images(small, tmp_path, capsys):
    """Of a solver that tests: the val split is read in file order, as it is scored."""
    solver = small / 'solver.prototxt'
    solver.write_text(solver.read_text() +
                      'test_net: "val.prototxt" test_iter: 2 test_interval: 2\n')
    done = call(capsys, *TRAIN, '--batch', 2)
    assert done.status == 0, done
    assert 'Testing net (#0)' in (tmp_path / 'runs/small-batch2/train.log').read_text()


def test_the_remedies(small, capsys):
    done = call(capsys, *TRAIN, '--batch', 2, '--samples', 5)
    assert_error(done, '5 samples an iteration', 'Give --samples as a multiple of 2')
    assert call(capsys, *TRAIN, '--batch', 2, '--samples', 6, '--iterations', 1).status == 0
    solver = small / 'solver.prototxt'
    solver.write_text(solver.read_text().replace('momentum: 0.9\n', 'type: "AdaGrad"\n'))
    assert_error(call(capsys, *TRAIN, '--batch', 2), "the solver is of type 'AdaGrad'",
                 'Leave out --batch or --samples')
    assert call(capsys, *TRAIN, '--out', 'own').status == 0


def test_sizes_that_make_no_sense(small, capsys):
    assert_error(call(capsys, *TRAIN, '--batch', 2000), 'batch_size is 2000, not a whole number',
                 'Give the number of images per forward pass')
    assert_error(call(capsys, *TRAIN, '--batch', 10 ** 12), 'samples an iteration',
                 'Give --batch and --samples of at most')
    assert_error(call(capsys, *TRAIN, '--batch', 0), 'Give --batch 1 or more')
    solver, train = small / 'solver.prototxt', small / 'train.prototxt'
    text = train.read_text()
    for wrong in ('0', "'x'", '2.5', '[1]'):
        train.write_text(text.replace("'seed'", f"'batch_size': {wrong}, 'seed'"))
        assert_error(call(capsys, *TRAIN, '--batch', 2), 'passes of', 'Give whole numbers')
    train.write_text(text)
    solver.write_text(solver.read_text().replace('iter_size: 2', 'iter_size: 0'))
    assert_error(call(capsys, *TRAIN, '--samples', 2), 'iter_size 0', 'Give whole numbers')


@pytest.mark.parametrize('stage', ['mini-classifier', 'm2nist'])
def test_stages_with_batches_of_their_own(stage, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert_error(call(capsys, 'train', stage, '--batch', 2),
                 f"the stage {stage} takes no 'batch'", 'Leave out --batch')
    assert not contents(tmp_path)
    check_options(Run(stage, Options()))


def test_the_table_compares_the_papers_recipes(small, tmp_path):
    for options in ({'batch': 2}, {'samples': 4}):
        with pytest.raises(FcnError, match="the table compares the papers' recipes"):
            compare('mini', Options(**options))
    assert not (tmp_path / 'runs').exists()
