"""Goldens of whole nets: net.prototxt, weights, and golden_*.h5 for one or several input sizes,
whose large arrays may be stored in part."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .cases import CPU, GoldenCase, Placement, case
from .comparison import Comparison, Limits
from .golden import Group, read_golden
from .layers import (
    compare_param_diffs,
    fed_arrays,
    golden_net,
    stored_blobs,
    total_loss,
)
from .ties import WatchedNet, freedom

WEIGHTS = 'weights.caffemodel', 'weights.caffemodel.h5'


def find_nets(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """golden_*.h5 beside net.prototxt and weights in one format or both."""
    weights = [name for name in WEIGHTS if name in names]
    if 'net.prototxt' in names and weights:
        for name in (name for name in names if re.fullmatch(r'golden_.*\.h5', name)):
            yield case(name[:-3], ('net.prototxt', name, *weights), partial(
                check_net, path=folder / name, weights=folder / weights[0]), computes=True)


def check_net(comparison: Comparison, path: str | Path, weights: str | Path, limits: Limits,
              where: Placement = CPU, **options) -> None:
    """Compare net.prototxt, beside `path`, with a golden_*.h5: a forward pass, and a backward pass
    if it has diffs. options: as for Net. FcnError if a file cannot be read or does not fit."""
    golden = read_golden(path)
    compare_net(comparison, run_net(path, golden, weights, where, **options), golden, limits)


def run_net(path: str | Path, golden: Group, weights: str | Path, where: Placement = CPU,
            **options) -> WatchedNet:
    """The net of a golden after a forward pass, and a backward pass if the golden has diffs."""
    net = golden_net(Path(path).with_name('net.prototxt'), golden, WatchedNet, where, **options)
    net.copy_from(weights)
    net.forward(blobs='all', **fed_arrays(golden, 'inputs'))
    if has_diffs(golden):
        net.backward()
    return net


def has_diffs(golden: Group) -> bool:
    return any(name.endswith('_diffs') for name in golden)


def compare_net(comparison: Comparison, net: WatchedNet, golden: Group, limits: Limits) -> None:
    """Compare a net after `run_net` with its golden."""
    if 'blobs' in golden:
        computed = {name for name in net.blobs if name not in golden.group('inputs')}
        stored = golden.blobs('blobs')
        for name in comparison.common('blobs', computed, stored):
            comparison.compare(f'blobs/{name}', net.blobs[name].data, stored[name],
                               limits.activations)
    compare_losses(comparison, net, golden, limits.losses)
    if has_diffs(golden):
        compare_param_diffs(comparison, net, golden, limits.gradients, complete='blobs' in golden)
        compare_blob_diffs(comparison, net, golden, limits.gradients)


def compare_losses(comparison: Comparison, net: WatchedNet, golden: Group, limit: float) -> None:
    """Compare each loss/<top> and the total."""
    for attr in (attr for attr in golden.attrs if attr.startswith('loss/')):
        name = attr.removeprefix('loss/')
        if name in net.blobs:
            comparison.compare_numbers(attr, net.blobs[name].data.item(), golden.number(attr),
                                       limit)
        else:
            comparison.fail(attr, 'the net lacks it')
    comparison.compare_numbers('loss', total_loss(net), golden.number('total_loss'), limit)


def compare_blob_diffs(comparison: Comparison, net: WatchedNet, golden: Group,
                       limit: float) -> None:
    """Compare the gradients of a net's blobs after backward.

    An entry may differ, on top of the limit, by what a choice among tied maxima can change. That
    choice moves a gradient within its blob, so the sum must agree in any case.
    """
    free = freedom(net)
    for group in 'blob_diffs', 'input_diffs':
        for name, array in stored_blobs(comparison, group, net, golden):
            value = net.graph.first(name)
            comparison.compare(f'{group}/{name}', net.blobs[name].diff, array, limit,
                               free.get(value, 0),
                               ('sum',) if value in free else ('sum', 'abs_sum'))
