"""The files of a run's snapshots: their names, and removing old ones.

A snapshot is PREFIX_iter_N.caffemodel and PREFIX_iter_N.solverstate, in HDF5 both with .h5 behind.
"""

import os
import re
from os import PathLike
from pathlib import Path

from ..errors import FcnError
from ..formats.atomic import sync_folder

KINDS = 'caffemodel', 'solverstate'


def iteration(path: str | PathLike) -> int:
    """The N of a snapshot PREFIX_iter_N.*"""
    found = re.search(r'_iter_(\d+)\.', Path(path).name)
    if found is None:
        raise FcnError('not a snapshot: its name has no _iter_N.', file=str(path),
                       do='Name a file that a solver wrote.')
    return int(found[1])


def list_snapshots(folder: str | PathLike, kind: str = 'caffemodel') -> list[Path]:
    """The snapshot files of a folder in both formats, oldest first; kind: one of KINDS."""
    if not os.path.isdir(folder):           # Path.glob raises OSError for a name that is too long
        return []
    return sorted((path for suffix in ('', '.h5') for path in
                   Path(folder).glob(f'*_iter_[0-9]*.{kind}{suffix}') if path.is_file()),
                  key=iteration)


def paths(prefix: str | PathLike, iteration: int, suffix: str) -> tuple[Path, Path]:
    """(weights, state) of a snapshot; suffix: '.h5' or ''."""
    model, state = (Path(f'{prefix}_iter_{iteration}.{kind}{suffix}') for kind in KINDS)
    return model, state


def find(prefix: str | PathLike, ending: str) -> dict[Path, int]:
    """{path: N} of the files PREFIX_iter_N.ENDING of this very prefix; ending: a regular
    expression."""
    start = Path(f'{prefix}_iter_')
    if not os.path.isdir(start.parent):
        return {}
    wanted = re.compile(re.escape(start.name) + r'(\d+)\.' + ending)
    found = [(path, wanted.fullmatch(path.name)) for path in start.parent.iterdir()]
    return {path: int(match[1]) for path, match in found if match}


def prune(prefix: str | PathLike, keep: int, newest: int, suffix: str) -> None:
    """Remove all but the `keep` newest snapshots up to iteration `newest`, of one format: states
    first, and their weights only after that has reached the disk."""
    models, states = (find(prefix, re.escape(f'{kind}{suffix}')) for kind in KINDS)
    oldest = sorted(n for n in states.values() if n <= newest)[-keep:][0]
    for path in [path for path, n in states.items() if n < oldest]:
        remove(path)
    sync_folder(Path(f'{prefix}_iter_').parent)
    for path in [path for path, n in models.items() if n < oldest]:
        remove(path)


def remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise FcnError(f'cannot be removed: {error.strerror}', file=str(path),
                       do='Remove it, and correct the permissions of its folder.') from None
