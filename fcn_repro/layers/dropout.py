"""Dropout: scaled when training, the identity when testing (Caffe's dropout_layer).

What Caffe's lacks is in fcn_repro_param. per_channel: whole channels are dropped, one draw for each
of (N, C), as in torch's dropout2d. window: the bottom is an Im2col's, and the values in the middle
of each window are kept (FickleNet's centre-preserving dropout).
"""

import math

import torch

from ..sizes import dims
from .common.exporting import number
from .common.neuron import NeuronLayer


class Dropout(NeuronLayer):
    """Any shape. The mask is a function of the net's seed, the layer's name and the number of
    forward passes so far, so that a restored run draws what an uninterrupted one would.
    """

    type = 'Dropout'
    narrow = linear = keeps_ranking = True
    position_invariant = False      # when training
    fields = 'dropout_param'
    own_fields = 'per_channel', 'window'

    @property
    def samples(self):
        """Whether values are dropped."""
        return self.train

    def setup(self):
        if not 0 <= self.param.dropout_ratio < 1:
            raise self.error(f'dropout_ratio {self.param.dropout_ratio} is not in [0, 1)',
                             'Give the share of the values that is dropped.')
        own = self.node.param.fcn_repro_param
        self.per_channel, self.window = own.per_channel, tuple(own.window)
        if self.window:
            self._check_window()

    def _check_window(self):
        sides = dims(self.window)
        if len(self.window) > 2 or any(side % 2 == 0 for side in self.window):
            raise self.error(f'window {sides}', 'Give one or two odd numbers, the kernel of the '
                             'Im2col before: only these have a middle.')
        if math.prod(self.window) == 1:
            raise self.error('a window of one place: its middle, all of it, is kept',
                             'Give a larger one, or remove the layer.')
        if self.per_channel:
            raise self.error('window with per_channel', 'Remove one of them.')

    @property
    def places(self):
        """How many places a window has."""
        return math.prod(self.window * 2 if len(self.window) == 1 else self.window)

    def shape(self, bottoms):
        if self.window and (len(bottoms[0]) != 4 or bottoms[0][1] % self.places):
            raise self.error(f'window {dims(self.window)} with a bottom of shape '
                             f'{dims(bottoms[0])}', 'Give it the top of an Im2col: '
                             f'(N, C * {self.places}, H, W).')
        if self.per_channel and len(bottoms[0]) < 2:
            raise self.error(f'per_channel with a bottom of shape {dims(bottoms[0])}',
                             'Give it (N, C, …), or remove per_channel.')
        return list(bottoms)

    def value(self, x):
        if not self.samples:
            return x.expand_as(x)      # a view of its own, strides and all
        shape = (*x.shape[:2], *[1] * (x.dim() - 2)) if self.per_channel else x.shape
        return x * self.random(lambda: torch.empty(shape, dtype=x.dtype, device=x.device),
                               self.draw)

    def draw(self, mask):
        """Fill a mask for the net's position."""
        kept = 1 - self.param.dropout_ratio
        mask.bernoulli_(kept, generator=self.draws(self.state.position, device=mask.device))
        mask.mul_(1 / kept)
        if self.window:
            mask.unflatten(1, (-1, self.places))[:, :, self.places // 2] = 1

    def torch_code(self, code):
        arguments = f'{code.bottoms[0]}, {number(self.param.dropout_ratio)}, self.training'
        if self.per_channel:
            return f'torch.feature_dropout({arguments})'
        if self.window:         # torch has none such; without training it is nothing
            return code.bottoms[0]
        return f'F.dropout({arguments})'

    def onnx_nodes(self, nodes):
        return nodes.bottoms
