"""A run's folder: finished, stopped, extended, set aside; and that of the stage it starts from."""

import os
import shutil
from pathlib import Path

import h5py
import pytest
from small_runs import (
    DATA,
    NET,
    SOLVER,
    assert_error,
    call,
    contents,
    run,
    small_stage,
    small_voc,
    write_stage,
)

from fcn_repro import processes
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra, read_solverstate
from fcn_repro.lock import locked
from fcn_repro.net import Net
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.proto import TEST
from fcn_repro.recipe import training
from fcn_repro.recipe.folders import recorded_folder
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.solver import Solver


@pytest.fixture
def small(tmp_path, monkeypatch):
    """The stage `small`; its folder."""
    return small_stage(tmp_path, monkeypatch)[0]


def test_nothing_to_restore(small, capsys):
    done = call(capsys, 'train', 'small', '--weights', 'none', '--restore')
    assert_error(done, 'runs/small: the run has no snapshot')
    done = call(capsys, 'train', 'small', '--weights', 'none', '--restore', 'x.solverstate.h5')
    assert_error(done, 'x.solverstate.h5: cannot be read', 'Check the path')


def test_finished_runs_are_kept_extended_or_set_aside(small, tmp_path, capsys):
    done = call(capsys, 'train', 'small', '--weights', 'none', '--iterations', 3)
    assert done.status == 0 and not done.err
    run = tmp_path / 'runs/small'
    before = contents(run)

    done = call(capsys, 'train', 'small', '--weights', 'none', '--iterations', 2)
    assert done.status == 0 and 'trained already, up to iteration 3' in done.out
    assert {p: b for p, b in contents(run).items() if p.suffix == '.h5'} == {
        p: b for p, b in before.items() if p.suffix == '.h5'}

    before = contents(run)
    assert_error(call(capsys, 'train', 'small', '--weights', 'none'),
                 'runs/small: this run stopped at iteration 3 of 6')
    assert_error(call(capsys, 'train', 'small', '--restore', '--fresh'), 'restore', 'fresh')
    assert contents(run) == before

    done = call(capsys, 'train', 'small', '--restore')
    assert done.status == 0 and 'iteration 6/6' in done.out
    before = contents(run)
    for n in (1, 2):
        done = call(capsys, 'train', 'small', '--weights', 'none', '--fresh', '--iterations', 1)
        assert done.status == 0
        assert f'runs/small: the run that was there is now runs/small.old{n}\n' in done.out
    assert contents(tmp_path / 'runs/small.old1') == before
    assert len(list(run.glob('*.solverstate.h5'))) == 1


def test_a_run_keeps_its_data(tmp_path, capsys, monkeypatch):
    """A finished run is neither scored nor resumed on other data with as many classes."""
    small_voc(tmp_path / 'a', 3), small_voc(tmp_path / 'b', 3)
    monkeypatch.chdir(tmp_path)
    words = ['mini-fcn32s', '--weights', 'none', '--iterations', 1, '--classes', 3, '--voc']
    assert call(capsys, 'train', *words, 'a').status == 0
    before = contents(tmp_path / 'runs')
    for more in ([], ['--restore']):
        assert_error(call(capsys, 'train', *words, 'b', *more),
                     f'runs/mini-fcn32s: the run here has {tmp_path}/a, not b')
    assert_error(call(capsys, 'train', *words[:5]),
                 f'has {tmp_path}/a, and no folder of data is given')
    assert contents(tmp_path / 'runs') == before
    assert 'trained already' in call(capsys, 'train', *words, tmp_path / 'a').out

    shutil.rmtree(tmp_path / 'runs/mini-fcn32s/net')        # as a run on the shipped data
    assert_error(call(capsys, 'train', *words, 'b'), 'has the data of the shipped nets, not b')
    assert not (tmp_path / 'runs/mini-fcn32s/net').exists()
    assert call(capsys, 'train', *words, 'b', '--fresh').status == 0


def stop_parent(folder):
    """A run of three of the stage's six iterations."""
    shutil.rmtree('runs', ignore_errors=True)
    run(Solver(folder / 'solver.prototxt', prefix='runs/parent/train'), 3)


def test_restore_reaches_a_stopped_parent(tmp_path, capsys, monkeypatch):
    """The child of a run that was stopped says how to go on, and --restore does."""
    folder, _ = small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent', trains_parent=True)
    stop_parent(folder)
    assert_error(call(capsys, 'train', 'child'), 'runs/parent: this run stopped at iteration 3')
    done = call(capsys, 'train', 'child', '--restore')
    assert done.status == 0
    assert 'restored runs/parent/train_iter_3.solverstate.h5' in done.out
    assert done.out.index('parent: ') < done.out.index('child: 10 layers')
    assert_error(call(capsys, 'train', 'child', '--restore', '--iterations', 9, '--fresh'), 'fresh')

    stop_parent(folder)
    done = call(capsys, 'train', 'child', '--fresh')
    assert done.status == 0 and 'runs/parent: the run that was there is now' in done.out
    assert_error(call(capsys, 'train', 'child', '--restore', '--out', 'elsewhere'), 'elsewhere')


def test_a_parent_that_asks_to_be_trained(tmp_path, capsys, monkeypatch):
    """Stages out of order, a parent that was stopped: what to do is said, nothing is written."""
    folder, _ = small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent')
    assert_error(call(capsys, 'train', 'child'), 'runs/parent: child starts from parent, which has '
                 'not been trained')
    assert not (tmp_path / 'runs').exists()
    stop_parent(folder)
    with locked('runs/parent'):
        assert_error(call(capsys, 'train', 'child'), 'whose run is going on at iteration 3 of 6: '
                     f'process {os.getpid()} on {processes.host()}, since 20', 'Wait until it ends')
    assert_error(call(capsys, 'train', 'child'), 'whose run stopped at iteration 3 of 6',
                 'runs/parent/train_iter_3.caffemodel.h5')
    assert not (tmp_path / 'runs/child').exists()
    done = call(capsys, 'train', 'child', '--weights', 'runs/parent/train_iter_3.caffemodel.h5')
    assert done.status == 0
    shutil.rmtree('runs')
    assert call(capsys, 'train', 'parent', '--iterations', 2).status == 0   # all that was asked
    done = call(capsys, 'train', 'child', '--iterations', 2)
    assert done.status == 0 and ' copied, 0 cast, 0 left at filler' in done.out


def test_weights_say_where_they_come_from(tmp_path, capsys, monkeypatch):
    small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent', score_every=2)
    assert call(capsys, 'train', 'parent').status == 0
    done = call(capsys, 'train', 'child', '--seed', 3)
    assert done.status == 0 and done.out.count('val at iteration ') == 2
    parent, child = (read_extra(f'runs/{name}/train_iter_6.caffemodel.h5')
                     for name in ('parent', 'child'))
    assert (parent['stage'], parent['parent'], parent['seed'], parent['classes']) == (
        'parent', 'random weights', 0, 3)
    assert (child['stage'], child['parent_stage'], child['seed'], child['max_iter']) == (
        'child', 'parent', 3, 6)
    assert child['parent'] == 'runs/parent/train_iter_6.caffemodel.h5'
    assert child['data'] == parent['data'] and len(child['data']) == 64
    assert child['commit'] == parent['commit'] == child['parent_commit']


def test_scores_while_training(tmp_path, capsys, monkeypatch):
    """Each is that of its iteration's snapshot, and the training does not notice them."""
    fast = SOLVER.replace('base_lr: 0.01', 'base_lr: 0.1').replace('snapshot: 3', 'snapshot: 1')
    monkeypatch.setattr(training, 'commit', lambda: 'c0ffee')
    runs = {}
    for every in (1, 0):
        folder, voc = small_stage(tmp_path, monkeypatch, score_every=every)
        write_stage(folder, voc, NET, fast)
        done = call(capsys, 'train', 'small', '--fresh')
        assert done.status == 0
        lines = [line for line in done.out.splitlines() if line.startswith('val at iteration ')]
        assert len({line.partition(':')[2] for line in lines}) == len(lines) == 5 * every
        for k, line in enumerate(lines, 1):
            assert line == f'val at iteration {k}: {score(folder, k)}'
        runs[every] = {path: data for path, data in contents(tmp_path / 'runs/small').items()
                       if path.suffix == '.h5'}
    assert len(runs[1]) == 12 and runs[1] == runs[0]


def score(folder, k):
    """What a new val net gets with the snapshot of iteration k."""
    net = Net.read(folder / 'val.prototxt', TEST)
    net.copy_from(f'runs/small/train_iter_{k}.caffemodel.h5')
    m = evaluate_and_report(net, 'fresh', pictures=0).metrics
    return (f'pixel acc. {100 * m.pixel_accuracy:.1f}, mean acc. {100 * m.mean_accuracy:.1f}, '
            f'mean IU {100 * m.mean_iu:.1f}, f.w. IU {100 * m.fw_iu:.1f}')


def test_a_parent_of_other_data_is_refused(tmp_path, capsys, monkeypatch):
    _, voc = small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent')
    assert call(capsys, 'train', 'parent').status == 0
    weights = 'runs/parent/train_iter_6.caffemodel.h5'
    with h5py.File(weights, 'r+') as file:
        file['fcn_repro'].attrs['classes'] = 4
    assert_error(call(capsys, 'train', 'child'), f'{weights}: the parent was trained with '
                 'another number of classes: 4, here it is 3')
    with h5py.File(weights, 'r+') as file:
        file['fcn_repro'].attrs['classes'] = 3
    split = voc / 'ImageSets/Segmentation/train.txt'
    split.write_text('im3\n')
    assert_error(call(capsys, 'train', 'child'), f'{weights}: the parent was trained with '
                 'another data (hash)')
    assert not list((tmp_path / 'runs').glob('child/*.h5'))
    assert call(capsys, 'train', 'child', '--weights', weights).status == 0


def test_half_written_parent(tmp_path, capsys, monkeypatch):
    small_stage(tmp_path, monkeypatch, 'parent')
    small_stage(tmp_path, monkeypatch, 'child', parent='parent')
    assert call(capsys, 'train', 'parent').status == 0
    weights = tmp_path / 'runs/parent/train_iter_6.caffemodel.h5'
    weights.write_bytes(weights.read_bytes()[:3000])
    assert_error(call(capsys, 'train', 'child'), 'train_iter_6.caffemodel.h5', 'is truncated')


def test_parent_of_another_width(tmp_path, capsys, monkeypatch):
    small_stage(tmp_path, monkeypatch, 'parent')
    folder, voc = small_stage(tmp_path, monkeypatch, 'child', parent='parent')
    write_stage(folder, voc, NET.replace('num_output: 4', 'num_output: 6'))
    assert call(capsys, 'train', 'parent').status == 0
    assert_error(call(capsys, 'train', 'child'), "layer 'conv1'", '(4, 3, 3, 3)', '(6, 3, 3, 3)')
    assert not list((tmp_path / 'runs').glob('child/*.h5'))


def test_a_solver_of_ones_own(tmp_path, capsys, monkeypatch):
    """Any file; its nets: in the working directory, beside it, then those of the stage."""
    folder, _ = small_stage(tmp_path, monkeypatch, 'small')
    own = tmp_path / 'mine' / 'fast_rates.prototxt'
    own.parent.mkdir()
    own.write_text((folder / 'solver.prototxt').read_text().replace('base_lr: ', 'base_lr: 0.5 # '))
    done = call(capsys, 'train', 'small', '--weights', 'none', '--solver', own, '--iterations', 2)
    mine = Run('small', Options(solver=str(own)))
    assert done.status == 0 and mine.folder == Path('runs/small-fast-rates'), done
    assert 'base_lr: 0.5' in read_solverstate(mine.newest_state()).texts['solver']
    (own.parent / 'train.prototxt').write_text('layer { }')     # beside it comes before the stage's
    assert_error(call(capsys, 'train', 'small', '--weights', 'none', '--solver', own, '--fresh'),
                 'mine/train.prototxt')
    done = call(capsys, 'train', 'small', '--weights', 'none', '--solver', 'mine/no.prototxt')
    assert_error(done, "no solver 'mine/no.prototxt'",
                 'or with the path of a solver')


def test_solver_of_a_missing_net(tmp_path, capsys, monkeypatch):
    folder, _ = small_stage(tmp_path, monkeypatch, 'small')
    (folder / 'train.prototxt').unlink()
    assert_error(call(capsys, 'train', 'small'), "there is no net 'train.prototxt'")


def test_restore_with_a_changed_solver(tmp_path, capsys, monkeypatch):
    """Refused with the difference, unless it is forced."""
    folder, _ = small_stage(tmp_path, monkeypatch, 'small')
    assert call(capsys, 'train', 'small', '--iterations', 3).status == 0
    solver = folder / 'solver.prototxt'
    solver.write_text(solver.read_text().replace('base_lr: 0.01', 'base_lr: 0.002'))
    done = call(capsys, 'train', 'small', '--restore')
    assert done.status == 1 and '-base_lr: 0.01' in done.err and '+base_lr: 0.002' in done.err
    assert '--force' in done.err
    done = call(capsys, 'train', 'small', '--restore', '--force')
    assert done.status == 0 and 'iteration 6/6' in done.out


def test_restore_with_a_changed_net(small, tmp_path, capsys):
    """So it is; but for the log, nothing is written."""
    assert call(capsys, 'train', 'small', '--iterations', 3).status == 0
    write_stage(tmp_path / 'prototxt/small', tmp_path / 'voc', NET.replace(
        'type: "Dropout" bottom', 'type: "Dropout" dropout_param { dropout_ratio: 0.25 } bottom'))
    before = contents(tmp_path / 'runs')
    done = call(capsys, 'train', 'small', '--restore')
    assert done.status == 1 and done.err.startswith(
        'error: runs/small/train_iter_3.solverstate.h5: net, solver or data are not those')
    assert '@@ layer "drop1" @@' in done.err and '+    dropout_ratio: 0.25\n' in done.err
    assert '--force' in done.err
    log = Path('small/train.log')
    assert contents(tmp_path / 'runs') | {log: before[log]} == before
    done = call(capsys, 'train', 'small', '--restore', '--force')
    assert done.status == 0 and 'although it differs:\n' in done.out
    assert '+    dropout_ratio: 0.25\n' in done.out and 'iteration 6/6' in done.out


def test_mnist_has_runs_and_scenes_of_its_own():
    options = Options(mnist='idx')
    assert Run('mini-fcn32s', options).folder == Path('runs/mini-fcn32s-mnist')
    assert Run('mini-fcn32s').folder == Path('runs/mini-fcn32s')
    replaced = options.overrides
    assert replaced['DigitDataLayer'] == {'mnist': 'idx'}
    assert replaced['VOCSegDataLayer'] == {'voc_dir': 'data/mnist/VOC'}


def test_mnist_run_is_evaluated(small, tmp_path, capsys):
    """`make eval MNIST=…` scores the run and the scenes of `make train-fcn32s MNIST=…`."""
    words = ['eval_voc', '--stage', 'small', '--mnist', 'idx']
    assert_error(call(capsys, *words), 'runs/small-mnist: the run has no weights')


@pytest.mark.parametrize('text', [
    'name: "n"', DATA % ('x', 'val'), DATA.replace("'%s'", '5', 1) % 'val',
    DATA.replace("'%s'", "'a\\\\x00'", 1) % 'val'])
def test_the_data_that_a_run_recorded(tmp_path, text):
    """FcnError, with the file, where it names no folder."""
    (tmp_path / 'val.prototxt').write_text(text)
    if "'x'" in text:
        assert recorded_folder(tmp_path / 'val.prototxt') == 'x'
    else:
        with pytest.raises(FcnError, match=r'val\.prototxt: .*names no voc_dir'):
            recorded_folder(tmp_path / 'val.prototxt')
