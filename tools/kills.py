#!/usr/bin/env python3
"""Kill small training runs at random moments, start pairs of runs in one folder; count the losses.

    python tools/kills.py [--count N] [--pairs N] [--seed N]

Each killed run is looked at, resumed, and killed again until it ends; what it leaves must then be
what an undisturbed run left, to the last byte. Of a pair one run must train, and the other end at
once, with the first one's process id. Status 1 if anything was lost or mixed.
"""

import argparse
import csv
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests/support'))
from small_runs import SOLVER, contents, small_voc, write_stage

from fcn_repro.cli.reporting import report_errors
from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_solverstate, read_weights
from fcn_repro.recipe import stages, training
from fcn_repro.recipe.options import NEWEST, Options
from fcn_repro.recipe.runs import Run
from fcn_repro.recipe.training import train
from fcn_repro.solver.snapshot_files import iteration, list_snapshots

ITERATIONS, EVERY, KEEP = 50, 2, 3
# of metrics.json, images.csv and curves.csv; 'resumed' counts images of an evaluation that went on
MEASURED = 'median_seconds', 'seconds', 'net_seconds', 'peak_memory', 'resumed'
LAST = re.compile(rf'train_iter_{ITERATIONS}\.solverstate(\.h5)?')
OLDEST = re.compile(rf'train_iter_{ITERATIONS - KEEP * EVERY}\.(caffemodel|solverstate)(\.h5)?')
REFUSED = 3                             # exit status of a run whose folder is in use
FORMATS = {'hdf5': '', 'binary': 'snapshot_format: BINARYPROTO\n'}
KINDS = 'new', 'resumed', 'fresh'       # of pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--count', type=int, default=200, metavar='N',
                        help='kills that hit a run (default: %(default)s)')
    parser.add_argument('--pairs', type=int, default=50, metavar='N',
                        help='pairs of runs in one folder (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='of the moments (default: %(default)s)')
    args = parser.parse_args()
    here = os.getcwd()
    with report_errors(), tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            lost = kill_all(args.count, random.Random(args.seed))
            mixed = pair_all(args.pairs)
        finally:
            os.chdir(here)
    sys.exit(1 if lost or mixed else 0)


# ---- runs, each in a process of its own ----------------------------------------------------------

def prepare() -> None:
    """Write the stages below the working directory. Nothing that starts threads runs in this
    process, so that it can be forked."""
    torch.set_num_threads(1)
    training.commit = lambda: 'c0ffee'
    stages.PROTOTXT = Path('prototxt').resolve()
    voc = small_voc(Path('voc').resolve())
    for name, setting in FORMATS.items():
        solver = SOLVER.replace('max_iter: 6', f'max_iter: {ITERATIONS}').replace(
            'snapshot: 3', f'snapshot: {EVERY}') + setting
        write_stage(stages.PROTOTXT / name, voc, solver=solver)
        stages.STAGES[name] = stages.Stage(family='kills', net=name)


def begin(work: Callable[[], None], wait: int | None = None, close: int | None = None) -> int:
    """Do `work` in a forked process; its id. What it prints is in the file out.ID, an FcnError in
    error.ID. wait: do it when this pipe is closed everywhere, of which `close` is the other end."""
    if (pid := os.fork()):
        return pid
    status = 1
    try:
        error_file = Path(f'error.{os.getpid()}').absolute()
        out = os.open(f'out.{os.getpid()}', os.O_CREAT | os.O_WRONLY)
        os.dup2(out, 1)
        os.dup2(out, 2)
        if wait is not None and close is not None:
            os.close(close)
            os.read(wait, 1)
        work()
        status = 0
    except FcnError as error:
        error_file.write_text(json.dumps([str(error), error.facts], default=str))
        status = REFUSED if error.code == 'folder-in-use' else 2
    finally:
        sys.stdout.flush()
        os._exit(status)


def end(pid: int) -> int:
    """Wait for a process; its exit status, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def said(pid: int) -> str:
    """What a process printed, and its error."""
    return '\n'.join(path.read_text(errors='replace')[-2000:] for path in (
        Path(f'out.{pid}'), Path(f'error.{pid}')) if path.exists())


def go_on(name: str, folder: str, fresh: bool = False) -> None:
    """Train the stage in FOLDER/run, from its newest snapshot where there is one."""
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)                    # snapshots name their weights by the path from here
    options = Options(out='run', keep=KEEP, pictures=1, fresh=fresh)
    resume = not fresh and Run(name, options).stopped
    train(Run(name, replace(options, restore=NEWEST if resume else None)))


def whole(name: str) -> None:
    """Train a stage undisturbed, in the folder whole-NAME."""
    if end(pid := begin(lambda: go_on(name, f'whole-{name}'))):
        raise FcnError(f'the undisturbed run failed: {said(pid)}', do='See why it cannot train.')


def results(folder: str) -> dict[str, object]:
    """{path: content} of all that a run leaves, but for its log and the times that it took, of
    which the report is full: only its file counts."""
    return {str(path): timeless(path, data) for path, data in contents(Path(folder)).items()
            if path.name != 'train.log'}


def timeless(path: Path, data: bytes) -> object:
    """A file's content without what a second run measures anew."""
    if path.name == 'metrics.json':
        return {key: value for key, value in json.loads(data).items() if key not in MEASURED}
    if path.suffix == '.csv':
        return [{name: cell for name, cell in row.items() if name not in MEASURED}
                for row in csv.DictReader(io.StringIO(data.decode()))]
    return len(data) > 0 if path.name == 'report.html' else data


def differing(folder: str, name: str, run: str = 'run') -> list[str]:
    """Paths in FOLDER/RUN whose content is not that of the undisturbed run. A run that was killed
    between its last weights and their state is finished, without that state; one that was killed
    when it removed its oldest snapshot, the state before the weights, has those weights more."""
    ours, wanted = results(f'{folder}/{run}'), results(f'whole-{name}/run')
    missing = [path for path in wanted if path not in ours and not LAST.fullmatch(path)]
    more = [path for path in ours if path not in wanted and not OLDEST.fullmatch(path)]
    return sorted([*missing, *more, *(path for path in ours.keys() & wanted.keys()
                                      if ours[path] != wanted[path])])


# ---- kills ---------------------------------------------------------------------------------------

def kill_all(count: int, random_: random.Random) -> int:
    """Kill runs until `count` kills have hit one; prints the outcome, returns how many lost
    something."""
    prepare()
    for name in FORMATS:
        whole(name)
    hits: Counter[str] = Counter()
    problems: list[str] = []
    start, runs = time.perf_counter(), 0
    while hits['kills'] < count:
        name = list(FORMATS)[runs % len(FORMATS)]
        runs += 1
        problems += kill_until_done(name, f'killed-{runs}', random_, hits, count)
    print(f'{hits["kills"]} kills of {runs} runs in {time.perf_counter() - start:.0f} s: '
          f'{hits["early"]} before the first snapshot, {hits["training"]} between snapshots, '
          f'{hits["writing"]} while a file was written, {hits["scoring"]} after the last iteration;'
          f' {len(problems)} lost')
    for problem in problems:
        print(problem)
    return len(problems)


def kill_until_done(name: str, folder: str, random_: random.Random, hits: Counter[str],
                    count: int) -> list[str]:
    """Kill a run, look at what it left, resume it, and so on until it ends; what was lost."""
    problems, newest = [], 0
    while True:
        pid = begin(lambda: go_on(name, folder))
        if hits['kills'] < count:
            begun = newest + EVERY * random_.randint(-1, 8)
            wait_for(pid, f'{folder}/run', min(begun, ITERATIONS),
                     random_.uniform(0, 0.1 if newest < ITERATIONS else 1))
            os.kill(pid, signal.SIGKILL)
        status = end(pid)
        if status == 0:
            break
        if status != -signal.SIGKILL:
            return [*problems, f'{folder}: cannot be resumed: {said(pid)}']
        hits['kills'] += 1
        hits[phase(f'{folder}/run')] += 1
        pid = begin(partial(check_snapshots, f'{folder}/run', newest))
        if end(pid):
            problems.append(f'{folder}: {said(pid)}')
        newest = newest_state(f'{folder}/run')
    left = [str(path) for path in contents(Path(folder))
            if path.suffix == '.tmp' or path.name == '.lock']
    wrong = differing(folder, name)
    if left or wrong:
        problems.append(f'{folder}: left over {left}, not as undisturbed {wrong}')
    else:
        shutil.rmtree(folder)
    return problems


def wait_for(pid: int, folder: str, newest: int, seconds: float) -> None:
    """Wait for the state of iteration `newest`, or the process's end; then some seconds more."""
    while newest_state(folder) < newest and not os.waitid(
            os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        time.sleep(0.001)
    time.sleep(seconds)


def newest_state(folder: str) -> int:
    return max(map(iteration, list_snapshots(folder, 'solverstate')), default=0)


def phase(folder: str) -> str:
    """Where a kill hit, by what it left."""
    if any(Path(folder).rglob('*.tmp')):
        return 'writing'
    newest = newest_state(folder)
    return 'early' if not newest else 'scoring' if newest == ITERATIONS else 'training'


def check_snapshots(folder: str, newest: int) -> None:
    """FcnError for a snapshot that is not whole, a state without weights, and one that is missing
    among those that were written: up to `newest`, and up to the last line of the log."""
    models = {iteration(path): path for path in list_snapshots(folder)}
    for n, path in models.items():
        if read_weights(path).extra['iteration'] != n:
            raise FcnError('weights of another iteration', file=str(path))
    states = list_snapshots(folder, 'solverstate')
    for path in states:
        if read_solverstate(path).iter != iteration(path) or iteration(path) not in models:
            raise FcnError('a state of another iteration, or without weights', file=str(path))
    log = Path(folder, 'train.log')
    lines = re.findall(r'Iteration (\d+), loss', log.read_text()) if log.exists() else []
    due = max(newest, int(lines[-1]) // EVERY * EVERY if lines else 0)
    if newest_state(folder) < due:
        raise FcnError(f'the newest state is of iteration {newest_state(folder)}, and {due} was '
                       'written', file=folder)


# ---- pairs ---------------------------------------------------------------------------------------

def pair_all(count: int) -> int:
    """Start pairs of runs; prints the outcome, returns how many mixed something."""
    start, kinds = time.perf_counter(), Counter[str]()
    problems = []
    for i in range(count):
        kind, name = KINDS[i % len(KINDS)], list(FORMATS)[i % len(FORMATS)]
        found = pair(kind, name, f'pair-{i}')
        kinds[kind] += not found
        problems += found
    print(f'{count} pairs of runs in one folder in {time.perf_counter() - start:.0f} s, '
          f'{", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)}: one trained, the other was '
          f'refused; {len(problems)} mixed')
    for problem in problems:
        print(problem)
    return len(problems)


def pair(kind: str, name: str, folder: str) -> list[str]:
    """Start two runs in one folder at once; what went wrong. kind: one of KINDS."""
    if kind == 'fresh':
        shutil.copytree(f'whole-{name}', folder)
    if kind == 'resumed':
        pid = begin(lambda: go_on(name, folder))
        wait_for(pid, f'{folder}/run', ITERATIONS // 4, 0)
        os.kill(pid, signal.SIGKILL)
        end(pid)
    read, write = os.pipe()
    pids = [begin(lambda: go_on(name, folder, kind == 'fresh'), read, write) for _ in range(2)]
    os.close(read)
    os.close(write)
    statuses = {pid: end(pid) for pid in pids}
    problems = wrong_statuses(statuses)
    there = sorted(os.listdir(folder))
    wrong = {each: differing(folder, name, each) for each in there}
    if problems or any(wrong.values()) or there != ['run', 'run.old1'][:1 + (kind == 'fresh')]:
        return [f'{folder} ({kind}): {problems}, not as undisturbed {wrong}']
    shutil.rmtree(folder)
    return []


def wrong_statuses(statuses: Mapping[int, int]) -> str:
    """'' where one process of two has ended well, and the other because of it."""
    if sorted(statuses.values()) != [0, REFUSED]:
        return '; '.join(f'process {pid}: status {status}, {said(pid)}'
                         for pid, status in statuses.items())
    first, second = sorted(statuses, key=lambda pid: statuses[pid])
    named = json.loads(Path(f'error.{second}').read_text())[1]['pid']
    return '' if named == first else f'process {named} is named, it is {first}'


if __name__ == '__main__':
    main()
