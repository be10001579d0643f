"""Read a golden file, HDF5 or JSON, as a whole."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FcnError
from ..files import read_regular
from ..formats import hdf5_read
from ..formats.hdf5_read import ALL, HDF5, is_hdf5


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

    def number(self, name: str) -> Any:
        """The number of an attribute. FcnError if it is absent or anything else."""
        return one_number(self.attr(name), f"attribute '{name}' of '/{self.path}'", self.file)

    def count(self, name: str, default: int | None = None) -> int:
        """The whole number of an attribute, the default if absent. FcnError as by number."""
        value = self.attr(name) if default is None else self.attrs.get(name, default)
        return one_count(value, f"attribute '{name}' of '/{self.path}'", self.file)


def one_number(value: Any, what: str, file: Any) -> Any:
    """A number of numpy. FcnError for texts and arrays."""
    array = np.asarray(value)
    if array.size != 1 or array.dtype.kind not in 'fiub':
        raise FcnError(f'{what} is {value!r}, not one number', file=str(file),
                       do='Give a file in the format of the goldens.')
    return array.reshape(())[()]


def one_count(value: Any, what: str, file: Any) -> int:
    """A whole number. FcnError for anything else."""
    number = float(one_number(value, what, file))
    if not number.is_integer():
        raise FcnError(f'{what} is {value!r}, not a whole number', file=str(file),
                       do='Give a file in the format of the goldens.')
    return int(number)


class Array:
    """A dataset, which may hold only a part of its array.

    values: the stored numbers. shape: of the whole array. step: every step-th entry of the
    flattened array is stored. sums: {'sum': ..., 'abs_sum': ...} of the whole array, if given.
    """

    def __init__(self, dataset, values, file):
        self.values, self.path, self.file = np.array(values), dataset.name[1:], str(file)
        attrs, what = dataset.attributes, f"of dataset '{self.path}'"
        self.shape = tuple(one_count(d, f'attribute shape {what}', file)
                           for d in np.ravel(attrs.get('shape', self.values.shape)))
        self.step = one_count(attrs.get('step', 1), f'attribute step {what}', file)
        self.sums = {name: float(one_number(attrs[name], f'attribute {name} {what}', file))
                     for name in ('sum', 'abs_sum') if name in attrs}
        count = -(-math.prod(self.shape) // self.step) if self.step > 0 else -1
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
    file = HDF5(str(path))
    root = file.describe(('/', ALL, True))[0]
    datasets = list(below(root))
    arrays = iter(file.arrays(datasets, 'fiub'))
    return copied(root, path, '', arrays)


def below(group):
    """What a group and those in it hold, except groups."""
    for item in group.values():
        if isinstance(item, hdf5_read.Group):
            yield from below(item)
        else:
            yield item


def copied(group, file, path, arrays):
    """A Group with the contents of a group of a file; arrays: of its datasets, in order."""
    known = {name: value for name, value in group.attributes.items() if value is not None}
    found = Group(known, file, path)
    for name, item in group.items():
        found[name] = (copied(item, file, f'{path}{name}/', arrays)
                       if isinstance(item, hdf5_read.Group) else Array(item, next(arrays), file))
    return found


def held(path: Path, group: str = '/') -> set[str]:
    """The names in a group of an HDF5 file, by which its kind is recognised; none if the file
    cannot be read, which is reported when it is read as a whole."""
    try:
        found = HDF5(path).describe((group, 1, False))[0] if is_hdf5(path) else ()
    except FcnError:
        return set()
    return set(found) if isinstance(found, hdf5_read.Group) else set()


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
