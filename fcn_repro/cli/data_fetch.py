"""List the data sets and weights of the papers, and fetch one by name."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import FcnError
from ..fetch.fetching import Fetched, fetch, state_of
from ..fetch.sources import Part, Source, source, sources
from ..sizes import size
from .arguments import finite

OUT = 'data'


def add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('names', nargs='*', metavar='NAME', help='only these')
    parser.add_argument('--out', default=OUT, metavar='DIR', help='where to look for what was '
                        'fetched (default: %(default)s)')
    parser.add_argument('--json', action='store_true', help='for programs')


def add_fetch(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('names', nargs='+', metavar='NAME', help='of `fcn-repro data list`')
    parser.add_argument('--out', default=OUT, metavar='DIR', help='folder for all that is fetched '
                        '(default: %(default)s)')
    parser.add_argument('--url', metavar='URL', help='another address of the same file')
    parser.add_argument('--timeout', type=finite, default=30., metavar='S', help='seconds of '
                        'silence after which a connection is given up (default: %(default)g)')
    parser.add_argument('--tries', type=int, default=5, metavar='N', help='connections in a row '
                        'that bring nothing (default: %(default)s)')


def run_list(args: argparse.Namespace) -> int:
    chosen = [source(name) for name in args.names] or list(sources().values())
    if args.json:
        print(json.dumps([as_json(each, args.out) for each in chosen], indent=1,
                         ensure_ascii=False))
        return 0
    for each in chosen:
        print('\n'.join(lines(each, args.out)), end='\n\n')
    print(f'next: fcn-repro data fetch {chosen[0].name if args.names else "NAME"}')
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    if args.url and len(args.names) > 1:
        raise FcnError(f'one address for {len(args.names)} names', code='one-address',
                       do='Give one name with url.')
    if args.tries < 1 or args.timeout <= 0:
        raise FcnError(f'{args.tries} tries of {args.timeout:g} s', code='bad-tries',
                       do='Give tries of at least 1 and a timeout above 0.')
    for name in args.names:
        source(name)                            # refuses a wrong one before the first is fetched
    for name in args.names:
        with Bar() as bar:
            found = fetch(name, args.out, args.url, say=bar.say, timeout=args.timeout,
                          tries=args.tries, progress=bar.progress)
        show_next(found)
    return 0


class Bar:
    """A progress bar of bytes on stderr, for one download after the other."""

    def __init__(self) -> None:
        self.bar: Any = None
        self.total: int | None = -1

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def progress(self, done: int, total: int | None) -> None:
        """Show `done` of `total` bytes."""
        if self.bar is None or self.total != total or done < self.bar.n:
            self.close()
            self.total = total
            self.bar = tqdm(total=total, initial=done, unit='B', unit_scale=True,
                            dynamic_ncols=True, file=sys.stderr)
        self.bar.update(done - self.bar.n)

    def say(self, line: str) -> None:
        """Print a line below the bar."""
        self.close()
        print(line, flush=True)


# ---- what is printed -----------------------------------------------------------------------------

def lines(found: Source, out: str) -> Iterator[str]:
    """What `list` prints of a source."""
    yield f'{found.name}: {found.what}'
    for part in found.parts:
        beside = f', beside: {part.into}/{part.file}' if part.into not in ('', '.') else ''
        yield f'    {part.url}{beside}'
        if not part.into:
            yield f'    {size_of(part)}; {hashes_of(part)}'
    yield f'    licence: {found.licence}' + (f'; page: {found.page}' if found.page else '')
    path = path_of(found, out)
    to = f'unpacks to {path}; ' if found.is_data else f'goes to {path}; '
    yield f'    {to}checked by: {command(found.check, path)}'
    if found.use:
        use = found.use if found.use.startswith('--') else f'fcn-repro {found.use}'
        yield f'    used as: {filled(use, path)}'
    if state := state_of(found, out):
        yield f'    {state}'


def size_of(part: Part) -> str:
    """A part's size in words."""
    return 'size not stated' if part.about is None else \
        f'about {size(part.about)} ({part.size_from})'


def hashes_of(part: Part) -> str:
    """A part's hashes in words."""
    if not part.hashes:
        return 'no hash is stated: what comes first is recorded'
    names = {'md5': 'MD5', 'sha1': 'SHA-1', 'sha256': 'SHA-256', 'sha256 begins': 'SHA-256 begins'}
    return ', '.join(f'{names[key]} {value}' for key, value in part.hashes.items()) + \
        f' ({part.stated_by})'


def path_of(found: Source, out: str) -> Path:
    """The folder that readers take, as far as known before it is fetched, or the weight file."""
    if not found.is_data:
        return found.path(found.parts[0], Path(out))
    return Path(found.folder(Path(out)), found.unpacks_to)


def filled(words: str, path: Path) -> str:
    """A command's words with {folder} and {parent} filled in."""
    return words.replace('{folder}', shlex.quote(str(path))).replace(
        '{parent}', shlex.quote(str(path.parent)))


def command(words: str, path: Path) -> str:
    return f'fcn-repro {filled(words, path)}'


def as_json(found: Source, out: str) -> dict[str, Any]:
    """What `list --json` has of a source."""
    return {'name': found.name, 'what': found.what, 'page': found.page, 'licence': found.licence,
            'files': [{'url': part.url, 'about': part.about, 'size_from': part.size_from,
                       'hashes': dict(part.hashes), 'stated_by': part.stated_by}
                      for part in found.parts],
            'path': str(path_of(found, out)), 'check': command(found.check, path_of(found, out)),
            'state': state_of(found, out)}


def show_next(found: Fetched) -> None:
    """Print where it is, and the command that checks it."""
    print(f'{found.path}\nnext: {command(found.source.check, found.path)}')
