"""A run's folder: its snapshots, whether it is complete, and how an old one is set aside."""

import re
from pathlib import Path

from .errors import FcnError


def iteration(path):
    """The N of a snapshot PREFIX_iter_N.*"""
    return int(re.search(r'_iter_(\d+)\.', Path(path).name)[1])


def snapshots(out, kind='caffemodel'):
    """Snapshots of a run, oldest first; kind: caffemodel or solverstate."""
    return sorted(Path(out).glob(f'*_iter_*.{kind}.h5'), key=iteration)


def newest_weights(out):
    """The latest weights of a run; FcnError where there are none."""
    found = snapshots(out)
    if not found:
        raise FcnError('there are no weights here', file=str(out),
                       do='Train first, or give the weights file.')
    return found[-1]


def newest_state(out):
    """The latest solver state of a run; FcnError where there is none."""
    found = snapshots(out, 'solverstate')
    if not found:
        raise FcnError('there is no snapshot to restore here', file=str(out),
                       do='Train without --restore.')
    return found[-1]


def complete(out, max_iter):
    """The final weights of a run that reached max_iter, None for a folder without snapshots.

    FcnError for a run in between: it is neither overwritten nor gone on with unasked.
    """
    found = snapshots(out)
    if not found or iteration(found[-1]) >= max_iter:
        return found[-1] if found else None
    raise FcnError(f'{out} holds a run that stopped at iteration {iteration(found[-1])} of '
                   f'{max_iter}', do='Give --restore (make: RESTORE=1) to go on with it, or '
                   '--fresh (make: FRESH=1) to start anew.')


def set_aside(out):
    """Rename a run's folder, so that nothing that was there is lost."""
    n = 1
    while (old := out.with_name(f'{out.name}.old{n}')).exists():
        n += 1
    out.rename(old)
    print(f'{out}: the run that was there is now {old}')
