"""Caffe's databases: LMDB environments whose values are Datum messages (util/db_lmdb.cpp of Caffe).

They are read by lmdb_read.py, which checks what it reads, and written by LMDB itself.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import temporary
from ..errors import FcnError
from .atomic import first_line, make_folder
from .lmdb_read import PageFile, Snapshot

DATA_FILE = 'data.mdb'
AT_ONCE = 64            # records that are read before the first of them is used
TRIES = 100             # to read while another program writes
PER_COMMIT = 1000       # records, as Caffe's converters
LEVELDB = ('CURRENT', 'LOCK', 'MANIFEST-*')

_open: weakref.WeakValueDictionary[tuple[int, int], Reader] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_database(path: str | PathLike) -> Reader:
    """The Reader of a database; one for all nets of a process, which counts its records once.

    A forked process goes on with its parent's. Where another file took the database's place, the
    nets that are reading it read that from now on. FcnError as by Reader.
    """
    path = Path(path)
    check_folder(path)
    found = os.stat(path)
    with _opening:
        reader = _open.get((found.st_dev, found.st_ino))
        if reader is None:
            reader = _open[found.st_dev, found.st_ino] = Reader(path)
        elif reader.stamp != stamp(path):
            reader.open()
    return reader


def _renew_locks() -> None:
    """In a forked process, replace the locks that its parent's threads held."""
    global _opening
    _opening = threading.Lock()
    for reader in list(_open.values()):
        reader._lock = threading.Lock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_renew_locks)


def stamp(path: Path) -> tuple[int, int, int]:
    """(inode, bytes, time) of a database's file, which tell it from others in its place."""
    found = os.stat(path / DATA_FILE)
    return found.st_ino, found.st_size, found.st_mtime_ns


class Reader:
    """The records of an LMDB in the order of their keys. Several threads may read at once.

    Another program may write meanwhile: the reader goes on with as many records as it counted when
    it was opened. FcnError for a folder that is missing, empty, LevelDB's or damaged, see
    check_folder and lmdb_read.py.
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self._lock = threading.Lock()       # of the count of leaf pages
        self.open()

    def open(self) -> None:
        """Open the file, or the one that took its place."""
        check_folder(self.path)
        with self._lock:
            self.stamp = stamp(self.path)
            file = PageFile(self.path / DATA_FILE)
            self._snapshot = Snapshot(file, file.newest())
            self._count = self._snapshot.version.entries
            if not self._count:
                raise FcnError('the database is empty', file=str(self.path),
                               do='Write it again; its converter stored no record.')

    def __len__(self) -> int:
        return self._count

    def records(self, first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of `count` records from number `first` on, over and over."""
        for k in range(first, first + count, AT_ONCE):
            yield from self._read(k, min(AT_ONCE, first + count - k))

    def _read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """[(key, value), …] of a few records, all of one version of the database."""
        with self._lock:
            for _ in range(TRIES):
                snapshot = self._newest()
                try:
                    found = self._collect(snapshot, first % self._count, count)
                except FcnError:
                    self._snapshot = Snapshot(snapshot.file, snapshot.version)
                    if self._is_whole(snapshot):
                        raise
                else:
                    if self._is_whole(snapshot):
                        return found
        raise FcnError(f'other programs changed it {TRIES} times while it was read',
                       file=str(self.path), do='Train when they have finished.')

    def _newest(self) -> Snapshot:
        file = self._snapshot.file
        version = file.newest(self._snapshot.version)
        if version != self._snapshot.version:
            self._snapshot = Snapshot(file, version)
        return self._snapshot

    def _is_whole(self, snapshot: Snapshot) -> bool:
        """Whether no writer can have changed a page of a version until now."""
        newest = snapshot.file.newest(snapshot.version)
        return newest.transaction <= snapshot.version.transaction + 1

    def _collect(self, snapshot: Snapshot, k: int, count: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        while len(found) < count:
            wanted = min(count - len(found), self._count - k)
            some = list(snapshot.records(k, wanted))
            if len(some) < wanted:
                raise FcnError(f'there is no record {k + len(some)}, the database counted '
                               f'{self._count}', file=str(self.path), do='Another program removes '
                               'records meanwhile: copy or write it again.')
            found, k = found + some, 0
        return found


def check_folder(path: Path) -> None:
    """FcnError, with a remedy, for what is not the folder of an LMDB."""
    if path.name in (DATA_FILE, 'lock.mdb') and path.is_file():
        raise FcnError(f'is a file inside a database, which is named by its folder: '
                       f"'{path.parent}'", file=str(path), do='Name the folder.')
    if not os.path.exists(path):
        raise FcnError('there is no such database', file=str(path), do='Check the path.')
    if not path.is_dir():
        raise FcnError('is a file, and a database is a folder with a data.mdb', file=str(path),
                       do='Name that folder.')
    if not (path / DATA_FILE).is_file():
        if is_leveldb(path):
            raise leveldb(path)
        raise FcnError('the folder has no data.mdb, so it is no LMDB', file=str(path),
                       do='Check the path; its converter may not have finished.')


def is_leveldb(path: Path) -> bool:
    return any(any(path.glob(name)) for name in LEVELDB)


def leveldb(path: str | PathLike) -> FcnError:
    """The error for a LevelDB, with the commands that convert it."""
    return FcnError(
        'is a LevelDB, which is not read here', file=str(path),
        do='Write it again as LMDB with its converter (backend: LMDB); or convert it with plyvel '
           '(pip install plyvel): from fcn_repro.formats.database import Writer; import plyvel; '
           f"w = Writer({f'{path}_lmdb'!r}); [w.put(k, v) for k, v in plyvel.DB({str(path)!r})]; "
           'w.close()')


def import_lmdb() -> Any:
    """The module lmdb, which is imported when a database is written; reading needs none."""
    try:
        import lmdb
    except ImportError:
        raise FcnError('writing an LMDB needs the Python package lmdb',
                       do='Install it: pip install lmdb.') from None
    return lmdb


class Writer:
    """A new LMDB: put(key, value) in any order, then close(), which gives it its name: nobody sees
    a part of it. As a context manager it removes what it wrote where an error ends the block.

    FcnError where the path exists (Caffe's mode NEW) or cannot be written.
    """

    def __init__(self, path: str | PathLike):
        lmdb = import_lmdb()
        self.path = Path(path)
        if os.path.lexists(self.path):
            raise FcnError('exists already, and a converter writes a new database',
                           file=str(self.path), do='Remove it, or name another.')
        make_folder(self.path.parent)
        self._size = 1 << 26
        with ExitStack() as stack:
            try:
                self._temporary = stack.enter_context(temporary.folder_for(self.path))
                self._env = lmdb.open(str(self._temporary), map_size=self._size)
            except (OSError, lmdb.Error) as error:
                raise self._failed(error) from None
            stack.callback(self._env.close)
            self._open = stack.pop_all()
        self._pending: list[tuple[bytes, bytes]] = []
        self.count = 0

    def put(self, key: bytes, value: bytes) -> None:
        """Store a record; written to disk with the next commit."""
        if not 0 < len(key) <= self._env.max_key_size():
            raise FcnError(f'a key of {len(key)} bytes: {key[:60]!r}', file=str(self.path),
                           do=f'LMDB takes 1 to {self._env.max_key_size()}; shorten the names.')
        self._pending.append((key, value))
        self.count += 1
        if len(self._pending) >= PER_COMMIT:
            self.commit()

    def commit(self) -> None:
        """Write what was put; the map doubles as often as it is too small."""
        lmdb = import_lmdb()
        while self._pending:
            try:
                with self._env.begin(write=True) as transaction:
                    for key, value in self._pending:
                        transaction.put(key, value)
                self._pending = []
            except lmdb.MapFullError:
                self._size *= 2
                self._env.set_mapsize(self._size)
            except lmdb.Error as error:
                raise self._failed(error) from None

    def close(self) -> None:
        """Commit the rest and give the database its name."""
        try:
            self.commit()
            self._env.close()
            self._temporary.rename(self.path)
        except OSError as error:
            raise self._failed(error) from None
        finally:
            self._open.close()

    def _failed(self, error: Exception) -> FcnError:
        return FcnError(f'the database cannot be written: {first_line(error)}', file=str(self.path),
                        do='Check the folder, its permissions and the free space.')

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self._open.close()
