"""The lock of a run's folder: two runs in one folder would overwrite each other's files.

The lock is the kernel's (flock) on the file .lock in the folder, so it ends with its process,
however that ends; the file's text, {host, pid, start, since, until}, only says to another run who
is there. Over NFS the lock holds between machines (NFSv4, or NFSv3 with its lock daemon). On a file
system without locks the text takes its place: a process of this host that is gone has left the
folder; of one of another host that cannot be known.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from . import processes, temporary
from .errors import FcnError
from .formats.atomic import make_folder

FILE = '.lock'
MOST = 4096             # bytes of its text
TRIES = 100

_held: set[int] = set()         # descriptors of the locks of this process


@contextmanager
def locked(folder: str | os.PathLike, prefix: str | None = None) -> Iterator[RunLock]:
    """Hold the lock of a folder, which is made where it is missing, and at the end removed again
    where nothing was put into it. prefix: lock only the files PREFIX_… of that folder.

    One process of a run takes it: of a run of several processes the first. FcnError (code
    'folder-in-use' without a prefix; facts host, pid, since) where another run has it, and where
    the folder cannot be made or written to.
    """
    lock = RunLock(folder, prefix)
    try:
        lock.take()
        yield lock
    finally:
        lock.release()


class RunLock:
    """The lock of `locked`. file: its path."""

    def __init__(self, folder: str | os.PathLike, prefix: str | None = None) -> None:
        self.folder, self.prefix = Path(folder), prefix
        self.file = self.folder / (FILE if prefix is None else f'.{prefix}{FILE}')
        self._opened: int | None = None
        self._made = missing(self.folder)
        self._text: dict[str, Any] = {}

    def take(self) -> None:
        """Take the lock; FcnError as in `locked`."""
        for _ in range(TRIES):
            make_folder(self.folder)
            with suppress(FileNotFoundError):           # the folder went away again
                opened, new = self._open()
                try:
                    self._lock(opened, new)
                except FcnError:
                    os.close(opened)
                    raise
                if is_at(opened, self.file):
                    return self._keep(opened)
                os.close(opened)                        # its owner has just removed it
        raise FcnError('the folder comes and goes', file=str(self.folder),
                       do='Find out what removes it.')

    def moved(self, where: Path) -> None:
        """Take the lock of the folder anew, after the folder that it was in was renamed."""
        before, self._opened, self._made = self._opened, None, [self.folder]
        try:
            self.take()
        finally:
            self._drop(before, where / self.file.name)

    def expect(self, seconds: float) -> None:
        """Have the lock say that its run will take so many seconds more, about."""
        self._text['until'] = time.strftime('%Y-%m-%d %H:%M', time.localtime(time.time() + seconds))
        self._write()

    def release(self) -> None:
        """Give the lock back, if it is held, and remove its file and the empty folders that `take`
        made."""
        opened, self._opened = self._opened, None
        if self._drop(opened, self.file):
            for each in self._made:
                with suppress(OSError):             # not empty, or another run's by now
                    each.rmdir()

    def _open(self) -> tuple[int, bool]:
        """The open file, and whether it is new. FcnError where it cannot be opened."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            try:
                return os.open(self.file, flags | os.O_CREAT | os.O_EXCL, 0o666), True
            except FileExistsError:
                opened = os.open(self.file, flags)
        except FileNotFoundError:
            raise
        except OSError as error:
            what = 'it is a symbolic link' if error.errno == errno.ELOOP else error.strerror
            raise FcnError(f'the lock of this folder cannot be opened: {what}',
                           file=str(self.file), do='Remove this file if it is there, and check the '
                           "folder's permissions.") from None
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            os.close(opened)
            raise FcnError('the lock of this folder is no regular file', file=str(self.file),
                           do='Remove it.')
        return opened, False

    def _lock(self, opened: int, new: bool) -> None:
        """Lock the open file; FcnError where another run has it."""
        locked = processes.take_lock(opened)
        if locked or (locked is None and new):
            return
        if locked is None:                  # a file system without locks
            other = read(opened)
            if is_gone(other):
                return
            raise self._in_use(other, f' (here are no locks: if that is gone, remove {self.file})')
        for _ in range(TRIES):              # until the text is that of the lock's owner
            other = read(opened)
            if other and not is_gone(other):
                break
            time.sleep(0.01)
        raise self._in_use(other, '')

    def _keep(self, opened: int) -> None:
        _held.add(opened)
        self._opened = opened
        self._text = {'host': processes.host(), 'pid': os.getpid(),
                      'start': processes.started(os.getpid()),
                      'since': time.strftime('%Y-%m-%d %H:%M:%S')}
        self._write()
        temporary.sweep(self.folder)        # of the run that was killed here

    def _write(self) -> None:
        """Write the lock's text, if it is held."""
        if self._opened is None or self._opened not in _held:
            return
        text = json.dumps(self._text).encode()
        with suppress(OSError):             # a full disk: the lock itself is the kernel's
            os.pwrite(self._opened, text, 0)
            os.ftruncate(self._opened, len(text))

    @staticmethod
    def _drop(opened: int | None, file: Path) -> bool:
        """Remove a lock's file and give the lock back; False where it is not held: in a forked
        process its parent has it."""
        if opened is None or opened not in _held:
            return False
        with suppress(OSError):
            if is_at(opened, file):
                file.unlink()
        _held.discard(opened)
        os.close(opened)
        return True

    def _in_use(self, other: dict[str, Any], words: str) -> FcnError:
        """The error that names the other run; words: to add."""
        who = named(other) if other else 'a process that has not written its name yet'
        who += words
        if self.prefix is None:
            return FcnError(f'another run is using this folder: {who}', file=str(self.folder),
                            code='folder-in-use', facts=other,
                            do='Wait until it ends or stop it, or give another folder as out.')
        return FcnError(f'another run is writing files of this prefix: {who}',
                        file=str(self.folder / self.prefix), facts=other,
                        do='Wait until it ends or stop it, or set another snapshot_prefix in the '
                           'solver.')


def holder(folder: str | os.PathLike) -> dict[str, Any]:
    """{host, pid, start, since, and until where it is known} of the run that is using a folder; {}
    where there is none. Of another host, where its process cannot be seen, the text of its lock is
    believed."""
    try:
        opened = os.open(Path(folder, FILE),
                         os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:                     # none, or one that is not this project's
        return {}
    try:
        found = read(opened)
    finally:
        os.close(opened)
    return {} if is_gone(found) else found


def named(other: dict[str, Any]) -> str:
    """The run of a lock's text in words."""
    until = f", until about {other['until']}" if other.get('until') else ''
    return f"process {other['pid']} on {other['host']}, since {other['since']}{until}"


def read(opened: int) -> dict[str, Any]:
    """{host, pid, start, since, and until where it is known} of an open lock file; {} where they
    are not there (yet)."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(os.pread(opened, MOST, 0))
        texts = {name: ''.join(filter(str.isprintable, str(found[name])[:64]))
                 for name in ('host', 'start', 'since')}
        if 'until' in found:
            texts['until'] = ''.join(filter(str.isprintable, str(found['until'])[:64]))
        return {**texts, 'pid': int(found['pid'])}
    return {}


def is_gone(other: dict[str, Any]) -> bool:
    """Whether the text of a lock names a process of this host that runs no more."""
    return bool(other) and other['host'] == processes.host() and not processes.runs(
        other['pid'], other['start'])


def is_at(opened: int, file: Path) -> bool:
    """Whether an open file is the one at this path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(opened), os.lstat(file))
    return False


def missing(folder: Path) -> list[Path]:
    """The folders of a path that do not exist, the innermost first."""
    return [each for each in (folder, *folder.parents) if not os.path.lexists(each)]


def _forget() -> None:
    """In a forked process, close the files: it would hold its parent's locks after the parent."""
    for opened in _held:
        os.close(opened)
    _held.clear()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_forget)
