"""The staged comparison: its rows, its table over seeds, its picture, and going on with it."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from small_runs import SIZE, assert_error, call, contents, run, small_stage, small_voc

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_extra
from fcn_repro.proto.prototxt import read_solver
from fcn_repro.recipe import comparison
from fcn_repro.recipe.comparison import ROWS, bounds, cell, compare, figure_iu, rows_of, run_of
from fcn_repro.recipe.models import MODELS
from fcn_repro.recipe.models.mini import ITERATIONS
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import ON, STAGES, shipped
from fcn_repro.report.pictures import GAP, LINE
from fcn_repro.report.refinement import refinement
from fcn_repro.solver import Solver


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Three small stages, each from the one before; Options to compare them."""
    for stage, parent in (('fcn32s', None), ('fcn16s', 'fcn32s'), ('fcn8s', 'fcn16s')):
        small_stage(tmp_path, monkeypatch, f'small-{stage}', parent=parent and f'small-{parent}')
    return Options(iterations=2, pictures=2)


def lines(table):
    """{label: its cells} of a table."""
    rows = [[c.strip() for c in line.strip('|').split('|')] for line in table.splitlines()
            if line.startswith('| FCN')]
    return {row[0]: row[1:] for row in rows}


def test_table_of_two_seeds(family, tmp_path, capsys):
    table = compare('small', family, seeds=2)
    cells = lines(table)
    assert list(cells) == ['FCN-32s', 'FCN-16s', 'FCN-8s']
    for label, row in cells.items():
        assert row[:2] == ['2', '0.01'] and all(re.fullmatch(r'\d+\.\d ±\d+\.\d', value)
                                                for value in row[2:6])
        scored = json.loads((tmp_path / 'runs/staged-small/table.json').read_text())[label]
        stage = label.replace('FCN-', 'small-fcn')
        for seed, folder in zip(scored, ('runs', 'runs/seed1'), strict=True):
            metrics = json.loads((tmp_path / folder / stage / 'eval/metrics.json').read_text())
            assert seed['mean_iu'] == 100 * metrics['mean_iu']
        assert row[4] == cell([seed['mean_iu'] for seed in scored])
    assert [row[6] for row in cells.values()] == ['59.4', '62.4', '62.7']
    assert 'stride 128: ' in table and '32: ' in table
    assert (tmp_path / 'runs/staged-small/table.md').read_text() == table + '\n'
    sheet = Image.open(tmp_path / 'runs/staged-small/refinement.png')
    assert sheet.height == LINE + 2 * (LINE + 5 * SIZE[0] + GAP) + LINE       # five times as large

    before = contents(tmp_path / 'runs')
    capsys.readouterr()
    assert compare('small', family, seeds=2) == table
    assert capsys.readouterr().out.count('there already') == 6
    assert contents(tmp_path / 'runs') == before


def test_a_stopped_run_is_gone_on_with(family, tmp_path, capsys):
    run(Solver(shipped('small-fcn32s') / 'solver.prototxt', prefix='runs/small-fcn32s/train'), 1)
    compare('small', Options(pictures=1))
    out = capsys.readouterr().out
    assert 'restored runs/small-fcn32s/train_iter_1.solverstate.h5' in out
    shutil.rmtree(tmp_path / 'runs/small-fcn16s/eval')          # trained, but not scored
    compare('small', Options(pictures=1))
    assert 'runs/small-fcn16s: trained already' in capsys.readouterr().out


def test_a_stopped_run_of_another_parent(family, tmp_path, capsys):
    """It is not resumed: the table would be refused when it is made again."""
    for stage, count in (('fcn32s', 2), ('fcn16s', 4)):
        assert call(capsys, 'train', f'small-{stage}', '--iterations', count).status == 0
    for path in (tmp_path / 'runs/small-fcn16s').glob('*_iter_4.*'):
        path.unlink()
    assert call(capsys, 'train', 'small-fcn32s', '--fresh', '--iterations', 4).status == 0
    before = contents(tmp_path / 'runs')
    with pytest.raises(FcnError, match='runs/small-fcn16s: the run here has another parent'):
        compare('small', replace(family, iterations=4))
    assert contents(tmp_path / 'runs') == before


@pytest.fixture
def narrow(tmp_path, monkeypatch):
    """The scratch nets with a few channels; their solvers, rows and files are the shipped ones."""
    small_voc(tmp_path / 'data')
    monkeypatch.chdir(tmp_path)
    for name in ('scratch-fcn32s', 'scratch-fcn16s', 'scratch-fcn8s'):
        model = MODELS[name]
        monkeypatch.setitem(MODELS, name, replace(
            model, settings={**model.settings, 'widths': (2,) * 5, 'fc': 4}))


def test_command_line(narrow, tmp_path, capsys):
    """A family as it is shipped, on a data set of one's own: each row has its solver's rate, starts
    from where it says, and is there when the words are said again."""
    words = ['--family', 'scratch', '--voc', 'data', '--classes', 3, '--iterations', 2,
             '--pictures', 1, '--keep', 1, '--runs', 'all']
    done = call(capsys, 'staged', *words)
    assert done.status == 0 and not done.err, done
    cells = lines(done.out)
    assert list(cells) == [row.label for row in rows_of('scratch')] and len(cells) == 7
    for row in rows_of('scratch'):
        rate = read_solver(shipped(row.stage) / row.solver).message.base_lr
        assert cells[row.label][:2] == ['2', f'{rate:.3g}']
        assert f'== {row.label}, seed 0: all/{row.stage}' in done.out
    assert done.out.count('restored') == 0 and re.search(r'\nin \d+ s\n$', done.out)
    parents = {folder.name: read_extra(folder / 'train_iter_2.caffemodel.h5')['parent']
               for folder in (tmp_path / 'all').glob('scratch-*')}
    assert parents == {
        'scratch-fcn32s': 'random weights',
        **{name: f'all/scratch-{parent}/train_iter_2.caffemodel.h5' for name, parent in (
            ('scratch-fcn32s-on', 'fcn32s'), ('scratch-fcn16s', 'fcn32s'),
            ('scratch-fcn16s-slow', 'fcn32s'), ('scratch-fcn16s-on', 'fcn16s'),
            ('scratch-fcn8s', 'fcn16s'), ('scratch-fcn8s-slow', 'fcn16s-slow'))}}
    assert sorted(path.name for path in (tmp_path / 'all/staged-scratch').iterdir()) == [
        'refinement.png', 'table.json', 'table.md']
    assert (tmp_path / 'all/staged-scratch/table.md').read_text() in done.out
    again = call(capsys, 'staged', *words)
    assert again.status == 0 and again.out.count('there already') == 7
    assert lines(again.out) == cells


def test_wrong_words(family, capsys, monkeypatch):
    monkeypatch.setattr(comparison, 'ROWS', ())
    assert_error(call(capsys, 'staged', '--seeds', 0), '0 seeds', '1 or more')


def test_every_row_has_its_stage_and_length():
    """The controls are as long as what they are compared with; the paper's rate is a hundredth."""
    for name in ('mini', 'voc'):
        for row in rows_of(name):
            assert row.stage in STAGES and row.stage in MODELS
    assert len(rows_of('mini')) == len(ROWS)

    def solver(stage, file='solver.prototxt'):
        return read_solver(shipped(stage) / file).message
    for stage, following in (('mini-fcn32s', 'mini-fcn16s'), ('mini-fcn16s', 'mini-fcn8s')):
        on, then = solver(stage, ON), solver(following)
        assert (on.max_iter, on.base_lr, on.iter_size) == (then.max_iter, then.base_lr, 1)
        slow = solver(following, 'solver_slow.prototxt')
        assert slow.max_iter == then.max_iter
    assert solver('mini-fcn16s', 'solver_slow.prototxt').base_lr == pytest.approx(
        solver('mini-fcn32s').base_lr / 100)
    assert solver('mini-fcn8s-atonce').max_iter == sum(ITERATIONS[stride] for stride in (32, 16, 8))
    assert solver('voc-fcn8s-atonce').max_iter == 300000


def test_runs_of_one_seed_and_solver():
    atonce, on = (next(row for row in rows_of('voc') if key in (row.stage, row.solver))
                  for key in ('voc-fcn8s-atonce', ON))
    given = Options(weights='vgg16.caffemodel', runs='r')
    assert run_of(given, 0, atonce).options.weights == 'vgg16.caffemodel'
    assert run_of(given, 0, on).options.weights is None         # its own result
    second = run_of(given, 2, on)
    assert second.folder == Path('r/seed2/voc-fcn32s-on') and second.options.seed == 2
    assert run_of(given, 0, on).options.seed is None


def test_bounds_are_those_of_the_labels(family):
    bound = bounds(Run('small-fcn32s', Options(classes=3, voc='voc')))
    assert list(bound) == [128, 64, 32, 16, 8, 4]
    assert all(0 < value <= 100 for value in bound.values())


def test_figure_iu_is_that_of_the_outlines():
    """Names do not count: pixels given the wrong digit are still inside."""
    assert figure_iu([[5, 1, 0], [2, 3, 4], [0, 0, 5]]) == pytest.approx(100 * 12 / 15)


def test_refinement_refuses(tmp_path):
    with pytest.raises(FcnError, match='0 rows'):
        refinement([], ['a'], None, tmp_path / 'x.png')
