"""Runs that train beside each other, each in a process and with a part of the cores.

A narrow net leaves most of several cores idle: its layers are too small to be shared. As many runs
as there are cores, with one thread each, take a fraction of the time.
"""

from __future__ import annotations

import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from ..distributed import ALONE
from ..errors import FcnError
from ..formats.atomic import make_folder
from ..report.progress import human
from .comparison import is_scored, result
from .runs import Run
from .training import parent_weights

MOST = 8                # runs beside each other, unless told otherwise: memory is shared, too
POLL = 0.2              # seconds between two looks at the processes
PATIENCE = 120          # seconds to wait for a folder that another run is using: several that start
                        # from one parent each look through its folder
DATA, PARENT, RUN = 'data', 'parent', 'run'
DONE, FAILED, STOPPED = 0, 1, 130       # exit status of a task's process


@dataclass(frozen=True)
class Task:
    """A step of a plan, for one process. action: DATA makes the data that `run` reads, PARENT
    trains the run that it starts from, RUN trains and scores it. after: names of the tasks that
    come before."""
    name: str
    action: str
    run: Run
    after: tuple[str, ...] = ()


def default_jobs(runs: Sequence[Run]) -> int:
    """How many runs train beside each other unless told otherwise: one for each of torch's threads
    where all compute on the CPU, else 1."""
    given = {run.options.device for run in runs}
    on_cpu = all(device == 'cpu' or (device is None and not torch.cuda.is_available())
                 for device in given)
    return min(MOST, torch.get_num_threads()) if on_cpu else 1


def train_beside(runs: Sequence[Run], jobs: int, hints: Mapping[str, str],
                 logs: Path) -> None:
    """Train and score what is not there yet of these runs, and what they start from, `jobs` at a
    time, each in a process with its part of torch's threads. hints: as for training.train. logs:
    the folder of what they print, a file each.

    A run that fails is said and left, with those that start from it: whoever asks for its result
    gets the error. An interruption stops all with snapshots before it is passed on. FcnError for
    jobs below 1.
    """
    if jobs < 1:
        raise FcnError(f'{jobs} runs beside each other', do='Give jobs of 1 or more.')
    waiting = plan(runs)
    if not waiting:
        return
    make_folder(logs)
    threads = max(1, torch.get_num_threads() // jobs)
    print(f'{len(waiting)} steps, {jobs} beside each other with {threads} thread'
          f'{"s" * (threads > 1)} each; what they print is in {logs}', flush=True)
    running: dict[str, Process] = {}
    bar = tqdm(total=len(waiting), unit='step', dynamic_ncols=True, disable=None)
    try:
        while waiting or running:
            for task in ready(waiting, running, jobs):
                running[task.name] = Process(task, hints, logs, threads)
                del waiting[task.name]
            time.sleep(POLL)
            for name, process in list(running.items()):
                if (status := process.poll()) is not None:
                    del running[name]
                    lost = drop(waiting, name) if status != DONE else []
                    bar.update(1 + len(lost))
                    bar.write(process.words(status, lost))
                    if status == STOPPED:
                        raise KeyboardInterrupt
    finally:
        bar.close()
        for process in running.values():
            process.stop()


def plan(runs: Sequence[Run]) -> dict[str, Task]:
    """{name: task} of what is not there yet, each after those that it needs."""
    asked = {run.folder: run for run in runs}
    tasks: dict[str, Task] = {}

    def add(run: Run, action: str, child: Run) -> str:
        """Plan a run; `child`, whose parent it is for PARENT, is what its process is given."""
        name = str(run.folder)
        if name in tasks or (run.finished if action == PARENT else is_there(run)):
            return name
        after = []
        if run.stage.miniature or (run.stage.scenes and not run.options.voc):
            after.append(f'data of {run.stage.miniature or "scenes"}')
            tasks.setdefault(after[0], Task(after[0], DATA, run))
        for parent in run.parents:
            if parent.folder in asked:
                after.append(add(asked[parent.folder], RUN, asked[parent.folder]))
            elif run.stage.trains_parent and parent.name == run.stage.parent:
                after.append(add(parent, PARENT, run))
        tasks[name] = Task(name, action, child, tuple(after))
        return name

    for run in runs:
        add(run, RUN, run)
    return tasks


def is_there(run: Run) -> bool:
    """Whether a run is trained and scored; one that is another one than it should be is not: its
    own process says so."""
    with suppress(FcnError):
        return is_scored(run)
    return False


def ready(waiting: Mapping[str, Task], running: Mapping[str, Process], jobs: int) -> list[Task]:
    """The tasks that begin now."""
    free = [task for task in waiting.values()
            if not any(name in waiting or name in running for name in task.after)]
    return free[:max(0, jobs - len(running))]


def drop(waiting: dict[str, Task], name: str) -> list[str]:
    """Remove the tasks that come after one, and their names."""
    lost = [task.name for task in waiting.values() if name in task.after]
    for each in lost:
        waiting.pop(each, None)
    return lost + [further for each in lost for further in drop(waiting, each)]


class Process:
    """The process of a task."""

    def __init__(self, task: Task, hints: Mapping[str, str], logs: Path, threads: int) -> None:
        self.task, self.start = task, time.monotonic()
        self.log = logs / f'{re.sub(r"[^A-Za-z0-9._=-]+", "-", task.name)}.txt'
        above = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, (above, os.environ.get('PYTHONPATH'))))
        with open(self.log, 'wb') as file:
            # a session of its own: the terminal's signals go to this process alone, which passes
            # them on by closing the other's input
            self.child = subprocess.Popen(
                [sys.executable, '-m', __name__], stdin=subprocess.PIPE, stdout=file, stderr=file,
                start_new_session=True,
                env={**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': path})
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):         # it has ended: its status says so
            pickle.dump((task, dict(hints)), self.child.stdin)
            self.child.stdin.flush()

    def poll(self) -> int | None:
        """The exit status; None while it runs."""
        return self.child.poll()

    def words(self, status: int, lost: Sequence[str]) -> str:
        """What became of it."""
        took = human(time.monotonic() - self.start)
        if status == DONE:
            return f'{self.task.name}: {took}'
        if status == STOPPED:
            return f'{self.task.name}: stopped by a signal'
        left = f'; so there is no {", ".join(lost)}' if lost else ''
        return f'{self.task.name}: failed after {took}, see {self.log}{left}'

    def stop(self) -> None:
        """Have the process stop in order, and wait for it."""
        assert self.child.stdin is not None
        with suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.wait()


# ---- in the process of a task --------------------------------------------------------------------

def main() -> int:
    """Do the task on standard input; returns the exit status."""
    task, hints = pickle.load(sys.stdin.buffer)
    threading.Thread(target=stop_at_end, args=(sys.stdin.fileno(),), daemon=True).start()
    end = time.monotonic() + PATIENCE
    try:
        while True:
            try:
                return done(task, hints)
            except FcnError as error:
                if error.code != 'folder-in-use' or time.monotonic() > end:
                    print(f'error: {error}', flush=True)
                    return FAILED
            time.sleep(1)
    except KeyboardInterrupt:
        return STOPPED


def stop_at_end(source: int) -> None:
    """Stop this process, as an interruption does, when its input ends: by `stop`, or because the
    process at the other end is gone."""
    while os.read(source, 1):           # not sys.stdin, whose lock the end of Python would want
        pass
    os.kill(os.getpid(), signal.SIGINT)


def done(task: Task, hints: Mapping[str, str]) -> int:
    """Do a task; returns the exit status. FcnError as in training."""
    if task.action == DATA:
        task.run.make_data()
    elif task.action == PARENT:
        assert task.run.parent is not None
        parent_weights(task.run, task.run.parent, hints, ALONE)
    elif result(task.run, hints) is None:
        return STOPPED
    return DONE


if __name__ == '__main__':
    # pickles name the classes of the package, not those of __main__
    from fcn_repro.recipe import beside

    sys.exit(beside.main())
