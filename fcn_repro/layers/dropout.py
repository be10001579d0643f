"""Dropout: scaled when training, the identity when testing (Caffe's dropout_layer)."""

import torch

from .common.exporting import number
from .common.neuron import NeuronLayer


class Dropout(NeuronLayer):
    """Any shape. The mask is a function of the net's seed, the layer's name and the number of
    forward passes so far, so that a restored run draws what an uninterrupted one would.

    fcn_repro_param.spatial: one draw for each map of an image, the first two axes, instead of for
    each value; Caffe has no such field.
    """

    type = 'Dropout'
    narrow = linear = keeps_ranking = True
    position_invariant = False      # when training
    fields = 'dropout_param'
    further_messages = ('fcn_repro_param',)
    own_fields = ('spatial',)

    @property
    def samples(self):
        """Whether values are dropped."""
        return self.train

    def setup(self):
        if not 0 <= self.param.dropout_ratio < 1:
            raise self.error(f'dropout_ratio {self.param.dropout_ratio} is not in [0, 1)',
                             'Give the share of the values that is dropped.')
        self.spatial = self.node.param.fcn_repro_param.spatial

    def value(self, x):
        if not self.samples:
            return x.expand_as(x)      # a view of its own, strides and all
        shape = (*x.shape[:2], *[1] * (x.dim() - 2)) if self.spatial else x.shape
        return x * self.random(lambda: torch.empty(shape, dtype=x.dtype, device=x.device),
                               self.draw)

    def draw(self, mask):
        """Fill a mask for the net's position."""
        kept = 1 - self.param.dropout_ratio
        mask.bernoulli_(kept, generator=self.draws(self.state.position, device=mask.device))
        mask.mul_(1 / kept)

    def torch_code(self, code):
        return f'F.dropout({code.bottoms[0]}, {number(self.param.dropout_ratio)}, self.training)'

    def onnx_nodes(self, nodes):
        return nodes.bottoms
