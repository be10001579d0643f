"""HDF5 in the layout that Caffe writes and reads, for weights and for solver states: reading.

Weights: /data/<layer>/<i>, float32, a group for every layer, blobs of a shared parameter under its
first layer only (Net::ToHDF5, Net::CopyTrainedLayersFromHDF5 in src/caffe/net.cpp). Solver state:
/iter and /current_step (int32, shape (1,)), /learned_net (fixed-length string), /history/<i>
(src/caffe/solvers/sgd_solver.cpp). What is ours alone stands in /fcn_repro, which Caffe does not
look at: numbers and short texts as its attributes, long texts as its datasets. A layer name with
'/' becomes nested groups; Caffe itself cannot save those.
"""

import contextlib

import h5py
import numpy as np

from ..errors import FcnError
from ..sizes import check_shape
from .atomic import first_line
from .solverstate import SolverState, read_binary, read_own
from .wire import kind_of_binary, map_file

EXTRA = 'fcn_repro'
DEFLATE = 1100          # times smaller at most is what HDF5's compression stores


def is_hdf5(path):
    """By content (the signature), not by name; FcnError when the file cannot be opened."""
    map_file(path).close()
    return bool(h5py.is_hdf5(path))


def kind_of(path):
    """What a file of Caffe's holds: 'weights', 'solverstate' or 'binaryproto'."""
    if not is_hdf5(path):
        return kind_of_binary(path)
    with reading(path) as file:
        return 'solverstate' if 'iter' in file and 'data' not in file else 'weights'


@contextlib.contextmanager
def reading(path):
    """The open file; what h5py raises about it becomes an FcnError."""
    try:
        with h5py.File(path, 'r') as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise FcnError(f'is no complete HDF5 file: {first_line(error)}', file=path,
                       do='It is cut short or damaged: copy or write it again.') from error


def child(file, name, kind, path):
    found = file.get(name)
    if not isinstance(found, kind):
        held = ', '.join(sorted(file)) or 'nothing'
        raise FcnError(f"has no {kind.__name__.lower()} '{name}' (it holds: {held})", file=path,
                       do='Give a file in the layout that Caffe writes.')
    return found


def check_dataset(dataset, path, kinds):
    """FcnError for a dataset that is not of these numpy kinds, or that cannot stand in the file as
    it says: in others, larger than a blob can be, or than what is stored of it can make."""
    if not isinstance(dataset, h5py.Dataset):       # a link to nothing, or a type alone
        raise FcnError(f'holds a {type(dataset).__name__} where a dataset is wanted', file=path,
                       do='Write it again.')
    if dataset.dtype.kind not in kinds:
        raise FcnError(f"dataset '{dataset.name}' has type {dataset.dtype}, no numbers", file=path,
                       do='Give a file in the layout that Caffe writes.')
    try:
        check_shape(dataset.shape or (), f"dataset '{dataset.name}'")
    except FcnError as error:
        raise error.at(file=path) from None
    stored = dataset.id.get_storage_size()
    if dataset.external or dataset.is_virtual or dataset.nbytes > DEFLATE * stored:
        raise FcnError(f"dataset '{dataset.name}' of shape {dataset.shape} holds {dataset.nbytes} "
                       f'bytes, but {stored} are stored in this file', file=path,
                       do='It is damaged or incomplete: write it again.')


def view(dataset, buffer, path):
    """The numbers of a dataset: a view of the file where it is one plain piece, else a copy."""
    check_dataset(dataset, path, 'fiu')
    offset = dataset.id.get_offset()
    if offset is None or dataset.dtype.str not in ('<f4', '<f8') or not dataset.size:
        return np.asarray(dataset[()])
    if offset + dataset.nbytes > len(buffer):
        raise FcnError(f"dataset '{dataset.name}' ends at byte {offset + dataset.nbytes}, the file "
                       f'at {len(buffer)}', file=path, do='The file is cut short: copy it again.')
    return np.ndarray(dataset.shape, dataset.dtype, buffer, offset)


def blobs(group, buffer, path):
    """The datasets '0', '1', ... of a group as a list; None where a number is left out."""
    found = {}
    for name, item in group.items():
        if isinstance(item, h5py.Dataset):
            if not (name.isascii() and name.isdigit() and len(name) < 6):
                raise FcnError(f"dataset '{item.name}' is not named by a blob's index", file=path,
                               do='Give a file in the layout that Caffe writes.')
            found[int(name)] = view(item, buffer, path)
    return [found.get(i) for i in range(max(found, default=-1) + 1)]


def once(group, seen, path):
    """FcnError where a group stands at a second place: links can make endless walks of a file."""
    address = h5py.h5o.get_info(group.id).addr
    if address in seen:
        raise FcnError(f"group '{group.name}' is linked to from a second place", file=path,
                       do='Give a file in the layout that Caffe writes.')
    seen.add(address)


def layers(group, prefix, buffer, path, seen):
    """Yield (layer name, blobs); groups that only hold groups are parts of names with '/'."""
    once(group, seen, path)
    for name, item in group.items():
        if prefix and isinstance(item, h5py.Dataset):
            continue                    # a blob of the layer whose name this prefix is
        if not isinstance(item, h5py.Group):
            raise FcnError(f"'{group.name}/{name}' is not a group", file=path,
                           do='Give a file in the layout that Caffe writes.')
        kinds = {type(item[key]) for key in item}
        if kinds != {h5py.Group}:
            yield prefix + name, blobs(item, buffer, path)
        if h5py.Group in kinds:
            yield from layers(item, prefix + name + '/', buffer, path, seen)


def read_hdf5(path):
    """(layers, extra): {layer: [array or None]} by name, and the attributes of /fcn_repro.

    None stands for a blob that the file keeps under the layer that owns it. Arrays are read-only
    views of the file in its own precision. FcnError on a damaged file or another layout.
    """
    buffer = map_file(path)
    with reading(path) as file:
        found = dict(layers(child(file, 'data', h5py.Group, path), '', buffer, path, set()))
        return found, extra_of(file)


def extra_of(file):
    """{name: number, text or array} of the attributes of /fcn_repro."""
    return {name: value.item() if isinstance(value, np.generic) else value
            for name, value in (file[EXTRA].attrs.items() if EXTRA in file else ())}


def read_extra(path):
    """What a snapshot, weights or state, says of itself: its `extra`, without a look at its blobs.
    {} where Caffe wrote it, in either format; FcnError for other files and those cut short."""
    if not is_hdf5(path):
        return read_own(path)[0]
    with reading(path) as file:
        return extra_of(file)


def texts_of(file):
    """{name: text} of the datasets in /fcn_repro."""
    group = child(file, EXTRA, h5py.Group, file.filename) if EXTRA in file else {}
    return {name: text(group, name, file.filename) for name in group}


def text(group, name, path):
    return child(group, name, h5py.Dataset, path).asstr('utf-8')[()]


def number(file, name, path):
    """The one integer of a dataset."""
    dataset = child(file, name, h5py.Dataset, path)
    check_dataset(dataset, path, 'iu')
    return int(dataset[()].item())


def read_solverstate(path):
    """A SolverState from HDF5 or from Caffe's binary format, told apart by content."""
    if not is_hdf5(path):
        return read_binary(path)
    buffer = map_file(path)
    with reading(path) as file:
        iteration, step = (number(file, name, path) for name in ('iter', 'current_step'))
        history = blobs(child(file, 'history', h5py.Group, path), buffer, path)
        gaps = [i for i, h in enumerate(history) if h is None]
        if gaps:
            raise FcnError(f'history has no blob {gaps[0]} of {len(history)}', file=path,
                           do='The file is damaged: use another snapshot.')
        learned_net = text(file, 'learned_net', path) if 'learned_net' in file else ''
        return SolverState(iteration, learned_net, step, history, extra_of(file), str(path),
                           texts_of(file))
