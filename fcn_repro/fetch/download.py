"""One file over HTTP, whole or not at all: resumed where it stopped, never mixed from two versions,
and in its place only when it is complete and its hash is right.

What has come is in FILE.part, beside which FILE.part.json says of what: the address, the length and
the server's name for this version (ETag or Last-Modified). The next try, or the next call, asks for
the rest on the condition that it is still that version (RFC 9110, If-Range); a server that has
another one, or that knows no ranges, sends all of it, and then what was there is thrown away.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import fcn_repro

from ..errors import FcnError, Stopped, short
from ..files import open_regular, read_regular
from ..formats.atomic import first_line, is_full, sync_folder, write_text
from ..sizes import size
from .sources import BEGINS

CHUNK = 1 << 20
MOST_STATE = 1 << 16        # bytes of FILE.part.json
SPARE = 1 << 28             # bytes of the disk that are left free
AGAIN = 408, 425, 429, 500, 502, 503, 504      # statuses after which the same request may succeed
PART = '.part'
Say = Callable[[str], None]
Progress = Callable[[int, 'int | None'], None]


class Again(Exception):
    """A fault that another try may not have. what: in words."""


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections to http and https alone, and none from https to http."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):    # type: ignore[no-untyped-def]
        target = urljoin(req.full_url, newurl)
        scheme, before = urlsplit(target).scheme, urlsplit(req.full_url).scheme
        if scheme not in ('http', 'https') or (before == 'https' and scheme != 'https'):
            raise FcnError(f'the server refers to {short(target, 200)}, which is not fetched',
                           file=req.full_url, do='Fetch it by other means, and put it in place.')
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def opener() -> urllib.request.OpenerDirector:
    """What opens addresses: http and https, through the proxies of the environment."""
    made = urllib.request.OpenerDirector()
    for handler in (urllib.request.ProxyHandler, urllib.request.HTTPHandler,
                    urllib.request.HTTPSHandler, Redirects,
                    urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        made.add_handler(handler())
    return made


@dataclass
class Download:
    """One file to fetch. path: where it goes. hashes: of sources.Part, {} if none is known.

    timeout: seconds without a byte after which a connection counts as stalled. tries: in a row that
    bring nothing. pause: seconds before the second one, doubled each time. say: prints a line;
    progress: is told (bytes so far, of how many or None).
    """
    url: str
    path: Path
    hashes: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.
    tries: int = 5
    pause: float = 1.
    say: Say = print
    progress: Progress = lambda done, total: None

    def __post_init__(self) -> None:
        self.part = self.path.with_name(self.path.name + PART)
        self.state = self.path.with_name(self.path.name + PART + '.json')
        self.joined = False         # whether the part is of several answers
        if urlsplit(self.url).scheme not in ('http', 'https'):
            raise FcnError(f'{short(self.url, 200)} is no address of http or https',
                           do='Give one that begins with http:// or https://.')

    def fetch(self) -> str:
        """Fetch the file; returns its SHA-256 (hex). FcnError where it cannot be had; what has
        come by then stays for the next call, unless it is wrong."""
        self.joined = self.so_far() > 0
        for _ in range(2):
            if not self.is_whole():
                self.complete()
            try:
                digest = verify(self.part, self.hashes, self.url)
                break
            except FcnError:
                self.drop()
                if not self.joined:
                    raise
                self.say('the parts that were put together are not the file: once more, whole')
        else:
            raise FcnError('the file is not the stated one, fetched in parts nor whole',
                           file=self.url, do='Try another day, or another address.')
        try:
            os.replace(self.part, self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            raise self.unwritable(error) from None
        self.drop()
        return digest

    # ---- tries -------------------------------------------------------------------------------

    def complete(self) -> None:
        """Try until the part is whole. FcnError when `tries` in a row brought nothing."""
        idle, before = 0, self.so_far()
        while True:
            try:
                return self.once()
            except (Stopped, KeyboardInterrupt) as stop:
                stop.add_note(f'{size(self.so_far())} are kept, from which the next call goes on')
                raise
            except Again as fault:
                now = self.so_far()
                idle = idle + 1 if now <= before else 1
                before = now
                if idle >= self.tries:
                    kept = f'; {size(now)} are kept' if now else ''
                    times = f', {idle} times in a row' if idle > 1 else ''
                    raise self.failed(f'{fault}{times}{kept}') from None
                self.say(f'{fault}: once more' + (f', from {size(now)} on' if now else ''))
                time.sleep(self.pause * 2 ** (idle - 1))

    def once(self) -> None:
        """One request. Again where another try is worth it."""
        start, known = self.resumable()
        request = urllib.request.Request(self.url, headers={
            'User-Agent': f'fcn-repro/{fcn_repro.__version__}', 'Accept-Encoding': 'identity'})
        if start:
            request.add_header('Range', f'bytes={start}-')
            if validator := known.get('validator'):
                request.add_header('If-Range', validator)
        try:
            with opener().open(request, timeout=self.timeout) as answer:
                self.take(answer, start, known)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:                   # what is there is no beginning of it
                self.drop()
                raise Again('the server has no such part of the file') from None
            if error.code in AGAIN:
                raise Again(f'the server answers {error.code} {error.reason}') from None
            raise self.failed(f'the server answers {error.code} {error.reason}') from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise self.failed(f'the certificate of the server is refused: {error.reason}') \
                    from None
            raise Again(f'the server cannot be reached ({error.reason})') from None
        except (TimeoutError, ConnectionError, http.client.HTTPException, ssl.SSLError) as error:
            raise Again(f'the connection broke ({first_line(error) or type(error).__name__})'
                        if not isinstance(error, TimeoutError) else
                        f'the server was silent for {self.timeout:g} s') from None

    def take(self, answer: Any, start: int, known: Mapping[str, Any]) -> None:
        """Write an answer to the part. Again where it ends early."""
        kind = answer.headers.get_content_type()
        if kind == 'text/html':
            raise self.failed('the server sends a web page in place of the file')
        start, total = self.place_of(answer, start, known)
        self.check_room(start, total)
        self.joined = bool(start) or (self.joined and answer.status == 206)
        try:
            if not start:
                write_text(json.dumps({'url': self.url, 'length': total,
                                       'validator': validator_of(answer.headers)}), self.state)
            with open(self.part, 'ab' if start else 'wb') as file:
                done = self.copy(answer, file, start, total)
        except OSError as error:
            if isinstance(error, (TimeoutError, ConnectionError, ssl.SSLError)):
                raise
            raise self.unwritable(error) from None
        if total is not None and done < total:
            raise Again(f'the connection ended after {size(done)} of {size(total)}')
        if total is None and not self.hashes:
            self.say('the server did not say how long the file is: that it is whole is not known')

    def place_of(self, answer: Any, start: int, known: Mapping[str, Any]) -> tuple[int, int | None]:
        """(where an answer's body begins in the file, the file's length, None if unknown), for a
        request of what comes after `start` bytes. Again for another part than that."""
        if answer.status == 206:
            total = total_of(answer.headers.get('Content-Range'), start)
            if total is None or known.get('length') not in (None, total):
                self.drop()
                raise Again('the server sends another part than was asked for')
            return start, total
        if answer.status != 200:
            raise Again(f'the server answers {answer.status}')
        if start:
            self.say('the server has another version now, or knows no parts: from the beginning')
        return 0, length_of(answer.headers)

    def copy(self, answer: Any, file: BinaryIO, done: int, total: int | None) -> int:
        """Copy an answer's body; returns the length of the file then."""
        self.progress(done, total)
        while chunk := answer.read1(CHUNK):
            file.write(chunk)
            done += len(chunk)
            self.progress(done, total)
            if total is None and not done % (64 * CHUNK):
                self.check_room(done, None)
        file.flush()
        os.fsync(file.fileno())
        return done

    # ---- what is there -----------------------------------------------------------------------

    def so_far(self) -> int:
        """Bytes of the part."""
        with suppress(OSError):
            return os.stat(self.part).st_size
        return 0

    def is_whole(self) -> bool:
        """Whether the part is all of the file, by the length that the server said."""
        known = read_state(self.state) if os.path.lexists(self.state) else {}
        return known.get('url') == self.url and known.get('length') == self.so_far() and \
            is_plain(self.part)

    def resumable(self) -> tuple[int, dict[str, Any]]:
        """(bytes to go on from, the state of the part); 0 without a part, and where neither the
        server's name for the version nor a stated hash would tell that it has changed."""
        known = read_state(self.state) if os.path.lexists(self.state) else {}
        done = self.so_far()
        same = known.get('url') == self.url and (known.get('validator') or self.hashes)
        if not done or not same or not is_plain(self.part):
            self.drop()
            return 0, {}
        length = known.get('length')
        if length is not None and done >= length:
            self.drop()                     # longer than it may be
            return 0, {}
        return done, known

    def drop(self) -> None:
        """Remove the part and its state."""
        for each in self.part, self.state:
            with suppress(FileNotFoundError):
                each.unlink()

    def check_room(self, done: int, total: int | None) -> None:
        """FcnError where the disk has not the room for the rest."""
        free = shutil.disk_usage(self.path.parent).free
        rest = 0 if total is None else total - done
        if rest + SPARE > free:
            raise FcnError(f'the disk has {size(free)} free, {size(rest)} are still to come',
                           file=str(self.path), code='no-room-to-fetch',
                           do='Free space, or give another folder.')

    def failed(self, what: str) -> FcnError:
        """The FcnError for a server that does not give the file."""
        return FcnError(what, file=self.url, code='not-fetched', facts={'path': str(self.path)},
                        do='Fetch it again later, which goes on from there, or from another url; '
                        f'or put the file there yourself, as {self.path}: it is verified.')

    def unwritable(self, error: OSError) -> FcnError:
        """The FcnError for a file that cannot be written."""
        return FcnError(f'cannot be written: {first_line(error)}', file=str(self.path),
                        code='no-room-to-fetch' if is_full(error) else '',
                        do='Check that the folder may be written to and has room.')


def is_plain(path: Path) -> bool:
    """Whether this is a regular file, and no link to one."""
    return path.is_file() and not path.is_symlink()


def read_state(path: Path) -> dict[str, Any]:
    """{url, length, validator} of a part; {} where it is no such file of ours."""
    try:
        found = json.loads(read_regular(path, 'the state of a download', MOST_STATE))
        length, validator = found['length'], found['validator']
        if isinstance(found['url'], str) and isinstance(validator, (str, type(None))) and \
                (length is None or (type(length) is int and length >= 0)):
            return {'url': found['url'], 'length': length, 'validator': validator}
    except (FcnError, ValueError, KeyError, TypeError, RecursionError):
        pass
    return {}


def length_of(headers: Any) -> int | None:
    """The Content-Length; None without."""
    text = headers.get('Content-Length', '')
    return int(text) if re.fullmatch('[0-9]{1,18}', text) else None


def total_of(text: str | None, start: int) -> int | None:
    """The whole length by a Content-Range, 'bytes 5-9/10'; None where it does not begin at
    `start` or go to the end."""
    found = re.fullmatch(r'bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})', (text or '').strip())
    if not found:
        return None
    first, last, total = map(int, found.groups())
    return total if first == start and last == total - 1 else None


def validator_of(headers: Any) -> str | None:
    """What If-Range takes: a strong ETag, or the time of the last change; None without."""
    tag = headers.get('ETag', '')
    return tag if re.fullmatch('"[^"]*"', tag) else headers.get('Last-Modified')


# ---- hashes --------------------------------------------------------------------------------------

def verify(path: Path, hashes: Mapping[str, str], url: str = '') -> str:
    """The SHA-256 (hex) of a file. FcnError unless it has all these hashes."""
    wanted = {'sha256' if name == BEGINS else name: value for name, value in hashes.items()}
    found = digests(path, {*wanted, 'sha256'})
    for name, value in wanted.items():
        if not found[name].startswith(value):
            begins = 'begins with ' * (BEGINS in hashes)
            raise FcnError(f'this is not the file: its {name.upper()} is {found[name]}, the stated '
                           f'one {begins or "is "}{value}',
                           file=str(path) if path.suffix != PART else url,
                           code='wrong-hash', do='Remove it, and fetch it again, from another '
                           'address if it stays so.')
    return found['sha256']


def digests(path: Path, names: set[str]) -> dict[str, str]:
    """{name: hex digest} of a file."""
    made = {name: hashlib.new(name, usedforsecurity=False) for name in names}
    with open_regular(path, 'a fetched file') as file:
        while chunk := file.read(CHUNK):
            for each in made.values():
                each.update(chunk)
    return {name: each.hexdigest() for name, each in made.items()}
