"""Write HDF5 in the layout that Caffe reads (hdf5_read.py), for weights and for solver states.

A file is written under a temporary name and moved to its own when it is complete on disk.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import FcnError
from .atomic import replacing
from .hdf5_read import EXTRA

if TYPE_CHECKING:
    import h5py

ATTRIBUTE_LIMIT = 60000         # HDF5 keeps an attribute inside a 64 KiB header
FilePath = str | os.PathLike
Blob = torch.Tensor | np.ndarray
Blobs = Sequence[Blob | None]


@contextlib.contextmanager
def create_hdf5(path: FilePath) -> Iterator[h5py.File]:
    """An HDF5 file to fill, which takes the place of `path` only when it is complete on disk.

    Until then, and after any error, the earlier file of that name is untouched.
    """
    import h5py

    with replacing(path) as temporary, h5py.File(temporary, 'w') as file:
        yield file                          # HDF5's own files crash when the disk is full


def as_float32(blob: Blob) -> np.ndarray:
    """A blob (tensor on any device, or array) as contiguous float32."""
    if isinstance(blob, torch.Tensor):
        blob = blob.detach().to('cpu', torch.float32).numpy()
    return np.asarray(blob, np.float32, order='C')


def storage_key(blob: Blob) -> tuple:
    """A key that is equal for two blobs exactly when they are one parameter under two names."""
    if isinstance(blob, torch.Tensor):
        return str(blob.device), blob.data_ptr(), blob.numel()
    return 'numpy', blob.ctypes.data, blob.size


def write_extra(file: Any, extra: Mapping[str, Any]) -> None:
    """Write {name: number, text or small array} as attributes of /fcn_repro. Texts have a fixed
    length, as Caffe's: one of variable length lies in a heap, which libhdf5 reads less safely."""
    import h5py

    attributes = file.create_group(EXTRA).attrs
    for name, value in extra.items():
        array, kind = np.asarray(value), None
        if array.dtype.kind == 'O' and all(isinstance(text, str) for text in array.flat):
            array = array.astype('U')           # texts as a file's attributes have them
        if array.dtype.kind == 'U':
            if '\0' in ''.join(array.reshape(-1).tolist()):
                raise FcnError(f"extra '{name}' has a NUL character", do='Remove it.')
            array = np.char.encode(array, 'utf-8', 'surrogateescape')
            kind = h5py.string_dtype('utf-8', array.dtype.itemsize)
        if array.nbytes > ATTRIBUTE_LIMIT:
            raise FcnError(f"extra '{name}' has {array.nbytes} bytes, an attribute at most "
                           f'{ATTRIBUTE_LIMIT}', do='Keep less of it.')
        attributes.create(name, array, array.shape, kind or array.dtype)


def check_name(name: str, names: Collection[str], path: FilePath) -> None:
    """Raise FcnError when a layer's name cannot be a path of groups next to the other layers'."""
    parts = name.split('/')
    if not all(part.strip('.') for part in parts):
        raise FcnError('an HDF5 group cannot have this name', file=path, layer=name,
                       do='Rename the layer.')
    for i, part in enumerate(parts):
        if part.isdigit() and '/'.join(parts[:i]) in names:
            raise FcnError(f"its HDF5 path goes through a blob of layer '{'/'.join(parts[:i])}'",
                           file=path, layer=name, do='Rename the layer.')


def write_hdf5(path: FilePath, layers: Mapping[str, Blobs] | Iterable[tuple[str, Blobs]],
               extra: Mapping[str, Any] | None = None) -> None:
    """Write the blobs of layers so that Caffe can load them; atomic.

    layers: {layer name: blobs}, or (layer name, blobs) pairs in net order. Blobs are arrays or
    tensors of any float type, written as float32. A layer without blobs gets its empty group. A
    blob that is None, or that shares the memory of an earlier one (a parameter shared by name), is
    left to its first layer, as Caffe does. extra: numbers, texts and small arrays. FcnError for
    two layers of one name with blobs each: the format has one group a name.
    """
    pairs = list(layers.items() if isinstance(layers, Mapping) else layers)
    names = {name for name, _ in pairs}
    seen, filled = set(), set()
    with create_hdf5(path) as file:
        data = file.create_group('data')
        for name, blobs in pairs:
            check_name(name, names, path)
            if name in filled and blobs:
                raise FcnError('two layers of this name have parameters, and HDF5 has one group '
                               'a name', file=path, layer=name,
                               do='Rename one, or write a binary caffemodel.')
            filled.update([name] if blobs else [])
            group = data.require_group(name)
            for i, blob in enumerate(blobs):
                if blob is None or storage_key(blob) in seen:
                    continue
                if math.prod(blob.shape):
                    seen.add(storage_key(blob))
                group.create_dataset(str(i), data=as_float32(blob))
        if extra is not None:
            write_extra(file, extra)


def write_string(file: Any, name: str, text: str) -> None:
    """Write a fixed-length, null-terminated string, the kind that H5LTmake_dataset_string makes;
    without the time of writing, so that equal runs write equal files."""
    import h5py

    raw = text.encode('utf-8', 'surrogateescape')
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(raw) + 1)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    timeless = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    timeless.set_obj_track_times(False)
    made = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR),
                           timeless)
    made.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(raw, f'S{len(raw) + 1}'), kind)


def write_solverstate(path: FilePath, iter: int, learned_net: str, current_step: int,
                      history: Iterable[Blob], extra: Mapping[str, Any] | None = None,
                      texts: Mapping[str, str] | None = None) -> None:
    """Write a solver state that Caffe can restore; atomic. learned_net: the weights' file name,
    as Caffe will open it; history: arrays or tensors in Caffe's order; extra: as in write_hdf5;
    texts: {name: text} of any length."""
    with create_hdf5(path) as file:
        file['iter'] = np.array([iter], np.int32)
        write_string(file, 'learned_net', learned_net)
        file['current_step'] = np.array([current_step], np.int32)
        group = file.create_group('history')
        for i, blob in enumerate(history):
            group.create_dataset(str(i), data=as_float32(blob))
        if extra is not None:
            write_extra(file, extra)
        for name, text in (texts or {}).items():
            write_string(file.require_group(EXTRA), name, text)
