"""Write a file whole or not at all."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import FcnError


def write_bytes(data: bytes, path: str | os.PathLike,
                failed: str = 'cannot write the file') -> None:
    """Write bytes under a temporary name, then move them to `path`: a reader never sees a part.

    FcnError, beginning with `failed`, where that is not possible; an earlier file stays as it was.
    """
    temporary = Path(f'{path}.{os.getpid()}.part')
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise FcnError(f'{failed}: {error.strerror}', file=str(path),
                       do='Check the folder, its permissions and the free space.') from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_text(text: str, path: str | os.PathLike) -> None:
    """Write a text file, UTF-8, as write_bytes does."""
    write_bytes(text.encode(), path)


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A binary file to fill, which takes the place of `path` only when it is complete on disk.

    Until then, and after any error, the earlier file of that name is untouched. FcnError where it
    cannot be written.
    """
    temporary = f'{os.fspath(path)}.{os.getpid()}.tmp'
    try:
        with open(temporary, 'wb+') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(os.path.dirname(temporary) or '.')
    except BaseException as error:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.remove(temporary)
        if isinstance(error, (OSError, RuntimeError)):
            raise FcnError(f'cannot be written: {first_line(error)}', file=path,
                           do='Check that the folder exists, may be written to and has room; an '
                              'earlier file of this name is untouched.') from error
        raise


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


def make_folder(folder: Path) -> None:
    """Make a folder and its parents; FcnError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'cannot make this folder: {error.strerror}', file=str(folder),
                       code='no-folder', do='Choose another folder, or fix its permissions or the '
                       'free space.') from None
