"""Two runs in one folder: the second ends before anything is changed, and says who is there."""

import os
import signal

import pytest
from small_runs import assert_error, call, contents, small_stage

from fcn_repro import processes
from fcn_repro.errors import FcnError
from fcn_repro.lock import locked
from fcn_repro.recipe import comparison, training
from fcn_repro.recipe.comparison import compare
from fcn_repro.recipe.iterating import stopped_by_signals
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.training import train


@pytest.fixture
def run(tmp_path, monkeypatch):
    small_stage(tmp_path, monkeypatch, 'small-fcn32s')
    return tmp_path / 'runs/small-fcn32s'


@pytest.mark.parametrize('more', [[], ['--restore'], ['--fresh']])
def test_train(run, capsys, more):
    assert call(capsys, 'train', 'small-fcn32s', '--iterations', 3).status == 0
    before = contents(run)
    assert not (run / '.lock').exists()
    with locked(run):
        done = call(capsys, 'train', 'small-fcn32s', *more)
        assert_error(done, f'runs/small-fcn32s: another run is using this folder: process '
                     f'{os.getpid()} on {processes.host()}, since 20', 'another --out')
    assert contents(run) == before and os.listdir('runs') == ['small-fcn32s']


def test_the_remedies(run, capsys):
    """Another --out."""
    with locked(run):
        assert call(capsys, 'train', 'small-fcn32s', '--out', 'other').status == 0
    assert call(capsys, 'train', 'small-fcn32s').status == 0
    with locked(run / 'eval'):
        assert_error(call(capsys, 'eval_voc', '--stage', 'small-fcn32s'),
                     'small-fcn32s/eval: another run is using', 'another --out')
        assert call(capsys, 'eval_voc', '--stage', 'small-fcn32s', '--out', 'scores').status == 0


def test_the_remedy_of_the_comparison(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(comparison, 'compare_rows', lambda *args: 'a table')
    with locked('runs/staged-mini'):
        assert_error(call(capsys, 'staged'), 'runs/staged-mini: another run', 'another --runs')
        assert call(capsys, 'staged', '--runs', 'other').status == 0


def test_compare(run):
    with locked('runs/staged-small'), pytest.raises(FcnError, match='another run is using'):
        compare('small', Options(pictures=0))
    with locked(run), pytest.raises(FcnError, match='small-fcn32s: another run is using'):
        compare('small', Options(pictures=0))
    assert not os.path.exists('runs')
    assert compare('small', Options(pictures=0))
    assert sorted(os.listdir('runs/staged-small')) == ['table.json', 'table.md']


def test_fresh(run):
    """The earlier run's folder is free again, the new one locked while it trains."""
    seen, iterate = [], training.iterate

    def watch(run_, *args):
        seen.append((os.listdir('runs'), (run / '.lock').exists(),
                     (run.parent / 'small-fcn32s.old1/.lock').exists()))
        return iterate(run_, *args)
    train(Run('small-fcn32s', Options(iterations=1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, 'iterate', watch)
        train(Run('small-fcn32s', Options(iterations=1, fresh=True)))
    (there, new, old), = seen
    assert sorted(there) == ['small-fcn32s', 'small-fcn32s.old1'] and new and not old
    assert not (run / '.lock').exists()


def test_a_run_that_cannot_begin_leaves_no_folder(run):
    with pytest.raises(FcnError, match='no snapshot to restore'):
        train(Run('small-fcn32s', Options(restore='newest')))
    assert not os.path.exists('runs')


# Signals

class Stopped:
    def __init__(self):
        self.count = 0

    def request_stop(self):
        self.count += 1


@pytest.mark.parametrize('ignored, expected', [(False, 1), (True, 0)])
def test_sighup_stops_a_run_unless_nohup_is_to_keep_it(ignored, expected):
    solver = Stopped()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with stopped_by_signals(solver):
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == (signal.SIG_IGN if ignored else signal.SIG_DFL)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert solver.count == expected
