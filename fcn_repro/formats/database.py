"""Caffe's databases: LMDB environments whose values are Datum messages (util/db_lmdb.cpp of Caffe).

LMDB maps the whole file into memory and trusts it, so a file that was cut short ends the process
with SIGBUS at the first missing page. Its header is therefore checked before the library opens it.
Bytes that changed inside its pages are beyond that: LMDB keeps no checksums, gives an error for
most and may end the process.
"""

from __future__ import annotations

import os
import shutil
import struct
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any

from ..errors import FcnError
from ..sniff import check_text
from .atomic import first_line, make_folder

MAGIC = 0xBEEFC0DE
DATA_FILE = 'data.mdb'
EVERY = 256             # records between two remembered keys
AT_ONCE = 64            # records that are read before the first of them is used
PER_COMMIT = 1000       # records, as Caffe's converters
LEVELDB = ('CURRENT', 'LOCK', 'MANIFEST-*')

_open: weakref.WeakValueDictionary[tuple[int, int], Reader] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def open_database(path: str | PathLike) -> Reader:
    """The Reader of a database; one for all nets of a process, since LMDB forbids a second.

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

    FcnError for a folder that is missing, empty, LevelDB's or damaged, see check_folder and
    check_file.
    """

    def __init__(self, path: str | PathLike):
        self.path = Path(path)
        self._lock = threading.Lock()       # nobody reads while the file is closed
        self._env: Any = None
        self.open()

    def open(self) -> None:
        """Open the file, or the one that took its place."""
        check_folder(self.path)
        check_file(self.path / DATA_FILE)
        with self._lock:
            if self._env is not None:
                self._env.close()
            self.stamp = stamp(self.path)
            self._env = open_environment(self.path)
            self._marks: dict[int, bytes] = {}      # {i: key of record i * EVERY}, without gaps
            self._count = self._env.stat()['entries']
            if not self._count:
                self._env.close()
                raise FcnError('the database is empty', file=str(self.path),
                               do='Write it again; its converter stored no record.')

    def __len__(self) -> int:
        return self._count

    def records(self, first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of `count` records from number `first` on, over and over."""
        for k in range(first, first + count, AT_ONCE):
            yield from self._read(k, min(AT_ONCE, first + count - k))

    def _read(self, first: int, count: int) -> list[tuple[bytes, bytes]]:
        """[(key, value), …] of a few records, copied out of the map."""
        import lmdb

        k, found = first % self._count, []
        with suppress(FileNotFoundError):       # moved or removed: it stays mapped
            inode, size, _ = stamp(self.path)
            self._expect_whole(inode, size)
        try:
            with self._lock, self._begin() as transaction:
                cursor = transaction.cursor()
                self._seek(cursor, k)
                for _ in range(count):
                    found.append(cursor.item())
                    k = (k + 1) % self._count
                    self._expect(cursor.next() if k else cursor.first(), k)
        except lmdb.Error as error:
            raise FcnError(f'record {k} cannot be read: {error}', file=str(self.path),
                           do='The database is damaged: copy or write it again.') from None
        return found

    def _begin(self) -> Any:
        """A transaction; where another program has enlarged the database, on its new size."""
        import lmdb

        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            self._env.set_mapsize(0)
            return self._env.begin()

    def _seek(self, cursor: Any, k: int) -> None:
        """Move a cursor to record k: LMDB finds keys, not numbers, so walk from the nearest
        remembered key below it."""
        if not self._marks:
            self._expect(cursor.first(), 0)
            self._marks[0] = cursor.key()
        i = min(k // EVERY, len(self._marks) - 1)
        self._expect(cursor.set_key(self._marks[i]), i * EVERY)
        for at in range(i * EVERY + 1, k + 1):
            self._expect(cursor.next(), at)
            if at % EVERY == 0:
                self._marks[at // EVERY] = cursor.key()

    def _expect_whole(self, inode: int, size: int) -> None:
        if inode == self.stamp[0] and size < self.stamp[1]:
            raise FcnError('the file became shorter while it was open', file=str(self.path),
                           do='Write a database over another under a new name, and rename it.')

    def _expect(self, found: bool, k: int) -> None:
        if not found:
            raise FcnError(f'there is no record {k}, the database counts {self._count}',
                           file=str(self.path), do='It is damaged, or another program removes '
                           'records meanwhile: copy or write it again.')


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


def check_file(path: Path) -> None:
    """FcnError for a data.mdb that LMDB would refuse or crash on: another byte layout, no LMDB at
    all, or fewer pages than its header counts."""
    size = path.stat().st_size
    with open(path, 'rb') as file:
        head = file.read(4096)
        newest = _meta(head)
        if newest is None:
            check_text(head[:512], path, 'Name the folder of an LMDB.')
            raise FcnError(_layout(head, size), file=str(path),
                           do='Copy or write it again; a database of a 32-bit or big-endian '
                              'machine goes through mdb_dump there and mdb_load here.')
        page_size = newest[1]
        if 512 <= page_size <= 65536:
            file.seek(page_size)
            second = _meta(file.read(4096))
            newest = max(newest, second) if second and second[1] == page_size else newest
    _, page_size, last_page = newest
    need = (last_page + 1) * page_size
    if not 512 <= page_size <= 65536 or size < need:
        raise FcnError(f'the file is cut short: it has {size} bytes, its header counts {need}',
                       file=str(path), do='Copy or write it again.')


def _meta(page: bytes) -> tuple[int, int, int] | None:
    """(transaction, page size, last page) of a meta page of a 64-bit little-endian LMDB; None for
    anything else."""
    if len(page) < 152 or struct.unpack_from('<I', page, 16)[0] != MAGIC:
        return None
    last_page, transaction = struct.unpack_from('<QQ', page, 136)
    return transaction, struct.unpack_from('<I', page, 40)[0], last_page


def _layout(head: bytes, size: int) -> str:
    """What a file that is no LMDB of this machine's layout is, in words."""
    for at, words in ((12, '32-bit'), (16, '64-bit')):
        for order, name in (('<', 'little'), ('>', 'big')):
            if len(head) >= at + 4 and struct.unpack_from(f'{order}I', head, at)[0] == MAGIC:
                if (at, order) == (16, '<'):
                    return f'the file is cut short: it has {size} bytes, less than one header'
                return f'is an LMDB of a {words} {name}-endian machine, not of a 64-bit ' \
                       'little-endian one'
    return 'is no LMDB'


def open_environment(path: Path) -> Any:
    """The library's handle of a database for reading: with its lock file, so that a program that
    writes there meanwhile disturbs nothing; without where that cannot be written or is damaged."""
    import lmdb

    reasons = []
    for lock in (True, False):
        try:
            environment = lmdb.open(str(path), readonly=True, lock=lock)
            environment.reader_check()          # free the places of killed processes
            return environment
        except (lmdb.Error, OSError) as error:
            reasons.append(str(error))
    do = 'Check its permissions; if it is damaged, copy or write it again.'
    if 'already open' in reasons[-1]:
        do = 'Close the environment that this script opened: a process may open it once.'
    raise FcnError(f'the database cannot be opened: {reasons[-1]}', file=str(path), do=do)


class Writer:
    """A new LMDB: put(key, value) in any order, then close(), which gives it its name: nobody sees
    a part of it. As a context manager it removes what it wrote where an error ends the block.

    FcnError where the path exists (Caffe's mode NEW) or cannot be written.
    """

    def __init__(self, path: str | PathLike):
        import lmdb

        self.path = Path(path)
        if os.path.lexists(self.path):
            raise FcnError('exists already, and a converter writes a new database',
                           file=str(self.path), do='Remove it, or name another.')
        make_folder(self.path.parent)
        self._temporary = self.path.with_name(f'{self.path.name}.{os.getpid()}.part')
        self._size = 1 << 26
        try:
            self._temporary.mkdir()
            self._env = lmdb.open(str(self._temporary), map_size=self._size)
        except (OSError, lmdb.Error) as error:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise self._failed(error) from None
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
        import lmdb

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
            self._discard()

    def _discard(self) -> None:
        self._env.close()
        shutil.rmtree(self._temporary, ignore_errors=True)

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
            self._discard()
