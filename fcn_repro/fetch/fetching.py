"""Fetch a source by name: its files, each verified, its archives unpacked, all recorded.

Below the folder `out`: archives/FILE or weights/FILE, and NAME/, which appears whole. The record,
NAME.fetched.json, has the SHA-256 of every file: where no source states a hash, what came first is
what later copies are compared with.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import temporary
from ..errors import FcnError
from ..files import read_regular
from ..formats.atomic import first_line, is_full, make_folder, sync_folder, write_text
from ..lock import locked
from ..paths import confined
from ..sizes import size
from .download import PART, Download, is_plain, verify
from .sources import Part, Source, source
from .unpack import unpack

MOST_RECORD = 1 << 20       # bytes
DEEPEST = 5                 # folders of an archive that what a data set has is looked for in
LEFT_OUT = 5                # names that an error lists
RECORD = '.fetched.json'


@dataclass(frozen=True)
class Fetched:
    """What is there. path: the folder that readers take, or the weight file."""
    source: Source
    path: Path


def fetch(name: str, out: str | os.PathLike, url: str | None = None, say: Callable[[str], None] = print,
          **options: Any) -> Fetched:
    """Fetch a source below the folder `out`, or go on with it; nothing that is there and right is
    fetched again.

    url: another address of its archive or weights. say: prints a line; options: of Download.
    FcnError for an unknown name, what cannot be fetched, is not the stated file, is no longer the
    recorded one, cannot be unpacked, or has not what the data set has.
    """
    wanted = source(name)
    if url is not None:
        wanted = replace(wanted, parts=(replace(wanted.parts[0], url=renamed(
            url, wanted.parts[0])), *wanted.parts[1:]))
    return Fetching(wanted, Path(out), say, options, source(name).parts).run()


def renamed(url: str, part: Part) -> str:
    """The address, which must end in a part's file name. FcnError for another one."""
    if replace(part, url=url).file != part.file:
        raise FcnError(f'{url} is no address of {part.file}', code='other-file',
                       do=f'Give one that ends in /{part.file}.')
    return url


@dataclass
class Fetching:
    """One call of fetch. listed: the parts as sources.json has them."""
    source: Source
    out: Path
    say: Callable[[str], None]
    options: dict[str, Any]
    listed: tuple[Part, ...]

    def run(self) -> Fetched:
        with self.alone():
            record = read_record(self.record)
            if self.source.is_data and (there := unpacked(self.source, self.out, record)):
                self.say(f'{there}: there already')
                return Fetched(self.source, there)
            for part in self.source.parts:
                self.get(part, record)
            if not self.source.is_data:
                return Fetched(self.source, self.source.path(self.source.parts[0], self.out))
            return Fetched(self.source, self.unpack(record))

    @property
    def record(self) -> Path:
        return record_of(self.source, self.out)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of this source's files."""
        make_folder(self.out)
        try:
            lock = locked(self.out, prefix=self.source.name)
            with lock:
                yield
        except FcnError as error:
            if 'another run' in error.what:
                raise error.with_remedy('Wait until it ends, or stop it.') from None
            raise

    def get(self, part: Part, record: dict[str, Any]) -> None:
        """Have a part, verified, and record it."""
        path = self.source.path(part, self.out)
        make_folder(path.parent)
        known = record['files'].get(part.file)
        if there := is_plain(path):
            digest = verify(path, part.hashes)
        else:
            self.say(f'{part.url} → {path}')
            digest = Download(part.url, path, part.hashes, say=self.say, **self.options).fetch()
        if known and known['sha256'] != digest:
            if not there:
                path.unlink()
            raise FcnError(f'is not the file of {known["at"]}: its SHA-256 is {digest}, recorded '
                           f'then was {known["sha256"]}', file=str(path), code='changed-since',
                           facts={'record': str(self.record)}, do=f'Remove {self.record} if the '
                           'new one is to be taken.')
        how = f'as {part.stated_by} states' if part.hashes else \
            'as recorded at its first use' if known else \
            'recorded: nobody states one, so that it is the right file is not known'
        self.say(f'{path}: {size(path.stat().st_size)}, SHA-256 {digest}, {how}')
        record['files'][part.file] = {
            'url': part.url, 'sha256': digest, 'bytes': path.stat().st_size,
            'hash': f'stated by {part.stated_by}' if part.hashes else 'recorded at first use',
            'at': known['at'] if known else time.strftime('%Y-%m-%d %H:%M:%S')}
        self.write(record)

    def write(self, record: dict[str, Any]) -> None:
        write_text(json.dumps(record, indent=1) + '\n', self.record)

    def unpack(self, record: dict[str, Any]) -> Path:
        """Unpack the archives into the source's folder, whole or not at all; returns the folder in
        it that readers take."""
        target = self.source.folder(self.out)
        if os.path.lexists(target):
            raise FcnError('there is something of this name, and it was not unpacked here',
                           file=str(target), code='fetch-exists',
                           do='Remove it, or give another folder.')
        try:
            with temporary.folder_for(target) as made:
                root = self.fill(made)
                for folder, _, files in os.walk(made):
                    for name in files:
                        flush(Path(folder, name))
                os.rename(made, target)
            sync_folder(self.out)
        except OSError as error:
            raise FcnError(f'cannot be made: {first_line(error)}', file=str(target),
                           code='no-room-to-fetch' if is_full(error) else '',
                           do='Check that the folder may be written to and has room.') from None
        record['unpacked'] = root
        self.write(record)
        return target / root

    def fill(self, made: Path) -> str:
        """Unpack into the folder `made`, and add the files that go beside; returns the folder in
        it that has what the data set has."""
        for part in self.source.parts:
            if part.is_archive:
                path = self.source.path(part, self.out)
                done = unpack(path, made)
                self.say(f'{path}: {done.files:,} files, {size(done.bytes)}' + (
                    f'; {done.left_out} links or devices left out' if done.left_out else ''))
        root = root_of(self.source, made)
        for part in self.source.parts:
            path = made / root / part.into / part.file
            if not part.is_archive and not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.source.path(part, self.out), path)
        return str(root)


def flush(path: Path) -> None:
    """Have a file on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def root_of(source: Source, made: Path) -> Path:
    """The folder, relative to `made`, that has all that the data set has: the one that is known,
    or the first of those nearest to the top. FcnError without one."""
    if has_all(source, made / source.unpacks_to):
        return Path(source.unpacks_to)
    waiting = deque([Path()])
    while waiting:
        folder = waiting.popleft()
        if has_all(source, made / folder):
            return folder
        if len(folder.parts) < DEEPEST:
            waiting.extend(sorted(folder / each.name for each in os.scandir(made / folder)
                                  if each.is_dir(follow_symlinks=False)))
    names = sorted(os.listdir(made))
    raise FcnError(f'the archive has no folder with {" and ".join(source.has)}; it has '
                   f'{", ".join(names[:LEFT_OUT]) or "nothing"}'
                   f'{" and more" * (len(names) > LEFT_OUT)}', file=source.parts[0].file,
                   code='bad-archive', do='Remove it, and fetch it again.')


def has_all(source: Source, folder: Path) -> bool:
    return all((folder / each).is_dir() for each in source.has)


# ---- what is there -------------------------------------------------------------------------------

def record_of(source: Source, out: Path) -> Path:
    """The path of a source's record."""
    return confined(out, source.name + RECORD, 'name')


def read_record(path: Path) -> dict[str, Any]:
    """{'files': {name: {url, sha256, bytes, hash, at}}, 'unpacked': folder} of a record; an empty
    one where there is no file. FcnError for a file that is no record."""
    if not os.path.lexists(path):
        return {'files': {}}
    try:
        found = json.loads(read_regular(path, 'a record of fetched files', MOST_RECORD))
        files = {str(name): {key: str(entry[key]) for key in ('url', 'sha256', 'hash', 'at')}
                 | {'bytes': int(entry['bytes'])} for name, entry in found['files'].items()}
        where = found.get('unpacked')
        return {'files': files} if where is None else {'files': files, 'unpacked': str(where)}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise FcnError('is no record of fetched files', file=str(path),
                       do='Remove it: the files are verified, and recorded anew.') from None


def unpacked(source: Source, out: Path, record: dict[str, Any]) -> Path | None:
    """The folder that readers take, where it was unpacked here and has all that it should have."""
    if 'unpacked' not in record:
        return None
    folder = source.folder(out)
    if record['unpacked'] not in ('', '.'):
        folder = confined(folder, record['unpacked'], 'folder', file=str(record_of(source, out)))
    return folder if has_all(source, folder) else None


def state_of(source: Source, out: str | os.PathLike) -> str:
    """In words, what of a source is below `out`; '' for nothing."""
    out = Path(out)
    path = source.path(source.parts[0], out)
    if source.is_data and (there := unpacked(source, out, read_record(record_of(source, out)))):
        return f'here: {there}'
    if is_plain(path):
        return f'here, not unpacked: {path}' if source.is_data else f'here: {path}'
    part = path.with_name(path.name + PART)
    return f'begun: {size(part.stat().st_size)} in {part}' if is_plain(part) else ''
