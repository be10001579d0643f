"""The weights that training starts from: files, what a stage makes of them for its net, and what is
done to the net before its first iteration."""

import fnmatch
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..data.image import check_label
from ..data.label_blocks import components, second_moment
from ..distributed import ALONE, Processes
from ..errors import FcnError
from ..formats.weights import (
    FILLER,
    LayerBlobs,
    Weights,
    format_rows,
    modern,
    read_extra,
    read_weights,
)
from ..net import surgery
from ..net.net import Net
from ..predict.labels import data_layer, python_layers_of
from .distillation import TEACHER
from .stage import Stage

Source = str | Path | tuple[str | Path, ...]        # a file, or one for each stream of a stage


def files_of(source: Source) -> tuple[str | Path, ...]:
    """The files of a source."""
    return source if isinstance(source, tuple) else (source,)


def given(weights: str, stage: Stage) -> Source:
    """The source that a user names: a file, or for a stage with streams a file for each, with
    commas between them as in Caffe. One file is then for all of its net. FcnError for another
    number of files."""
    files = tuple(weights.split(',')) if stage.streams else (weights,)
    if len(files) == 1:
        return weights
    if len(files) != len(stage.streams):
        names = ', '.join(name for name, _ in stage.streams)
        raise FcnError(f'{len(files)} files of weights for {len(stage.streams)} streams',
                       code='weights-of-streams', facts={'parents': names},
                       do=f'Name the weights of {names}, in this order, with commas between them.')
    return files


def adapted(stage: Stage, source: Source | Weights, net: Net) -> str | Path | Weights:
    """The weights under the names and with the shapes that the stage's net has: of each stream with
    its suffix, of expanded and rarefied layers as surgery makes them, and without dropped layers of
    another shape, renamed ones under their new names. The source itself for a stage that takes it
    as it is, and where it has been made for this net already."""
    if isinstance(source, tuple):
        read = [modern(read_weights(file, net.graph.dialect)) for file in source]
        suffixes = [suffix for _, suffix in stage.streams]
        layers = [LayerBlobs(layer.name + suffix, layer.blobs, layer.type)
                  for weights, suffix in zip(read, suffixes, strict=True)
                  for layer in weights.layers]
        return together(layers, read)
    changed = [*stage.expanded, *((layer, layer) for layer in stage.rarefied)]
    if not (changed or stage.dropped or stage.renamed):
        return source
    weights = renamed(stage, net, modern(source if isinstance(source, Weights)
                                         else read_weights(source, net.graph.dialect)))
    made = {old: made_layer(net, layer, weights, old) for layer, old in changed
            if old in weights and not made_already(net, layer, weights)}
    left = [layer for layer in weights.layers if layer.name not in stage.dropped
            or (layer.name in net.params and made_already(net, layer.name, weights))]
    return together([made.get(layer.name, layer) for layer in left], [weights])


def renamed(stage: Stage, net: Net, weights: Weights) -> Weights:
    """The weights with the stage's names for layers that it calls otherwise than the source, and
    with a bias of zeros where such a layer has one and the source none (CRF-RNN's score2)."""
    if not stage.renamed:
        return weights
    names = {old: new for new, old in stage.renamed}
    layers = []
    for layer in weights.layers:
        name, blobs = names.get(layer.name, layer.name), list(layer.blobs)
        wanted = net.params.get(name, [])
        if layer.name in names and (len(blobs), len(wanted)) == (1, 2):
            blobs.append(np.zeros(tuple(wanted[1].shape), np.float32))
        layers.append(LayerBlobs(name, blobs, layer.type))
    return together(layers, [weights])


def together(layers: Sequence[LayerBlobs], read: Sequence[Weights]) -> Weights:
    """Weights of these layers, which come from several."""
    return Weights(layers, ' + '.join(weights.file or 'weights' for weights in read),
                   read[0].format, read[0].extra)


def made_already(net: Net, layer: str, weights: Weights) -> bool:
    """Whether the weights have the layer as the net has it."""
    wanted = net.params[layer][0].shape
    return layer in weights and math.prod(wanted) == weights[layer][0].size


def made_layer(net: Net, layer: str, weights: Weights, old: str) -> LayerBlobs:
    """What surgery makes of the source's layer `old` for the net's `layer`: a rarefied one if it is
    the same, else an expanded one."""
    make = surgery.rarefy if layer == old else surgery.expand_input
    new = {layer: [torch.zeros(tuple(blob.shape)) for blob in net.params[layer]]}
    blobs = [torch.tensor(blob, dtype=torch.float32) for blob in weights[old]]
    make(new, layer, {old: blobs}, old)
    return LayerBlobs(layer, [blob.numpy() for blob in new[layer]], 'Convolution')


def prepare(net: Net, surgeries: Sequence[str], source: str | Path | Weights | None,
            score_layers: str = Stage.score_layers, up_layers: str = Stage.up_layers,
            every: bool = False, processes: Processes = ALONE) -> str:
    """Do surgeries on a net before its first iteration; returns a text of what was done, to `every`
    layer or to those that are not simply copied.

    'transplant': weights by name, InnerProduct cast into Convolution; without a source every layer
    keeps its filler. 'zero scores': zeros in the layers of the glob pattern score_layers that the
    source lacks. 'interp': bilinear weights in those of up_layers. 'label blocks': principal
    components of the labels that the net reads in those of up_layers that the source lacks, as the
    first of `processes` computes them. A teacher's layers (distillation.py) stay as they are.
    FcnError for a source that the surgeries do not take, and as in Net.copy_from and
    label_blocks."""
    own = [name for name in net.params if not name.startswith(TEACHER)]
    if source is None:
        report, fresh = 'every layer starts from its filler', own
    elif 'transplant' in surgeries:
        rows = [row for row in net.copy_from(source) if not row.layer.startswith(TEACHER)]
        report = format_rows(rows, every)
        fresh = [row.layer for row in rows if row.action == FILLER]
    else:
        file = source.file if isinstance(source, Weights) else str(source)
        raise FcnError('this stage takes no weights', file=file, code='weights-not-taken',
                       do='Leave out weights.')
    if 'zero scores' in surgeries:
        for layer in (name for name in fresh if fnmatch.fnmatchcase(name, score_layers)):
            for blob in net.params[layer]:
                blob.data.zero_()
    if 'interp' in surgeries:
        ups = [name for name in own if fnmatch.fnmatchcase(name, up_layers)]
        surgery.interp(tensors(net), ups)
        report += ''.join(f'\n{up} made bilinear' for up in ups)
    if 'label blocks' in surgeries:
        for up in (name for name in fresh if fnmatch.fnmatchcase(name, up_layers)):
            report += f'\n{label_blocks(net, up, processes)}'
    return report


@torch.no_grad()
def label_blocks(net: Net, layer: str, processes: Processes = ALONE) -> str:
    """Fill the weight (codes, classes, r, r) of a Deconvolution by r with as many principal
    components of the blocks of r x r labels that the net reads; returns what was done, in a line.
    FcnError for a weight of another kind, a net that reads no labels of pixels, a label that is no
    class, and as in data.label_blocks."""
    weight = net.params[layer][0].data
    codes, classes, side, width = weight.shape
    if side != width:
        raise FcnError(f'the kernel is {side}x{width}; blocks of labels are square', layer=layer,
                       do='Give a kernel_size that is the stride.')
    reader = getattr(data_layer(net), 'reader', None)
    if reader is None:
        raise FcnError('the data layer has no label per pixel', layer=layer,
                       do='Give a net for segmentation, or weights that have this layer.')

    def labels() -> Iterator[np.ndarray]:
        for i, id_ in enumerate(reader.ids):
            label = reader.label(i)
            check_label(label, classes, reader.label_file(id_))
            yield label
    found, share = processes.by_first(
        lambda: components(second_moment(labels(), classes, side), codes))
    weight.copy_(torch.from_numpy(found).view(weight.shape))
    return (f"{layer} made of {codes} principal components of the labels' {side}x{side} blocks, "
            f'which hold {100 * share:.1f} % of them')


def other_mean(net: Net, source: Source) -> str:
    """A warning, on a line of its own, where a data layer of the net subtracts another mean pixel
    than the one that the weights say they expect (those converted from torchvision do); else ''."""
    source = files_of(source)[0]
    wanted = np.asarray(read_extra(source).get('mean', ()), float).reshape(-1)
    for layer in python_layers_of(net):
        has = getattr(layer.reader, 'mean', None)
        if len(wanted) == 3 and has is not None and np.abs(wanted - has).max() > 0.05:
            return (f'\nwarning: {source} expects images less the mean pixel '
                    f'({", ".join(f"{v:g}" for v in wanted)}), BGR; the data layer subtracts '
                    f'({", ".join(f"{v:g}" for v in has)}). Training makes up for that; to use the '
                    'weights as they are, write their mean into the param_str of the nets')
    return ''


def tensors(net: Net) -> dict[str, list[torch.Tensor]]:
    """{layer: its parameter tensors}, as surgery takes them."""
    return {name: [blob.data for blob in blobs] for name, blobs in net.params.items()}
