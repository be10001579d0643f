"""Read the pages of an LMDB (data version 1 of a 64-bit little-endian machine), bounds-checked.

liblmdb trusts the file that it maps: a changed byte in a page can end the process. Here every page
is read by pread and checked, and neither the file nor its folder is written to, the lock file
included. Layout (lmdb's mdb.c): a page begins with its number (8 bytes), 2 unused, flags (2), lower
and upper bound of its free space (2 each) or, in the first of a run of overflow pages, their count
(4). Places of nodes (2 each) follow in the order of keys. A node is 2 + 2 + 2 + 2 bytes and its
key: in a branch the number of a page, of 48 bits; in a leaf the size of the data, flags, the size
of the key; and then the data, or the number of the overflow pages that hold them.

Consistency without LMDB's lock: the pages of a version stay as they are until the second later one
has been committed, since a writer takes only pages that two versions before its own were free.
"""

from __future__ import annotations

import os
import struct
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import FcnError
from ..sniff import check_text

MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8           # flags of a page
OF_WRITER = 0xC010                                  # flags of LMDB while it writes
BIG, TREE = 1, 2                                    # flags of a node
HEAD, DEPTH = 16, 32                                # bytes of a page's head; levels of a tree
PAGES = range(512, 65536 + 1)                       # bytes a page may have
DAMAGED = 'The database is damaged: copy or write it again.'
_page = struct.Struct('<QHHHH')
_node = struct.Struct('<HHHH')
_meta = struct.Struct('<IIQQ IHHQQQQQ IHHQQQQQ QQ')


class Version(NamedTuple):
    """What a meta page says of one version of the database."""

    transaction: int
    page_size: int
    last_page: int
    flags: int
    depth: int
    entries: int
    root: int


def parse_meta(raw: bytes) -> Version | None:
    """The version of a meta page; None for anything else."""
    if len(raw) < HEAD + _meta.size or struct.unpack_from('<I', raw, HEAD)[0] != MAGIC:
        return None
    (_, version, _, _, page_size, *_, flags, depth, _, _, _, entries, root, last_page,
     transaction) = _meta.unpack_from(raw, HEAD)
    if version != VERSION:
        return None
    return Version(transaction, page_size, last_page, flags, depth, entries, root)


class PageFile:
    """An open data.mdb. FcnError for what is none of this machine's layout, or was cut short."""

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise FcnError(f'cannot be read: {error.strerror}', file=str(path),
                           do='Check its permissions.') from None
        weakref.finalize(self, os.close, self._file)
        self.newest()

    def read(self, start: int, count: int) -> bytes:
        """Bytes of the file, fewer at its end."""
        try:
            return os.pread(self._file, count, start)
        except OSError as error:
            raise FcnError(f'cannot be read: {error.strerror}', file=str(self.path),
                           do='Check the disk.') from None

    def newest(self, known: Version | None = None) -> Version:
        """The newest version; the known one where that still is."""
        first = parse_meta(self.read(0, 4096))
        if first is None:
            raise self._foreign()
        second = None
        if first.page_size in PAGES:
            second = parse_meta(self.read(first.page_size, 4096))
        newest = first
        if second and second.page_size == first.page_size:
            newest = max(first, second)
        if newest != known:
            self._check(newest)
        return newest

    def _check(self, version: Version) -> None:
        size, need = os.fstat(self._file).st_size, (version.last_page + 1) * version.page_size
        if version.page_size not in PAGES or size < need:
            raise FcnError(f'the file is cut short: it has {size} bytes, its header counts {need}',
                           file=str(self.path), do='Copy or write it again.')
        if version.flags:
            raise FcnError(f'keys have another order, or several values (flags {version.flags:#x})',
                           file=str(self.path.parent),
                           do='Write the records into a database of default flags, as Caffe does.')
        if version.entries * _node.size > size:
            raise FcnError(f'the database counts {version.entries} records in {size} bytes',
                           file=str(self.path.parent), do=DAMAGED)

    def _foreign(self) -> FcnError:
        """The error for a file that is no LMDB of this machine's layout."""
        head = self.read(0, 512)
        check_text(head, self.path, 'Name the folder of an LMDB.')
        return FcnError(layout(head, os.fstat(self._file).st_size), file=str(self.path),
                        do='Copy or write it again; a database of a 32-bit or big-endian machine '
                           'goes through mdb_dump there and mdb_load here.')


def layout(head: bytes, size: int) -> str:
    """What a file that is no LMDB of this machine's layout is, in words."""
    for at, words in ((12, '32-bit'), (16, '64-bit')):
        for order, name in (('<', 'little'), ('>', 'big')):
            if len(head) >= at + 4 and struct.unpack_from(f'{order}I', head, at)[0] == MAGIC:
                if (at, order) != (16, '<'):
                    return f'is an LMDB of a {words} {name}-endian machine, not of a 64-bit ' \
                           'little-endian one'
                if size < HEAD + _meta.size:
                    return f'the file is cut short: it has {size} bytes, less than one header'
                return f'is an LMDB of data version {struct.unpack_from("<I", head, 20)[0]}, not ' \
                       f'{VERSION}'
    return 'is no LMDB'


class Snapshot:
    """The records of one version, in the order of keys.

    Leaf pages are counted as far as they have been needed, so that a record is found by number.
    FcnError, without further harm, for pages that are damaged.
    """

    def __init__(self, file: PageFile, version: Version):
        self.file, self.version = file, version
        self._leaves = self._walk(version.root, version.depth)
        self._numbers: list[int] = []       # of the leaf pages
        self._starts = [0]                  # number of the first record of each, and of the next
        self._last = b''                    # key before the page that is counted next

    def records(self, first: int, count: int) -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of `count` records from number `first` on, up to the last one."""
        end = min(first + count, self.version.entries)
        while first < end:
            i, page = self._leaf(first)
            places = self._places(page, self._numbers[i])
            for place in places[first - self._starts[i]:end - self._starts[i]]:
                yield self._record(page, place, self._numbers[i])
                first += 1

    def _leaf(self, k: int) -> tuple[int, bytes]:
        """(which leaf, its page) of record k."""
        while self._starts[-1] <= k:
            number, page = next(self._leaves, (0, b''))
            if not page:
                raise self._damaged(f'there is no record {self._starts[-1]}, the database counts '
                                    f'{self.version.entries}')
            self._numbers.append(number)
            self._starts.append(self._starts[-1] + len(self._places(page, number)))
            self._check_order(page, number)
        i = bisect_right(self._starts, k) - 1
        return i, self._page(self._numbers[i], LEAF)

    def _check_order(self, page: bytes, number: int) -> None:
        """FcnError where keys do not grow, as where a page is linked to twice."""
        for place in self._places(page, number):
            key = self._key(page, place, number)
            if key <= self._last:
                raise self._damaged(f'key {key[:60]!r} of page {number} comes after '
                                    f'{self._last[:60]!r}')
            self._last = key

    def _walk(self, number: int, depth: int) -> Iterator[tuple[int, bytes]]:
        """(number, page) of the leaf pages below a page, in order."""
        if not 0 < depth <= DEPTH:
            raise self._damaged(f'the tree has {depth} levels, at most {DEPTH} are possible')
        page = self._page(number, LEAF if depth == 1 else BRANCH)
        if depth == 1:
            yield number, page
            return
        for place in self._places(page, number):
            low, high, top, _ = _node.unpack_from(page, place)
            yield from self._walk(low | high << 16 | top << 32, depth - 1)

    def _page(self, number: int, kind: int) -> bytes:
        """A branch or leaf page, whose head is right."""
        size = self.version.page_size
        if not 1 < number <= self.version.last_page:
            raise self._damaged(f'a page has number {number}, the last one is '
                                f'{self.version.last_page}')
        page = self._whole(number * size, size)
        found, _, flags, lower, upper = _page.unpack_from(page)
        if found != number or flags & ~OF_WRITER != kind or not HEAD < lower <= upper <= size or \
                lower % 2:
            raise self._damaged(f'page {number} is no {"leaf" if kind == LEAF else "branch"} of '
                                'the tree')
        return page

    def _places(self, page: bytes, number: int) -> tuple[int, ...]:
        """Where the nodes of a page begin."""
        lower, upper = struct.unpack_from('<HH', page, 12)
        places = struct.unpack_from(f'<{(lower - HEAD) // 2}H', page, HEAD)
        if min(places) < upper or max(places) + _node.size > len(page):
            raise self._damaged(f'a node of page {number} lies outside of it')
        return places

    def _key(self, page: bytes, place: int, number: int) -> bytes:
        start = place + _node.size
        end = start + _node.unpack_from(page, place)[3]
        if end > len(page):
            raise self._damaged(f'a key of page {number} ends outside of it')
        return page[start:end]

    def _record(self, page: bytes, place: int, number: int) -> tuple[bytes, bytes]:
        low, high, flags, _ = _node.unpack_from(page, place)
        key, size = self._key(page, place, number), low | high << 16
        if flags & ~BIG:
            if not flags & TREE:
                raise self._damaged(f'key {key[:60]!r} of page {number} has flags {flags:#x}')
            raise FcnError(f'key {key[:60]!r} is the name of a database in this one, which Caffe '
                           'does not read', file=str(self.file.path.parent),
                           do='Write its records into a database without a name.')
        start = place + _node.size + len(key)
        room = 8 if flags & BIG else size
        if start + room > len(page):
            raise self._damaged(f'the value of key {key[:60]!r} ends outside of page {number}')
        if flags & BIG:
            return key, self._overflow(struct.unpack_from('<Q', page, start)[0], size, key)
        return key, page[start:start + size]

    def _overflow(self, number: int, size: int, key: bytes) -> bytes:
        """A value on pages of its own."""
        page_size, last = self.version.page_size, self.version.last_page
        pages = -(-(HEAD + size) // page_size)
        if not 1 < number <= last + 1 - pages:
            raise self._damaged(f'the value of key {key[:60]!r}, {size} bytes on page {number}, '
                                f'ends after page {last}')
        raw = self._whole(number * page_size, HEAD + size)
        found, _, flags, _, _ = _page.unpack_from(raw)
        if found != number or flags & ~OF_WRITER != OVERFLOW or \
                struct.unpack_from('<I', raw, 12)[0] < pages:
            raise self._damaged(f'page {number} does not hold the value of key {key[:60]!r}')
        return raw[HEAD:]

    def _whole(self, start: int, count: int) -> bytes:
        raw = self.file.read(start, count)
        if len(raw) < count:
            raise FcnError('the file became shorter while it was open', file=str(self.file.path),
                           do='Write a database over another under a new name, and rename it.')
        return raw

    def _damaged(self, what: str) -> FcnError:
        return FcnError(what, file=str(self.file.path.parent), do=DAMAGED)
