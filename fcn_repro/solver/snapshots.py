"""Snapshots of a solver: writing them so that a killed process leaves whole ones, and reading them.

They hold what Caffe's do. A group or field that Caffe ignores adds what a run needs to resume with
the same bits on the CPU (seed, number of forward passes, loss window, thread count), its
provenance, and the texts of net and solver, by which a state of another net or solver is detected.
"""

from __future__ import annotations

import difflib
import logging
import math
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from google.protobuf import text_format

from .. import glog, temporary
from ..errors import FcnError
from ..formats.atomic import make_folder
from ..formats.solverstate import SolverState, write_binary
from ..formats.weights import (
    BATCH_STATISTICS,
    Weights,
    check_finite,
    read_solverstate,
    read_weights,
    write_solverstate,
)
from ..paths import writable
from ..proto.prototxt import NetText, filter_net
from . import snapshot_files

if TYPE_CHECKING:
    from .solver import Solver

log = logging.getLogger(__name__)

# Fields of SolverParameter that change nothing that an iteration computes (the train net: its text
# counts instead; solver_mode, device_id: not obeyed here). max_iter counts for 'poly' alone.
IDLE = ('net', 'net_param', 'train_net', 'train_net_param', 'test_net', 'test_net_param',
        'test_state', 'test_iter', 'test_interval', 'test_compute_loss', 'test_initialization',
        'display', 'average_loss', 'max_iter', 'snapshot', 'snapshot_prefix', 'snapshot_diff',
        'snapshot_format', 'snapshot_after_train', 'solver_mode', 'device_id', 'debug_info',
        'weights', 'layer_wise_reduce')
RESERVED = ('seed', 'iteration', 'loss', 'position', 'losses', 'threads', 'torch',
            BATCH_STATISTICS)
DIFF_LINES = 40                 # of a difference, at most


def check_options(keep: int | None, provenance: dict[str, Any]) -> None:
    """FcnError for a number of snapshots to keep below 1 (code 'not-positive') and for a provenance
    that makes no sense."""
    if keep is not None and keep < 1:
        raise FcnError(f'keep={keep}: this many snapshots cannot be kept', code='not-positive',
                       facts={'option': 'keep'}, do='Give keep=1 or more, or None for all.')
    for name, value in provenance.items():
        if name in RESERVED or not isinstance(value, (str, bool, int, float)):
            raise FcnError(f'provenance has {name!r}: {value!r}', do=f'Give numbers and texts, '
                           f'under names other than {", ".join(RESERVED)}.')


def check_prefix(solver: Solver) -> None:
    """FcnError (code 'write-not-allowed') where the solver's text has its snapshots written outside
    the working directory, from which Caffe's paths start, its own folder and solver.writes."""
    if not solver.prefix_given:
        folders = (Path(), Path(solver.text.file or '').parent, *solver.writes)
        try:
            writable(f'{solver.prefix}_iter_{solver.iter}', folders,
                     "Give prefix=… in the place of snapshot_prefix, or writes=['FOLDER'].")
        except FcnError as error:
            raise error.at(file=solver.text.file,
                           line=solver.text.lines.get('snapshot_prefix')) from None


def prepare(solver: Solver) -> None:
    """Fail before iteration 1 on anything that would make a snapshot fail."""
    check_options(solver.keep, solver.provenance)
    check_prefix(solver)
    if suffix(solver):
        solver.net.check_saves_hdf5()
    make_room(solver)


# Writing

def write(solver: Solver) -> tuple[Path, Path]:
    """Write PREFIX_iter_N.caffemodel.h5 and .solverstate.h5, or, without .h5, in Caffe's binary
    format, as snapshot_format says. Each is written to a temporary file and renamed, the state
    last: a state that exists is whole and has its weights. Then remove all but the newest `keep`.
    Returns the paths.

    FcnError for weights that are not finite (code 'diverged') and for a lack of space (code
    'no-room'), before anything is written or meanwhile, and where a file cannot be written; earlier
    snapshots then stay.
    """
    for (name, _), blobs in solver.net.layer_params.items():
        if not all(blob.parameter.isfinite().all() for blob in blobs):
            raise diverged(solver, f'the weights became NaN or infinite by iteration {solver.iter}',
                           name)
    check_prefix(solver)
    model, state = paths(solver)
    make_folder(model.parent)
    make_room(solver)
    both = {**dict(sorted(solver.provenance.items())), 'seed': solver.seed}
    loss = solver.losses[-1] if solver.losses else 0.0
    save, write_state = (solver.net.save_hdf5, write_solverstate) if suffix(solver) else \
        (solver.net.save, write_binary)
    kind = 'HDF5' if suffix(solver) else 'binary proto'
    glog.CAFFE.info('Snapshotting to %s file %s', kind, model,
                    extra=glog.at('solver.cpp', 474 if suffix(solver) else 464))
    save(model, {**both, 'iteration': solver.iter, 'loss': loss})
    extra = {**both, 'position': solver.net.state.position, 'losses': list(solver.losses),
             'threads': torch.get_num_threads(), 'torch': str(torch.__version__)}
    write_state(state, solver.iter, str(model), solver.current_step,
                [h.contiguous() for h in solver.history], extra, texts(solver))
    log.info('Snapshotting solver state to %s', state, extra=glog.at(
        'sgd_solver.cpp', 296 if suffix(solver) else 284,
        f'Snapshotting solver state to {kind} file {state}'))
    if solver.keep is not None:
        snapshot_files.prune(solver.prefix, solver.keep, solver.iter, suffix(solver))
    return model, state


def diverged(solver: Solver, what: str, layer: str | None = None) -> FcnError:
    """The FcnError for a loss or weights that are not finite."""
    rate = solver.param.base_lr
    return FcnError(what, file=solver.text.file, layer=layer, code='diverged',
                    facts={'base_lr': f'{rate:g}'},
                    do=f'Lower base_lr ({rate:g}; restoring with another needs force=True), or '
                       'check the data and the weights; the latest snapshot is untouched.')


def paths(solver: Solver) -> tuple[Path, Path]:
    """(weights, state) of the solver's snapshot at its iteration."""
    return snapshot_files.paths(solver.prefix, solver.iter, suffix(solver))


def suffix(solver: Solver) -> str:
    """The end of the names of a solver's snapshots: '.h5' or ''."""
    return '.h5' if solver.param.snapshot_format == solver.param.HDF5 else ''


def make_room(solver: Solver) -> None:
    """Remove what killed processes left half-written in the solver's folder; FcnError (code
    'no-room') where the disk then has no space for one snapshot."""
    folder = Path(f'{solver.prefix}_iter_').absolute().parent
    temporary.sweep(folder)
    while not os.path.exists(folder):
        folder = folder.parent
    need, free = snapshot_bytes(solver), shutil.disk_usage(folder).free
    if free < need:
        raise FcnError(f'a snapshot takes {need / 1e6:.1f} MB, {free / 1e6:.1f} MB are free',
                       file=str(folder), code='no-room',
                       do='Free space, keep fewer snapshots (keep=N), or choose another prefix; '
                          'nothing was written, and earlier snapshots are untouched.')


def snapshot_bytes(solver: Solver) -> int:
    """Upper bound of the size of weights and state on disk: float32, a header for every blob,
    texts."""
    blobs: list[Any] = [blob for blobs in solver.net.layer_params.values() for blob in blobs]
    numbers = sum(math.prod(blob.shape) for blob in blobs + solver.history)
    return 4 * numbers + 4096 * len(solver.net.graph.nodes) + (1 << 20)


# Comparing a state with a solver

def net_text(net: NetText) -> str:
    """A NetText's layers in its state as text, without comments, spaces and other states' layers.
    """
    message = filter_net(net, net.message.state.phase, net.message.state.level).message
    message.ClearField('name')
    message.ClearField('debug_info')
    if not message.state.level:             # `caffe train` sets it to 0
        message.state.ClearField('level')
    for layer in message.layer:
        layer.ClearField('include')
        layer.ClearField('exclude')
    return text_format.MessageToString(message)


def texts(solver: Solver) -> dict[str, str]:
    """{name: text} of all that determines an iteration, except for the weights."""
    param = type(solver.param)()
    param.CopyFrom(solver.param)
    for name in IDLE:
        if name != 'max_iter' or param.lr_policy != 'poly':
            param.ClearField(name)
    if not param.train_state.level:
        param.train_state.ClearField('level')
    if not param.train_state.ListFields():
        param.ClearField('train_state')
    data = sorted(f'{layer}.{key}: {value}' for layer, keys in solver.net.state.overrides.items()
                  for key, value in keys.items())
    return {'train net': solver.net_text, 'solver': text_format.MessageToString(param),
            'data': '\n'.join(data)}


def differences(state: SolverState, solver: Solver) -> str:
    """Short unified diff between the texts stored in a state and the solver's own; empty if they
    are equal, or if the state, being Caffe's, has none."""
    lines: list[str] = []
    for name, mine in texts(solver).items():
        old, new = (text.splitlines() for text in (state.texts.get(name, mine), mine))
        if name == 'data':
            old, new = _resolved(old), _resolved(new)
            if state.extra.get('data') and solver.provenance.get('data'):
                old.append(f'data: {state.extra["data"]}')
                new.append(f'data: {solver.provenance["data"]}')
        for line in difflib.unified_diff(old, new, f'{name} of the state', f'{name} now', n=1,
                                         lineterm=''):
            lines.append(_hunk_title(line, old) if line.startswith('@@') else line)
    more = len(lines) - DIFF_LINES
    return '\n'.join(lines[:DIFF_LINES] + [f'… {more} more lines'] * (more > 0))


def summary(changed: str, most: int = 6) -> str:
    """What `differences` found in one line: `base_lr: 0.1 -> 0.01; ...`."""
    found, old = [], []
    for line in [*changed.splitlines(), '']:
        text = ' '.join(line[1:].split())
        if line.startswith(('---', '+++')):
            continue
        if line.startswith('-'):
            old.append(text)
        elif line.startswith('+'):
            name = text.partition(':')[0]
            same = next((each for each in old if each.partition(':')[0] == name), None)
            if same is None:
                found.append(f'now {text}')
            else:
                old.remove(same)
                found.append(f'{same} -> {text.partition(": ")[2]}')
        elif old:
            found += [f'no longer {each}' for each in old]
            old = []
    more = len(found) - most
    return '; '.join(found[:most]) + (f'; and {more} more' if more > 0 else '')


def _hunk_title(line: str, old: list[str]) -> str:
    """The head of a hunk, replaced by the name of the layer in which it begins."""
    found = re.match(r'@@ -(\d+)', line)
    start = int(found[1]) if found else 0
    names = [line for line in old[:start] if line.startswith('  name: ')]
    return f'@@ layer {names[-1].split()[1]} @@' if names else '@@'


def _resolved(lines: Iterable[str]) -> list[str]:
    """Lines 'key: value', with values that are existing files as absolute paths."""
    pairs = [line.split(': ', 1) for line in lines]
    return [f'{key}: {Path(value).resolve() if os.path.exists(value) else value}'
            for key, value in pairs]


# Reading

@dataclass(frozen=True)
class Snapshot:
    """A solver state and its weights, as read. changed: the differences, if any, between its texts
    and those of the solver that reads it, or between it and its weights."""
    state: SolverState
    weights: Weights
    changed: str

    @property
    def resumable(self) -> bool:
        """Whether it says how to resume with the same bits; Caffe's own do not."""
        return 'position' in self.state.extra

    @property
    def provenance(self) -> dict[str, Any]:
        return {name: value for name, value in self.state.extra.items() if name not in RESERVED}


def read(solver: Solver, path: str | PathLike, force: bool = False) -> Snapshot:
    """A solver state of either format, ours or Caffe's, checked, with its weights: the file that it
    names, in its own folder or, failing that, at the path it gives.

    FcnError where net, solver or data have changed since (code 'changed-since', facts path and
    changes) or the weights are of another run, both unless `force`; where the history does not fit
    the net, and for damaged files.
    """
    state = read_solverstate(path)
    changed = differences(state, solver)
    if changed and not force:
        raise FcnError('net, solver or data are not those that wrote this state', file=str(path),
                       code='changed-since', facts={'path': str(path), 'changes': changed},
                       do='Restore with those, or with force=True to continue with the new ones:\n'
                          + changed)
    check_history(solver, state)
    check_extra(state)
    weights = read_weights(model_of(state), solver.net.graph.dialect)
    if force:
        changed = '\n'.join(filter(None, [changed, *unlike(weights, state)]))
    else:
        check_pair(weights, state)
    return Snapshot(state, weights, changed)


def model_of(state: SolverState) -> Path:
    """The path of a state's weights."""
    named = Path(state.learned_net)
    sibling = Path(state.file).parent / named.name
    model = sibling if os.path.isfile(sibling) else named
    if not os.path.isfile(model):
        raise FcnError(f"the weights '{state.learned_net}' that this state names are missing",
                       file=state.file, do='Put them into its folder, or restore another one.')
    return model


def check_history(solver: Solver, state: SolverState) -> None:
    """FcnError where the history is another net's or solver type's, or has values that are not
    finite."""
    wanted = [tuple(h.shape) for h in solver.history]
    found = [tuple(h.shape) for h in state.history]
    if found != wanted:
        wrong = [i for i, (theirs, mine) in enumerate(zip(found, wanted, strict=False))
                 if theirs != mine]
        raise FcnError('this is the state of another net or solver type: its history has ' + (
            f'shape {found[wrong[0]]} in blob {wrong[0]}, here it is {wanted[wrong[0]]}'
            if wrong else f'{len(found)} blobs, here it is {len(wanted)}'),
            file=state.file, do='Restore with the solver and net that wrote it.')
    owned = [(name, i) for (name, _), blobs in solver.net.layer_params.items()
             for i, blob in enumerate(blobs) if blob.owner is None]
    for k, array in enumerate(state.history):
        name, i = owned[k % len(owned)]
        which = 'history' if k < len(owned) else 'second history'
        check_finite(name, f'{i} of the {which}', array, state.file)


def check_extra(state: SolverState) -> None:
    """FcnError where a state is ours and lacks what a run needs to resume."""
    extra = state.extra
    if 'position' in extra:
        wrong = [name for name, least in (('seed', 0), ('position', 0), ('threads', 1))
                 if not isinstance(extra.get(name), int) or extra[name] < least]
        if wrong or not isinstance(extra.get('losses'), list | np.ndarray):
            raise FcnError(f"{(wrong or ['losses'])[0]} of its state is missing or makes no sense",
                           file=state.file, do='The file is damaged: use another snapshot.')


def check_pair(weights: Weights, state: SolverState) -> None:
    """FcnError where weights say that they belong to another state of this name."""
    for name, (theirs, wanted) in mismatches(weights, state).items():
        raise FcnError(f'{name} {theirs} in the weights, {wanted} in the state {state.file}: they '
                       'are of different runs', file=weights.file,
                       do="Put the state's own weights into its folder.")


def mismatches(weights: Weights, state: SolverState) -> dict[str, tuple[Any, Any]]:
    """{name: (value in the weights, value in the state)} where both say it and differ."""
    if 'position' not in state.extra:           # Caffe's own
        return {}
    losses = state.extra.get('losses', ())
    wanted = {'seed': state.extra.get('seed'), 'iteration': state.iter,
              'loss': losses[-1] if len(losses) else 0.0}
    return {name: (weights.extra[name], value) for name, value in wanted.items()
            if weights.extra.get(name, value) != value}


def unlike(weights: Weights, state: SolverState) -> list[str]:
    """`mismatches` as lines of a diff."""
    return [line for name, (theirs, wanted) in mismatches(weights, state).items()
            for line in (f'-{name} of the weights: {wanted}', f'+{name} of the weights: {theirs}')]
