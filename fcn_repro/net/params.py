"""A net's parameter blobs: made from what the layers declare, shared by name as Caffe shares."""

import math
import zlib

import torch
from torch import nn

from ..errors import FcnError, located
from ..fillers import fill
from ..sizes import dims
from .blob import ParamBlob
from .graph import Graph, Node

Params = dict[tuple[str, int], list[ParamBlob]]     # {Node.key: its blobs}, in net order


def make_params(graph: Graph, declared: dict, seed: int) -> Params:
    """Allocate and fill the parameters of a graph.

    declared: {Node.key: [(shape, filler), …]}; seed: of the fillers.
    A parameter whose ParamSpec has a name that an earlier one has is that one (Net::AppendParam):
    share_mode STRICT wants equal shapes, PERMISSIVE equal counts. A parameter with lr_mult 0 has
    no gradient unless the graph's force_backward is set.
    """
    named: dict[str, ParamBlob] = {}
    params: Params = {}
    unset, generator = graph.dialect['ParamSpec'](), torch.Generator()
    for node in graph.nodes:
        shapes = declared.get(node.key, ())
        specs = node.param.param
        if len(specs) > len(shapes):
            raise FcnError(f'{len(specs)} param entries for {len(shapes)} parameters',
                           line=node.line, layer=node.name, type=node.type,
                           do='Remove the superfluous param entries.')
        if not shapes:
            continue
        blobs = params[node.key] = []
        with located(None, node):
            for i, (shape, filler) in enumerate(shapes):
                spec = specs[i] if i < len(specs) else unset
                name = spec.name
                if name and name in named:
                    blob = _share(named[name], node, i, shape, spec)
                else:
                    value = _filled(seed, node, i, shape, filler, generator)
                    blob = ParamBlob(f'{node.name}/{i}', nn.Parameter(value), shape, spec)
                    named.setdefault(name, blob)
                blobs.append(blob)
    for blob in (b for blobs in params.values() for b in blobs if b.owner is None):
        if not (graph.force_backward or blob.lr_mult):
            blob.parameter.requires_grad_(False)
    return params


def own_shapes(graph: Graph, declared: dict) -> list[tuple[int, ...]]:
    """The shapes of the parameters of a graph that take memory: those that share an earlier one by
    its name take none. declared: as for make_params."""
    named: set[str] = set()
    shapes = []
    for node in graph.nodes:
        own = declared.get(node.key)
        if not own:
            continue
        names = [spec.name for spec in node.param.param]
        for i, (shape, _) in enumerate(own):
            name = names[i] if i < len(names) else ''
            if name not in named:
                shapes.append(shape)
            if name:
                named.add(name)
    return shapes


def _filled(seed: int, node: Node, i: int, shape: tuple[int, ...], filler,
            generator: torch.Generator) -> torch.Tensor:
    """Initial values: a function of the seed, the layer's unique name and the blob's index."""
    if filler.type != 'constant':           # seeding takes ten times as long as one value
        generator.manual_seed(zlib.crc32(f'{seed}/{node.unique_name}/{i}'.encode()))
    return fill(shape, filler, generator)


def _share(owner, node, i, shape, spec):
    def fail(what, do):
        return FcnError(f"parameter {i} shares '{spec.name}' with {owner.name}: {what}", do=do,
                        line=node.line, layer=node.name, type=node.type)
    if spec.share_mode == spec.DimCheckMode.Value('PERMISSIVE'):
        if math.prod(shape) != math.prod(owner.shape):
            raise fail(f'{math.prod(shape)} against {math.prod(owner.shape)} values',
                       'Shared parameters must be equally large.')
    elif tuple(shape) != owner.shape:
        raise fail(f'{dims(shape)} against {dims(owner.shape)}',
                   'Make the shapes equal, or set share_mode: PERMISSIVE.')
    for field in 'lr_mult', 'decay_mult':
        if spec.HasField(field) and not owner.set_multiplier(field, getattr(spec, field)):
            raise fail(f'{field} {getattr(spec, field)} against {getattr(owner, field)}',
                       'Give one value.')
    return ParamBlob(f'{node.name}/{i}', owner.parameter, shape, spec, owner)


def check_unchanged(old: dict, new: dict) -> None:
    """FcnError where {Node.key: [(shape, filler), …]} `new`, declared for another input, has other
    shapes than `old`."""
    for key, wanted in new.items():
        for i, ((now, _), (before, _)) in enumerate(zip(wanted, old[key], strict=True)):
            if tuple(now) != tuple(before):
                raise FcnError(f'parameter {i} is {dims(before)}, but this input needs '
                               f'{dims(now)}', layer=key[0],
                               do='Feed the size that the net was built for, or cast it into '
                                  'a fully convolutional net.')


def share_data(graph: Graph, params: Params, other_graph: Graph, other: Params) -> None:
    """Replace `params` by new parameters over the data of `other`, layer by layer name.

    As Net::ShareTrainedLayersWith: each layer of `other` in turn shares with the first layer of its
    name here. A parameter that is shared by its own name within the net stays one. FcnError for
    another number of parameters or another shape; then nothing is changed.
    """
    first: dict[str, Node] = {}
    pairs: dict[tuple[str, int], list[tuple[ParamBlob, ParamBlob]]] = {}
    for node in graph.nodes:
        first.setdefault(node.name, node)
    for node in other_graph.nodes:
        if node.name in first:
            target = first[node.name]
            blobs, sources = params.get(target.key, []), other.get(node.key, [])
            _check_shareable(target, blobs, sources)
            pairs[target.key] = list(zip(blobs, sources, strict=True))
    for key in params:
        for blob, source in pairs.get(key, ()):
            blob.share_data(source)


def _check_shareable(node, mine, theirs):
    if len(mine) != len(theirs):
        raise FcnError(f'cannot share {len(theirs)} parameters there with {len(mine)} here',
                       line=node.line, layer=node.name, type=node.type,
                       do='Share between nets of equal layers.')
    for i, (blob, other) in enumerate(zip(mine, theirs, strict=True)):
        if blob.shape != other.shape:
            raise FcnError(f'cannot share parameter {i}: {dims(blob.shape)} here, '
                           f'{dims(other.shape)} there', line=node.line, layer=node.name,
                           type=node.type, do='Share between nets of equal layers.')
