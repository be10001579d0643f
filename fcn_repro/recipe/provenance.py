"""What a run is: stage, data, seed, parent. Its snapshots say so; later calls compare."""

import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ..errors import FcnError
from ..formats.weights import read_extra
from ..layers.python import make_reader
from ..net.graph import build

ROOT = Path(__file__).parents[2]
WORDS = {'stage': 'stage', 'classes': 'number of classes', 'data': 'data (hash)', 'seed': 'seed',
         'parent_sha256': 'parent, its weights having the SHA-256'}


def commit():
    """The checkout's commit, '+' where files have changed since; else the installed version."""
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


def data_hash(net, overrides):
    """The hash of what the Python data layers of a train net, a NetText, read; '' without them.
    FcnError where one cannot be made."""
    hashes = []
    for node in build(net, net.message.state.phase, net.message.state.level).nodes:
        if node.type == 'Python':
            try:
                hashes.append(make_reader(node.param.python_param, overrides).fingerprint())
            except FcnError as error:
                here = {'file': net.file, 'line': node.line} if error.file is None else {}
                raise error.at(layer=node.name, type=node.type, **here) from None
    return ' '.join(hashes)


def classes_of(net):
    """Channels of the blob that the loss compares with the labels; 0 without such a loss."""
    losses = [node for node in net.graph.nodes if node.type == 'SoftmaxWithLoss']
    return net.shapes[losses[-1].bottoms[0]][1] if losses else 0


def parentage(parent):
    """What snapshots say of the weights `parent` that a run started from; None: random ones."""
    if parent is None:
        return {'parent': 'random weights', 'parent_sha256': ''}
    said = read_extra(parent)
    with open(parent, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    return {'parent': str(parent), 'parent_sha256': digest,
            **{f'parent_{key}': str(said.get(key, '')) for key in ('stage', 'commit')}}


def check_parent(mine, parent):
    """FcnError where an FCN's weights `parent`, a file, say that they are of other data or another
    number of classes than `mine`."""
    said = read_extra(parent)
    for key in ('classes', 'data'):
        if key in said and said[key] != mine[key]:
            raise FcnError(f'the parent was trained with another {WORDS[key]}: {said[key]}, here '
                           f'it is {mine[key]}', file=str(parent),
                           do='Train the stages before this one on the same data; to start from '
                              'these weights all the same, name them with --weights.')


def check_run(weights, mine):
    """FcnError where the run that made `weights` is not the one that is asked for, `mine`: what is
    there would be taken for what it is not."""
    said = read_extra(weights)
    for key, word in WORDS.items():
        if key in said and key in mine and said[key] != mine[key]:
            raise FcnError(f"the run here has another {word}: {str(said[key]) or 'none'}, here "
                           f"it is {str(mine[key]) or 'none'}", file=str(Path(weights).parent),
                           do='Give another --out or --runs, or --fresh (make: FRESH=1) to set it '
                              'aside.')
