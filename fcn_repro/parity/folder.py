"""Which goldens lie below a folder: told by the files that stand together, never by its name.

Each kind (kinds.py) takes files of a folder and makes cases of them. A file that no kind takes is a
case as well, one that is not supported.
"""

from functools import partial
from pathlib import Path

from fcn_repro.errors import FcnError

from .comparison import Case
from .golden import read_golden, read_json
from .kinds import KINDS


def check_folder(root, limits):
    """Yield a Case for each case below `root`, in the order of their names."""
    for name, check in find_cases(root):
        case = Case(name)
        try:
            check(case, limits=limits)
        except FcnError as error:
            case.refused = str(error)
        yield case


def find_cases(root):
    """[(name, check)] of all cases below a folder. FcnError where there is none at all."""
    root, found = Path(root), []
    if not root.is_dir():
        raise FcnError('is no folder' if root.exists() else 'there is no such folder',
                       file=str(root), do='Give a folder of goldens.')
    for folder in (root, *sorted(path for path in root.rglob('*') if path.is_dir())):
        names = {path.name for path in folder.iterdir() if path.is_file()}
        taken = {name for name in names if name.endswith('.md')}
        for kind in KINDS:
            for name, files, check in kind(folder, names):
                found.append((str((folder / name).relative_to(root)), check))
                taken |= files
        found += [(str((folder / name).relative_to(root)), partial(refuse, folder / name))
                  for name in names - taken]
    if not found:
        raise FcnError('holds no goldens', file=str(root), do='Give a folder in their format.')
    return sorted(found, key=lambda item: item[0])


def refuse(path, case, limits):
    """What becomes of a file that no kind takes: it cannot be read, or nothing knows it."""
    if path.suffix == '.h5':
        read_golden(path)
    elif path.suffix == '.json':
        read_json(path)
    raise FcnError('no check knows what this file is for', do='See the format of the goldens: a '
                   'case is known by the files that stand together.')
