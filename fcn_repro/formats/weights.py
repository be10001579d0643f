"""Weights from a file into a net: reading of any age and format, and the policy of copying.

By layer name. InnerProduct weights whose count fits a Convolution of the same name are cast, and
said so; any other wrong shape, or number of blobs, is an error; layers without weights in the file
stay at their filler, file layers that the net lacks are ignored, and both are listed; no match at
all is an error. Nothing is copied before everything has been checked.
"""

import math
from collections import Counter, namedtuple

import numpy as np
import torch

from ..errors import FcnError
from .hdf5 import is_hdf5, kind_of, read_extra, read_hdf5, read_solverstate
from .hdf5_write import memory, write_hdf5, write_solverstate
from .solverstate import SolverState, read_own
from .wire import read_binaryproto, read_net

__all__ = ['Row', 'SolverState', 'Weights', 'copy_weights', 'format_rows', 'kind_of', 'modern',
           'read_binaryproto', 'read_extra', 'read_solverstate', 'read_weights', 'write_hdf5',
           'write_solverstate']

CHUNK = 1 << 22                 # numbers copied at a time, so that no large layer is held twice
COPIED, CAST, FILLER, IGNORED = 'copied', 'cast', 'left at filler', 'ignored'
REMEDY = ('Use the net definition that the weights belong to, or rename the layer to start it from '
          'its filler.')

Row = namedtuple('Row', 'layer action detail')


class Weights(dict):
    """{layer: [array]} as in the file; arrays are read-only views of it, float32 or float64.

    file: its path; format: 'binary', 'hdf5' or 'net'; types: {layer: Caffe type} where known;
    legacy: the (layer, i) whose shape is num, channels, height, width, padded with ones in front;
    extra: attributes that Caffe ignores. In HDF5 a blob may be None: its owner's layer has it.
    """

    def __init__(self, layers=(), file=None, format='net', types=(), legacy=(), extra=()):
        super().__init__(layers)
        self.file, self.format = file, format
        self.types, self.legacy, self.extra = dict(types), set(legacy), dict(extra)


def read_weights(path):
    """Read a caffemodel (V0, V1, V2) or Caffe's HDF5 layout; the content decides which.

    Of several layers of one name in a binary file the last counts, as in Caffe.
    FcnError names the file, and for a damaged binary one the byte.
    """
    if is_hdf5(path):
        layers, extra = read_hdf5(path)
        return Weights(layers, str(path), 'hdf5', extra=extra)
    weights = Weights(file=str(path), format='binary', extra=read_own(path)[0])
    for layer in read_net(path):
        weights[layer.name] = [blob.array for blob in layer.blobs]
        weights.types[layer.name] = layer.type
        weights.legacy -= {key for key in weights.legacy if key[0] == layer.name}
        weights.legacy |= {(layer.name, i) for i, b in enumerate(layer.blobs) if b.legacy}
    return weights


def modern(weights):
    """{layer: [array]} with legacy 4-D shapes in the form that today's layers have.

    Convolution filters are 4-D anyway, InnerProduct's are the last two axes, all else the last one.
    """
    def reshaped(name, i, blob):
        kind = weights.types.get(name, '')
        keep = 1
        if i == 0 and kind in ('Convolution', 'Deconvolution', 'InnerProduct'):
            keep = 2 if kind == 'InnerProduct' else 4
        if (name, i) not in weights.legacy or math.prod(blob.shape[:4 - keep]) != 1:
            return blob
        return blob.reshape(blob.shape[4 - keep:])

    return {name: [reshaped(name, i, blob) for i, blob in enumerate(blobs)]
            for name, blobs in weights.items()}


def fits(shape, source, legacy):
    """Caffe's rule (Blob::ShapeEquals): a legacy shape fits the shape padded in front with ones,
    any other shape must be the same."""
    shape = tuple(shape)
    if legacy:
        return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == source
    return shape == source


def casts(target, types, source, name):
    """May the file's first blob be seen as this Convolution's filters? Caffe itself would refuse;
    the release of FCN casts any shape. Here: (O, C*h*w) of an InnerProduct into (O, C, h, w)."""
    shape = source[name][0].shape
    if (name, 0) in source.legacy and shape[:2] == (1, 1):
        shape = shape[2:]
    return (types.get(name) == 'Convolution' and len(target.shape) > 2
            and source.types.get(name, '') in ('', 'InnerProduct')
            and shape == (target.shape[0], math.prod(target.shape[1:])))


def check_finite(name, i, array, file):
    """FcnError on NaN, infinity, or a double beyond float32; two passes without a temporary."""
    limit = np.finfo(np.float32).max
    if array.size and not (array.min() >= -limit and array.max() <= limit):
        bad = array.size - int((np.abs(array) <= limit).sum())
        raise FcnError(f'blob {i} has {bad} of {array.size} values that are NaN, infinite or '
                       'beyond float32', file=file, layer=name,
                       do='The training that wrote it diverged or the file is damaged: use an '
                          'earlier snapshot.')


def check_count(name, targets, source, shared):
    """Caffe's rule: as many blobs as the layer has. Only HDF5 may leave out a shared one."""
    blobs = source[name]
    missing = [i for i in range(len(targets)) if i >= len(blobs) or blobs[i] is None]
    if source.format == 'hdf5':
        missing = [i for i in missing if i not in shared]
    if missing or len(blobs) > len(targets):
        held = sum(blob is not None for blob in blobs)
        raise FcnError(f'has {held} blobs in the file, {len(targets)} in the net', layer=name,
                       file=source.file, do=REMEDY)


def plan_layer(name, targets, types, source, shared):
    """(Row, [(target, array)]) of a layer that the file has; every check is made here."""
    check_count(name, targets, source, shared)
    action, details, pairs = COPIED, [], []
    for i, (target, array) in enumerate(zip(targets, source[name])):
        if array is None:
            continue
        shape = tuple(target.shape)
        if fits(shape, array.shape, (name, i) in source.legacy):
            note = str(shape)
        elif i == 0 and casts(target, types, source, name):
            action, note = CAST, f'{array.shape} to {shape}'
        else:
            raise FcnError(f'blob {i} has shape {array.shape} ({array.size} numbers) in the file, '
                           f'{shape} ({target.numel()}) in the net', file=source.file, layer=name,
                           type=types.get(name), do=REMEDY)
        check_finite(name, i, array, source.file)
        pairs.append((target, array))
        details.append(note + (' from double' if array.dtype == np.float64 else ''))
    details += [f'blob {i} through {owner}' for i, owner in shared.items()]
    return Row(name, action, ', '.join(details)), pairs


def copy_weights(params, types, source):
    """Copy `source` (Weights) into a net's parameters; returns a Row per layer.

    params: {layer: [tensor]} in net order, for layers with parameters; shared parameters are the
    same memory. types: {layer: Caffe type} of all layers. Rows come in net order, then the layers
    that were ignored. FcnError as said above; the parameters are then unchanged.
    """
    rows, pairs, owners = [], [], {}
    for name, targets in params.items():
        if not targets and not source.get(name):
            continue
        first = [owners.setdefault(memory(t), (name, i)) for i, t in enumerate(targets)]
        shared = {i: owner for i, (owner, j) in enumerate(first) if (owner, j) != (name, i)}
        if name in source:
            row, found = plan_layer(name, targets, types, source, shared)
            pairs += found
        elif len(shared) == len(targets) > 0 and all(o in source for o in shared.values()):
            row = Row(name, COPIED, f"through {', '.join(sorted(set(shared.values())))}")
        else:
            row = Row(name, FILLER, ', '.join(str(tuple(t.shape)) for t in targets))
        rows.append(row)
    if not any(row.action in (COPIED, CAST) for row in rows):
        raise FcnError(f"no layer matches: the net has {some(params)}; the file has "
                       f"{some(n for n in source if source[n])}", file=source.file,
                       do='Give the weights of a net whose layers have the same names.')
    for name in source:
        if source[name] and name not in params:
            if name in types:
                check_count(name, [], source, {})
            rows.append(Row(name, IGNORED, ', '.join(str(b.shape) for b in source[name]
                                                     if b is not None)))
    for target, array in pairs:
        assign(target, array)
    return rows


def some(names):
    names = list(names)
    return ', '.join(names[:6]) + (f', ... ({len(names)})' if len(names) > 6 else '') or 'none'


@torch.no_grad()
def assign(target, array):
    """Copy an array into a tensor of the same count, piece by piece, whatever its memory format."""
    array = array.reshape(tuple(target.shape))
    if not target.dim():
        target, array = target[None], array[None]
    rows = max(1, CHUNK * len(array) // max(array.size, 1))
    for start in range(0, len(array), rows):
        piece = np.array(array[start:start + rows], np.float32)
        target[start:start + rows].copy_(torch.from_numpy(piece))


def format_rows(rows):
    """An aligned table for people, and a summary line."""
    names = max((len(row.layer) for row in rows), default=0)
    actions = max((len(row.action) for row in rows), default=0)
    lines = [f'{row.layer:<{names}}  {row.action:<{actions}}  {row.detail}'.rstrip()
             for row in rows]
    counts = Counter(row.action for row in rows)
    lines.append(', '.join(f'{counts[a]} {a}' for a in (COPIED, CAST, FILLER, IGNORED)))
    return '\n'.join(lines)
