"""The file of an evaluation in progress: a line for each image that is done, so that an interrupted
evaluation goes on with the others and counts the same to the last pixel."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from ..errors import FcnError
from ..files import read_regular
from ..formats.atomic import write_text
from ..net.net import Net
from .scoring import ImageScore

FILE = 'partial.jsonl'
VERSION = 1
CANNOT = 'the scores so far cannot be written'


class Partial:
    """The scores so far, of one evaluation, in the folder `folder`.

    key: what makes it this evaluation: weights, net, ids, ... A file with another key, from before,
    is replaced. n: number of classes. rank: of the process; each has a file of its own.
    """

    def __init__(self, folder: Path, key: Mapping[str, Any], n: int, rank: int = 0):
        self.folder, self.n, self.rank = folder, n, rank
        self.head = json.dumps({'version': VERSION, **key}, sort_keys=True)
        self.file: TextIO | None = None

    def begin(self) -> dict[int, tuple[str, ImageScore]]:
        """{k: (stamp, score)} of the images that an earlier call has done; all its files become
        one. For the first process alone, before the others call `append`."""
        found: dict[int, tuple[str, ImageScore]] = {}
        files = sorted(self.folder.glob(f'*{FILE}'))
        for file in files:
            found.update(self._read(file))
        lines = [self._line(k, stamp, score) for k, (stamp, score) in sorted(found.items())]
        if lines or files:
            write_text(''.join(f'{line}\n' for line in (self.head, *lines)), self.folder / FILE)
        for file in files:
            if file != self.folder / FILE:
                file.unlink()
        return found

    def append(self, k: int, stamp: str, score: ImageScore) -> None:
        """Write the score of the k-th image. stamp: of its files; on another one it counts as not
        done. FcnError where that cannot be written."""
        path = self.folder / (f'{self.rank}.{FILE}' if self.rank else FILE)
        try:
            if self.file is None:
                opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
                                 | os.O_CLOEXEC, 0o666)
                self.file = os.fdopen(opened, 'w')
                if not os.fstat(opened).st_size:
                    self.file.write(f'{self.head}\n')
            self.file.write(self._line(k, stamp, score) + '\n')
            self.file.flush()
        except OSError as error:
            raise FcnError(f'{CANNOT}: {error.strerror}', file=str(path), do='Check the folder, '
                           'its permissions and the disk space, and give the same command again: '
                           'it goes on from there.') from None

    def close(self) -> None:
        """Close the file."""
        if self.file is not None:
            self.file.close()
            self.file = None

    def remove(self) -> None:
        """Remove the files: the evaluation is complete."""
        self.close()
        for file in self.folder.glob(f'*{FILE}'):
            file.unlink()

    def _line(self, k: int, stamp: str, score: ImageScore) -> str:
        return json.dumps({'k': k, 'stamp': stamp, **score.as_json()})

    def _read(self, file: Path) -> dict[int, tuple[str, ImageScore]]:
        """What is in one file; {} where it is of another evaluation. A line that a killed process
        cut short is left out, and so is one that was damaged."""
        text = read_regular(file, 'a file of scores').decode('utf-8', errors='replace')
        head, *lines = text.split('\n')
        if head != self.head:
            return {}
        found = {}
        for line in lines:
            try:
                entry = json.loads(line)
                found[int(entry['k'])] = str(entry['stamp']), ImageScore.from_json(entry, self.n)
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
                continue
        return found


def stamp_of(files: tuple[Path, ...]) -> str:
    """A text that changes when one of the files is replaced: sizes and times of change."""
    stats = [os.stat(file) for file in files if os.path.isfile(file)]
    return ' '.join(f'{stat.st_size} {stat.st_mtime_ns}' for stat in stats)


def hash_of_params(net: Net) -> str:
    """SHA-256 (hex) over the names, shapes and values of a net's parameters."""
    digest = hashlib.sha256()
    for name, blobs in net.params.items():
        for blob in blobs:
            values = blob.data.detach().cpu().float().contiguous().numpy()
            digest.update(f'{name} {values.shape}\n'.encode())
            digest.update(values.data if values.size else b'')
    return digest.hexdigest()
