"""Unpack an archive that came from elsewhere into a folder: below it alone, as regular files and
folders alone, and only as much as an archive of its size may hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from ..errors import FcnError
from ..files import open_regular
from ..formats.atomic import first_line, is_full
from ..paths import confined
from ..sizes import size

CHUNK = 1 << 20
RATIO, AT_LEAST = 100, 1 << 26      # an archive may grow to RATIO times its size and AT_LEAST bytes
MEMBERS = 1_000_000
LONGEST_HEADER = 1 << 24            # bytes that tarfile reads at once, of names and the like
DAMAGE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, ValueError,
          NotImplementedError, RuntimeError, OverflowError)


class Readable(Protocol):
    """What a member is read from."""

    def read(self, most: int, /) -> bytes: ...


@dataclass
class Unpacked:
    """files, bytes: how many; left_out: links and devices, which are not made."""
    files: int = 0
    bytes: int = 0
    left_out: int = 0


class Limited:
    """A binary file whose reads go no farther than `most` bytes in all, and LONGEST_HEADER at
    once. FcnError beyond that."""

    def __init__(self, file: BinaryIO, most: int):
        self.file, self.most = file, most

    def read(self, count: int = -1) -> bytes:
        if count > max(CHUNK, LONGEST_HEADER):
            raise FcnError(f'a header of the archive claims {size(count)}', do=BOMB)
        found = self.file.read(max(0, min(count if count >= 0 else CHUNK, self.most + 1)))
        self.check()
        return found

    def seek(self, position: int, whence: int = 0) -> int:
        if whence == 0 and position > self.most:
            raise too_much(self.most)
        return self.file.seek(position, whence)

    def tell(self) -> int:
        return self.file.tell()

    def check(self) -> None:
        if self.file.tell() > self.most:
            raise too_much(self.most)


BOMB = 'Fetch it again; if it stays so, it is not the archive that it is said to be.'


def too_much(most: int) -> FcnError:
    return FcnError(f'the archive holds more than {size(most)}, too much for its size', do=BOMB)


def unpack(archive: Path, folder: Path) -> Unpacked:
    """Unpack a tar, plain or compressed, or a zip into an existing folder; modes and owners are
    those of this process.

    FcnError for a name that leaves the folder, for more than RATIO times the archive's size or
    MEMBERS members, for a damaged archive, and where a file cannot be written. The folder then
    holds a part: it is for the caller to throw away.
    """
    most = RATIO * os.path.getsize(archive) + AT_LEAST
    done = Unpacked()
    try:
        with open_regular(archive, 'an archive') as file:
            members = zip_members if zipfile.is_zipfile(file) else tar_members
            file.seek(0)
            for number, (name, data) in enumerate(members(file, most)):
                if number >= MEMBERS:
                    raise FcnError(f'the archive has more than {MEMBERS:,} members', do=BOMB)
                add(folder, name, data, most, done)
    except FcnError as error:
        raise error.at(file=str(archive)) from None
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile) or error.errno is None:
            raise damaged(archive, error) from None
        raise FcnError(f'cannot be unpacked: {first_line(error)}', file=str(archive),
                       code='no-room-to-fetch' if is_full(error) else '',
                       do='Check that the folder may be written to and has room.') from None
    except DAMAGE as error:
        raise damaged(archive, error) from None
    return done


def damaged(archive: Path, error: Exception) -> FcnError:
    return FcnError(f'is no whole archive of tar or zip: {first_line(error)}', file=str(archive),
                    do='Remove it, and fetch it again.')


def add(folder: Path, name: str, data: Readable | None, most: int, done: Unpacked) -> None:
    """Add a member: a folder where its name ends in /, a file with `data`, else something that is
    left out."""
    if name.strip('/.') == '':
        return                                      # the folder itself
    path = confined(folder, name.rstrip('/'), 'name of a member')
    if name.endswith('/'):
        path.mkdir(parents=True, exist_ok=True)
    elif data is None:
        done.left_out += 1
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, 'wb') as file:
            while chunk := data.read(CHUNK):
                done.bytes += len(chunk)
                if done.bytes > most:
                    raise too_much(most)
                file.write(chunk)
        done.files += 1


def tar_members(file: BinaryIO, most: int) -> Iterator[tuple[str, Readable | None]]:
    """(name, data) of the members of a tar, as `add` takes them. Members that end early raise."""
    with decompressed(file) as plain:
        limited = cast(BinaryIO, Limited(plain, most))
        with tarfile.open(fileobj=limited, mode='r:', errorlevel=2) as tar:
            for member in tar:
                tar.members = []                    # type: ignore[attr-defined]  # else all are kept
                name = member.name.rstrip('/')
                if member.isdir():
                    yield f'{name}/', None
                elif member.isreg() and not member.issparse():
                    yield name, whole(tar, member)
                else:
                    yield name, None


def whole(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Readable:
    """The data of a member; EOFError in its read where the archive ends before."""
    data = tar.extractfile(member)
    if data is None:
        raise EOFError('a member without data')
    return Whole(cast(BinaryIO, data), member.size)


@dataclass
class Whole:
    """A file that is to have `left` bytes."""
    file: BinaryIO
    left: int

    def read(self, most: int, /) -> bytes:
        found = self.file.read(most)
        self.left -= len(found)
        if not found and self.left > 0:
            raise EOFError('it ends in the midst of a member')
        return found


@contextmanager
def decompressed(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file, through gzip, bzip2 or xz if its first bytes say so."""
    start = file.read(6)
    file.seek(0)
    if start.startswith(b'\x1f\x8b'):
        with gzip.GzipFile(fileobj=file) as plain:
            yield cast(BinaryIO, plain)
    elif start.startswith(b'BZh'):
        with bz2.BZ2File(file) as plain:
            yield cast(BinaryIO, plain)
    elif start == b'\xfd7zXZ\0':
        with lzma.LZMAFile(file) as plain:
            yield cast(BinaryIO, plain)
    else:
        yield file


def zip_members(file: BinaryIO, most: int) -> Iterator[tuple[str, Readable | None]]:
    """(name, data) of the members of a zip, as `add` takes them."""
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > most:
            raise too_much(most)
        for info in infos:
            mode = info.external_attr >> 16
            if info.is_dir():
                yield f'{info.filename.rstrip("/")}/', None
            elif mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                yield info.filename, None
            else:
                with archive.open(info) as data:
                    yield info.filename, cast(Readable, data)
