"""A run's folder: its snapshots, whether it is complete, and how an old one is set aside."""

import ast
import re
from pathlib import Path

from ..errors import FcnError
from ..proto.prototxt import read_net

NEWEST = 'newest'       # in place of a solver state's path: the latest of the run


def iteration(path):
    """The N of a snapshot PREFIX_iter_N.*"""
    return int(re.search(r'_iter_(\d+)\.', Path(path).name)[1])


def snapshots(out, kind='caffemodel'):
    """Snapshots of a run in both formats, oldest first; kind: caffemodel or solverstate."""
    return sorted((path for end in ('', '.h5') for path in
                   Path(out).glob(f'*_iter_[0-9]*.{kind}{end}')), key=iteration)


def newest_weights(out):
    """The latest weights of a run; FcnError where there are none."""
    found = snapshots(out)
    if not found:
        raise FcnError('there are no weights here', file=str(out),
                       do='Train first (tools/train.py), or name a file with --weights.')
    return found[-1]


def newest_state(out):
    """The latest solver state of a run; FcnError where there is none."""
    found = snapshots(out, 'solverstate')
    if not found:
        raise FcnError('there is no snapshot to restore here', file=str(out),
                       do='Train without --restore.')
    return found[-1]


def complete(out, max_iter):
    """The final weights of a run that reached max_iter, None for a folder without a run.

    FcnError for a run in between: it is neither overwritten nor gone on with unasked. Weights
    without a solver state, which a run that was killed meanwhile leaves, are no run.
    """
    found, states = snapshots(out), snapshots(out, 'solverstate')
    if found and iteration(found[-1]) >= max_iter:
        return found[-1]
    if not states:
        return None
    raise FcnError(f'this run stopped at iteration {iteration(states[-1])} of {max_iter}',
                   file=str(out), do='Give --restore (make: RESTORE=1) to go on with it, or '
                   '--fresh (make: FRESH=1) to start anew.')


def same_data(out, voc):
    """FcnError where a run has other data than voc, a folder of the user's own (None: what the
    shipped nets name): its weights would be scored, or trained further, on what they are not for.
    """
    written = out / 'net' / 'val.prototxt'      # there where the nets were written for own data
    its = None
    if written.exists():
        param = read_net(written).message.layer[0].python_param
        its = ast.literal_eval(param.param_str)['voc_dir']
    if snapshots(out) and (its and Path(its).resolve()) != (voc and Path(voc).resolve()):
        raise FcnError(f"the run here has {its or 'the data of the shipped nets'}, not "
                       f"{voc or 'these'}", file=str(out), do='Give another --out, or --fresh '
                       '(make: FRESH=1) to set it aside.')


def set_aside(out):
    """Rename a run's folder, so that nothing that was there is lost."""
    n = 1
    while (old := out.parent / f'{out.name}.old{n}').exists():
        n += 1
    try:
        out.rename(old)
    except OSError as error:
        raise FcnError(f'the earlier run cannot be renamed to {old}: {error.strerror}',
                       file=str(out), do='Give another --out.') from None
    print(f'{out}: the run that was there is now {old}')
