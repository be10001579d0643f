"""Writing a file whole or not at all."""

import errno
import os
import re
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import FcnError


def write_bytes(data, path, failed='cannot write the file'):
    """Write bytes beside `path`, then move them there: a reader never sees half of them.

    FcnError, beginning with `failed`, where that is not possible; what was there before stays.
    """
    beside = Path(f'{path}.{os.getpid()}.part')
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise FcnError(f'{failed}: {error.strerror}', file=str(path),
                       do='Check the folder, its rights and the space on the disk.') from None
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(text, path):
    """Write a text file, UTF-8, as write_bytes does."""
    write_bytes(text.encode(), path)


@contextmanager
def replacing(path):
    """A binary file to fill, which takes the place of `path` only when it is complete on disk.

    Until then, and after any error, the earlier file of that name is untouched.
    """
    temp = f'{os.fspath(path)}.{os.getpid()}.tmp'
    try:
        with open(temp, 'wb+') as beside:
            yield beside
            beside.flush()
            os.fsync(beside.fileno())
        os.replace(temp, path)
        sync_folder(os.path.dirname(temp) or '.')
    except BaseException as error:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.remove(temp)
        if isinstance(error, (OSError, RuntimeError)):
            raise FcnError(f'cannot be written: {first_line(error)}', file=path,
                           do='Check that the folder exists, may be written to and has room; an '
                              'earlier file of this name is untouched.') from error
        raise


def sync_folder(folder):
    """Have a folder's new names on the disk, before anything relies on them."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):    # of file systems without it
            raise
    finally:
        os.close(opened)


def first_line(error):
    """The system's own words where h5py has its number or quotes them, else its first line."""
    if number := getattr(error, 'errno', None):
        return os.strerror(number)
    quoted = re.search(r"error message = '([^']*)'", str(error))
    return quoted[1] if quoted else str(error).split('\n')[0]


def make_folder(folder):
    """Make a Path and its parents; FcnError where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FcnError(f'cannot make this folder: {error.strerror}', file=str(folder),
                       do='Give another --out, or mend its rights or the space.') from None
