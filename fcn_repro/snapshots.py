"""Snapshots of a solver, and going on from them: what Caffe's hold, and in a group that Caffe
ignores the seed, the number of forward passes so far, the loss window and the thread count, so that
a restored run goes on to the same bits on the CPU."""

import logging
from pathlib import Path

import torch

from .errors import FcnError
from .runs import make_folder
from .weights import assign, read_solverstate, write_solverstate

log = logging.getLogger(__name__)


def write(solver):
    """Write PREFIX_iter_N.caffemodel.h5 and .solverstate.h5, each beside and then renamed, the
    state last: a state that exists is whole. Returns the paths. FcnError for weights that are no
    numbers, and where a file cannot be written."""
    for name, blobs in solver.net.params.items():
        if not all(blob.parameter.isfinite().all() for blob in blobs):
            raise FcnError(f'the weights became NaN or infinite by iteration {solver.iter}',
                           file=solver.text.file, layer=name, do=solver.remedy())
    stem = f'{solver.prefix}_iter_{solver.iter}'
    model, state = Path(f'{stem}.caffemodel.h5'), Path(f'{stem}.solverstate.h5')
    make_folder(model.parent)
    solver.net.save_hdf5(model)
    extra = {'seed': solver.seed, 'position': solver.net.state.position,
             'losses': list(solver.losses), 'threads': torch.get_num_threads(),
             'torch': str(torch.__version__)}
    write_solverstate(state, solver.iter, str(model), solver.current_step,
                      [h.contiguous() for h in solver.history], extra)
    log.info('Snapshotting solver state to %s', state)
    return model, state


@torch.no_grad()
def restore(solver, path):
    """Go on from a .solverstate.h5, ours or Caffe's, and the weights of the name that it gives,
    beside it or, failing that, where it says. One of ours goes on to the same bits, with its
    thread count. After an FcnError the solver is as it was."""
    state = read_solverstate(path)
    named = Path(state.learned_net)
    beside = Path(path).parent / named.name
    model = beside if beside.is_file() else named
    if not model.is_file():
        raise FcnError(f"the weights '{state.learned_net}' that this state names are not there",
                       file=str(path), do='Put them beside the state, or restore another one.')
    wanted = [tuple(h.shape) for h in solver.history]
    found = [tuple(h.shape) for h in state.history]
    if found != wanted:
        wrong = [i for i, (its, mine) in enumerate(zip(found, wanted)) if its != mine]
        raise FcnError('this is the state of another net: its history has ' + (
            f'shape {found[wrong[0]]} in blob {wrong[0]}, here it is {wanted[wrong[0]]}'
            if wrong else f'{len(found)} blobs, here it is {len(wanted)}'),
            file=str(path), do='Restore with the solver and net that wrote it.')
    solver.net.copy_from(model)
    for mine, its in zip(solver.history, state.history):
        assign(mine, its)
    solver.iter, solver.current_step = state.iter, state.current_step
    solver.losses.clear()
    extra = state.extra
    if 'position' in extra:
        solver.seed = solver.net.state.seed = int(extra['seed'])
        solver.net.state.position = int(extra['position'])
        solver.losses.extend(float(loss) for loss in extra['losses'])
        torch.set_num_threads(int(extra['threads']))
    log.info('Restoring previous solver status from %s', path)
