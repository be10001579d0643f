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

    def find(self, name: str | PathLike, what: str, field: str, folder: bool = False) -> Path:
        """The path of what a text calls `name` in `field`: an existing file, or with `folder` a
        folder too. FcnError that lists the places tried; messages call it `what`."""
        name = os.fspath(name)
        if not name.strip():
            raise FcnError(f'{field} is empty', do=f'Name the {what}.')
        tried = list(dict.fromkeys(place / name for place in self.folders))
        for path in tried:
            if os.path.exists(path) and (folder or not os.path.isdir(path)):
                return path
        for path in tried:
            if os.path.isdir(path):
                raise FcnError(f"'{name}' is a folder, not a {what}", file=str(path.absolute()),
                               do=f'Correct {field}: name the file.')
        places = ' and '.join(str(path.absolute()) for path in tried)
        bare = name.strip()
        if name != bare and any(os.path.exists(place / bare) for place in self.folders):
            raise FcnError(f"there is no {what} '{name}', but one without the space around its "
                           f'name: tried {places}',
                           do=f'Remove the space in {field}.')
        raise FcnError(f"there is no {what} '{name}': tried {places}",
                       do=f'Correct {field}, or run from the folder that its paths start at.')

    def output(self, name: str | PathLike) -> Path:
        """The path at which a text has a file written: from the first folder, Caffe's."""
        return self.folders[0] / name


def as_search_path(where: SearchPath | str | PathLike) -> SearchPath:
    """A SearchPath, or that of one folder."""
    return where if isinstance(where, SearchPath) else SearchPath((Path(where),))
