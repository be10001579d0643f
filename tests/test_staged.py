"""The staged comparison: its rows, its table over seeds, its picture, and going on with it."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from small_runs import SIZE, assert_error, call, contents, small_stage

from fcn_repro import comparison
from fcn_repro.comparison import ROWS, bounds, cell, compare, figure_iu, for_seed, rows_of
from fcn_repro.errors import FcnError
from fcn_repro.models import MINI_ITER, MODELS
from fcn_repro.prototxt import read_solver
from fcn_repro.report.refinement import HEAD, refinement
from fcn_repro.solver import Solver
from fcn_repro.stages import ON, STAGES, Options, run_folder, shipped


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
        run = label.replace('FCN-', 'small-fcn')
        for seed, folder in zip(scored, ('runs', 'runs/seed1'), strict=True):
            metrics = json.loads((tmp_path / folder / run / 'eval/metrics.json').read_text())
            assert seed['mean_iu'] == 100 * metrics['mean_iu']
        assert row[4] == cell([seed['mean_iu'] for seed in scored])
    assert [row[6] for row in cells.values()] == ['59.4', '62.4', '62.7']
    assert 'stride 128: ' in table and '32: ' in table
    assert (tmp_path / 'runs/staged-small/table.md').read_text() == table + '\n'
    sheet = Image.open(tmp_path / 'runs/staged-small/refinement.png')
    assert sheet.height == HEAD + 2 * SIZE[0] + 6

    before = contents(tmp_path / 'runs')
    capsys.readouterr()
    assert compare('small', family, seeds=2) == table
    assert capsys.readouterr().out.count('there already') == 6
    assert contents(tmp_path / 'runs') == before


def test_a_stopped_run_is_gone_on_with(family, tmp_path, capsys):
    solver = Solver(shipped('small-fcn32s') / 'solver.prototxt', prefix='runs/small-fcn32s/train')
    for _ in solver.run(1):
        pass
    compare('small', Options(pictures=1))
    out = capsys.readouterr().out
    assert 'restored runs/small-fcn32s/train_iter_1.solverstate.h5' in out
    shutil.rmtree(tmp_path / 'runs/small-fcn16s/eval')          # trained, but not scored
    compare('small', Options(pictures=1))
    assert 'runs/small-fcn16s: trained already' in capsys.readouterr().out


def test_command_line(family, capsys, monkeypatch):
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
    assert solver('mini-fcn8s-atonce').max_iter == sum(MINI_ITER.values())
    assert solver('voc-fcn8s-atonce').max_iter == 300000


def test_runs_of_one_seed_and_solver():
    atonce, on = (next(row for row in rows_of('voc') if key in (row.stage, row.solver))
                  for key in ('voc-fcn8s-atonce', ON))
    given = Options(weights='vgg16.caffemodel', runs='r')
    assert for_seed(given, 0, atonce).weights == 'vgg16.caffemodel'
    assert for_seed(given, 0, on).weights is None               # its own result
    second = for_seed(given, 2, on)
    assert run_folder(on.stage, second) == Path('r/seed2/voc-fcn32s-on') and second.seed == 2
    assert for_seed(given, 0, on).seed is None


def test_bounds_are_those_of_the_labels(family):
    bound = bounds('small-fcn32s', Options(classes=3, voc='voc'))
    assert list(bound) == [128, 64, 32, 16, 8, 4]
    assert all(0 < value <= 100 for value in bound.values())


def test_figure_iu_is_that_of_the_outlines():
    """Names do not count: pixels given the wrong digit are still inside."""
    assert figure_iu([[5, 1, 0], [2, 3, 4], [0, 0, 5]]) == pytest.approx(100 * 12 / 15)


def test_refinement_refuses(tmp_path):
    with pytest.raises(FcnError, match='0 rows'):
        refinement([], ['a'], tmp_path / 'x.png')
