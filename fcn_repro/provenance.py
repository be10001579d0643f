"""Where weights come from: the commit, the data, the parent; kept in every snapshot."""

import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .errors import FcnError
from .weights import read_extra

ROOT = Path(__file__).parents[1]


def commit():
    """The checkout's commit, '+' where files have changed since; else the installed version."""
    try:
        done = subprocess.run(['git', '-C', ROOT, 'describe', '--always', '--abbrev=40',
                               '--exclude=*', '--dirty=+'], capture_output=True, text=True)
    except FileNotFoundError:
        done = None
    if done and done.returncode == 0:
        return done.stdout.strip()
    try:
        return version('fcn_repro')
    except PackageNotFoundError:
        return 'unknown'


def data_readers(net):
    """The readers of a net's Python data layers that know what they read."""
    readers = [net.layer(node).reader for node in net.graph.nodes if node.type == 'Python']
    return [reader for reader in readers if hasattr(reader, 'fingerprint')]


def data_hash(net):
    """The hash of what a net's data layers read; '' where they do not say."""
    return ' '.join(reader.fingerprint() for reader in data_readers(net))


def classes_of(net):
    """Channels of the blob that the loss compares with the labels; 0 without such a loss."""
    losses = [node for node in net.graph.nodes if node.type == 'SoftmaxWithLoss']
    return net.shapes[losses[-1].bottoms[0]][1] if losses else 0


def provenance(stage, net, parent, state, max_iter):
    """What a stage's snapshots say of it: stage, commit, data, classes, max_iter, and of its parent
    the file, stage and commit. parent: the weights that it starts from; state: the solver state
    that it goes on from, which knows its parent; None where there is none."""
    mine = {'stage': stage, 'commit': commit(), 'data': data_hash(net), 'classes': classes_of(net),
            'max_iter': max_iter}
    if state:
        return mine             # restoring adds what the state knows of the parent
    said = read_extra(parent) if parent else {}
    return mine | {'parent': str(parent or 'random weights'),
                   **{f'parent_{key}': str(said.get(key, '')) for key in ('stage', 'commit')}}


def check_parent(mine, parent):
    """FcnError where an FCN's weights `parent`, a file, say that they are of other data or another
    number of classes than `mine`, a provenance."""
    said = read_extra(parent)
    for key, word in (('classes', 'classes'), ('data', 'data')):
        its = said.get(key)
        if its is not None and its != mine[key]:
            shown = f'{its} {word}, here are {mine[key]}' if key == 'classes' else \
                f'other data ({str(its)[:12]}…, here {str(mine[key])[:12]}…)'
            raise FcnError(f'the parent was trained on {shown}', file=str(parent),
                           do='Train the stages before this one on the same data; to start from '
                              'these weights all the same, name them with --weights.')
