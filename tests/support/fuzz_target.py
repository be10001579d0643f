"""What a reader to fuzz is, and the files and folders that its inputs come from."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

DATA = Path(__file__).parents[1] / 'data'
LARGEST = 200_000                       # bytes of a seed


class Target(NamedTuple):
    """read: takes the path of an input. seeds: returns the bytes of real files. change: mutations
    that know the format. seconds: processor time that one input may take; memory: bytes by which
    the process may grow; batch: inputs in a turn."""
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    change: tuple[Callable, ...] = ()
    seconds: float = 1.0
    memory: int = 400 << 20
    batch: int = 200


def files(*patterns: str) -> Callable[[], list[bytes]]:
    """Seeds from tests/data."""
    def seeds():
        found = [path.read_bytes() for pattern in patterns for path in sorted(DATA.glob(pattern))]
        return [data for data in found if len(data) < LARGEST]
    return seeds


@contextmanager
def folder_with(path: Path, name: str) -> Iterator[Path]:
    """A folder in which the input has this name; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


def FcnErrors():
    from fcn_repro.errors import FcnError
    return FcnError
