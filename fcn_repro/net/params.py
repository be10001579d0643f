"""A net's parameter blobs: made from what the layers declare, shared by name as Caffe shares."""

import math
import zlib

import torch
from torch import nn

from ..errors import FcnError, located
from ..fillers import fill
from ..proto import dialect_of
from ..sizes import dims
from .blob import ParamBlob


def make_params(graph, declared, seed):
    """{layer name: [ParamBlob, …]} in net order.

    declared: {layer name: [(shape, filler), …]}; seed: of the fillers.
    A parameter whose ParamSpec has a name that an earlier one has is that one (Net::AppendParam):
    share_mode STRICT wants equal shapes, PERMISSIVE equal counts. A parameter with lr_mult 0 has
    no gradient unless the graph's force_backward is set.
    """
    named, params = {}, {}
    for node in graph.nodes:
        shapes = declared.get(node.name, [])
        specs = list(node.param.param)
        if len(specs) > len(shapes):
            raise FcnError(f'{len(specs)} param entries for {len(shapes)} parameters',
                           line=node.line, layer=node.name, type=node.type,
                           do='Remove the param entries that are too many.')
        if not shapes:
            continue
        params[node.name] = []
        for i, (shape, filler) in enumerate(shapes):
            spec = specs[i] if i < len(specs) else dialect_of(node.param)['ParamSpec']()
            if spec.name and spec.name in named:
                blob = _share(named[spec.name], node, i, shape, spec)
            else:
                blob = ParamBlob(f'{node.name}/{i}',
                                 nn.Parameter(_filled(seed, node, i, shape, filler)), shape, spec)
                named.setdefault(spec.name, blob)
            params[node.name].append(blob)
    for blob in (b for blobs in params.values() for b in blobs if b.owner is None):
        blob.parameter.requires_grad_(graph.force_backward or blob.lr_mult != 0)
    return params


def _filled(seed, node, i, shape, filler):
    """A parameter's first values: a function of the seed and its name alone."""
    key = f'{seed}/{node.name}/{i}'
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    with located(None, node):
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
        if spec.HasField(field):
            value = getattr(spec, field)
            if owner.given[field] and getattr(owner, field) != value:
                raise fail(f'{field} {value} against {getattr(owner, field)}', 'Give one value.')
            setattr(owner, field, value)
            owner.given[field] = True
    return ParamBlob(f'{node.name}/{i}', owner.parameter, shape, spec, owner)


def check_unchanged(old, new):
    """FcnError where {layer: [(shape, filler), …]} `new`, declared for another input, has other
    shapes than `old`."""
    for name, wanted in new.items():
        for i, ((now, _), (before, _)) in enumerate(zip(wanted, old[name])):
            if tuple(now) != tuple(before):
                raise FcnError(f'parameter {i} is {dims(before)}, but this input needs '
                               f'{dims(now)}', layer=name,
                               do='Feed the size that the net was built for, or cast it into '
                                  'a fully convolutional net.')


def share_data(mine, its):
    """Let the parameters of {layer: [ParamBlob]} `mine` be new ones over the data of those that
    `its` has under the same names; a parameter that is shared by name stays one."""
    pairs = [(name, i, *pair) for name, blobs in mine.items()
             for i, pair in enumerate(zip(blobs, its.get(name, ())))]
    for name, i, blob, other in pairs:
        if blob.shape != other.shape:
            raise FcnError(f'cannot share parameter {i}: {dims(blob.shape)} here, '
                           f'{dims(other.shape)} there', layer=name,
                           do='Share between nets of equal layers.')
    for _, _, blob, other in pairs:
        data = other.parameter.detach()
        if blob.owner is not None and blob.owner.parameter.data_ptr() == data.data_ptr():
            blob.parameter = blob.owner.parameter
        else:
            blob.parameter = nn.Parameter(data, blob.parameter.requires_grad)
