"""Caffe's binary files (protobuf): writing. Numbers go from memory to the file as they lie there,
never through a list; the fields stand in the order of caffe.proto, as Caffe itself writes them.

What is this project's alone (a snapshot's extra and texts) is JSON in one more field, whose number
protobuf leaves to private use: Caffe and other readers step over a field that they do not know.
"""

import json

import numpy as np
import torch

from ..errors import FcnError
from ..proto import BlobShape, LayerParameter, NetParameter
from .atomic import replacing
from .wire import DATA, LAYER, PRIVATE, SHAPE, V2

LONGEST = 2 ** 31 - 1           # bytes of a message: kProtoReadBytesLimit in src/caffe/util/io.cpp


def write_caffemodel(path, name, layers, extra=None):
    """Write a net's weights, whole or not at all (Net::ToProto).

    layers: [(LayerParameter, [its blobs])], a shared parameter under each of its layers; blobs are
    tensors or arrays, written as float32. extra: {name: number, text or list of numbers}.
    """
    parts = [NetParameter(name=name).SerializeToString()]
    for param, blobs in layers:
        head, rest = split(param)
        body = [head, *(piece for blob in blobs for piece in blob_parts(V2.blobs, blob)), rest]
        parts += [start(LAYER, sum(map(size, body))), *body]
    write_parts(path, parts, extra)


def layer_of(node, graph, loss):
    """A node's LayerParameter as Caffe's net has it: bottoms named after Splits, its phase, and the
    weight that a loss layer has by itself."""
    param = LayerParameter()
    param.CopyFrom(node.param)
    param.bottom[:] = [graph.values[v] for v in node.bottoms]
    param.phase = param.phase if param.HasField('phase') else graph.phase
    if loss and not param.loss_weight:
        param.loss_weight.append(1)
    return param


def split(param):
    """A LayerParameter's bytes before and after its blobs."""
    head, rest = LayerParameter(), LayerParameter()
    for field, value in param.ListFields():
        if field.number != V2.blobs:
            message = head if field.number < V2.blobs else rest
            if field.is_repeated:
                getattr(message, field.name).extend(value)
            elif field.message_type:
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
    return head.SerializeToString(), rest.SerializeToString()


def blob_parts(number, blob):
    """Field `number`, a BlobProto, in pieces."""
    if isinstance(blob, torch.Tensor):
        blob = blob.detach().to('cpu', torch.float32).numpy()
    data = np.asarray(blob, '<f4', order='C').reshape(-1)
    body = [start(DATA, data.nbytes), data]
    if blob.ndim:
        shape = BlobShape(dim=blob.shape).SerializeToString()
        body += [start(SHAPE, len(shape)), shape]
    return [start(number, sum(map(size, body))), *body]


def write_parts(path, parts, extra=None, texts=None):
    """Write pieces, and what is the project's own where extra is given; atomic."""
    if extra is not None:
        own = json.dumps({'extra': extra, 'texts': texts or {}}).encode()
        parts = [*parts, start(PRIVATE, len(own)), own]
    total = sum(map(size, parts))
    if total > LONGEST:
        raise FcnError(f'would have {total / 1e9:.2f} GB, and Caffe reads no binary file of more '
                       f'than {LONGEST / 1e9:.2f} GB', file=str(path), do='Write HDF5 instead, '
                       'which has no such limit.')
    with replacing(path) as file:
        for part in parts:
            file.write(part)


def size(part):
    return memoryview(part).nbytes


def start(number, length):
    """What stands before a field of `length` bytes."""
    return varint(number << 3 | 2) + varint(length)


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])
