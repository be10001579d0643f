"""HDF5 in the layout that Caffe writes and reads, for weights and for solver states: writing.

What stands where is said in hdf5.py. A file is written beside its name, and moved there when it is
complete on disk.
"""

import contextlib
import math

import h5py
import numpy as np
import torch

from ..errors import FcnError
from .atomic import replacing
from .hdf5 import EXTRA

ATTRIBUTE_LIMIT = 60000         # HDF5 keeps an attribute inside a 64 KiB header


@contextlib.contextmanager
def writing(path):
    """An HDF5 file to fill, which takes the place of `path` only when it is complete on disk.

    Until then, and after any error, the earlier file of that name is untouched.
    """
    with replacing(path) as beside, h5py.File(beside, 'w') as file:
        yield file                          # HDF5's own files crash when the disk is full


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


def write_solverstate(path, iter, learned_net, current_step, history, extra=None, texts=None):
    """Write a solver state that Caffe can restore; atomic. learned_net: the weights' file name,
    as Caffe will open it; history: arrays or tensors in Caffe's order; extra: as in write_hdf5;
    texts: {name: text} of any length."""
    with writing(path) as file:
        file['iter'] = np.array([iter], np.int32)
        write_text(file, 'learned_net', learned_net)
        file['current_step'] = np.array([current_step], np.int32)
        group = file.create_group('history')
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=plain(blob))
        if extra is not None:
            write_extra(file, extra)
        for name, text in (texts or {}).items():
            write_text(file.require_group(EXTRA), name, text)
