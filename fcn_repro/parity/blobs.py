"""One net beside one golden, blob by blob: which is the first that departs, and who makes it."""

from typing import NamedTuple

import numpy as np

from fcn_repro.errors import FcnError, nearest

from .comparison import DEPARTS, OK, error
from .golden import read_golden
from .layers import diff_of, fill, read_net, whole
from .ties import WatchedNet, freedom

DATA, DIFF, PARAM_DIFF = 'data', 'diff', 'param diff'
TIES = 'ties'


class Row(NamedTuple):
    """What became of one array. gap: the largest difference; relative: to the golden's largest
    value; ulps: the gap at the largest golden value that differs, in float32 steps there; layer:
    who made it, as text; verdict: OK, TIES (beyond the limit only as far as a choice among tied
    maxima can move it) or DEPARTS."""
    kind: str
    name: str
    shape: tuple
    gap: float
    relative: float
    ulps: float
    layer: str
    verdict: str


def compare_blobs(net_file, weights, golden_file, limit=1e-5, gradients=1e-4, blas=False):
    """Rows: the data of every blob in net order, then, where the golden has them, the diffs from
    the top down, and those of params. weights: a path, or None for the golden's own params. blas:
    as for Net.

    FcnError where the golden names what the net lacks, or has another shape.
    """
    golden = read_golden(golden_file)
    net = read_net(net_file, golden, WatchedNet, blas=blas)
    if weights is not None:
        net.copy_from(weights)
    fill(net, golden)
    for _ in range(int(golden.attrs.get('nforward', 1))):
        net.forward(blobs='all', **whole(golden, 'inputs'))
    data = golden.blobs('blobs') | golden.blobs('outputs')
    diffs = golden.blobs('blob_diffs') | golden.blobs('input_diffs')
    if not data and not diffs and not golden.group('param_diffs'):
        raise FcnError(f"has nothing to compare (it holds: {', '.join(sorted(golden)) or 'nothing'}"
                       ')', file=str(golden_file), do='It needs outputs, blobs or diffs.')
    check_names(net, data | diffs, golden_file)
    rows = [row(DATA, name, net.blobs[name].data, data[name], limit, maker(net, name))
            for name in net.blobs if name in data]
    if diffs or golden.group('param_diffs'):
        net.backward(**whole(golden, 'output_diffs'))
        free = freedom(net)
        room = {name: np.asarray(free.get(net.graph.first(name), 0)) for name in diffs}
        rows += [row(DIFF, name, diff_of(net, name), diffs[name], gradients, reader(net, name),
                     room[name]) for name in reversed(net.blobs) if name in diffs]
        rows += param_rows(net, golden, gradients)
    return rows


def check_names(net, blobs, file):
    for name in blobs:
        if name not in net.blobs:
            raise FcnError(f"the golden has a blob '{name}' that the net {net.graph.file} lacks",
                           file=str(file), do=nearest(name, net.blobs) or 'Give the net that the '
                           'golden was made with.')


def param_rows(net, golden, limit):
    for layer, stored in reversed(golden.params('param_diffs').items()):
        blobs = net.params.get(layer, ())
        for i, array in stored.items():
            if not i.isdigit() or int(i) >= len(blobs):
                raise FcnError(f"the golden has a diff of param '{layer}/{i}' that the net "
                               f'{net.graph.file} lacks', file=str(golden.file),
                               do='Give the net that the golden was made with.')
            yield row(PARAM_DIFF, f'{layer}/{i}', blobs[int(i)].diff, array, limit,
                      f"layer '{layer}'")


def row(kind, name, ours, golden, limit, layer, room=0):
    ours = np.asarray(ours)
    if ours.shape != golden.shape:
        raise FcnError(f"the {kind} of '{name}' has shape {ours.shape} in the net, {golden.shape} "
                       'in the golden', file=golden.file,
                       do='Give the net and the inputs that the golden was made with.')
    room = np.broadcast_to(room, ours.shape).reshape(-1)[::golden.step]
    ours, values = ours.reshape(-1)[::golden.step], golden.values.reshape(-1)
    off = np.flatnonzero(~((ours == values) | (np.isnan(ours) & np.isnan(values))))
    if not off.size:
        return Row(kind, name, golden.shape, 0.0, 0.0, 0.0, layer, OK)
    gaps = np.abs(ours[off].astype(np.float64) - values[off])
    at = np.abs(values[off]).argmax()
    relative, beyond = error(ours, values), error(ours, values, room)
    verdict = OK if relative <= limit else TIES if beyond <= limit else DEPARTS
    return Row(kind, name, golden.shape, float(gaps.max()), relative,
               float(gaps[at] / np.spacing(np.abs(np.float32(values[off][at])))), layer, verdict)


def maker(net, name):
    """The layers that write a blob: the one that makes it, then those in place."""
    nodes = [node for node in net.graph.nodes
             if any(net.graph.values[v] == name for v in node.tops)]
    return ', then '.join(f"layer '{node.name}' ({node.type})" for node in nodes)


def reader(net, name):
    """The layers whose backward makes a blob's diff: those that read it, or the golden itself."""
    nodes = net.graph.consumers(net.graph.first(name))
    return ', '.join(f"layer '{node.name}' ({node.type})" for node in nodes) or 'what was given'
