"""A folder that a user asked for: there whole, or not at all."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fcn_repro.errors import FcnError
from fcn_repro.paths import inside
from fcn_repro.temporary import folder_for


@contextmanager
def whole_folder(target: Path, root: Path) -> Iterator[Path]:
    """An empty folder, which becomes `target` at the end of the block; an error leaves nothing.
    root: what is read meanwhile. FcnError as by check_free, then and at the end, and where it
    cannot be written."""
    check_free(target, root)
    try:
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        with folder_for(target.absolute()) as part:
            yield part
            os.replace(part, target.absolute())
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            check_free(target, root)
        raise FcnError(f'the folder cannot be written: {error.strerror or error}', file=target,
                       code='no-folder', do='Give another folder, or check its permissions and '
                       'the disk space; nothing is left of it.') from error


def check_free(target: Path, root: Path) -> None:
    """FcnError where `target` holds something, or is inside of the images' own folder."""
    if os.path.lexists(target) and not (target.is_dir() and not any(target.iterdir())):
        raise FcnError('there is something already, and it is not overwritten', file=target,
                       code='output-exists', do='Give another folder as out, or remove this one.')
    real, source = os.path.realpath(target), os.path.realpath(root)
    if real == source or inside(real, source):
        raise FcnError(f'it is inside of {root}, whose pictures would be read from it the next '
                       'time', file=target, code='output-inside',
                       do='Give a folder beside that of the images as out.')
