"""Write Caffe's binary files (protobuf).

Numbers go from memory to the file as they are stored, never through a list; the fields have the
order of caffe.proto, as Caffe itself writes them. Messages are written in their own dialect.

This project's own data (a snapshot's extra and texts) is JSON in one more field, whose number
protobuf leaves to private use: Caffe and other readers skip a field that they do not know.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import FcnError
from .atomic import replacing
from .wire import DATA, LAYER, NAME, PRIVATE, SHAPE, V2

LONGEST = 2 ** 31 - 1           # bytes of a message: kProtoReadBytesLimit in src/caffe/util/io.cpp
FilePath = str | os.PathLike
Blob = torch.Tensor | np.ndarray
Part = bytes | np.ndarray


def write_caffemodel(path: FilePath, name: str, layers: Iterable[tuple[Any, Sequence[Blob]]],
                     extra: Mapping[str, Any] | None = None) -> None:
    """Write a net's weights, whole or not at all (Net::ToProto).

    layers: (LayerParameter, its blobs) in net order, a shared parameter under each of its layers;
    blobs are tensors or arrays, written as float32. extra: {name: number, text, list or array}.
    FcnError where the file would be too long for Caffe, or cannot be written.
    """
    text = name.encode()
    parts: list[Part] = [field_head(NAME, len(text)), text]
    for param, blobs in layers:
        head, rest = split_at_blobs(param)
        body = [head, *(piece for blob in blobs for piece in blob_parts(V2.blobs, blob)), rest]
        parts += [field_head(LAYER, sum(map(byte_count, body))), *body]
    write_parts(path, parts, extra)


def layer_of(node, graph, loss: bool) -> Any:
    """A node's LayerParameter as Caffe's net has it: bottoms named after Splits, its phase, and the
    default weight of a loss layer."""
    param = type(node.param)()
    param.CopyFrom(node.param)
    param.bottom[:] = [graph.values[v] for v in node.bottoms]
    param.phase = param.phase if param.HasField('phase') else graph.phase
    if loss and not param.loss_weight:
        param.loss_weight.append(1)
    return param


def split_at_blobs(param: Any) -> tuple[bytes, bytes]:
    """A LayerParameter's bytes before and after its blobs."""
    head, rest = type(param)(), type(param)()
    for field, value in param.ListFields():
        if field.number != V2.blobs:
            message = head if field.number < V2.blobs else rest
            if field.is_repeated:
                getattr(message, field.name).extend(value)
            elif field.message_type:
                getattr(message, field.name).CopyFrom(value)
            else:
                setattr(message, field.name, value)
    return head.SerializeToString(), rest.SerializePartialToString()


def blob_parts(number: int, blob: Blob) -> list[Part]:
    """The parts of field `number`, a BlobProto."""
    if isinstance(blob, torch.Tensor):
        blob = blob.detach().to('cpu', torch.float32).numpy()
    data = np.asarray(blob, '<f4', order='C').reshape(-1)
    body: list[Part] = [field_head(DATA, data.nbytes), data]
    if blob.ndim:
        dims = b''.join(varint(size) for size in blob.shape)        # BlobShape.dim, packed
        shape = field_head(1, len(dims)) + dims
        body += [field_head(SHAPE, len(shape)), shape]
    return [field_head(number, sum(map(byte_count, body))), *body]


def write_parts(path: FilePath, parts: list[Part], extra: Mapping[str, Any] | None = None,
                texts: Mapping[str, str] | None = None) -> None:
    """Write parts, and the project's own data where extra is given; atomic."""
    if extra is not None:
        own = json.dumps({'extra': extra, 'texts': texts or {}}, default=np.ndarray.tolist).encode()
        parts = [*parts, field_head(PRIVATE, len(own)), own]
    total = sum(map(byte_count, parts))
    if total > LONGEST:
        raise FcnError(f'would have {total / 1e9:.2f} GB, and Caffe reads no binary file of more '
                       f'than {LONGEST / 1e9:.2f} GB', file=str(path), do='Write HDF5 instead, '
                       'which has no such limit.')
    with replacing(path) as file:
        for part in parts:
            file.write(part if isinstance(part, bytes) else part.data)


def byte_count(part: Part) -> int:
    return len(part) if isinstance(part, bytes) else part.nbytes


def field_head(number: int, length: int) -> bytes:
    """The tag and the length of a field of `length` bytes."""
    return varint(number << 3 | 2) + varint(length)


def varint(number: int) -> bytes:
    """A non-negative integer as protobuf encodes it."""
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])
