"""Writing a net as a binary caffemodel (Net::ToProto of BVLC Caffe)."""

import numpy as np

from ..files import write_bytes
from ..proto import BlobProto, LayerParameter, NetParameter

LAYER, BLOBS, DATA = 100, 7, 5         # fields of NetParameter, LayerParameter and BlobProto


def write_caffemodel(net, path):
    """Every layer with its own parameters; shared ones are written under each of their layers."""
    parts = [NetParameter(name=net.graph.name).SerializeToString()]
    for node in net.graph.nodes:
        layer = LayerParameter()
        layer.CopyFrom(node.param)
        layer.phase = net.graph.phase if not layer.HasField('phase') else layer.phase
        body = layer.SerializeToString()
        for blob in net.params.get(node.name, ()):
            body += sized(BLOBS, blob_bytes(blob.data.cpu().numpy()))
        parts.append(sized(LAYER, body))
    write_bytes(b''.join(parts), path)


def blob_bytes(array):
    """A BlobProto: the packed numbers are written as they lie in memory, never as a list."""
    blob = BlobProto()
    blob.shape.dim.extend(array.shape)
    return blob.SerializeToString() + sized(DATA, np.ascontiguousarray(array, '<f4').tobytes())


def sized(number, raw):
    """A field of the wire format that says its length."""
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def varint(number):
    out = bytearray()
    while number > 0x7f:
        out.append(number & 0x7f | 0x80)
        number >>= 7
    return bytes([*out, number])
