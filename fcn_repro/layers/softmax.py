"""Softmax over an axis (Caffe's softmax_layer)."""

import torch

from .common.base import Layer


class Softmax(Layer):
    """Any shape; probabilities along `axis` (default 1)."""

    type = 'Softmax'
    in_place = keeps_ranking = True
    fields = 'softmax_param'
    ignored = ('engine',)

    @property
    def local(self):
        """Along the channels it moves nothing."""
        return self.param.axis in (1, -3)

    def shape(self, bottoms):
        self.axis(self.param.axis, bottoms[0])
        return list(bottoms)

    def forward(self, bottoms, params):
        return [torch.softmax(bottoms[0], self.axis(self.param.axis, bottoms[0].shape))]

    def torch_code(self, code):
        return f'{code.bottoms[0]}.softmax({self.axis(self.param.axis, code.dims[0])})'

    def onnx_nodes(self, nodes):
        return [nodes.op('Softmax', *nodes.bottoms,
                         axis=self.axis(self.param.axis, nodes.dims[0]))]
