"""Read a golden file, HDF5 or JSON, as a whole."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import FcnError
from ..files import check_regular, read_regular
from ..formats.hdf5_read import check_dataset, check_single_link, is_hdf5, open_hdf5


class Group(dict):
    """{name: Group or Array} of an HDF5 group, with its attributes and its path in the file."""

    def __init__(self, attrs, file, path):
        super().__init__()
        self.attrs, self.file, self.path = dict(attrs), file, path

    def group(self, name: str) -> 'Group':
        """The group of this name, empty if absent. FcnError if it is a dataset."""
        found = self.get(name, Group({}, self.file, f'{self.path}{name}/'))
        if not isinstance(found, Group):
            raise FcnError(f"'{found.path}' is a dataset, not a group", file=str(self.file),
                           do='Give a file in the format of the goldens.')
        return found

    def blobs(self, name: str) -> dict[str, 'Array']:
        """{blob: Array} of a group; a blob whose name has a '/' is stored in nested groups."""
        return dict(flat(self.group(name), ''))

    def params(self, name: str) -> dict[str, dict[str, 'Array']]:
        """{layer: {i: Array}} of a group."""
        found = {}
        for path, array in flat(self.group(name), ''):
            layer, _, i = path.rpartition('/')
            found.setdefault(layer, {})[i] = array
        return found

    def need(self, name: str, kind: str = 'dataset') -> Any:
        """The dataset (or group) of this name. FcnError if absent."""
        if not isinstance(self.get(name), Group if kind == 'group' else Array):
            raise FcnError(f"has no {kind} '{self.path}{name}' (it holds: "
                           f"{', '.join(sorted(self)) or 'nothing'})", file=str(self.file),
                           do='Give a file in the format of the goldens.')
        return self[name]

    def attr(self, name: str) -> Any:
        """The attribute of this name. FcnError if absent."""
        if name not in self.attrs:
            raise FcnError(f"'/{self.path}' has no attribute '{name}' (it has: "
                           f"{', '.join(sorted(self.attrs)) or 'none'})", file=str(self.file),
                           do='Give a file in the format of the goldens.')
        return self.attrs[name]


class Array:
    """A dataset, which may hold only a part of its array.

    values: the stored numbers. shape: of the whole array. step: every step-th entry of the
    flattened array is stored. sums: {'sum': ..., 'abs_sum': ...} of the whole array, if given.
    """

    def __init__(self, dataset, file):
        check_dataset(dataset, str(file), 'fiub')
        self.values, self.path = np.asarray(dataset[()]), dataset.name[1:]
        attrs, self.file = dataset.attrs, str(file)
        self.shape = tuple(int(d) for d in attrs.get('shape', self.values.shape))
        self.step = int(attrs.get('step', 1))
        self.sums = {name: float(attrs[name]) for name in ('sum', 'abs_sum') if name in attrs}
        count = -(-int(np.prod(self.shape)) // self.step) if self.step > 0 else -1
        if count != self.values.size:
            raise FcnError(f"dataset '{self.path}' has {self.values.size} values, but shape "
                           f'{self.shape} and step {self.step} make {count}', file=str(file),
                           do='Write it again: full.reshape(-1)[::step], with shape and step.')

    def sample(self, whole: np.ndarray) -> np.ndarray:
        """The entries of a whole array, flattened, that correspond to `values`."""
        return whole.reshape(-1)[::self.step]


class Entry(dict):
    """An object of a JSON file; a missing key is an FcnError that names the file."""

    def __init__(self, pairs, file):
        super().__init__(pairs)
        self.file = file

    def __missing__(self, key):
        raise FcnError(f"an entry has no '{key}' (it has: {', '.join(self) or 'nothing'})",
                       file=self.file, do='Give a file in the format of the goldens.')


def flat(group, prefix):
    """(path, Array) of all datasets below a group."""
    for name, item in group.items():
        if isinstance(item, Group):
            yield from flat(item, f'{prefix}{name}/')
        else:
            yield prefix + name, item


def read_golden(path: str | Path) -> Group:
    """A Group with everything in the file. FcnError if it is damaged or holds something else."""
    if not is_hdf5(path):
        raise FcnError('is not an HDF5 file, or is truncated', file=str(path),
                       do='Give a golden in HDF5.')
    with open_hdf5(str(path)) as file:
        return copied(file, path, '', set())


def copied(group, file, path, seen):
    """A Group with the contents of an h5py group. `seen`: groups visited, to refuse cycles."""
    check_single_link(group, seen, str(file))
    found = Group(group.attrs, file, path)
    for name, item in group.items():
        found[name] = (copied(item, file, f'{path}{name}/', seen) if isinstance(item, h5py.Group)
                       else Array(item, file))
    return found


def held(path: Path, group: str = '/') -> set[str]:
    """The names in a group of an HDF5 file, by which its kind is recognised; none if the file
    cannot be read, which is reported when it is read as a whole."""
    try:
        check_regular(path, 'an HDF5 file')
        with h5py.File(path, 'r') as file:
            found = file.get(group)
            return set(found) if isinstance(found, h5py.Group) else set()
    except (FcnError, OSError, RuntimeError, ValueError, TypeError):
        return set()


def read_json(path: str | Path) -> Any:
    """The value of a JSON file. FcnError if it cannot be read, and later if a key is looked up that
    one of its objects lacks."""
    def entry(pairs):
        return Entry(pairs, str(path))

    try:
        return json.loads(read_regular(path, 'a JSON file').decode(), object_hook=entry)
    except (ValueError, RecursionError) as error:
        raise FcnError(f'is not valid JSON: {error}', file=str(path),
                       do='It is cut short or damaged: copy or write it again.') from None
