"""Paths made from data: ids, names of splits and classes, files that another file names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path

from .errors import CONTROL, FcnError, short

LONGEST_NAME, LONGEST_PATH = 255, 4095      # bytes, of a component and of a path, on Linux
ANYWHERE = (Path('/'),)     # folders to write in: all, as in Caffe


def confined(folder: str | PathLike[str], name: str, what: str, *,
             file: str | PathLike[str] | None = None, line: int | None = None) -> Path:
    """Return folder / name for a name that comes from data; '..' in it is resolved as text.

    what: how messages call the name ('id'); file, line: where it was read. FcnError for a name that
    is no text or empty, is absolute, leaves the folder or is the folder itself, holds a control
    character, or is longer than file systems take. Symbolic links in the folder belong to its owner
    and are followed.
    """
    def refuse(why: str) -> FcnError:
        return FcnError(f'the {what} {short(ascii(name), 200)} {why}',
                        do='Give a name, or a path that stays below the folder of its files.',
                        file=file, line=line)

    if not isinstance(name, str):
        raise refuse('is no text')
    if not name.strip():
        raise refuse('is empty')
    if found := CONTROL.search(name):
        raise refuse(f'holds the control character {found[0]!a}')
    if os.path.isabs(name):
        raise refuse('is an absolute path')
    relative = os.path.normpath(name)
    if relative.split(os.sep, 1)[0] in ('..', '.'):
        raise refuse('leaves its folder' if relative.startswith('..') else 'names a folder')
    return Path(checked_length(os.path.join(folder, relative), refuse))


def as_path(value: object, what: str, do: str) -> Path:
    """Return a path that a text gives, absolute or not. FcnError, with the remedy `do`, for a value
    that is no path or one that no file can have."""
    def refuse(why: str) -> FcnError:
        return FcnError(f'{what} is {short(ascii(value), 200)}, which {why}', do=do)

    path = os.fspath(value) if isinstance(value, (str, PathLike)) else None
    if not isinstance(path, str):
        raise refuse('is no path')
    if CONTROL.search(path):
        raise refuse('holds a control character')
    return Path(checked_length(path, refuse))


def writable(path: str | PathLike[str], folders: Iterable[str | PathLike[str]], do: str) -> Path:
    """Return the path of a file that a text wants to write, which must lie in one of the folders.

    Symbolic links are resolved first. FcnError (code 'write-not-allowed', facts file and folder)
    with the remedy `do` for a file elsewhere, and for a path that no file can have.
    """
    target, places = as_path(path, 'the file to write', 'Name a file.'), list(folders)
    real = os.path.realpath(target)
    if any(inside(real, os.path.realpath(folder)) for folder in places):
        return target
    only = f'in {", ".join(map(os.fspath, places))} alone' if places else 'nowhere'
    raise FcnError(f"'{real}' would be written, which is allowed {only}", do=do,
                   code='write-not-allowed', facts={'file': real, 'folder': os.path.dirname(real)})


def as_folders(folders: str | PathLike[str] | Iterable[str | PathLike[str]]) -> tuple[Path, ...]:
    """Folders to write in, given as several or as one."""
    several = (folders,) if isinstance(folders, (str, PathLike)) else folders
    return tuple(as_path(folder, 'a folder to write in', 'Give paths of folders.')
                 for folder in several)


def inside(path: str, folder: str) -> bool:
    """Whether a real path is below a real folder."""
    return path != folder and os.path.commonpath((path, folder)) == folder


def checked_length(path: str, refuse: Callable[[str], FcnError]) -> str:
    """The path; refuse(why) is raised for one that no file can have."""
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:
        raise refuse('has a character that no file name can have') from None
    longest = max(map(len, data.split(b'/')))
    if longest > LONGEST_NAME:
        raise refuse(f'makes a name of {longest} bytes, of at most {LONGEST_NAME}')
    if len(data) > LONGEST_PATH:
        raise refuse(f'makes a path of {len(data)} bytes, of at most {LONGEST_PATH}')
    return path
