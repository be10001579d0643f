"""Snapshots of a solver, and going on from them, whatever ends the process that writes them.

They hold what Caffe's do, and in a group or field that Caffe ignores what a run needs to go on to
the same bits on the CPU (seed, number of forward passes, loss window, thread count), where it comes
from (provenance), and the texts of net and solver, so that a state is not gone on with by others.
"""

import difflib
import logging
import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import torch
from google.protobuf import text_format

from ..errors import FcnError
from ..formats.atomic import make_folder, sync_folder
from ..formats.solverstate import write_binary
from ..formats.weights import (
    assign,
    check_finite,
    read_solverstate,
    read_weights,
    write_solverstate,
)
from ..proto.prototxt import filter_net

log = logging.getLogger(__name__)

# Fields of SolverParameter that change nothing that an iteration computes (the train net: its text
# counts instead; solver_mode, device_id: not obeyed here). max_iter counts for 'poly' alone.
IDLE = ('net', 'net_param', 'train_net', 'train_net_param', 'test_net', 'test_net_param',
        'test_state', 'test_iter', 'test_interval', 'test_compute_loss', 'test_initialization',
        'display', 'average_loss', 'max_iter', 'snapshot', 'snapshot_prefix', 'snapshot_diff',
        'snapshot_format', 'snapshot_after_train', 'solver_mode', 'device_id', 'debug_info',
        'weights', 'layer_wise_reduce')
OWN = ('seed', 'iteration', 'loss', 'position', 'losses', 'threads', 'torch')
KINDS = 'caffemodel', 'solverstate'
SHOWN = 40                      # lines of a difference


def check_options(solver):
    """FcnError for a keep or a provenance that makes no sense."""
    if solver.keep is not None and solver.keep < 1:
        raise FcnError(f'{solver.keep} snapshots to keep', do='Give --keep 1 or more.')
    for name, value in solver.provenance.items():
        if name in OWN or not isinstance(value, (str, bool, int, float)):
            raise FcnError(f'provenance has {name!r}: {value!r}', do=f'Give numbers and texts, '
                           f'under names other than {", ".join(OWN)}.')


def prepare(solver):
    """What would otherwise end a run at its first snapshot ends it before its first iteration."""
    check_options(solver)
    make_room(solver)


# Writing

def write(solver):
    """Write PREFIX_iter_N.caffemodel.h5 and .solverstate.h5, or, without .h5, in Caffe's binary
    format, as snapshot_format says: each beside and then renamed, the state last, so that a state
    that exists is whole and has its weights. Then remove all but the newest `keep`. Returns the
    paths. FcnError for weights that are no numbers, before anything is written where there is no
    room, and where a file cannot be written; earlier snapshots stay then."""
    for name, blobs in solver.net.params.items():
        if not all(blob.parameter.isfinite().all() for blob in blobs):
            raise FcnError(f'the weights became NaN or infinite by iteration {solver.iter}',
                           file=solver.text.file, layer=name, do=solver.remedy())
    stem = f'{solver.prefix}_iter_{solver.iter}'
    model, state = (Path(f'{stem}.{kind}{ending(solver)}') for kind in KINDS)
    make_folder(model.parent)
    make_room(solver)
    both = {**dict(sorted(solver.provenance.items())), 'seed': solver.seed}
    loss = solver.losses[-1] if solver.losses else 0.0
    save, write_state = (solver.net.save_hdf5, write_solverstate) if ending(solver) else \
        (solver.net.save, write_binary)
    save(model, {**both, 'iteration': solver.iter, 'loss': loss})
    extra = {**both, 'position': solver.net.state.position, 'losses': list(solver.losses),
             'threads': torch.get_num_threads(), 'torch': str(torch.__version__)}
    write_state(state, solver.iter, str(model), solver.current_step,
                [h.contiguous() for h in solver.history], extra, texts(solver))
    log.info('Snapshotting solver state to %s', state)
    if solver.keep is not None:
        prune(solver.prefix, solver.keep, solver.iter, ending(solver))
    return model, state


def ending(solver):
    """What the names of a solver's snapshots have at their end."""
    return '.h5' if solver.param.snapshot_format == solver.param.HDF5 else ''


def files(prefix, ending):
    """{path: iteration} of the files PREFIX_iter_N.ENDING of this very prefix; ending: a regular
    expression."""
    start = Path(f'{prefix}_iter_')
    if not start.parent.is_dir():
        return {}
    wanted = re.compile(re.escape(start.name) + r'(\d+)\.' + ending)
    found = [(path, wanted.fullmatch(path.name)) for path in start.parent.iterdir()]
    return {path: int(match[1]) for path, match in found if match}


def prune(prefix, keep, newest, end):
    """Remove what is older than the `keep` newest snapshots up to iteration `newest` of one format:
    states first, and only when they are gone for good their weights."""
    models, states = (files(prefix, re.escape(f'{kind}{end}')) for kind in KINDS)
    oldest = sorted(n for n in states.values() if n <= newest)[-keep:][0]
    for path in [path for path, n in states.items() if n < oldest]:
        remove(path)
    sync_folder(Path(f'{prefix}_iter_').parent)
    for path in [path for path, n in models.items() if n < oldest]:
        remove(path)


def remove(path):
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FcnError(f'cannot be removed: {error.strerror}', file=str(path),
                       do='Remove it, and mend the rights of its folder.') from None


def make_room(solver):
    """Remove what a killed process left half-written under the run's prefix (files.replacing
    names it); FcnError where the disk then has no room for one snapshot."""
    for path in files(solver.prefix, r'(?:caffemodel|solverstate)(?:\.h5)?\.\d+\.tmp'):
        remove(path)
    folder = Path(f'{solver.prefix}_iter_').absolute().parent
    while not os.path.exists(folder):
        folder = folder.parent
    need, free = snapshot_bytes(solver), shutil.disk_usage(folder).free
    if free < need:
        raise FcnError(f'a snapshot takes {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free',
                       file=str(folder), do='Free space, keep fewer snapshots (--keep N), or write '
                       'elsewhere; nothing was written, and earlier snapshots are untouched.')


def snapshot_bytes(solver):
    """At most what weights and state take on the disk: float32, a header for every blob, texts."""
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs] + solver.history
    numbers = sum(math.prod(blob.shape) for blob in blobs)
    return 4 * numbers + 4096 * len(solver.net.graph.nodes) + (1 << 20)


# What has to be the same

def net_text(net):
    """A NetText's layers in its state as text: comments, spaces and other layers do not count."""
    net = filter_net(net, net.message.state.phase, net.message.state.level).message
    net.ClearField('name')
    net.ClearField('debug_info')
    for layer in net.layer:
        layer.ClearField('include')
        layer.ClearField('exclude')
    return text_format.MessageToString(net)


def texts(solver):
    """{name: text} of all that an iteration computes from, but for the weights."""
    param = type(solver.param)()
    param.CopyFrom(solver.param)
    for name in IDLE:
        if name != 'max_iter' or param.lr_policy != 'poly':
            param.ClearField(name)
    data = sorted(f'{layer}.{key}: {value}' for layer, keys in solver.net.state.overrides.items()
                  for key, value in keys.items())
    return {'train net': solver.net_text, 'solver': text_format.MessageToString(param),
            'data': '\n'.join(data)}


def differences(state, solver):
    """What a state says otherwise than a solver, as a short unified diff; '' where all that it says
    is the same. Caffe's own say nothing."""
    lines = []
    for name, mine in texts(solver).items():
        old, new = (text.splitlines() for text in (state.texts.get(name, mine), mine))
        if name == 'data':
            old, new = resolved(old), resolved(new)
            if state.extra.get('data') and solver.provenance.get('data'):
                old.append(f'data: {state.extra["data"]}')
                new.append(f'data: {solver.provenance["data"]}')
        for line in difflib.unified_diff(old, new, f'{name} of the state', f'{name} now', n=1,
                                         lineterm=''):
            lines.append(titled(line, old) if line.startswith('@@') else line)
    more = len(lines) - SHOWN
    return '\n'.join(lines[:SHOWN] + [f'… {more} more lines'] * (more > 0))


def titled(line, old):
    """The head of a piece of a diff: the layer that it begins in."""
    start = int(re.match(r'@@ -(\d+)', line)[1])
    names = [line for line in old[:start] if line.startswith('  name: ')]
    return f'@@ layer {names[-1].split()[1]} @@' if names else '@@'


def resolved(lines):
    """Lines 'key: value' with the values that are files here as whole paths."""
    pairs = [line.split(': ', 1) for line in lines]
    return [f'{key}: {Path(value).resolve() if os.path.exists(value) else value}'
            for key, value in pairs]


# Restoring

@torch.no_grad()
def restore(solver, path, force=False):
    """Go on from a solver state of either format, ours or Caffe's, and the weights of the name that
    it gives, beside it or, failing that, where it says. One of ours goes on to the same bits, with
    its thread count and its provenance (the solver's own wins). FcnError where net, solver or data
    have changed since, unless forced; the solver is then as it was. Returns the difference, or ''.
    """
    state = read_solverstate(path)
    changed = differences(state, solver)
    if changed and not force:
        raise FcnError('net, solver or data are not those that wrote this state', file=str(path),
                       do='Restore with those, or give --force to go on with the new ones:\n'
                          + changed)
    check_history(solver, state)
    extra = check_own(state)
    source = read_weights(model_of(state))
    check_pair(source, state)
    solver.net.copy_from(source)
    for mine, its in zip(solver.history, state.history):
        assign(mine, its)
    solver.iter, solver.current_step = state.iter, state.current_step
    solver.losses.clear()
    if 'position' in extra:
        solver.seed = solver.net.state.seed = int(extra['seed'])
        solver.net.state.position = int(extra['position'])
        solver.losses.extend(float(loss) for loss in extra['losses'])
        torch.set_num_threads(int(extra['threads']))
        recorded = {name: value for name, value in extra.items() if name not in OWN}
        solver.provenance = {**recorded, **solver.provenance}
    log.info('Restoring previous solver status from %s', path)
    if changed:
        log.warning('Going on with what has changed:\n%s', changed)
    return changed


def model_of(state):
    """The path of a state's weights."""
    named = Path(state.learned_net)
    beside = Path(state.file).parent / named.name
    model = beside if beside.is_file() else named
    if not model.is_file():
        raise FcnError(f"the weights '{state.learned_net}' that this state names are not there",
                       file=state.file, do='Put them beside the state, or restore another one.')
    return model


def check_history(solver, state):
    """FcnError where the history is another net's or solver type's, or has values that are no
    numbers."""
    wanted = [tuple(h.shape) for h in solver.history]
    found = [tuple(h.shape) for h in state.history]
    if found != wanted:
        wrong = [i for i, (its, mine) in enumerate(zip(found, wanted)) if its != mine]
        raise FcnError('this is the state of another net or solver type: its history has ' + (
            f'shape {found[wrong[0]]} in blob {wrong[0]}, here it is {wanted[wrong[0]]}'
            if wrong else f'{len(found)} blobs, here it is {len(wanted)}'),
            file=state.file, do='Restore with the solver and net that wrote it.')
    owned = [(name, i) for name, blobs in solver.net.params.items()
             for i, blob in enumerate(blobs) if blob.owner is None]
    for k, array in enumerate(state.history):
        name, i = owned[k % len(owned)]
        which = 'history' if k < len(owned) else 'second history'
        check_finite(name, f'{i} of the {which}', array, state.file)


def check_own(state):
    """A state's extra; FcnError where it is ours and lacks what a run needs to go on."""
    extra = state.extra
    if 'position' in extra:
        wrong = [name for name, least in (('seed', 0), ('position', 0), ('threads', 1))
                 if not isinstance(extra.get(name), int) or extra[name] < least]
        if wrong or not isinstance(extra.get('losses'), list | np.ndarray):
            raise FcnError(f"{(wrong or ['losses'])[0]} of its state is missing or makes no sense",
                           file=state.file, do='The file is damaged: use another snapshot.')
    return extra


def check_pair(source, state):
    """FcnError where weights say that they belong to another state of this name."""
    losses = state.extra.get('losses', ())
    its = {'seed': state.extra.get('seed'), 'iteration': state.iter,
           'loss': losses[-1] if len(losses) else 0.0}
    wrong = [name for name in its if source.extra.get(name, its[name]) != its[name]]
    if 'position' in state.extra and wrong:
        raise FcnError(f'{wrong[0]} {source.extra[wrong[0]]} in the weights, {its[wrong[0]]} in '
                       f'the state {state.file}: they are of different runs', file=source.file,
                       do='Put the weights that belong to the state beside it.')
