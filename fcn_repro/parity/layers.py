"""Goldens of one layer or a few: NET.prototxt with Input layers, NET.h5 with all its arrays; with a
data layer, NET.h5 with its first batches."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import FcnError
from ..files import read_regular
from ..net.net import Net
from ..proto import BVLC, TEST, TRAIN, Dialect, find_dialect
from ..search import SearchPath
from .cases import CPU, GoldenCase, Placement, case
from .comparison import Comparison, Limits
from .golden import Array, Group, read_golden

PHASES = {'TRAIN': TRAIN, 'TEST': TEST}
FIXED_FILES = {'MultiStageMeanfield': ('spatial.par', 'bilateral.par')}


def find_layers(folder: Path, names: set[str]) -> Iterator[GoldenCase]:
    """NET.h5 beside NET.prototxt, with the files that the net reads."""
    for name in (name[:-3] for name in names if name.endswith('.h5')):
        if f'{name}.prototxt' in names:
            yield case(name, (f'{name}.h5', f'{name}.prototxt',
                              *files_read(folder / f'{name}.prototxt')),
                       partial(check_layer, path=folder / f'{name}.h5'), computes=True)


def check_layer(comparison: Comparison, path: str | Path, limits: Limits,
                where: Placement = CPU, **options) -> None:
    """Compare everything that a NET.h5 holds, forward and backward. options: as for Net.

    FcnError if a file cannot be read, or if the golden's params are not those of the net.
    """
    golden, limit = read_golden(path), limits.activations
    net = golden_net(Path(path).with_suffix('.prototxt'), golden, where=where, **options)
    if 'batches' in golden:
        return compare_batches(comparison, net, golden, limit)
    fill_params(net, golden)
    golden.need('outputs', 'group')
    for group in run_passes(net, golden):
        outputs = {name for name in net.graph.outputs if name in net.blobs}
        stored = golden.blobs(group)
        for name in comparison.common(group, outputs, stored):
            comparison.compare(f'{group}/{name}', net.blobs[name].data, stored[name], limit)
    for name, array in stored_blobs(comparison, 'blobs', net, golden):
        comparison.compare(f'blobs/{name}', net.blobs[name].data, array, limit)
    comparison.compare_numbers('loss', total_loss(net), golden.number('loss'), limits.losses)
    compare_params(comparison, 'params_after', net, golden.params('params_after'), limit)
    if 'output_diffs' not in golden:
        return
    net.backward(**fed_arrays(golden, 'output_diffs'))
    for group in 'input_diffs', 'blob_diffs':
        for name, array in stored_blobs(comparison, group, net, golden):
            comparison.compare(f'{group}/{name}', caffe_diff(net, name), array, limit)
    compare_param_diffs(comparison, net, golden, limit)


def run_passes(net: Net, golden: Group) -> Iterator[str]:
    """Run the `nforward` forward passes of a golden; after each of them the group of its results,
    if the golden has it. Pass k takes inputs_<k>, or else what pass 0 takes, `inputs`; its results
    are outputs_<k>, those of the last pass outputs."""
    last = golden.count('nforward', 1) - 1
    for k in range(last + 1):
        fed = f'inputs_{k}' if k and f'inputs_{k}' in golden else 'inputs'
        net.forward(blobs='all', **fed_arrays(golden, fed))
        group = 'outputs' if k == last else f'outputs_{k}'
        if group in golden:
            yield group


def compare_batches(comparison: Comparison, net: Net, golden: Group, limit: float) -> None:
    """Compare the batches that a data layer gives in the first forward passes: batches/<k>/<top>,
    k from 0."""
    batches = golden.need('batches', 'group')
    for k in sorted(batches, key=int):
        net.forward(blobs='all')
        stored = batches.blobs(k)
        for name in comparison.common(f'batches/{k}', set(net.graph.outputs), stored):
            comparison.compare(f'batches/{k}/{name}', net.blobs[name].data, stored[name], limit)


def files_read(prototxt: Path) -> Iterator[str]:
    """The files below a prototxt's folder that its net reads: those that it names, those that a
    list so named names, and the ones that a layer type reads by a fixed name."""
    text = read_regular(prototxt, 'a prototxt').decode(errors='replace')
    roots = ['', *re.findall(r'root_folder:\s*"([^"]*)"', text)]
    for name in re.findall(r'"([^"\n]+)"', text):
        if name != prototxt.name and (prototxt.parent / name).is_file():
            yield name
            if name.endswith('.txt'):
                words = read_regular(prototxt.parent / name, 'a list').decode(errors='replace')
                yield from (root + word for root in roots for word in words.split()
                            if (prototxt.parent / (root + word)).is_file())
    for type, names in FIXED_FILES.items():
        if f'"{type}"' in text:
            yield from (name for name in names if (prototxt.parent / name).is_file())


def golden_net(path: str | Path, golden: Group, net_class: type[Net] = Net,
               where: Placement = CPU, **options) -> Net:
    """The net of a golden, in its phase and with its force_backward, in its place. options: as for
    Net.read; without a dialect it is that of the golden. FcnError for a phase other than TRAIN and
    TEST, for another dialect than that of the fork that made the golden, and as for
    placement.place."""
    phase = str(golden.attrs.get('phase', 'TEST'))
    if phase not in PHASES:
        raise FcnError(f"unknown phase '{phase}' of the golden", file=str(golden.file),
                       do='Set the attribute phase to TRAIN or TEST.')
    options = {'search': SearchPath.beside(path), **options}    # a golden belongs to its folder
    text = {name: options.pop(name) for name in ('dialect', 'define', 'weights') if name in options}
    net = net_class.read(path, PHASES[phase], **options,
                         **{**text, 'dialect': agreed(golden, text.get('dialect'))})
    if golden.attrs.get('force_backward', False) and not net.graph.force_backward:
        net = net_class(replace(net.graph, force_backward=True), **options)
    return where.place(net)


def agreed(golden: Group, named: Dialect | str | None) -> Dialect:
    """The dialect of a golden's net, which may be named as well. FcnError for another one than that
    of the fork that made it."""
    made = dialect_of_golden(golden)
    if named is None:
        return made
    given = find_dialect(named)
    if 'fork' in golden.attrs and given is not made:
        raise FcnError(f"the golden was made by a fork of the dialect '{made.name}', not "
                       f"'{given.name}'", file=str(golden.file), do='Leave out the dialect.')
    return given


def dialect_of_golden(golden: Group) -> Dialect:
    """The dialect of the fork that made a golden (its attribute `fork`); BVLC's without. FcnError
    for one that is not known."""
    return find_dialect(str(golden.attrs.get('fork', BVLC.name)))


def total_loss(net: Net) -> float:
    """What Caffe's forward pass returns: 0 if no top has a loss weight."""
    return 0.0 if net.total_loss is None else net.total_loss.item()


def fed_arrays(golden: Group, group: str) -> dict[str, np.ndarray]:
    """{blob: array} to feed. FcnError if only a part of an array is stored."""
    for name, array in golden.blobs(group).items():
        if array.step != 1:
            raise FcnError(f"of '{group}/{name}' only every {array.step}th value is stored",
                           file=str(golden.file), do='Store inputs and top diffs in full.')
    return {name: array.values.reshape(array.shape)
            for name, array in golden.blobs(group).items()}


def fill_params(net: Net, golden: Group) -> None:
    """Set the net's parameters to the golden's. FcnError where the net has none of that shape."""
    for layer, blobs in golden.params('params').items():
        for i, array in blobs.items():
            found = net.params.get(layer, ())
            fits = i.isdecimal() and int(i) < len(found) and array.step == 1
            if not fits or array.shape != tuple(found[int(i)].shape):
                shapes = [tuple(blob.shape) for blob in found]
                raise FcnError(f"param '{layer}/{i}' of the golden has shape {array.shape}, the "
                               f'layer of the net has {shapes or "no params"}',
                               file=str(golden.file),
                               do='Give the net that the golden was made with.')
            found[int(i)].data[...] = torch.from_numpy(array.values.reshape(array.shape))


def stored_blobs(comparison: Comparison, group: str, net: Net,
                 golden: Group) -> Iterator[tuple[str, Array]]:
    """(name, Array) of each blob in a golden's group; a blob that the net lacks departs."""
    for name, array in golden.blobs(group).items():
        if name in net.blobs:
            yield name, array
        else:
            comparison.fail(f'{group}/{name}', 'the net lacks it')


def compare_params(comparison: Comparison, group: str, net: Net,
                   golden: Mapping[str, Mapping[str, Array]], limit: float, complete: bool = True,
                   value: Callable[[Any], Any] = lambda blob: blob.data) -> None:
    """Compare the parameters of a net, or their diffs, with {layer: {i: Array}}.

    A shared blob is stored under its owner at least. complete: the golden must have every layer
    with parameters, unless it is empty. value: what of a ParamBlob is compared.
    """
    owners = [name for name, blobs in net.params.items() if any(b.owner is None for b in blobs)]
    for layer in dict.fromkeys([*golden, *owners] if golden and complete else golden):
        stored = golden.get(layer, {})
        blobs = {str(i): blob for i, blob in enumerate(net.params.get(layer, ()))
                 if blob.owner is None or str(i) in stored}
        for i in comparison.common(f'{group}/{layer}', blobs, stored):
            comparison.compare(f'{group}/{layer}/{i}', value(blobs[i]), stored[i], limit)


def compare_param_diffs(comparison: Comparison, net: Net, golden: Group, limit: float,
                        complete: bool = True) -> None:
    """Compare the gradients of a net's parameters with the golden's param_diffs, as
    compare_params does."""
    compare_params(comparison, 'param_diffs', net, golden.params('param_diffs'), limit, complete,
                   lambda blob: blob.diff)


def caffe_diff(net: Net, name: str) -> torch.Tensor:
    """A blob's diff as Caffe leaves it: 0 where no gradient is computed. There Caffe's Scale uses
    the diff as scratch memory and leaves data times top diff (ScaleLayer::Backward_cpu)."""
    blob, graph = net.blobs[name], net.graph
    value = graph.first(name)
    if has_gradient(graph, value):
        return blob.diff
    for node in graph.consumers(value):
        top = graph.values[node.tops[0]] if node.tops else name
        if node.type == 'Scale' and node.bottoms[0] == value and top != name and \
                scale_factor(net, node).numel() != blob.data.numel():
            return net.blobs[top].diff * blob.data
    return blob.diff


def has_gradient(graph, value: int) -> bool:
    """False for an input and for its copies by Split layers, unless backward is forced."""
    node = graph.producer(value)
    while node.type == 'Split':
        node = graph.producer(node.bottoms[0])
    return graph.force_backward or bool(node.bottoms)


def scale_factor(net: Net, node) -> torch.Tensor:
    """The factor of a Scale layer: its second bottom, or its parameter."""
    if len(node.bottoms) > 1:
        return net.blobs[net.graph.values[node.bottoms[1]]].data
    return net.params_of(node)[0]
