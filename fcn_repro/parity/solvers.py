"""Goldens of training runs: solver.prototxt, its net and data, the weights it started from,
golden.h5 with the losses and with the params and history after some iterations, Caffe's snapshots.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import torch

from ..errors import FcnError
from ..formats.solverstate import write_binary
from ..formats.weights import modern, read_solverstate, read_weights, write_solverstate
from ..net.net import Net
from ..search import SearchPath
from ..solver.solver import Solver
from .cases import CPU, GoldenCase, Placement, case
from .comparison import Comparison, Limits
from .golden import Group, held, read_golden
from .layers import compare_params, dialect_of_golden, fed_arrays

SOLVER_FILE = re.compile(r'golden\.h5|(train|solver|data|init|weights|snapshot_iter)\w*'
                         r'\.(prototxt|h5|txt|caffemodel|solverstate)(\.h5)?')


def find_solvers(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """golden.h5 beside solver.prototxt: the run, and each run that resumes from a snapshot."""
    if not {'golden.h5', 'solver.prototxt'} <= names:
        return
    yield case('.', filter(SOLVER_FILE.fullmatch, names), partial(check_solver, folder=folder),
               computes=True)
    resumed = held(folder / 'golden.h5')
    for name in names:
        start = re.search(r'_iter_(\d+)\.solverstate(\.h5)?$', name)
        if start and f'resume_from_{start[1]}' in resumed:
            yield case(name, (), partial(check_resumed, folder=folder, state=folder / name),
                       computes=True)


class FedNet(Net):
    """A net that is fed the batches `fed` in turn."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.fed: list[dict] = []

    def forward_backward(self):
        batch = self.fed[self.state.position % len(self.fed)] if self.fed else {}
        for name, array in batch.items():       # the inputs of a recorded pass, too
            self.blobs[name].keep(torch.as_tensor(array), None)
        return super().forward_backward()


def check_solver(comparison: Comparison, folder: Path, limits: Limits,
                 where: Placement = CPU) -> None:
    """Repeat Caffe's run and compare each iteration: its losses and rate, the params and history
    where golden.h5 has them, and Caffe's snapshots. FcnError if a file cannot be read."""
    golden = read_golden(Path(folder, 'golden.h5'))
    with tempfile.TemporaryDirectory() as scratch:
        solver = Solver(Path(folder, 'solver.prototxt'), search=SearchPath.beside,
                        prefix=Path(scratch, 'run'), dialect=dialect_of_golden(golden),
                        net_class=FedNet if 'batches' in golden else Net, **where._asdict())
        if isinstance(solver.net, FedNet):
            batches = golden.group('batches')
            solver.net.fed = [fed_arrays(batches, k) for k in sorted(batches, key=int)]
        solver.net.copy_from(initial_weights(folder, 'init'))
        losses, rates = {'loss': [], 'smoothed_loss_log': [], 'loss_sub': []}, []
        for i in range(1, len(golden.need('loss').values) + 1):
            solver.iterate()
            rates.append(solver.rate)
            losses['loss'].append(solver.loss)
            losses['smoothed_loss_log'].append(solver.smoothed_loss)
            losses['loss_sub'].append(solver.pass_losses)
            compare_state(comparison, f'iter_{i}', solver, golden.group(f'iter_{i}'),
                          limits.params)
            for path in sorted(Path(folder).glob(f'*_iter_{i}.*')):
                compare_snapshot(comparison, path, solver, limits.params)
                if '.solverstate' in path.name:
                    compare_written(comparison, path, scratch)
    if 'lr_log' in golden:
        comparison.equal('lr_log', printed(rates), printed(golden['lr_log'].values))
    for name, values in losses.items():
        if name in golden:
            comparison.compare_numbers(name, values, golden[name].values, limits.losses)


def printed(rates: Iterable[float]) -> list[str]:
    """Learning rates with the 6 digits that Caffe prints."""
    return [f'{rate:.6g}' for rate in rates]


def check_resumed(comparison: Comparison, folder: Path, state: Path, limits: Limits,
                  where: Placement = CPU) -> None:
    """Resume from a snapshot of Caffe's, with the data at its first sample, and compare the end."""
    golden = read_golden(Path(folder, 'golden.h5'))
    start = re.search(r'_iter_(\d+)\.', Path(state).name)[1]
    golden = golden.need(f'resume_from_{start}', 'group')
    with tempfile.TemporaryDirectory() as scratch:
        solver = Solver(Path(folder, 'solver.prototxt'), search=SearchPath.beside,
                        prefix=Path(scratch, 'run'), **where._asdict())
        solver.restore(state)
        comparison.equal('iter', solver.iter, int(start))
        losses = []
        for _ in golden.need('loss_last_sub').values:
            solver.iterate()
            losses.append(solver.pass_losses[-1])
    comparison.compare_numbers('loss_last_sub', losses, golden['loss_last_sub'].values,
                               limits.losses)
    compare_state(comparison, 'end', solver, golden, limits.params)


def initial_weights(folder: Path, stem: str) -> Path:
    """The weights that a run starts from, in either format. FcnError if there are none."""
    for path in (Path(folder, f'{stem}.caffemodel{form}') for form in ('', '.h5')):
        if os.path.exists(path):
            return path
    raise FcnError(f'has no {stem}.caffemodel or {stem}.caffemodel.h5', file=str(folder),
                   do='Put the weights there that the run started from.')


def compare_state(comparison: Comparison, name: str, solver: Solver, golden: Group,
                  limit: float) -> None:
    """Compare a solver with params/<layer>/<i> and, if the golden has it, history/<i>."""
    compare_params(comparison, f'{name}/params', solver.net, golden.params('params'), limit)
    if 'history' in golden:
        stored = golden.blobs('history')
        ours = {str(i): history for i, history in enumerate(solver.history)}
        for i in comparison.common(f'{name}/history', ours, stored):
            comparison.compare(f'{name}/history/{i}', ours[i], stored[i], limit)


def compare_snapshot(comparison: Comparison, path: Path, solver: Solver, limit: float) -> None:
    """Compare a solver with a snapshot of Caffe's of the same iteration, weights or state."""
    if '.solverstate' in path.name:
        state = read_solverstate(path)
        comparison.equal(f'{path.name}: iter', state.iter, solver.iter)
        comparison.equal(f'{path.name}: current_step', solver.current_step, state.current_step)
        ours = {str(i): history for i, history in enumerate(solver.history)}
        stored = {str(i): history for i, history in enumerate(state.history)}
        for i in comparison.common(f'{path.name}: history', ours, stored):
            comparison.near(f'{path.name}: history {i}', ours[i], stored[i], limit)
        return
    for layer, blobs in modern(read_weights(path)).items():
        for i, blob in enumerate(blobs):
            if blob is not None:
                comparison.near(f'{path.name}: {layer}/{i}', solver.net.params[layer][i].data, blob,
                                limit)


def compare_written(comparison: Comparison, path: Path, scratch: str | Path) -> None:
    """Write a state of Caffe's again in its own format, to a folder `scratch`: the content must be
    the same, and a binary file must be the same byte for byte."""
    state, again = read_solverstate(path), Path(scratch, path.name)
    write = write_solverstate if path.suffix == '.h5' else write_binary
    write(again, state.iter, state.learned_net, state.current_step, state.history)
    if write is write_binary:
        comparison.equal(f'{path.name}: bytes', again.read_bytes(), path.read_bytes())
    ours = read_solverstate(again)
    for name in 'iter', 'learned_net', 'current_step':
        comparison.equal(f'{path.name}: {name} again', getattr(ours, name), getattr(state, name))
    for i, (mine, caffes) in enumerate(zip(ours.history, state.history, strict=True)):
        comparison.exact(f'{path.name}: history {i} again', mine, caffes)
