"""Read HDF5 in the layout that Caffe writes, for weights and for solver states.

Weights: /data/<layer>/<i>, float32, a group for every layer, blobs of a shared parameter under its
first layer only (Net::ToHDF5, Net::CopyTrainedLayersFromHDF5 in src/caffe/net.cpp). Solver state:
/iter and /current_step (int32, shape (1,)), /learned_net (fixed-length string), /history/<i>
(src/caffe/solvers/sgd_solver.cpp). /fcn_repro, which Caffe ignores, holds this project's own data:
numbers and short texts as its attributes, long texts as its datasets. A layer name with '/' becomes
nested groups; Caffe itself cannot save those.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import FcnError
from ..files import check_regular
from ..sizes import check_shape
from .atomic import first_line
from .solverstate import SolverState, read_binary, read_private_data
from .wire import STATE_WANTED, LayerBlobs, kind_of_binary, map_file

if TYPE_CHECKING:
    import h5py

EXTRA = 'fcn_repro'
DEFLATE = 1100          # the highest ratio at which HDF5's compression stores
LAYOUT = 'Give a file in the layout that Caffe writes.'
FilePath = str | os.PathLike


def is_hdf5(path: FilePath) -> bool:
    """By content (the signature), not by name; FcnError when the file cannot be opened."""
    import h5py

    map_file(path).close()
    return bool(h5py.is_hdf5(path))


def kind_of(path: FilePath) -> str:
    """The kind of one of Caffe's files: 'weights', 'solverstate' or 'binaryproto'."""
    if not is_hdf5(path):
        return kind_of_binary(path)
    with open_hdf5(path) as file:
        return 'solverstate' if 'iter' in file and 'data' not in file else 'weights'


@contextlib.contextmanager
def open_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """The open file; what h5py raises about it becomes an FcnError."""
    import h5py

    check_regular(path, 'an HDF5 file')
    try:
        with h5py.File(path, 'r') as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FcnError(f'is not an HDF5 file, or is truncated: {first_line(error)}',
                       file=path, do='Copy or write it again.') from error


def member(file: Any, name: str, kind: type, path: FilePath) -> Any:
    """The group or dataset of a name; FcnError where there is no such one."""
    found = file.get(name)
    if not isinstance(found, kind):
        held = ', '.join(sorted(file)) or 'nothing'
        raise FcnError(f"has no {kind.__name__.lower()} '{name}' (it holds: {held})", file=path,
                       do=LAYOUT)
    return found


def check_dataset(dataset: Any, path: FilePath, kinds: str) -> None:
    """Raise FcnError for a dataset that is not of these numpy kinds, that is stored in another
    file, or that claims a larger shape than a blob can have or its stored bytes can hold."""
    import h5py

    if not isinstance(dataset, h5py.Dataset):       # a link to nothing, or a type alone
        raise FcnError(f'holds a {type(dataset).__name__} where a dataset is wanted', file=path,
                       do='Write it again.')
    if dataset.dtype.kind not in kinds:
        raise FcnError(f"dataset '{dataset.name}' has type {dataset.dtype}, no numbers", file=path,
                       do=LAYOUT)
    try:
        check_shape(dataset.shape or (), f"dataset '{dataset.name}'")
    except FcnError as error:
        raise error.at(file=path) from None
    stored = dataset.id.get_storage_size()
    if dataset.external or dataset.is_virtual or dataset.nbytes > DEFLATE * stored:
        raise FcnError(f"dataset '{dataset.name}' of shape {dataset.shape} holds {dataset.nbytes} "
                       f'bytes, but {stored} are stored in this file', file=path,
                       do='It is damaged or incomplete: write it again.')


def array_of(dataset: Any, buffer: mmap.mmap, path: FilePath) -> np.ndarray:
    """The numbers of a dataset: a view of the file where they are contiguous in it, else a copy."""
    check_dataset(dataset, path, 'fiu')
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype.str not in ('<f4', '<f8') or not dataset.size:
        return np.asarray(dataset[()])
    if offset + dataset.nbytes > len(buffer):
        raise FcnError(f"dataset '{dataset.name}' ends at byte {offset + dataset.nbytes}, the file "
                       f'at {len(buffer)}', file=path, do='The file is cut short: copy it again.')
    return np.ndarray(dataset.shape, dataset.dtype, buffer, offset)


def numbered_arrays(group: Any, buffer: mmap.mmap, path: FilePath) -> list[np.ndarray | None]:
    """The datasets '0', '1', ... of a group as a list; None where a number is left out."""
    import h5py

    found = {}
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            if not (name.isascii() and name.isdigit() and len(name) < 6):
                raise FcnError(f"dataset '{item.name}' is not named by a blob's index", file=path,
                               do=LAYOUT)
            found[int(name)] = array_of(item, buffer, path)
    return [found.get(i) for i in range(max(found, default=-1) + 1)]


def check_single_link(group: Any, seen: set, path: FilePath) -> None:
    """Raise FcnError for a group that was seen before: links can make a walk endless."""
    import h5py

    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        raise FcnError(f"group '{group.name}' is linked to from a second place", file=path,
                       do=LAYOUT)
    seen.add(address)


def walk_layers(group: Any, prefix: str, buffer: mmap.mmap, path: FilePath,
                seen: set) -> Iterator[LayerBlobs]:
    """Yield the layers below a group; groups that only hold groups are parts of names with '/'."""
    import h5py

    check_single_link(group, seen, path)
    for name, item in group.items():
        if prefix and isinstance(item, h5py.Dataset):
            continue                    # a blob of the layer whose name this prefix is
        if not isinstance(item, h5py.Group):
            raise FcnError(f"'{group.name}/{name}' is not a group", file=path, do=LAYOUT)
        kinds = {type(item[key]) for key in item}
        if kinds != {h5py.Group}:
            yield LayerBlobs(prefix + name, numbered_arrays(item, buffer, path))
        if h5py.Group in kinds:
            yield from walk_layers(item, prefix + name + '/', buffer, path, seen)


def read_hdf5(path: FilePath) -> tuple[list[LayerBlobs], dict[str, Any]]:
    """(layers, extra): the layers by name, and the attributes of /fcn_repro.

    A blob is None where the file has it under the layer that owns it. Arrays are read-only views
    of the file in its own precision. FcnError on a damaged file or another layout.
    """
    import h5py

    buffer = map_file(path)
    with open_hdf5(path) as file:
        data = member(file, 'data', h5py.Group, path)
        return list(walk_layers(data, '', buffer, path, set())), extra_of(file)


def extra_of(file: Any) -> dict[str, Any]:
    """{name: number, text or array} of the attributes of /fcn_repro."""
    return {name: value.item() if isinstance(value, np.generic) else value
            for name, value in (file[EXTRA].attrs.items() if EXTRA in file else ())}


def read_extra(path: FilePath) -> dict[str, Any]:
    """The `extra` of a snapshot, weights or state, without reading its blobs: {} where Caffe wrote
    it, in either format. FcnError for other files and those cut short."""
    if not is_hdf5(path):
        return read_private_data(path)[0]
    with open_hdf5(path) as file:
        return extra_of(file)


def texts_of(file: Any) -> dict[str, str]:
    """{name: text} of the datasets in /fcn_repro."""
    import h5py

    group = member(file, EXTRA, h5py.Group, file.filename) if EXTRA in file else {}
    return {name: read_text(group, name, file.filename) for name in group}


def read_text(group: Any, name: str, path: FilePath) -> str:
    import h5py

    return member(group, name, h5py.Dataset, path).asstr('utf-8')[()]


def read_int(file: Any, name: str, path: FilePath) -> int:
    """The one integer of a dataset."""
    import h5py

    dataset = member(file, name, h5py.Dataset, path)
    check_dataset(dataset, path, 'iu')
    return int(dataset[()].item())


def read_solverstate(path: FilePath) -> SolverState:
    """A SolverState from HDF5 or from Caffe's binary format, told apart by content. FcnError on a
    damaged file, another layout, and weights."""
    import h5py

    if not is_hdf5(path):
        return read_binary(path)
    buffer = map_file(path)
    with open_hdf5(path) as file:
        if 'data' in file and 'iter' not in file:
            raise FcnError("has weights and no dataset 'iter', so it is not a solverstate",
                           file=path, code='no-state', do=STATE_WANTED)
        iteration, step = (read_int(file, name, path) for name in ('iter', 'current_step'))
        history = numbered_arrays(member(file, 'history', h5py.Group, path), buffer, path)
        gaps = [i for i, h in enumerate(history) if h is None]
        if gaps:
            raise FcnError(f'history has no blob {gaps[0]} of {len(history)}', file=path,
                           do='The file is damaged: use another snapshot.')
        learned_net = read_text(file, 'learned_net', path) if 'learned_net' in file else ''
        return SolverState(iteration, learned_net, step, history, extra_of(file), str(path),
                           texts_of(file))
