"""Where the files that a prototxt names are looked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from .errors import FcnError


@dataclass(frozen=True)
class SearchPath:
    """Folders in which the relative paths of a text are looked for, in this order.

    Caffe opens every path from the working directory, so that comes first; a text that lies with
    its data can be read from anywhere, as its own folder comes second.
    """

    folders: tuple[Path, ...] = (Path(),)

    @classmethod
    def of(cls, file: str | PathLike) -> SearchPath:
        """The working directory, then the folder of the text `file`."""
        beside = Path(file).parent
        return cls((Path(), beside) if beside.resolve() != Path.cwd() else (Path(),))

    @classmethod
    def beside(cls, file: str | PathLike) -> SearchPath:
        """The folder of the text `file` alone: for texts that belong to their data, whatever the
        working directory holds."""
        return cls((Path(file).parent,))

    def find(self, name: str | PathLike, what: str, field: str) -> Path:
        """The path of the existing file or folder that a text calls `name` in `field`. FcnError
        (code 'no-such-file') that lists the places tried; messages call it `what`."""
        if not os.fspath(name):
            raise FcnError(f'{field} is empty', code='no-such-file', do=f'Name the {what}.')
        tried = list(dict.fromkeys(folder / name for folder in self.folders))
        for path in tried:
            if path.exists():
                return path
        places = ' and '.join(str(path.absolute()) for path in tried)
        raise FcnError(f"there is no {what} '{name}': tried {places}", code='no-such-file',
                       do=f'Correct {field}, or run from the folder that its paths start at.')

    def output(self, name: str | PathLike) -> Path:
        """The path at which a text has a file written: from the first folder, Caffe's."""
        return self.folders[0] / name


def as_search_path(where: SearchPath | str | PathLike) -> SearchPath:
    """A SearchPath, or that of one folder."""
    return where if isinstance(where, SearchPath) else SearchPath((Path(where),))
