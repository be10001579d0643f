"""Silence: consumes blobs, so that they are not outputs of the net (Caffe's silence_layer)."""

from .common.base import ANY, Layer


class Silence(Layer):
    """bottoms of any shape, no top; their gradient is zero."""

    type = 'Silence'
    narrow = True
    bottoms = (1, ANY)
    tops = 0

    def shape(self, bottoms):
        return []

    def forward(self, bottoms, params):
        return []

    def torch_code(self, code):
        return None

    def onnx_nodes(self, nodes):
        return []
