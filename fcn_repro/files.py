"""Open files that a user or another file names: regular ones only, since reading a device, a pipe
or a terminal may never end, and opening a pipe may wait for its writer for ever.

A pipe is refused even where a shell made it (`<(...)`, /dev/stdin): prototxts, lists and weights
are read more than once, for the net, for its data and for what a snapshot records of them.
"""

import hashlib
import os
import stat
from io import BufferedReader
from os import PathLike

from .errors import FcnError

MOST_TEXT = 2 ** 29     # bytes of a text or a list: ten times ImageNet's lists

_KINDS = ((stat.S_ISDIR, 'a folder', 'Name a file in it.'),
          (stat.S_ISFIFO, 'a pipe', 'Write what it gives into a file, and name that.'),
          (stat.S_ISSOCK, 'a socket', 'Name a file.'))


def open_regular(path: str | PathLike[str], what: str,
                 do: str = 'Check the path.') -> BufferedReader:
    """Open a regular file for reading, without waiting for anything.

    what: the kind of file that is wanted, with its article ('a prototxt'); do: the remedy where
    the system refuses to open it. FcnError for a folder, pipe, socket or device, and for a path
    that does not exist, that may not be read or that no file can have.
    """
    try:
        _check_kind(os.stat(path), path, what)      # first: to open a device can change its state
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise unreadable(error, path, do) from None
    file = os.fdopen(opened, 'rb')
    try:
        _check_kind(os.fstat(opened), path, what)
    except FcnError:
        file.close()
        raise
    return file


def check_regular(path: str | PathLike[str], what: str, do: str = 'Check the path.') -> None:
    """FcnError for what open_regular refuses; for readers that open the file themselves."""
    open_regular(path, what, do).close()


def read_regular(path: str | PathLike[str], what: str, most: int = MOST_TEXT,
                 do: str = 'Check the path.') -> bytes:
    """The bytes of a regular file of at most `most` bytes; FcnError for a larger one, or as by
    open_regular."""
    with open_regular(path, what, do) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise FcnError(f'has {size:,} bytes where {what} has at most {most:,}', file=path,
                           do='Check the path.')
        try:
            data = file.read(size + 1) or b''   # None: nothing there yet, as in /proc/kmsg
            if len(data) > size:                # read(n) takes memory for n bytes at once
                data += file.read(most + 1 - len(data)) or b''
        except OSError as error:
            raise unreadable(error, path, do) from None
    if len(data) > most:                        # it grows, or the system did not know its size
        raise FcnError(f'has more than {most:,} bytes, {what} at most that many', file=path,
                       do='Check the path.')
    return data


def digest_of(path: str | PathLike[str], what: str) -> str:
    """The SHA-256 (hex) of a regular file; FcnError as by open_regular."""
    with open_regular(path, what) as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def unreadable(error: OSError | ValueError, path: str | PathLike[str],
               do: str = 'Check the path.') -> FcnError:
    """The FcnError for what the system or Python says of a path when it is opened. ValueError: a
    NUL or half of a surrogate pair is in it."""
    reason = error.strerror if isinstance(error, OSError) else \
        'no file can have this name' if isinstance(error, UnicodeError) else str(error)
    return FcnError(f'cannot be read: {reason or error}', file=path, do=do)


def _check_kind(found: os.stat_result, path: str | PathLike[str], what: str) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kind, do = kind_of(found.st_mode)
    raise FcnError(f'is {kind} where {what} is wanted', file=path, do=do)


def kind_of(mode: int) -> tuple[str, str]:
    """What a file of this st_mode is, if not a regular one, in words; and what to name instead."""
    found = (each for is_kind, *each in _KINDS if is_kind(mode))
    kind, do = next(found, ('a device', 'Name a file.'))
    return kind, do
