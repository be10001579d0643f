"""The weights that training starts from: files, and what a stage makes of them for its net."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import FcnError
from ..formats.weights import LayerBlobs, Weights, modern, read_weights
from ..net import surgery
from ..net.net import Net
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
    its suffix, of expanded and rarefied layers as surgery makes them. The source itself for a stage
    that takes it as it is, and where it has been made for this net already."""
    if isinstance(source, tuple):
        read = [modern(read_weights(file, net.graph.dialect)) for file in source]
        suffixes = [suffix for _, suffix in stage.streams]
        layers = [LayerBlobs(layer.name + suffix, layer.blobs, layer.type)
                  for weights, suffix in zip(read, suffixes, strict=True)
                  for layer in weights.layers]
        return together(layers, read)
    changed = [*stage.expanded, *((layer, layer) for layer in stage.rarefied)]
    if not changed:
        return source
    weights = modern(source if isinstance(source, Weights)
                     else read_weights(source, net.graph.dialect))
    made = {old: made_layer(net, layer, weights, old) for layer, old in changed
            if old in weights and not made_already(net, layer, weights)}
    return together([made.get(layer.name, layer) for layer in weights.layers], [weights])


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
