"""Read HDF5 in the layout that Caffe writes, for weights and for solver states.

Weights: /data/<layer>/<i>, float32, a group for every layer, blobs of a shared parameter under its
first layer only (Net::ToHDF5, Net::CopyTrainedLayersFromHDF5 in src/caffe/net.cpp). Solver state:
/iter and /current_step (int32, shape (1,)), /learned_net (fixed-length string), /history/<i>
(src/caffe/solvers/sgd_solver.cpp). /fcn_repro, which Caffe ignores, holds this project's own data:
numbers and short texts as its attributes, long texts as its datasets. A layer name with '/' becomes
nested groups; Caffe itself cannot save those.

libhdf5 runs in a child process (child.py), which describes what a file holds. Arrays that lie in
the file as they are become views of it here; the child sends the others.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FcnError
from ..sizes import check_shape, dims, memory, size
from .child import call
from .solverstate import SolverState, read_binary, read_private_data
from .wire import STATE_WANTED, LayerBlobs, kind_of_binary, map_file

EXTRA = 'fcn_repro'
SIGNATURE = b'\x89HDF\r\n\x1a\n'
DEFLATE = 1100          # the highest ratio at which HDF5's compression stores
FILTERS = {1, 2, 3, 4, 5, 6, 32000}     # HDF5's own, gzip to scale-offset, and h5py's LZF
ALL = 1000              # levels of groups: all of them
ROOM = 256 << 20        # bytes that libhdf5 may take beyond what a file or dataset needs
LAYOUT = 'Give a file in the layout that Caffe writes.'
AGAIN = 'It is damaged or incomplete: write it again.'
FilePath = str | os.PathLike


@dataclass
class Dataset:
    """What a file says of a dataset. type: of its numbers, None for anything else; shape: None
    where it has none; stored: bytes; offset: where they begin in the file, None where they do not
    lie there as they are; chunk: bytes of a chunk; text: of a scalar text, where asked for."""

    name: str
    says: str
    shape: tuple[int, ...] | None
    type: np.dtype | None = None
    elsewhere: bool = False
    filters: Sequence[int] = ()
    stored: int = 0
    offset: int | None = None
    chunk: int = 0
    text: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape or ()) * (self.type.itemsize if self.type else 0)


class Group(dict):
    """{name: Group, Dataset, or a str for another kind} of a group; name: its path."""

    def __init__(self, name: str, attributes: dict[str, Any]):
        super().__init__()
        self.name, self.attributes = name, attributes


class HDF5:
    """An HDF5 file: what it holds, by describe, and the numbers of its datasets, by arrays.

    FcnError where it cannot be opened, is none, is damaged or refers to another file.
    """

    def __init__(self, path: FilePath):
        self.path, self.buffer = path, map_file(path)
        self.inode: list[int] = []
        while self.inode != (now := inode(path)):       # the map is of this file
            self.inode, self.buffer = now, map_file(path)

    def _call(self, function: str, *args: Any, need: int = 0, most: int = 0) -> tuple[Any, Any]:
        count = len(self.buffer)
        try:
            return call(function, os.path.realpath(self.path), self.inode, *args, most=most,
                        file_size=count, seconds=10 + count / 2e5 + need / 20e6,
                        memory=ROOM + min(count, 1 << 30) + need)
        except FcnError as error:
            raise error.at(file=self.path) from None

    def describe(self, *wanted: tuple[str, int, bool]) -> list[Any]:
        """The Group or Dataset of each place in the file, None where nothing is. wanted: (path,
        levels of groups below it, whether with attributes and scalar texts)."""
        found, _ = self._call('describe', wanted)
        return [node and parsed(node, name) for node, (name, *_) in zip(found, wanted, strict=True)]

    def root(self) -> Group:
        """The names in the file."""
        return self.describe(('/', 1, False))[0]

    def member(self, name: str, kind: type, found: Any) -> Any:
        """The group or dataset that was found by a name; FcnError where it is no such one."""
        if not isinstance(found, kind):
            held = ', '.join(sorted(self.root())) or 'nothing'
            raise FcnError(f"has no {kind.__name__.lower()} '{name}' (it holds: {held})",
                           file=self.path, do=LAYOUT)
        return found

    def arrays(self, datasets: Sequence[Dataset], kinds: str) -> list[np.ndarray]:
        """The numbers of datasets of these numpy kinds: views of the file, read-only, where they
        are contiguous in it, else copies."""
        for dataset in datasets:
            check_dataset(dataset, self.path, kinds)
        apart = {id(d): d for d in datasets if d.offset is None and d.nbytes}
        sent = self._sent(list(apart.values()))
        return [sent[id(d)] if id(d) in sent else self._view(d) for d in datasets]

    def _view(self, dataset: Dataset) -> np.ndarray:
        if not dataset.nbytes:
            return np.zeros(dataset.shape or (), dataset.type)
        end = (dataset.offset or 0) + dataset.nbytes
        if end > len(self.buffer):
            raise FcnError(f"dataset '{dataset.name}' ends at byte {end}, the file at "
                           f'{len(self.buffer)}', file=self.path,
                           do='The file is cut short: copy it again.')
        return np.ndarray(dataset.shape or (), dataset.type, self.buffer, dataset.offset or 0)

    def _sent(self, datasets: Sequence[Dataset]) -> dict[int, np.ndarray]:
        """{id: array} of what the child reads: in chunks, compressed or of odd types."""
        if not datasets:
            return {}
        total = sum(d.nbytes for d in datasets)
        if total > memory():
            raise FcnError(f'holds {size(total)} of numbers, this machine has {size(memory())}',
                           file=self.path, do='Write fewer, or use a larger machine.')
        need = 3 * max(d.nbytes + d.chunk for d in datasets)
        _, data = self._call('read', [d.name for d in datasets], need=need + total, most=total)
        found, at = {}, 0
        for d in datasets:
            truth = d.type is not None and d.type.kind == 'b'
            array = np.ndarray(d.shape or (), 'u1' if truth else d.type, data, at)
            found[id(d)] = array != 0 if truth else array
            at += d.nbytes
        return found


def inode(path: FilePath) -> list[int]:
    """[device, number] of a file."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise FcnError(f'cannot be read: {error.strerror}', file=path,
                       do='Check the path and its permissions.') from None
    return [found.st_dev, found.st_ino]


def parsed(node: dict[str, Any], name: str) -> Any:
    """The Group or Dataset that the child describes; the kind of anything else."""
    attributes = {key: decoded(value) for key, value in node.get('attributes', {}).items()}
    if node['kind'] == 'group':
        group = Group(name, attributes)
        for key, member in node.get('members', {}).items():
            group[key] = parsed(member, f'{name.rstrip("/")}/{key}')
        return group
    if node['kind'] != 'dataset':
        return node['kind']
    shape = node['shape']
    return Dataset(name, node['says'], None if shape is None else tuple(shape),
                   np.dtype(node['type']) if node['type'] else None, node['elsewhere'],
                   node['filters'], node['stored'], node['offset'], node['chunk'],
                   node.get('text'), attributes)


def decoded(value: dict[str, Any]) -> Any:
    """An attribute: a number of numpy, a text, or an array of either; None for other kinds."""
    if 'other' in value:
        return None
    if 'texts' in value:
        array = np.array(value['texts'], object).reshape(value['shape'])
    else:
        array = np.frombuffer(base64.b64decode(value['data']), value['type']).reshape(
            value['shape']).copy()
    return array[()]


def is_hdf5(path: FilePath) -> bool:
    """By content (the signature), not by name; FcnError when the file cannot be opened."""
    with map_file(path) as buffer:
        at = 0
        while at < len(buffer):
            if buffer[at:at + len(SIGNATURE)] == SIGNATURE:
                return True
            at = 2 * at or 512              # behind a block of the user's
        return False


def kind_of(path: FilePath) -> str:
    """The kind of one of Caffe's files: 'weights', 'solverstate' or 'binaryproto'."""
    if not is_hdf5(path):
        return kind_of_binary(path)
    names = HDF5(path).root()
    return 'solverstate' if 'iter' in names and 'data' not in names else 'weights'


def check_dataset(dataset: Any, path: FilePath, kinds: str) -> None:
    """Raise FcnError for a dataset that is not of these numpy kinds, that is stored in another
    file or by an unknown filter, or that claims a larger shape than a blob can have or its stored
    bytes can hold."""
    if not isinstance(dataset, Dataset):            # a link to nothing, or a type alone
        raise FcnError(f'holds {dataset} where a dataset is wanted', file=path,
                       do='Write it again.')
    if dataset.elsewhere:
        raise FcnError(f"dataset '{dataset.name}' is stored in another file", file=path,
                       do='Write its numbers into this one.')
    if dataset.type is None or dataset.type.kind not in kinds or dataset.shape is None:
        raise FcnError(f"dataset '{dataset.name}' has type {dataset.says}, no numbers", file=path,
                       do=LAYOUT)
    try:
        check_shape(dataset.shape, f"dataset '{dataset.name}'")
    except FcnError as error:
        raise error.at(file=path) from None
    if unknown := set(dataset.filters) - FILTERS:
        raise FcnError(f"dataset '{dataset.name}' is compressed by filter {min(unknown)}, which "
                       'HDF5 itself does not have', file=path, do="Write it with 'gzip' or plain.")
    for count in dataset.nbytes, dataset.chunk if dataset.nbytes else 0:
        if count > DEFLATE * dataset.stored:
            raise FcnError(f"dataset '{dataset.name}' of shape {dims(dataset.shape)} holds {count} "
                           f'bytes, but {dataset.stored} are stored in this file', file=path,
                           do=AGAIN)


def numbered(group: Group, path: FilePath) -> list[Dataset | None]:
    """The datasets '0', '1', ... of a group as a list; None where a number is left out."""
    found = {}
    for name, item in group.items():
        if isinstance(item, Dataset):
            if not (name.isascii() and name.isdigit() and len(name) < 6):
                raise FcnError(f"dataset '{item.name}' is not named by a blob's index", file=path,
                               do=LAYOUT)
            found[int(name)] = item
    return [found.get(i) for i in range(max(found, default=-1) + 1)]


def walk_layers(group: Group, prefix: str,
                path: FilePath) -> Iterator[tuple[str, list[Dataset | None]]]:
    """Yield (name, datasets) of the layers below a group; groups that only hold groups are parts of
    names with '/'."""
    for name, item in group.items():
        if prefix and isinstance(item, Dataset):
            continue                    # a blob of the layer whose name this prefix is
        if not isinstance(item, Group):
            raise FcnError(f"'{group.name}/{name}' is not a group", file=path, do=LAYOUT)
        kinds = {type(member) for member in item.values()}
        if kinds != {Group}:
            yield prefix + name, numbered(item, path)
        if Group in kinds:
            yield from walk_layers(item, prefix + name + '/', path)


def read_hdf5(path: FilePath) -> tuple[list[LayerBlobs], dict[str, Any]]:
    """(layers, extra): the layers by name, and the attributes of /fcn_repro.

    A blob is None where the file has it under the layer that owns it. Arrays are read-only views
    of the file in its own precision. FcnError on a damaged file or another layout.
    """
    file = HDF5(path)
    data, extra = file.describe(('/data', ALL, False), (f'/{EXTRA}', 1, True))
    layers = list(walk_layers(file.member('data', Group, data), '', path))
    arrays = iter(file.arrays([d for _, blobs in layers for d in blobs if d], 'fiu'))
    return [LayerBlobs(name, [d and next(arrays) for d in blobs])
            for name, blobs in layers], extra_of(extra, file)


def extra_of(group: Any, file: HDF5) -> dict[str, Any]:
    """{name: number, text or array} of the attributes of /fcn_repro, which Caffe's files lack."""
    if group is None:
        return {}
    found = {}
    for name, value in file.member(EXTRA, Group, group).attributes.items():
        if value is None:
            raise FcnError(f"attribute '{name}' of /{EXTRA} is neither a number nor a text",
                           file=file.path, do=AGAIN)
        found[name] = value.item() if isinstance(value, np.generic) else value
    return found


def read_extra(path: FilePath) -> dict[str, Any]:
    """The `extra` of a snapshot, weights or state, without reading its blobs: {} where Caffe wrote
    it, in either format. FcnError for other files and those cut short."""
    if not is_hdf5(path):
        return read_private_data(path)[0]
    file = HDF5(path)
    return extra_of(file.describe((f'/{EXTRA}', 1, True))[0], file)


def text_of(dataset: Any, name: str, file: HDF5) -> str:
    """The text of a dataset."""
    if file.member(name, Dataset, dataset).text is None:
        raise FcnError(f"dataset '{name}' has type {dataset.says}, no text", file=file.path,
                       do=LAYOUT)
    return dataset.text


def int_of(dataset: Any, name: str, file: HDF5) -> int:
    """The one integer of a dataset."""
    array, = file.arrays([file.member(name, Dataset, dataset)], 'iu')
    if array.size != 1:
        raise FcnError(f"dataset '{name}' holds {array.size} numbers, not one", file=file.path,
                       do=LAYOUT)
    return int(array.item())


def read_solverstate(path: FilePath) -> SolverState:
    """A SolverState from HDF5 or from Caffe's binary format, told apart by content. FcnError on a
    damaged file, another layout, and weights."""
    if not is_hdf5(path):
        return read_binary(path)
    file = HDF5(path)
    weights, iteration, step, learned_net, history, extra = file.describe(
        ('/data', 0, False), ('/iter', 0, False), ('/current_step', 0, False),
        ('/learned_net', 0, True), ('/history', 1, False), (f'/{EXTRA}', 1, True))
    if weights is not None and iteration is None:
        raise FcnError("has weights and no dataset 'iter', so it is not a solverstate", file=path,
                       code='no-state', do=STATE_WANTED)
    counts = int_of(iteration, 'iter', file), int_of(step, 'current_step', file)
    blobs = numbered(file.member('history', Group, history), path)
    if None in blobs:
        raise FcnError(f'history has no blob {blobs.index(None)} of {len(blobs)}', file=path,
                       do='The file is damaged: use another snapshot.')
    said = extra_of(extra, file)
    texts = {name: text_of(item, f'{EXTRA}/{name}', file) for name, item in (extra or {}).items()}
    learned = '' if learned_net is None else text_of(learned_net, 'learned_net', file)
    arrays = file.arrays([blob for blob in blobs if blob], 'fiu')
    return SolverState(counts[0], learned, counts[1], arrays, said, str(path), texts)
