"""The iterations of a training run: what is printed, scored and written while they go on."""

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

import torch

from ..distributed import Processes
from ..errors import FcnError
from ..lock import RunLock
from ..net.net import Net
from ..net.placement import pick_device, place
from ..predict.val import val_line, val_metrics
from ..report.curves import FILE as CURVES
from ..report.curves import METRICS, POINTS, Curves
from ..report.progress import TrainingBar, human
from ..sizes import counted
from ..solver.snapshot_files import iteration
from ..solver.solver import Solver
from .optimisations import Optimisations
from .rate_rule import changes, doubts
from .runs import Run

log = logging.getLogger(__name__)

LONG = 2 * 3600          # seconds of training from which on a hint goes with the estimate
AGAIN = 30               # seconds between two tries to write to a full disk


@dataclass(frozen=True)
class Session:
    """What a run is trained in: the words of a front end, the processes, and, in the first of them,
    the lock of its folder."""

    hints: Mapping[str, str]
    processes: Processes
    lock: RunLock | None = None


def iterate(run: Run, solver: Solver, val: Net, report: str, session: Session) -> Path | None:
    """Run the solver to its end, scoring `val` now and then; returns the final weights, None if a
    signal stopped it. report: what was done to the net."""
    options, every, processes = run.options, run.score_every, solver.processes
    hints = session.hints
    device = device_of(run, processes)
    introduce(run, solver, device, hints)
    print(report)
    placed = Optimisations(options.no_opt).placed | {'prepack': False}  # training needs the memory
    place(val, device, workers=options.workers, precision=options.precision, **placed)
    val.share_with(solver.net)
    batch = next(iter(solver.net.shapes.values()))[0] * solver.param.iter_size
    curves = Curves(run.folder / CURVES if processes.first else None, solver.iter)
    start = time.perf_counter()

    def announce(seconds: float) -> None:
        hours = f'. {hint(hints, "long-training", run)}' if seconds > LONG else ''
        print(f'{run.name}: about {human(seconds)} left{hours}')
        log.info('about %s left', human(seconds))
        if session.lock is not None:
            session.lock.expect(seconds)
    with stopped_by_signals(solver), TrainingBar(
            solver, batch, announce=announce if processes.first else None, pause=every) as bar:
        for _ in solver.run():
            bar.update()
            scores: dict[str, float] = {}
            if every and solver.iter % every == 0 and solver.iter < solver.param.max_iter:
                bar.print_line(val_score, val, solver.iter, processes, scores)
            if scores or solver.iter % max(1, solver.param.max_iter // POINTS) == 0:
                curves.add(solver.iter, time.perf_counter() - start, loss=solver.smoothed_loss,
                           lr=solver.rate, **scores)
    processes.gather(None)          # the last snapshot is there now
    if solver.stop_requested:
        print(f'stopped at iteration {solver.iter} with a snapshot; '
              f'{hint(hints, "run-interrupted", run)}')
        return None
    last = [path for path in run.snapshots() if iteration(path) == solver.iter]
    return last[-1] if last else run.newest_weights()


def val_score(val: Net, iteration: int, processes: Processes, scores: dict[str, float]) -> str:
    """Score the val net between two iterations: a line for the screen; the four metrics are put
    into `scores`."""
    m = val_metrics(val, iteration, processes)
    scores |= {name: getattr(m, name) for name in METRICS}
    return val_line(m, iteration)


def introduce(run: Run, solver: Solver, device: torch.device, hints: Mapping[str, str]) -> None:
    """Print what is trained."""
    p, net = solver.param, solver.net
    count = sum(blob.parameter.numel() for blob in net.learnable_params)
    size = f'{count / 1e6:.1f}M' if count >= 1e5 else f'{count / 1e3:.1f}k'
    print(f'{run.name}: {len(net.graph.nodes)} layers, {size} parameters, '
          f'{p.max_iter} iterations of {p.iter_size} x {next(iter(net.shapes.values()))[0]} '
          f'images, base_lr {p.base_lr:g}, momentum {p.momentum:g}, torch {torch.__version__} on '
          f'{together(solver.processes)}{device}, {counted(torch.get_num_threads(), "thread")}')
    if net.found:
        print(f"{net.graph.file} is read in the dialect '{net.graph.dialect.name}', found "
              f'{net.found}')
    if run.batches:
        own, new = run.batches
        written = run.written_solver(run.prototxt).message
        print(f"another recipe than the stage's own: {new}, instead of {own}: "
              f'{changes(written, p)}')
        for doubt in doubts(p, own, new):
            print(f'warning: {doubt}')
    elif run.options.method.changes:
        print(f"another method than the stage's own: {run.options.method.words}")
    elif run.multiplied:
        print(f"another recipe than the stage's own: {p.iter_size} passes an iteration, instead of "
              f'{p.iter_size // run.options.processes}, at the rates of these. '
              f'{hint(hints, "several-processes", run)}')


def by(run: Run, processes: Processes) -> str:
    """The number of processes that a run was begun with, in words, where that says what an
    iteration has and there are not as many now; else ''."""
    count = run.options.processes
    return '' if count == processes.size or run.options.samples else \
        f', begun by {count} process{"es" * (count > 1)}: as many samples an iteration as then'


def together(processes: Processes) -> str:
    """The number of processes in words; '' for one."""
    return f'{processes.size} processes, the first on ' if processes.size > 1 else ''


def hint(hints: Mapping[str, str], code: str, run: Run) -> str:
    """A hint's text; '' if the front end has none."""
    return hints.get(code, '').format(stage=run.name)


def device_of(run: Run, processes: Processes) -> torch.device:
    """The device of the options, or of this process."""
    return pick_device(run.options.device or processes.device())


# ---- a full disk, and signals -------------------------------------------------------------------

class WaitForRoom:
    """Waits, with the state of a run in memory, before a snapshot is tried again that a full disk
    prevented: a Solver's `when_full`. It says so once; a signal ends the run with the error."""

    def __init__(self) -> None:
        self.told: str | PathLike | None = ''

    def __call__(self, error: FcnError) -> None:
        def end(number, frame):
            raise error
        if error.file != self.told:
            print(f'{error}\nThe run is kept in memory and tries again every {AGAIN} seconds; '
                  'Ctrl-C ends it without this snapshot.', file=sys.stderr, flush=True)
            self.told = error.file
        with handled(end):
            time.sleep(AGAIN)


@contextmanager
def handled(handler: Callable) -> Iterator[None]:
    """Have a handler take SIGINT, SIGTERM and SIGHUP. An ignored SIGHUP stays so: that is what
    nohup is for."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def stopped_by_signals(solver: Solver) -> AbstractContextManager[None]:
    """Have a signal stop the solver after the current iteration, with a snapshot."""
    def stop(number, frame):
        solver.request_stop()
    return handled(stop)
