"""The staged comparison, killed while it trains, scores and writes: begun again as it was, it ends
in the very files of one that was left alone. As a script, this file is that comparison."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
import torch
from small_runs import NET, ROOT, SOLVER, contents, small_voc, write_stage

from fcn_repro.predict import evaluation, labels
from fcn_repro.recipe import stages, training
from fcn_repro.recipe.comparison import compare
from fcn_repro.recipe.options import Options
from fcn_repro.solver import Solver

PARENTS = {'parent': None, 'fcn32s': 'parent', 'fcn16s': 'fcn32s'}
KILLS = 20
HOW = 'median_seconds', 'seconds', 'peak_memory', 'resumed'     # of metrics.json: not what


# The process that is killed

def comparison():
    """The comparison of the small stages, below the folder where we are."""
    for name, parent in PARENTS.items():
        stages.STAGES[f'small-{name}'] = stages.Stage(
            family='small', net=name, parent=parent and f'small-{parent}',
            trains_parent=parent == 'parent', score_every=10)
    training.commit = lambda: 'c0ffee'
    torch.set_num_threads(1)
    compare('small', Options(pictures=2))


def watch(owner, name, event):
    """Have event(name) called before each call of a function."""
    do = getattr(owner, name)

    def call(*args, **options):
        event(name)
        return do(*args, **options)
    setattr(owner, name, call)


def killed_at_every_step():
    """The comparison in folder after folder, killed before one step after the other that reaches
    the disk or a net, and then begun again. No thread runs here, so that it can be forked."""
    for step in count():
        os.mkdir(str(step))
        hit = in_a_process(str(step), step)
        print(step, hit, in_a_process(str(step), -1), flush=True)
        if not hit:
            break


def in_a_process(folder, step):
    """Do the comparison in a process of its own that is killed at that step (-1: none); its wait
    status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        os.chdir(folder)
        os.dup2(os.open('out', os.O_CREAT | os.O_WRONLY | os.O_APPEND), 1)
        seen = count()

        def event(name):
            if next(seen) == step:
                os.kill(os.getpid(), signal.SIGKILL)
        for owner, name in ((os, 'replace'), (os, 'fsync'), (Path, 'mkdir'), (Solver, 'iterate'),
                            (labels, 'predict'), (evaluation, 'save_rows')):
            watch(owner, name, event)
        comparison()
        os._exit(0)
    finally:
        os._exit(1)


# What is left, and what it comes to

@pytest.fixture
def begin(tmp_path):
    """A function that starts this file as a script, in a folder of tmp_path."""
    def begin(folder, last, *words):
        if not (tmp_path / 'voc').exists():
            small_voc(tmp_path / 'voc')
        solver = SOLVER.replace('max_iter: 6', f'max_iter: {last}')
        for name in PARENTS:
            write_stage(tmp_path / f'prototxt/small-{name}', tmp_path / 'voc', NET,
                        solver.replace('snapshot: 3', 'snapshot: 2'))
        (tmp_path / folder).mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, __file__, *words], cwd=tmp_path / folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, 'PYTHONPATH': f'{ROOT}:{ROOT}/tests/support',
                 'OMP_NUM_THREADS': '1'})
    return begin


def finish(process):
    """Let a process end well; what it said."""
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def results(folder):
    """{path: content} of a comparison, without its log and how it came about: times, and the images
    that an interrupted call had scored. Of a report, which draws times, that it is whole."""
    found = {str(path): data for path, data in contents(folder / 'runs').items()
             if path.suffix != '.log'}
    for path, data in found.items():
        if path.endswith('metrics.json'):
            found[path] = {key: value for key, value in json.loads(data).items()
                           if key not in HOW}
        elif path.endswith(('curves.csv', 'images.csv')):
            rows = [{key: value for key, value in row.items() if 'seconds' not in key}
                    for row in csv.DictReader(data.decode().splitlines())]
            assert rows
            found[path] = rows
        elif path.endswith('report.html'):
            found[path] = data.rstrip().endswith(b'</html>')
            assert found[path]
    return found


def assert_equal_results(folder, whole, last):
    """Of a comparison that was killed and `whole`, of one that was not. What a killed process was
    writing is gone; a run that was killed after its last weights and before their state is
    finished without it."""
    ours = results(folder)
    assert [path for path in ours if ours[path] != whole.get(path)] == []
    assert all(path.endswith(f'_iter_{last}.solverstate.h5') for path in set(whole) - set(ours))


def events(lines):
    """The run that each event which a comparison prints belongs to."""
    found, run = [], ''
    for line in lines:
        run = (re.findall(r'^small-(\w+): ', line) or [run])[0]
        found += [run] if line.startswith('event ') else []
    return found


def killed(process, number, more):
    """Kill a process `more` seconds after so many events; the run that it was in then, None
    where it had ended."""
    said = []
    while len(events(said)) <= number and (line := process.stdout.readline()):
        said.append(line)
    time.sleep(more)
    ran = process.poll() is None
    process.kill()
    said += [line for line in process.stdout if line.endswith('\n')]
    process.wait()
    assert ran or process.returncode == 0, ''.join(said)
    return events(said)[-1] if ran else None


@pytest.mark.slow
def test_killed_at_20_random_moments(begin, tmp_path):
    """Some in each of the runs."""
    finish(begin('whole', 50))
    random_, hits = random.Random(20), []
    for _ in range(KILLS):
        moment = random_.randint(0, 32), random_.uniform(0, 0.05)
        hits.append(killed(begin('killed', 50), *moment))
    landed = [hit for hit in hits if hit is not None]
    assert len(landed) >= 15
    finish(begin('killed', 50))
    whole = results(tmp_path / 'whole')
    assert sum(path.endswith('.h5') for path in whole) == 2 * 25 * len(PARENTS)
    assert_equal_results(tmp_path / 'killed', whole, 50)
    assert set(landed) >= set(PARENTS)


@pytest.mark.slow
def test_killed_at_every_step(begin, tmp_path):
    """The next comparison resumes or restarts each interrupted run; all have two snapshots."""
    said = [line.split() for line in finish(begin('every', 3, 'every')).splitlines()]
    *hits, last = said
    assert all(hit[1:] == [str(int(signal.SIGKILL)), '0'] for hit in hits), said
    assert last[1:] == ['0', '0'] and len(hits) > 60
    whole = results(tmp_path / 'every' / last[0])
    for step, *_ in hits:
        assert_equal_results(tmp_path / 'every' / step, whole, 3)


if __name__ == '__main__':
    stages.PROTOTXT = Path('../prototxt').resolve()
    if sys.argv[1:]:
        killed_at_every_step()
    else:
        for owner, name in ((Solver, 'iterate'), (labels, 'predict'), (os, 'replace')):
            watch(owner, name, lambda name: print('event', name, flush=True))
        print('event begins', flush=True)
        comparison()
