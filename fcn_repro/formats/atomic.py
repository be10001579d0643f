"""Write a file whole or not at all.

A symbolic link in the file's place is replaced, never written through: in a folder that others can
write to, it may have been put there. A link to a folder is followed.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .. import temporary
from ..errors import FcnError
from ..files import kind_of


def write_bytes(data: bytes, path: str | os.PathLike,
                failed: str = 'cannot write the file') -> None:
    """Write bytes as `replacing` does, without waiting for the disk."""
    with replacing(path, failed, durable=False) as file:
        file.write(data)


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a text file, UTF-8, as write_bytes does."""
    write_bytes(text.encode(), path)


@contextmanager
def replacing(path: str | os.PathLike, failed: str = 'cannot be written',
              durable: bool = True) -> Iterator[BinaryIO]:
    """A binary file to fill, which takes the place of `path` only when it is complete.

    Until then, and after any error, the earlier file of that name is untouched. durable: it is on
    disk, too, before that. FcnError, beginning with `failed`, where it cannot be written, and where
    `path` is something else than a file.
    """
    check_target(path, failed)
    try:
        with temporary.file_for(path) as (made, file):
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            os.replace(made, path)
        if durable:
            sync_folder(Path(path).parent)
    except (OSError, RuntimeError) as error:
        raise FcnError(f'{failed}: {first_line(error)}', file=str(path),
                       code='no-room' if is_full(error) else '',
                       do='Check that the folder exists, may be written to and has room; an '
                          'earlier file of this name is untouched.') from error


def check_target(path: str | os.PathLike, failed: str) -> None:
    """FcnError where a folder, a device or a pipe has this path: it would be replaced."""
    with suppress(OSError):
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):
            raise FcnError(f'{failed}: there is {kind_of(mode)[0]} of this name', file=str(path),
                           do='Check the folder, or give another name.')


def sync_folder(folder: str | os.PathLike) -> None:
    """Flush a folder's new names to the disk, before anything relies on them."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):    # file systems without it
            raise
    finally:
        os.close(opened)


def first_line(error: BaseException) -> str:
    """The system's message where h5py gives its number or quotes it, else the first line."""
    if number := getattr(error, 'errno', None):
        return os.strerror(number)
    quoted = re.search(r"error message = '([^']*)'", str(error))
    return quoted[1] if quoted else str(error).split('\n')[0]


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or the user's part of it, is full; h5py only quotes the
    number."""
    full = errno.ENOSPC, errno.EDQUOT
    quoted = re.search(r'errno = (\d+)', str(error))
    return getattr(error, 'errno', None) in full or bool(quoted and int(quoted[1]) in full)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; FcnError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'cannot make this folder: {error.strerror}', file=str(folder),
                       code='no-folder', do='Choose another folder, or fix its permissions or the '
                       'free space.') from None
