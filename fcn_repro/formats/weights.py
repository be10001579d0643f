"""Weights from a file into a net: reading of any age and format, and the policy of copying.

By layer name. InnerProduct weights whose count fits a Convolution of the same name are cast, and
reported; any other wrong shape, or number of blobs, is an error; layers without weights in the file
stay at their filler, file layers that the net lacks are ignored, and both are listed; no match at
all is an error. Nothing is copied before everything has been checked.

Layers may share a name. As in Caffe (src/caffe/net.cpp), each layer of a binary file goes to the
net's first layer of its name, so the last in the file decides (Net::CopyTrainedLayersFrom), and
HDF5, which has one group a name, goes to the net's last (CopyTrainedLayersFromHDF5). Of several
layers of a name those without blobs take no part here; Caffe stops at them.
"""

import math
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch

from ..errors import FcnError
from ..proto.dialects import Dialect, dialects, find_dialect
from ..proto.upgrade import dialects_of_v1, v1_types
from .hdf5_read import is_hdf5, kind_of, read_extra, read_hdf5, read_solverstate
from .hdf5_write import storage_key, write_hdf5, write_solverstate
from .solverstate import SolverState, read_private_data
from .wire import LayerBlobs, read_binaryproto, read_caffemodel

__all__ = ['LayerBlobs', 'LayerCopy', 'SolverState', 'Weights', 'copy_weights', 'format_rows',
           'kind_of', 'modern', 'read_binaryproto', 'read_extra', 'read_solverstate',
           'read_weights', 'write_hdf5', 'write_solverstate']

CHUNK = 1 << 22                 # numbers copied at a time, so that no large layer is held twice
COPIED, CAST, FILLER, IGNORED = 'copied', 'cast', 'left at filler', 'ignored'
BATCH_STATISTICS = 'batch_statistics'   # extra of HDF5: layers that keep none (Net.save_hdf5)
REMEDY = ('Use the net definition that the weights belong to, or rename the layer to start it from '
          'its filler.')
Pair = tuple[torch.Tensor, np.ndarray]


class LayerCopy(NamedTuple):
    """What happened to one layer: copied, cast, left at filler or ignored, and how."""
    layer: str
    action: str
    detail: str


class Weights(Mapping[str, list[Any]]):
    """Weights as in the file: `layers` in its order, and {layer name: [array]}.

    Of several layers of one name, `weights[name]` is the last. Arrays are read-only views of the
    file, float32 or float64; in HDF5 a blob may be None: its owner's layer has it.
    file: its path; format: 'binary', 'hdf5' or 'net'; extra: attributes that Caffe ignores.
    """

    def __init__(self, layers: Iterable[LayerBlobs] | Mapping[str, Sequence[Any]] = (),
                 file: str | None = None, format: str = 'net',
                 extra: Mapping[str, Any] | None = None):
        if isinstance(layers, Mapping):
            layers = [LayerBlobs(name, list(blobs)) for name, blobs in layers.items()]
        self.layers = tuple(layers)
        self.file, self.format, self.extra = file, format, dict(extra or {})
        self._by_name = {layer.name: layer for layer in self.layers}

    def __getitem__(self, name: str) -> list[Any]:
        return self._by_name[name].blobs

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def pairs(self) -> list[tuple[str, list[Any]]]:
        """(name, blobs) of every layer in file order, as write_hdf5 takes them."""
        return [(layer.name, layer.blobs) for layer in self.layers]

    @property
    def types(self) -> dict[str, str]:
        """{layer name: Caffe type}, '' where the file does not say."""
        return {name: layer.type for name, layer in self._by_name.items()}


def read_weights(path: str | os.PathLike, dialect: Dialect | str | None = None) -> Weights:
    """Read a caffemodel (V0, V1, V2) or Caffe's HDF5 layout; the content decides which.

    dialect: of the numbers of V1's layer types (None: those that have all of the file's). A number
    without one meaning becomes the type 'V1 type N'. FcnError names the file, and for a damaged
    binary one the byte; a solver state and a mean file are refused as such.
    """
    kind = kind_of(path)
    if kind == 'solverstate':
        raise FcnError('is a solver state, which has no weights', file=str(path),
                       do='Give the .caffemodel or .caffemodel.h5 that was written with it; a '
                          'solver restores the state.')
    if kind == 'binaryproto':
        raise FcnError('is one blob (a binaryproto, such as a mean), not weights', file=str(path),
                       do='Give a .caffemodel or .caffemodel.h5.')
    if is_hdf5(path):
        layers, extra = read_hdf5(path)
        return Weights(layers, str(path), 'hdf5', extra)
    layers = named(read_caffemodel(path), None if dialect is None else find_dialect(dialect))
    return Weights(layers, str(path), 'binary', read_private_data(path)[0])


def named(layers: list[LayerBlobs], dialect: Dialect | None) -> list[LayerBlobs]:
    """The layers of a V1 file with the types that their numbers mean in a dialect; None: in all
    that may have written the file."""
    numbers = {layer.number for layer in layers if layer.number is not None}
    if not numbers:
        return layers
    full = {layer.number for layer in layers if layer.blobs and layer.number is not None}
    wrote = [dialect] if dialect else dialects_of_v1(numbers, full)
    meanings = {number: {v1_types(each).get(number) for each in wrote} for number in numbers}
    types = {number: next(iter(names)) or '' if len(names) == 1 and None not in names
             else f'V1 type {number}' for number, names in meanings.items()}
    return [layer if layer.number is None else replace(layer, type=types[layer.number])
            for layer in layers]


def blob_counts(*paths: str | os.PathLike) -> dict[str, int]:
    """{layer name: number of its blobs} of files of weights."""
    return {layer.name: len(layer.blobs) for path in paths for layer in read_weights(path).layers}


def counter(weights: str | os.PathLike | None) -> Callable[[], dict[str, int]] | None:
    """What read_net takes as blobs, for a file of weights or none."""
    return None if weights is None else lambda: blob_counts(weights)


def modern(weights: Weights) -> Weights:
    """The weights with legacy 4-D shapes in the form that current layers have.

    Convolution filters are 4-D anyway, InnerProduct's are the last two axes, all else the last one.
    """
    def reshaped(layer: LayerBlobs, i: int) -> Any:
        blob, keep = layer.blobs[i], 1
        if i == 0 and layer.type in ('Convolution', 'Deconvolution', 'InnerProduct'):
            keep = 2 if layer.type == 'InnerProduct' else 4
        if i not in layer.legacy or math.prod(blob.shape[:4 - keep]) != 1:
            return blob
        return blob.reshape(blob.shape[4 - keep:])

    layers = [LayerBlobs(layer.name, [reshaped(layer, i) for i in range(len(layer.blobs))],
                         layer.type) for layer in weights.layers]
    return Weights(layers, weights.file, weights.format, weights.extra)


def fits(shape: tuple[int, ...], source: tuple[int, ...], legacy: bool) -> bool:
    """Caffe's rule (Blob::ShapeEquals): a legacy shape fits the shape padded in front with ones,
    any other shape must be the same."""
    if legacy:
        return len(shape) <= 4 and (1,) * (4 - len(shape)) + shape == source
    return shape == source


def can_cast(target: LayerBlobs, source: LayerBlobs) -> bool:
    """Whether the file's first blob can be viewed as this Convolution's filters. Caffe itself would
    refuse; the release of FCN casts any shape. Here: (O, C*h*w) of an InnerProduct into
    (O, C, h, w)."""
    shape, wanted = source.blobs[0].shape, tuple(target.blobs[0].shape)
    if 0 in source.legacy and shape[:2] == (1, 1):
        shape = shape[2:]
    return (target.type == 'Convolution' and len(wanted) > 2
            and source.type in ('', 'InnerProduct')
            and shape == (wanted[0], math.prod(wanted[1:])))


def check_finite(name: str, i: int | str, array: np.ndarray, file: str | None) -> None:
    """Raise FcnError on NaN, infinity, or a double beyond float32; two passes, no temporary."""
    limit = np.finfo(np.float32).max
    if array.size and not (array.min() >= -limit and array.max() <= limit):
        bad = array.size - int((np.abs(array) <= limit).sum())
        raise FcnError(f'blob {i} has {bad} of {array.size} values that are NaN, infinite or '
                       'beyond float32', file=file, layer=name,
                       do='The training that wrote it diverged or the file is damaged: use an '
                          'earlier snapshot.')


def check_count(target: LayerBlobs, source: LayerBlobs, weights: Weights,
                shared: Mapping[int, str]) -> None:
    """Caffe's rule: as many blobs as the layer has. Only HDF5 may leave out a shared one."""
    count, blobs = len(target.blobs), source.blobs
    missing = [i for i in range(count) if i >= len(blobs) or blobs[i] is None]
    if weights.format == 'hdf5':
        missing = [i for i in missing if i not in shared]
    if missing or len(blobs) > count:
        held = sum(blob is not None for blob in blobs)
        others = [name for name, dialect in dialects().items()
                  if held and dialect.blobs.get(target.type) == held]
        also = f', and a {target.type} of {", ".join(others)} has {held}' if others else ''
        raise FcnError(f'has {held} blobs in the file, {count} in the net{also}', layer=target.name,
                       type=target.type or None, file=weights.file,
                       do=f'{REMEDY} Or read the net in the dialect of these weights, if its text '
                          'allows.' if others else REMEDY)


def plan_layer(target: LayerBlobs, source: LayerBlobs, weights: Weights,
               shared: Mapping[int, str]) -> tuple[LayerCopy, list[Pair]]:
    """(report, (tensor, array) pairs to copy) of a layer that the file has, after every check."""
    check_count(target, source, weights, shared)
    action, details, pairs = COPIED, [], []
    for i, (tensor, array) in enumerate(zip(target.blobs, source.blobs, strict=False)):
        if array is None:
            continue
        shape = tuple(tensor.shape)
        if fits(shape, array.shape, i in source.legacy):
            note = str(shape)
        elif i == 0 and can_cast(target, source):
            action, note = CAST, f'{array.shape} to {shape}'
        else:
            raise FcnError(f'blob {i} has shape {array.shape} ({array.size} numbers) in the file, '
                           f'{shape} ({tensor.numel()}) in the net', file=weights.file,
                           layer=target.name, type=target.type or None, do=REMEDY)
        check_finite(target.name, i, array, weights.file)
        pairs.append((tensor, array))
        details.append(note + (' from double' if array.dtype == np.float64 else ''))
    details += [f'blob {i} through {owner}' for i, owner in shared.items()]
    return LayerCopy(target.name, action, ', '.join(details)), pairs


def assign_sources(layers: Sequence[LayerBlobs],
                   weights: Weights) -> tuple[dict[int, list[LayerBlobs]], list[LayerBlobs]]:
    """({index of a net's layer: the file's layers that go to it}, those that go nowhere)."""
    takers: dict[str, int] = {}
    for k, layer in enumerate(layers):
        first = takers.setdefault(layer.name, k)
        if layer.blobs and (weights.format == 'hdf5' or not layers[first].blobs):
            takers[layer.name] = k
    filled = {layer.name for layer in weights.layers if layer.blobs}
    given: dict[int, list[LayerBlobs]] = defaultdict(list)
    ignored = []
    for source in weights.layers:
        if source.name not in takers:
            ignored.append(source)
        elif source.blobs or source.name not in filled:
            given[takers[source.name]].append(source)
    return given, ignored


def assign_in_order(layers: Sequence[LayerBlobs], weights: Weights,
                    ) -> tuple[dict[int, list[LayerBlobs]], list[LayerBlobs]]:
    """As assign_sources, but the k-th layer of a name gets the file's k-th."""
    sources: dict[str, list[LayerBlobs]] = defaultdict(list)
    for source in weights.layers:
        sources[source.name].append(source)
    given: dict[int, list[LayerBlobs]] = defaultdict(list)
    for k, layer in enumerate(layers):
        if sources[layer.name]:
            given[k].append(sources[layer.name].pop(0))
    return given, [source for left in sources.values() for source in left]


def copy_weights(layers: Iterable[LayerBlobs], source: Weights,
                 in_order: bool = False) -> list[LayerCopy]:
    """Copy weights into a net's parameters; returns what happened to each layer.

    layers: the net's layers in its order, with their parameters as tensors; shared parameters are
    the same memory. in_order: two layers of one name get the file's two, as for a snapshot of the
    same net; else Caffe's rule holds (assign_sources). Reports come in net order, then the layers
    that were ignored. FcnError as the module says; the parameters are then unchanged.
    """
    layers = list(layers)
    given, ignored = (assign_in_order if in_order else assign_sources)(layers, source)
    named = {layer.name for layers in given.values() for layer in layers}
    reports, pairs = [], []
    for k, (layer, shared) in enumerate(zip(layers, shared_blobs(layers), strict=True)):
        if given[k] and (layer.blobs or any(s.blobs for s in given[k])):
            report, found = plan_several(layer, given[k], source, shared)
            pairs += found
        elif not layer.blobs:
            continue
        elif len(shared) == len(layer.blobs) and named.issuperset(shared.values()):
            report = LayerCopy(layer.name, COPIED,
                               f"through {', '.join(sorted(set(shared.values())))}")
        else:
            report = LayerCopy(layer.name, FILLER,
                               ', '.join(str(tuple(t.shape)) for t in layer.blobs))
        reports.append(report)
    if not any(report.action in (COPIED, CAST) for report in reports):
        raise FcnError(f'no layer matches: the net has {some(n.name for n in layers if n.blobs)}; '
                       f'the file has {some(n.name for n in source.layers if n.blobs)}',
                       file=source.file,
                       do='Give the weights of a net whose layers have the same names.')
    reports += [LayerCopy(layer.name, IGNORED, ', '.join(str(b.shape) for b in layer.blobs
                                                         if b is not None))
                for layer in ignored if layer.blobs]
    for tensor, array in pairs:
        assign(tensor, array)
    return reports


def shared_blobs(layers: Iterable[LayerBlobs]) -> Iterator[dict[int, str]]:
    """For each layer {index of a parameter: name of the earlier layer that it is shared from}."""
    owners: dict[tuple, tuple[int, int, str]] = {}
    for k, layer in enumerate(layers):
        first = [owners.setdefault(storage_key(t), (k, i, layer.name))
                 for i, t in enumerate(layer.blobs)]
        yield {i: name for i, (owner, j, name) in enumerate(first) if (owner, j) != (k, i)}


def plan_several(target: LayerBlobs, sources: Sequence[LayerBlobs], weights: Weights,
                 shared: Mapping[int, str]) -> tuple[LayerCopy, list[Pair]]:
    """plan_layer of the last source, after the same checks of those before it."""
    plans = [plan_layer(target, source, weights, shared) for source in sources]
    report, pairs = plans[-1]
    if len(plans) > 1:
        detail = f'{report.detail}, the last of {len(plans)} in the file'
        report = report._replace(detail=detail)
    return report, pairs


def some(names: Iterable[str]) -> str:
    """The first names of a list, and their number."""
    names = list(names)
    return ', '.join(names[:6]) + (f', ... ({len(names)})' if len(names) > 6 else '') or 'none'


@torch.no_grad()
def assign(target: torch.Tensor, array: np.ndarray) -> None:
    """Copy an array into a tensor of the same count, piece by piece, whatever its memory format."""
    array = array.reshape(tuple(target.shape))
    if not target.dim():
        target, array = target[None], array[None]
    rows = max(1, CHUNK * len(array) // max(array.size, 1))
    for start in range(0, len(array), rows):
        piece = np.array(array[start:start + rows], np.float32)
        target[start:start + rows].copy_(torch.from_numpy(piece))


def format_rows(rows: Sequence[LayerCopy], every: bool = False) -> str:
    """An aligned table for people, of the layers that were not simply copied or of `every` one, and
    a summary line of all."""
    shown = [row for row in rows if every or row.action != COPIED]
    names = max((len(row.layer) for row in shown), default=0)
    actions = max((len(row.action) for row in shown), default=0)
    lines = [f'{row.layer:<{names}}  {row.action:<{actions}}  {row.detail}'.rstrip()
             for row in shown]
    counts = Counter(row.action for row in rows)
    lines.append(', '.join(f'{counts[a]} {a}' for a in (COPIED, CAST, FILLER, IGNORED)))
    return '\n'.join(lines)
