"""Provenance of a run: stage, data, seed, parent. Snapshots record it; later calls compare it."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import FcnError
from ..export.caffe import use_of
from ..files import digest_of
from ..formats.weights import read_extra
from ..layers.python import make_reader
from ..net.graph import build
from ..net.net import Net
from ..solver.nets import train_net
from .options import NONE
from .runs import OWN_RECIPE, Run
from .starting import Source, files_of, given

ROOT = Path(__file__).parents[2]
LABELS = {'stage': 'stage', 'classes': 'number of classes', 'data': 'data (hash)', 'seed': 'seed',
          'recipe': 'recipe',
          'parent_sha256': 'parent, its weights having the SHA-256'}


def commit() -> str:
    """The checkout's commit, with '+' if files have changed since; outside one the installed
    version."""
    if (ROOT / '.git').exists():
        try:
            done = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--abbrev=40',
                                   '--exclude=*', '--dirty=+'], capture_output=True, text=True)
        except FileNotFoundError:
            return 'unknown'
        return done.stdout.strip() or 'unknown'
    try:
        return version('fcn_repro')
    except PackageNotFoundError:
        return 'unknown'


def identity(run: Run, prototxt: Path, val: Net) -> dict[str, Any]:
    """What tells this run from another one in the same folder: stage, classes, seed, data,
    recipe."""
    options = run.options
    solver = run.written_solver(prototxt)
    net = train_net(solver, run.search(prototxt)(solver.file))
    seed = options.seed if options.seed is not None else max(int(solver.message.random_seed), 0)
    return {'stage': run.name, 'classes': options.classes or run_classes(run, val), 'seed': seed,
            'data': data_hash(net, options.overrides), 'recipe': run.recipe}


def run_classes(run: Run, val: Net) -> int:
    """The number of classes of a run with this val net; of one of image tags with the background,
    which is no tag."""
    return val.shapes[val.graph.last('score')][1] + 1 if run.stage.tags else classes_of(val)


def data_hash(net, overrides: dict[str, dict]) -> str:
    """The fingerprints of what the Python data layers of a train net, a NetText, read; '' without
    such layers. FcnError, with file and layer, if one cannot be made."""
    hashes = []
    for node in build(net, net.message.state.phase, net.message.state.level).nodes:
        if node.type == 'Python':
            try:
                hashes.append(make_reader(node.param.python_param, overrides).fingerprint())
            except FcnError as error:
                here = {'file': net.file, 'line': node.line} if error.file is None else {}
                raise error.at(layer=node.name, type=node.type, **here) from None
    return ' '.join(hashes)


def classes_of(net: Net) -> int:
    """Channels of the blob that the loss named 'loss', or else the last one, compares with the
    labels; 0 without a SoftmaxWithLoss. (The release's nets with two heads have loss and
    loss_geo.)"""
    losses = [node for node in net.graph.nodes if node.type == 'SoftmaxWithLoss']
    chosen = [node for node in losses if node.name == 'loss'] or losses
    return net.shapes[chosen[-1].bottoms[0]][1] if chosen else 0


def parentage(weights: Source | None) -> dict[str, str]:
    """What snapshots record of the weights that a run started from; None: random ones. Of several
    streams it has each one's, with + between them."""
    if isinstance(weights, tuple):
        records = [parentage(file) for file in weights]
        return {key: ' + '.join(record[key] for record in records) for key in records[0]}
    if weights is None:
        return {'parent': 'random weights', 'parent_sha256': ''}
    extra = read_extra(weights)
    return {'parent': str(weights), 'parent_sha256': digest_of(weights, 'a file of weights'),
            **{f'parent_{key}': str(extra.get(key, '')) for key in ('stage', 'commit')}}


def made_from(weights: str | Path) -> dict[str, Any]:
    """What a file of weights records that was made of another one without training: how that is
    used, and that it is the parent."""
    return {**use_of(weights), **parentage(weights)}


def parentage_now(run: Run) -> dict[str, str]:
    """The parentage of a run that would start now; {} if the weights for it are missing."""
    options, parent = run.options, run.parent
    if options.weights == NONE or not (options.weights or parent or run.stage.weights):
        return parentage(None)
    if options.weights:
        return parentage(given(options.weights, run.stage))
    found = [parent.finished for parent in run.parents]
    finished = tuple(weights for weights in found if weights is not None)
    if not finished or len(finished) < len(found):
        return {}
    return parentage(finished if run.stage.streams else finished[0])


def check_parent(mine: dict[str, Any], weights: Source) -> None:
    """FcnError if the weights of a parent FCN record other data or another number of classes than
    `mine`; of several streams, whose data are parts of these, another number of classes alone."""
    for file in files_of(weights):
        extra = read_extra(file)
        for key in ('classes',) if isinstance(weights, tuple) else ('classes', 'data'):
            if key in extra and extra[key] != mine[key]:
                raise FcnError(f'the parent was trained with another {LABELS[key]}: {extra[key]}, '
                               f'here it is {mine[key]}', file=str(file), code='parent-differs',
                               do='Train the earlier stages on the same data; to start from these '
                                  'weights all the same, give them as weights.')


def check_run(weights: str | Path, mine: dict[str, Any]) -> None:
    """FcnError if the run that wrote `weights`, or a solver state, is not the one asked for,
    `mine`."""
    extra = {'recipe': OWN_RECIPE, **read_extra(weights)}
    for key, label in LABELS.items():
        if key in extra and key in mine and extra[key] != mine[key]:
            raise FcnError(f"the run here has another {label}: {str(extra[key]) or 'none'}, here "
                           f"it is {str(mine[key]) or 'none'}", file=str(Path(weights).parent),
                           code='run-differs', do='Give another folder as out or runs, or '
                           'fresh=True to set it aside.')
