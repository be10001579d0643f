"""Files that are opened for writing: temporary ones beside what they are to become, and logs.

A temporary file, NAME.HOST.PID.RANDOM.tmp, is made anew under a name that nobody can know
beforehand, so nothing that lies there is opened and no link followed. Its process holds a lock on
it for as long as it lives. What nobody holds and this host wrote was left by a process that was
killed, and `sweep` removes it; what another host wrote, into a folder that both mount, stays.
"""

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from . import processes

LONGEST = 255                       # bytes of a file's name
NAME = re.compile(r'.*\.([A-Za-z0-9-]+)\.(\d+)\.[0-9a-f]{16}\.tmp', re.DOTALL)
NO_LINK = os.O_NOFOLLOW | os.O_CLOEXEC

_swept: set[str] = set()            # folders


def name_for(path: str | os.PathLike) -> Path:
    """A new name in the folder of `path`; it begins as that of `path`."""
    path = Path(path)
    end = f'.{processes.host()}.{os.getpid()}.{secrets.token_hex(8)}.tmp'
    return path.with_name(os.fsdecode(os.fsencode(path.name)[:LONGEST - len(end)]) + end)


@contextmanager
def file_for(path: str | os.PathLike) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `path` and its name; open for reading and writing, locked, with the mode
    that open() gives; removed where an error ends the block. OSError where it cannot be made."""
    sweep_once(Path(path).parent)
    made, opened = create_file(path)
    try:
        with os.fdopen(opened, 'wb+') as file:
            yield made, file
    except BaseException:
        with suppress(OSError):
            os.unlink(made)
        raise


def create_file(path: str | os.PathLike) -> tuple[Path, int]:
    while True:
        made = name_for(path)
        opened = os.open(made, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666)
        if keeps(opened):
            return made, opened


@contextmanager
def folder_for(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder beside `path`, locked; removed at the end unless it was renamed. OSError where
    it cannot be made."""
    sweep_once(Path(path).parent)
    made, opened = create_folder(path)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(opened)


def create_folder(path: str | os.PathLike) -> tuple[Path, int]:
    while True:
        made = name_for(path)
        made.mkdir()
        with suppress(FileNotFoundError):
            opened = os.open(made, os.O_RDONLY | os.O_DIRECTORY | NO_LINK)
            if keeps(opened):
                return made, opened


def keeps(opened: int) -> bool:
    """Lock a new file or folder; False, and it is closed, where a sweep came first."""
    if processes.take_lock(opened) is False or not os.fstat(opened).st_nlink:
        os.close(opened)
        return False
    return True


def sweep_once(folder: Path) -> None:
    """`sweep`, the first time that this process writes into a folder."""
    if (known := os.path.abspath(folder)) not in _swept:
        _swept.add(known)
        sweep(folder)


def sweep(folder: str | os.PathLike) -> None:
    """Remove what processes of this host that are gone left half-written in a folder."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if (found := NAME.fullmatch(entry.name)) and found[1] == processes.host():
                with suppress(OSError):             # gone meanwhile, or another user's
                    remove_left_over(entry, int(found[2]))


def remove_left_over(entry: os.DirEntry, pid: int) -> None:
    """Remove a temporary file or folder unless its process lives."""
    folder = entry.is_dir(follow_symlinks=False)
    if not (folder or entry.is_file(follow_symlinks=False)):
        return
    mode = os.O_RDONLY if folder else os.O_RDWR     # to lock a file over NFS takes that
    opened = os.open(entry.path, mode | os.O_NONBLOCK | NO_LINK)
    try:
        free = processes.take_lock(opened)
        if free or (free is None and not processes.runs(pid)):
            (shutil.rmtree if folder else os.unlink)(entry.path)
    finally:
        os.close(opened)


def open_log(path: str | os.PathLike, more: int = 0) -> int:
    """Open a file, new or old, to append to; more: flags of os.open. OSError for a symbolic link,
    which may lead anywhere, and for what is no file: a pipe would wait for a reader."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | NO_LINK | more
    try:
        opened = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, 'it is a symbolic link, and none is followed') from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, 'it is no regular file')
    return opened
