"""One net compared with one golden, blob by blob: which blob departs first, and which layer made
it."""

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from ..errors import FcnError, nearest
from ..proto.dialects import Dialect
from ..search import SearchPath
from .cases import CPU, Placement
from .comparison import DEPARTS, OK, error, to_array
from .golden import Array, Group, read_golden
from .layers import caffe_diff, fed_arrays, fill_params, golden_net, run_passes
from .ties import WatchedNet, freedom

DATA, DIFF, PARAM_DIFF = 'data', 'diff', 'param diff'
TIES = 'ties'
OTHER_NET = 'Give the net that the golden was made with.'


class BlobRow(NamedTuple):
    """The comparison of one array.

    gap: the largest absolute difference. relative: that, divided by the golden's largest value.
    ulps: the gap at the largest golden value that differs, in units of float32's last place there.
    layer: the layers that made the array, as text. verdict: OK, DEPARTS, or TIES: beyond the limit,
    but no further than a choice among tied maxima can move it.
    """
    kind: str
    name: str
    shape: tuple[int, ...]
    gap: float
    relative: float
    ulps: float
    layer: str
    verdict: str


def compare_blobs(net_file: str | Path, weights: str | Path | None, golden_file: str | Path,
                  limit: float = 1e-5, gradients: float = 1e-4,
                  blas: bool = False,
                  writes: Iterable[str | PathLike] = (), where: Placement = CPU,
                  dialect: Dialect | str | None = None,
                  define: Mapping[str, object] = MappingProxyType({})) -> list[BlobRow]:
    """Compare the data of every blob, in the order of the net; then, if the golden has them, the
    diffs of blobs and of parameters, from the top of the net down.

    weights: a caffemodel or HDF5 file; None for the golden's own params. limit, gradients: the
    largest error of data and of diffs. blas: compute in Caffe's own arithmetic, writes: folders in
    which layers may write, both as for Net. where: the device and the precision of the net.
    dialect, define: as for read_net; without a dialect it is that of the golden.
    FcnError if a file cannot be read, or if the golden names blobs that the net lacks or has in
    another shape.
    """
    golden = read_golden(golden_file)
    net = golden_net(net_file, golden, WatchedNet, where, blas=blas, search=SearchPath.of(net_file),
                     writes=writes, dialect=dialect, define=define, weights=weights)
    if weights is not None:
        net.copy_from(weights)
    fill_params(net, golden)
    for _ in run_passes(net, golden):
        pass                            # of several passes the last one is compared
    data = golden.blobs('blobs') | golden.blobs('outputs')
    diffs = golden.blobs('blob_diffs') | golden.blobs('input_diffs')
    if not data and not diffs and not golden.group('param_diffs'):
        raise FcnError(f"has nothing to compare (it holds: {', '.join(sorted(golden)) or 'nothing'}"
                       ')', file=str(golden_file), do='It needs outputs, blobs or diffs.')
    check_names(net, data | diffs, golden_file)
    rows = [compare_array(DATA, name, net.blobs[name].data, data[name], limit,
                          producers(net, name)) for name in net.blobs if name in data]
    if diffs or golden.group('param_diffs'):
        net.backward(**fed_arrays(golden, 'output_diffs'))
        free = freedom(net)
        rows += [compare_array(DIFF, name, caffe_diff(net, name), diffs[name], gradients,
                               consumers(net, name), free.get(net.graph.first(name), 0))
                 for name in reversed(net.blobs) if name in diffs]
        rows += param_diff_rows(net, golden, gradients)
    return rows


def check_names(net: WatchedNet, names: Iterable[str], file: str | Path) -> None:
    """FcnError if the net lacks a blob of the golden."""
    for name in names:
        if name not in net.blobs:
            raise FcnError(f"the golden has a blob '{name}' that the net {net.graph.file} lacks",
                           file=str(file), do=nearest(name, net.blobs) or OTHER_NET)


def param_diff_rows(net: WatchedNet, golden: Group, limit: float) -> Iterator[BlobRow]:
    """A row for each param diff of the golden, from the top of the net down. FcnError if the net
    lacks the param."""
    for layer, stored in reversed(golden.params('param_diffs').items()):
        blobs = net.params.get(layer, ())
        for i, array in stored.items():
            if not i.isdigit() or int(i) >= len(blobs):
                raise FcnError(f"the golden has a diff of param '{layer}/{i}' that the net "
                               f'{net.graph.file} lacks', file=str(golden.file), do=OTHER_NET)
            yield compare_array(PARAM_DIFF, f'{layer}/{i}', blobs[int(i)].diff, array, limit,
                                f"layer '{layer}'")


def compare_array(kind: str, name: str, ours: Any, golden: Array, limit: float, layer: str,
                  allowance: Any = 0) -> BlobRow:
    """The row of an array or tensor. allowance: by how much each entry may differ on top of the
    limit. FcnError if its shape is not the golden's."""
    ours = to_array(ours)
    if ours.shape != golden.shape:
        raise FcnError(f"the {kind} of '{name}' has shape {ours.shape} in the net, {golden.shape} "
                       'in the golden', file=golden.file,
                       do='Give the net and the inputs that the golden was made with.')
    allowance = golden.sample(np.broadcast_to(to_array(allowance), ours.shape))
    ours, values = golden.sample(ours), golden.values.reshape(-1)
    off = np.flatnonzero(~((ours == values) | (np.isnan(ours) & np.isnan(values))))
    if not off.size:
        return BlobRow(kind, name, golden.shape, 0.0, 0.0, 0.0, layer, OK)
    gaps = np.abs(ours[off].astype(np.float64) - values[off])
    at = np.abs(values[off]).argmax()
    relative, beyond = error(ours, values), error(ours, values, allowance)
    verdict = OK if relative <= limit else TIES if beyond <= limit else DEPARTS
    return BlobRow(kind, name, golden.shape, float(gaps.max()), relative,
                   float(gaps[at] / np.spacing(np.abs(np.float32(values[off][at])))), layer,
                   verdict)


def producers(net: WatchedNet, name: str) -> str:
    """The layers that write a blob: the one that makes it, then those in place."""
    nodes = [node for node in net.graph.nodes
             if any(net.graph.values[v] == name for v in node.tops)]
    return ', then '.join(f"layer '{node.name}' ({node.type})" for node in nodes)


def consumers(net: WatchedNet, name: str) -> str:
    """The layers whose backward pass makes a blob's diff: those that read the blob."""
    nodes = net.graph.consumers(net.graph.first(name))
    return ', '.join(f"layer '{node.name}' ({node.type})" for node in nodes) or \
        'the given top diff'
