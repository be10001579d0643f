"""The folder of a run: its newest snapshots, what they record, and how it is set aside."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data import parse_params
from ..errors import FcnError, located
from ..files import read_regular
from ..lock import holder, named
from ..proto.prototxt import read_net
from ..solver.snapshot_files import list_snapshots


def newest_weights(folder: str | Path) -> Path:
    """The latest weights in a folder; FcnError if there are none."""
    found = list_snapshots(folder)
    if not found:
        other = holder(folder)
        raise FcnError(f'the run has no weights yet: it is being trained, by {named(other)}'
                       if other else 'the run has no weights', file=str(folder),
                       code='no-weights-yet' if other else 'no-weights',
                       do='Wait for its first snapshot, or give a file as weights.' if other else
                       'Train it first, or give a file as weights.')
    return found[-1]


def newest_state(folder: str | Path) -> Path:
    """The latest solver state in a folder; FcnError if there is none."""
    found = list_snapshots(folder, 'solverstate')
    if not found:
        raise FcnError('the run has no snapshot to restore', file=str(folder), code='no-snapshot',
                       do='Train without restore.')
    return found[-1]


def recorded_length(extra: Mapping[str, Any]) -> int | None:
    """The iteration that a run was to reach, as its weights record; None where they do not."""
    recorded = str(extra.get('max_iter', ''))
    return int(recorded) if recorded.isdecimal() and int(recorded[:10]) else None


def set_aside(folder: Path) -> Path:
    """Rename a run's folder to FOLDER.oldN, so that nothing in it is lost; returns that."""
    n = 1
    while (old := folder.parent / f'{folder.name}.old{n}').exists():
        n += 1
    try:
        folder.rename(old)
    except OSError as error:
        raise FcnError(f'the earlier run cannot be renamed to {old}: {error.strerror}',
                       file=str(folder), code='run-immovable',
                       do='Give another folder as out.') from None
    print(f'{folder}: the run that was there is now {old}')
    return old


def same_text(one: Path, other: Path) -> bool:
    """Whether two prototxt files hold the same; no file is like none."""
    return os.path.isfile(other) and \
        read_regular(one, 'a prototxt') == read_regular(other, 'a prototxt')


def recorded_folder(val: Path) -> str:
    """The VOC folder that a val net written for a run reads. FcnError where it names none."""
    layers = read_net(val).message.layer
    with located(val):
        params = parse_params(layers[0].python_param.param_str) if layers else {}
        found = params.get('voc_dir')
        if not isinstance(found, str) or '\0' in found:
            raise FcnError("the first layer's param_str names no voc_dir", code='run-differs',
                           do='Give another folder as out, or fresh=True to set it aside.')
    return found
