"""HDF5 in the layout that Caffe writes and reads, for weights and for solver states.

Weights: /data/<layer>/<i>, float32, a group for every layer, blobs of a shared parameter under its
first layer only (Net::ToHDF5, Net::CopyTrainedLayersFromHDF5 in src/caffe/net.cpp). Solver state:
/iter and /current_step (int32, shape (1,)), /learned_net (fixed-length string), /history/<i>
(src/caffe/solvers/sgd_solver.cpp). What is ours alone stands in the attributes of /fcn_repro, which
Caffe does not look at. A layer name with '/' becomes nested groups; Caffe itself cannot save those.
"""

import contextlib
import math
import os
import re
from dataclasses import dataclass, field

import h5py
import numpy as np
import torch

from .errors import FcnError
from .wire import map_file, read_state

EXTRA = 'fcn_repro'
ATTRIBUTE_LIMIT = 60000         # HDF5 keeps an attribute inside a 64 KiB header


@dataclass
class SolverState:
    """What a solver needs besides the weights; history in Caffe's order (parameters in net order,
    each once; Adam and AdaDelta append a second set)."""
    iter: int
    learned_net: str
    current_step: int
    history: list
    extra: dict = field(default_factory=dict)
    file: str = ''


def is_hdf5(path):
    """By content (the signature), not by name; FcnError when the file cannot be opened."""
    map_file(path).close()
    return bool(h5py.is_hdf5(path))


def first_line(error):
    """The system's own words where h5py has its number or quotes them, else its first line."""
    if number := getattr(error, 'errno', None):
        return os.strerror(number)
    quoted = re.search(r"error message = '([^']*)'", str(error))
    return quoted[1] if quoted else str(error).split('\n')[0]


# Reading

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


def view(dataset, buffer, path):
    """The numbers of a dataset: a view of the file where it is one plain piece, else a copy."""
    if dataset.dtype.kind not in 'fiu':
        raise FcnError(f"dataset '{dataset.name}' has type {dataset.dtype}, no numbers", file=path,
                       do='Give a file in the layout that Caffe writes.')
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


def layers(group, prefix, buffer, path):
    """Yield (layer name, blobs); groups that only hold groups are parts of names with '/'."""
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
            yield from layers(item, prefix + name + '/', buffer, path)


def read_hdf5(path):
    """(layers, extra): {layer: [array or None]} by name, and the attributes of /fcn_repro.

    None stands for a blob that the file keeps under the layer that owns it. Arrays are read-only
    views of the file in its own precision. FcnError on a damaged file or another layout.
    """
    buffer = map_file(path)
    with reading(path) as file:
        found = dict(layers(child(file, 'data', h5py.Group, path), '', buffer, path))
        return found, extra_of(file)


def extra_of(file):
    return dict(file[EXTRA].attrs) if EXTRA in file else {}


def read_solverstate(path):
    """A SolverState from HDF5 or from Caffe's binary format, told apart by content."""
    if not is_hdf5(path):
        return SolverState(*read_state(path), file=str(path))
    buffer = map_file(path)
    with reading(path) as file:
        iteration, step = (int(child(file, name, h5py.Dataset, path)[()].item())
                           for name in ('iter', 'current_step'))
        history = blobs(child(file, 'history', h5py.Group, path), buffer, path)
        gaps = [i for i, h in enumerate(history) if h is None]
        if gaps:
            raise FcnError(f'history has no blob {gaps[0]} of {len(history)}', file=path,
                           do='The file is damaged: use another snapshot.')
        learned_net = file['learned_net'].asstr()[()] if 'learned_net' in file else ''
        return SolverState(iteration, learned_net, step, history, extra_of(file), str(path))


# Writing

@contextlib.contextmanager
def writing(path):
    """An HDF5 file to fill, which takes the place of `path` only when it is complete on disk.

    Until then, and after any error, the earlier file of that name is untouched.
    """
    temp = f'{os.fspath(path)}.{os.getpid()}.tmp'
    try:
        with h5py.File(temp, 'w') as file:
            yield file
        with open(temp, 'rb+') as written:
            os.fsync(written.fileno())
        os.replace(temp, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.remove(temp)
        if isinstance(error, (OSError, RuntimeError)):
            raise FcnError(f'cannot be written: {first_line(error)}', file=path,
                           do='Check that the folder exists, may be written to and has room; an '
                              'earlier file of this name is untouched.') from error
        raise


def plain(blob):
    """A blob (tensor on any device, or array) as contiguous float32."""
    if isinstance(blob, torch.Tensor):
        blob = blob.detach().to('cpu', torch.float32).numpy()
    return np.asarray(blob, np.float32, order='C')


def memory(blob):
    """A key that two blobs have in common exactly when they are one parameter under two names."""
    if isinstance(blob, torch.Tensor):
        return str(blob.device), blob.data_ptr(), blob.numel()
    return 'numpy', blob.ctypes.data, blob.size


def write_extra(file, extra):
    attributes = file.create_group(EXTRA).attrs
    for name, value in extra.items():
        if np.asarray(value).nbytes > ATTRIBUTE_LIMIT:
            raise FcnError(f"extra '{name}' has {np.asarray(value).nbytes} bytes, an attribute at "
                           f'most {ATTRIBUTE_LIMIT}', do='Keep less of it.')
        attributes[name] = value


def check_name(name, params, path):
    """FcnError when a layer's name cannot be a path of groups beside the other layers."""
    parts = name.split('/')
    if not all(part.strip('.') for part in parts):
        raise FcnError('an HDF5 group cannot have this name', file=path, layer=name,
                       do='Rename the layer.')
    for i, part in enumerate(parts):
        if part.isdigit() and '/'.join(parts[:i]) in params:
            raise FcnError(f"its HDF5 path goes through a blob of layer '{'/'.join(parts[:i])}'",
                           file=path, layer=name, do='Rename the layer.')


def write_hdf5(path, params, extra=None):
    """Write {layer: [blob]} so that Caffe can load it; atomic.

    Blobs are arrays or tensors of any float type, written as float32. A layer without blobs gets
    its empty group. A blob that is None, or is the memory of an earlier one (a parameter shared by
    name), is left to its first layer, as Caffe does. extra: numbers, texts and small arrays.
    """
    seen = set()
    with writing(path) as file:
        data = file.create_group('data')
        for name, layer_blobs in params.items():
            check_name(name, params, path)
            group = data.require_group(name)
            for i, blob in enumerate(layer_blobs):
                if blob is None or memory(blob) in seen:
                    continue
                if math.prod(blob.shape):
                    seen.add(memory(blob))
                group.create_dataset(str(i), data=plain(blob))
        if extra is not None:
            write_extra(file, extra)


def write_text(file, name, text):
    """A fixed-length, null-terminated string, the kind that H5LTmake_dataset_string makes; without
    the time of writing, so that equal runs write equal files."""
    raw = text.encode()
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(raw) + 1)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    timeless = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    timeless.set_obj_track_times(False)
    made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR),
                           timeless)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(raw, f'S{len(raw) + 1}'), kind)


def write_solverstate(path, iter, learned_net, current_step, history, extra=None):
    """Write a solver state that Caffe can restore; atomic. learned_net: the weights' file name,
    as Caffe will open it; history: arrays or tensors in Caffe's order."""
    with writing(path) as file:
        file['iter'] = np.array([iter], np.int32)
        write_text(file, 'learned_net', learned_net)
        file['current_step'] = np.array([current_step], np.int32)
        group = file.create_group('history')
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=plain(blob))
        if extra is not None:
            write_extra(file, extra)
