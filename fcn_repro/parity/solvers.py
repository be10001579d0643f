"""Goldens of training runs: solver.prototxt, its net and data, the weights that it started from,
and golden.h5 with losses, and params and history after some iterations; Caffe's snapshots."""

import re
import tempfile
from pathlib import Path

from fcn_repro.errors import FcnError
from fcn_repro.formats.solverstate import write_binary
from fcn_repro.formats.weights import modern, read_solverstate, read_weights, write_solverstate
from fcn_repro.recipe.training import prepare
from fcn_repro.solver.solver import Solver

from .golden import read_golden
from .layers import compare_params

PRINTED = 1e-5              # of numbers that Caffe printed with 6 digits


def check_solver(case, folder, limits):
    """Caffe's run, iteration by iteration, and its snapshots beside ours at their iteration."""
    golden = read_golden(Path(folder, 'golden.h5'))
    with tempfile.TemporaryDirectory() as scratch:
        solver = Solver(Path(folder, 'solver.prototxt'), prefix=Path(scratch, 'run'))
        solver.net.copy_from(initial(folder, 'init'))
        seen = {'loss': [], 'lr_log': [], 'smoothed_loss_log': [], 'loss_sub': []}
        losses = recorded(solver.net)
        for i in range(1, len(golden.need('loss').values) + 1):
            solver.iterate()
            seen['loss'].append(solver.loss)
            seen['lr_log'].append(solver.rate)
            seen['smoothed_loss_log'].append(solver.smoothed_loss)
            seen['loss_sub'].append(losses[-solver.param.iter_size:])
            compare_state(case, f'iter_{i}', solver, golden.group(f'iter_{i}'), limits.params)
            for path in sorted(Path(folder).glob(f'*_iter_{i}.*')):
                compare_snapshot(case, path, solver, limits.params)
                if '.solverstate' in path.name:
                    compare_written(case, path, scratch)
        for name, values in seen.items():
            if name in golden:
                case.number(name, values, golden[name].values,
                            PRINTED if name.endswith('_log') else limits.losses)


def initial(folder, stem):
    """The weights that a run starts from, in either format."""
    for path in (Path(folder, f'{stem}.caffemodel{form}') for form in ('', '.h5')):
        if path.exists():
            return path
    raise FcnError(f'has no {stem}.caffemodel or {stem}.caffemodel.h5', file=str(folder),
                   do='Put the weights there that the run started from.')


def recorded(net):
    """A list that gets the loss of each forward pass from now on."""
    losses, forward = [], net.forward

    def run(*args, **kwargs):
        out = forward(*args, **kwargs)
        losses.append(0.0 if net.total_loss is None else net.total_loss.item())
        return out
    net.forward = run
    return losses


def compare_state(case, name, solver, golden, limit):
    """golden: params/<layer>/<i> and history/<i>, or {}."""
    compare_params(case, f'{name}/params', solver.net, golden.params('params'), limit,
                   lambda blob: blob.data)
    if 'history' in golden:
        stored = golden.blobs('history')
        ours = {str(i): history for i, history in enumerate(solver.history)}
        for i in case.expect(f'{name}/history', ours, stored):
            case.compare(f'{name}/history/{i}', ours[i], stored[i], limit)


def compare_snapshot(case, path, solver, limit):
    """What a file of Caffe's says beside the solver at its iteration."""
    if '.solverstate' in path.name:
        state = read_solverstate(path)
        case.equal(f'{path.name}: iter', state.iter, solver.iter)
        case.equal(f'{path.name}: current_step', solver.current_step, state.current_step)
        case.equal(f'{path.name}: history', len(solver.history), len(state.history))
        for i, (ours, golden) in enumerate(zip(solver.history, state.history)):
            case.near(f'{path.name}: history {i}', ours, golden, limit)
        return
    for layer, blobs in modern(read_weights(path)).items():
        for i, blob in enumerate(blobs):
            if blob is not None:
                case.near(f'{path.name}: {layer}/{i}', solver.net.params[layer][i].data, blob,
                          limit)


def compare_written(case, path, scratch):
    """A state of Caffe's written again by us, in its format: the same content; a binary one is the
    same file, byte for byte."""
    state, again = read_solverstate(path), Path(scratch, path.name)
    write = write_solverstate if path.suffix == '.h5' else write_binary
    write(again, state.iter, state.learned_net, state.current_step, state.history)
    if write is write_binary:
        case.equal(f'{path.name}: bytes', again.read_bytes(), path.read_bytes())
    ours = read_solverstate(again)
    for name in 'iter', 'learned_net', 'current_step':
        case.equal(f'{path.name}: {name} again', getattr(ours, name), getattr(state, name))
    for i, (mine, its) in enumerate(zip(ours.history, state.history, strict=True)):
        case.exact(f'{path.name}: history {i} again', mine, its)


def check_resumed(case, folder, state, limits):
    """A run that goes on from a snapshot of Caffe's, the data starting anew."""
    golden = read_golden(Path(folder, 'golden.h5'))
    start = re.search(r'_iter_(\d+)\.', Path(state).name)[1]
    golden = golden.need(f'resume_from_{start}', 'group')
    with tempfile.TemporaryDirectory() as scratch:
        solver = Solver(Path(folder, 'solver.prototxt'), prefix=Path(scratch, 'run'))
        solver.restore(state)
        case.equal('iter', solver.iter, int(start))
        losses = []
        for _ in golden.need('loss_last_sub').values:
            solver.iterate()
            losses.append(solver.net.total_loss.item())
    case.number('loss_last_sub', losses, golden['loss_last_sub'].values, limits.losses)
    compare_state(case, 'end', solver, golden, limits.params)


def check_staged(case, folder, limits):
    """solver_<stage>.prototxt, from the largest stride on: each stage gets the weights of the one
    before by name, and bilinear `up` layers."""
    golden = read_golden(Path(folder, 'golden.h5'))
    stages = sorted(golden, key=lambda name: -int(re.match(r'\d*', name)[0] or 0))
    source = initial(folder, f'init_{stages[0]}')
    with tempfile.TemporaryDirectory() as scratch:
        for stage in stages:
            solver = Solver(Path(folder, f'solver_{stage}.prototxt'), prefix=Path(scratch, stage))
            prepare(solver.net, ('transplant', 'interp'), source)
            losses, wanted = [], golden.group(stage)
            compare_params(case, f'{stage}/params_start', solver.net,
                           wanted.params('params_start'), limits.params,
                           lambda blob: blob.data)
            for _ in wanted.need('loss').values:
                solver.iterate()
                losses.append(solver.loss)
            case.number(f'{stage}/loss', losses, wanted['loss'].values, limits.losses)
            compare_params(case, f'{stage}/params_end', solver.net,
                           wanted.params('params_end'), limits.params,
                           lambda blob: blob.data)
            for path in sorted(Path(folder).glob(f'weights_{stage}.caffemodel*')):
                compare_snapshot(case, path, solver, limits.params)
            source = Path(scratch, f'{stage}.caffemodel.h5')
            solver.net.save_hdf5(source)
