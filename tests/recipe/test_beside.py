"""Runs beside each other: the plan, what a failure or a signal takes with it, real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import small_stage

from fcn_repro.errors import FcnError
from fcn_repro.paper import experiment, nets
from fcn_repro.paper.catalogue import EXPERIMENTS
from fcn_repro.paper.experiment import Setting, Stop, train_rows
from fcn_repro.paper.outcome import Table
from fcn_repro.recipe import beside
from fcn_repro.recipe.beside import DATA, PARENT, RUN, Task, plan, train_beside
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.stages import ON

# Read by a child's Python before anything else: it has the small stages, too
STAGES = '''
from fcn_repro.recipe import stages
from pathlib import Path
stages.PROTOTXT = Path({prototxt!r})
for name, parent in {stages!r}.items():
    family, _, net = name.rpartition('-')
    stages.STAGES[name] = stages.Stage(family=family, net=net, parent=parent)
'''
NAMES = {'small-a': None, 'small-b': 'small-a', 'small-c': None}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Three small stages, also for children; B starts from A. Their runs by name."""
    for name, parent in NAMES.items():
        small_stage(tmp_path, monkeypatch, name, parent=parent)
    hook = tmp_path / 'hook'
    hook.mkdir()
    (hook / 'sitecustomize.py').write_text(STAGES.format(
        prototxt=str(tmp_path / 'prototxt'), stages=NAMES))
    monkeypatch.setenv('PYTHONPATH', str(hook))
    return {name: Run(name, Options(iterations=2, pictures=1, keep=1)) for name in NAMES}


def test_runs_train_in_processes_of_their_own(small, tmp_path, capsys):
    """B, which is asked for first, waits for A; each has one of the threads; a second call has
    nothing to do."""
    runs = [small['small-b'], small['small-a'], small['small-c']]
    train_beside(runs, 2, {}, tmp_path / 'logs')
    assert all(run.finished and (run.folder / 'eval/metrics.json').exists() for run in runs)
    said = capsys.readouterr().out
    assert said.startswith('3 steps, 2 beside each other with ')
    assert '3 copied' in (tmp_path / 'logs/runs-small-b.txt').read_text()
    train_beside(runs, 2, {}, tmp_path / 'logs')
    assert capsys.readouterr().out == ''


def test_a_failure_takes_those_that_start_from_it(small, tmp_path, capsys):
    """The others are trained, the log has the error, and asking for the row raises it."""
    solver = tmp_path / 'prototxt/small-a/solver.prototxt'
    solver.write_text(solver.read_text().replace('base_lr', 'base_rate'))
    runs = list(small.values())
    train_beside(runs, 2, {}, tmp_path / 'logs')
    said = capsys.readouterr().out
    assert 'runs/small-a: failed after' in said and 'so there is no runs/small-b' in said
    assert 'base_rate' in (tmp_path / 'logs/runs-small-a.txt').read_text()
    assert [bool(run.snapshots()) for run in runs] == [False, False, True]
    with pytest.raises(FcnError, match='base_rate'):
        beside.result(runs[0], {})


def test_a_stopped_process_stops_all(small, tmp_path, monkeypatch):
    """What `stop` does to a process: it ends in order, with a snapshot, and can be resumed; so does
    it when this process is gone."""
    run = Run('small-c', Options(iterations=10 ** 6, pictures=1, keep=1))
    process = beside.Process(Task('c', RUN, run), {}, tmp_path, 1)
    wait_for(lambda: 'iteration 50/' in process.log.read_text(), process.child)
    process.stop()
    assert process.poll() == beside.STOPPED and 'stopped at iteration' in process.log.read_text()
    assert run.stopped
    monkeypatch.setattr(beside, 'POLL', 0.01)
    with pytest.raises(KeyboardInterrupt):
        train_beside([run], 1, {}, stopping(monkeypatch, tmp_path))


def wait_for(seen, child):
    end = time.monotonic() + 600
    while not seen():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def stopping(monkeypatch, folder):
    """Have the process get a signal once it trains; a folder for logs."""
    stopped = []

    class Stopped(beside.Process):
        def poll(self):
            if 'iteration ' in self.log.read_text() and not stopped:
                stopped.append(os.kill(self.child.pid, signal.SIGINT))
            return super().poll()
    monkeypatch.setattr(beside, 'Process', Stopped)
    return folder / 'logs'


def test_a_process_ends_with_the_one_that_began_it(small, tmp_path):
    """Even if that is killed."""
    script = tmp_path / 'parent.py'
    script.write_text(f'''
import os, time
from pathlib import Path
from fcn_repro.recipe.beside import Process, RUN, Task
from fcn_repro.recipe.options import Options
from fcn_repro.recipe.runs import Run
process = Process(Task('c', RUN, Run('small-c', Options(iterations=10 ** 6))), {{}},
                  Path({str(tmp_path)!r}), 1)
print(process.child.pid, flush=True)
time.sleep(600)
''')
    root = str(Path(__file__).parents[2])
    parent = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True,
                              env=os.environ | {'PYTHONPATH': os.pathsep.join(
                                  [os.environ['PYTHONPATH'], root])})
    pid, log = int(parent.stdout.readline()), tmp_path / 'c.txt'
    wait_for(lambda: 'iteration 50/' in log.read_text(), parent)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 600
    while 'stopped at iteration' not in log.read_text():
        assert time.monotonic() < end
        time.sleep(0.05)
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            assert time.monotonic() < end
            time.sleep(0.05)


def test_the_plan_of_the_papers_nets(tmp_path, monkeypatch):
    """A classifier once for all that start from it, data before runs, a stage before what starts
    from it or trains it on, late fusion after both of its streams."""
    monkeypatch.chdir(tmp_path)
    names = 'mini-fcn16s', 'mini-fcn32s', 'mini-nyud-fcn32s-color', 'mini-nyud-fcn32s-hha', \
        'mini-nyud-fcn32s-color-hha'
    runs = [Run(name) for name in names] + [Run('mini-fcn32s', Options(solver=ON))]
    tasks = plan(runs)
    after = {name: set(task.after) for name, task in tasks.items()}
    assert after.pop('data of scenes') == after.pop('data of nyud') == set()
    assert after == {
        'runs/mini-classifier': set(),
        'runs/mini-fcn32s': {'data of scenes', 'runs/mini-classifier'},
        'runs/mini-fcn16s': {'data of scenes', 'runs/mini-fcn32s'},
        'runs/mini-fcn32s-on': {'data of scenes', 'runs/mini-fcn32s'},
        'runs/mini-nyud-fcn32s-color': {'data of nyud', 'runs/mini-classifier'},
        'runs/mini-nyud-fcn32s-hha': {'data of nyud', 'runs/mini-classifier'},
        'runs/mini-nyud-fcn32s-color-hha': {
            'data of nyud', 'runs/mini-nyud-fcn32s-color', 'runs/mini-nyud-fcn32s-hha'}}
    names = list(tasks)
    assert all(names.index(each) < names.index(name)
               for name, task in tasks.items() for each in task.after)
    assert {task.action for name, task in tasks.items() if name.startswith('data')} == {DATA}
    assert tasks['runs/mini-classifier'].action == PARENT


@pytest.mark.parametrize('name', [name for name, each in EXPERIMENTS.items() if each.lines])
def test_all_rows_of_an_experiment_are_planned(tmp_path, monkeypatch, name):
    """What its miniature asks for, row by row, is what is trained beforehand."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nets, 'graphs', lambda setting: Table('', (), ()))
    asked, planned = [], []
    monkeypatch.setattr(experiment, 'missing', lambda run: asked.append(run) or ('nothing',))
    setting = Setting(Options(), mini=True, train=True, jobs=2)
    try:
        EXPERIMENTS[name].run(setting)
    except (FcnError, Stop) as error:
        raise AssertionError('the rows were not all asked for') from error
    monkeypatch.setattr(experiment, 'missing', lambda run: ())
    monkeypatch.setattr(experiment, 'train_beside', lambda runs, *_: planned.extend(runs))
    train_rows(EXPERIMENTS[name].rows(True), setting)
    assert {run.folder for run in asked} == {run.folder for run in planned} != set()
    assert {(run.name, run.options.iterations) for run in asked} == \
        {(run.name, run.options.iterations) for run in planned}


def test_jobs():
    with pytest.raises(FcnError, match='0 runs beside each other'):
        train_beside([], 0, {}, Path('logs'))
    setting = Setting(Options(), mini=True, train=True, jobs=0)
    with pytest.raises(FcnError, match='0 runs beside each other'):
        train_rows(EXPERIMENTS['table2'].rows(True), setting)
    assert beside.default_jobs([Run('mini-fcn32s', Options(device='cuda'))]) == 1
    assert 1 <= beside.default_jobs([Run('mini-fcn32s', Options(device='cpu'))]) <= beside.MOST
