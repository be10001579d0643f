"""The data sets and weight files of the papers: sources.json, with where each number is from."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from ..errors import FcnError, known_names, nearest
from ..paths import confined

FILE = Path(__file__).with_name('sources.json')
ARCHIVES = 'archives'       # folder of what is unpacked
WEIGHTS = 'weights'         # and of what is used as it is
HASHES = 'md5', 'sha1', 'sha256'
BEGINS = 'sha256 begins'
ENDS = ('.tar', '.tgz', '.tar.gz', '.zip')


@dataclass(frozen=True)
class Part:
    """A file of a source. hashes: {algorithm: hex digest}, or {'sha256 begins': its first digits};
    stated_by: who says so. about: bytes, roughly, None if unknown; size_from: who says so. into: of
    a file that is put beside the unpacked ones if it is not there, the folder in theirs."""
    url: str
    hashes: Mapping[str, str]
    stated_by: str = ''
    about: int | None = None
    size_from: str = ''
    into: str = ''

    @property
    def file(self) -> str:
        """The file's name, the last word of its address."""
        return posixpath.basename(urlsplit(self.url).path)

    @property
    def is_archive(self) -> bool:
        return self.file.endswith(ENDS)


@dataclass(frozen=True)
class Source:
    """A data set or a weight file. unpacks_to: the folder, in that of the source, that readers
    take, as far as known; has: what must be in it. check, use: the words of a command, {folder}
    for that folder or the weight file, {parent} for the one around it."""
    name: str
    what: str
    page: str
    licence: str
    parts: tuple[Part, ...]
    unpacks_to: str = ''
    has: tuple[str, ...] = ()
    check: str = ''
    use: str = ''

    @property
    def is_data(self) -> bool:
        """Whether it is unpacked."""
        return bool(self.has)

    @property
    def about(self) -> int | None:
        """Bytes to fetch, roughly; None where that is not known of its archive or weights."""
        return self.parts[0].about

    def path(self, part: Part, out: Path) -> Path:
        """Where a part is kept, below the folder `out`."""
        return confined(out / (ARCHIVES if self.is_data else WEIGHTS), part.file, 'file name')

    def folder(self, out: Path) -> Path:
        """The folder of the unpacked files, below `out`."""
        return confined(out, self.name, 'name')


@cache
def sources() -> Mapping[str, Source]:
    """{name: Source}, in the order of sources.json."""
    found = json.loads(FILE.read_text('utf-8'))['sources']
    return MappingProxyType({name: source_of(name, entry) for name, entry in found.items()})


def source_of(name: str, entry: Mapping[str, Any]) -> Source:
    """The Source of an entry of sources.json."""
    parts = tuple(Part(part['url'], {key: part[key] for key in (*HASHES, BEGINS) if key in part},
                       part.get('stated by', ''), part.get('about'), part.get('size from', ''),
                       part.get('into', '')) for part in entry['parts'])
    return Source(name, entry['what'], entry.get('page', ''), entry['licence'], parts,
                  entry.get('unpacks to', ''), tuple(entry.get('has', ())), entry['check'],
                  entry.get('use', ''))


def source(name: str) -> Source:
    """The source of that name; FcnError for an unknown one."""
    known = sources()
    if name not in known:
        raise FcnError(f'there is no data set and no weights named {name!r}', code='no-source',
                       do=f'{nearest(name, known)} {known_names(known, len(known))}'.strip())
    return known[name]
