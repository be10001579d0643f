"""EuclideanLoss: half the mean squared distance (Caffe's euclidean_loss_layer)."""

import math

from ..sizes import dims
from .common.base import Layer
from .common.losses import same_first


class EuclideanLoss(Layer):
    """bottoms a, b of equally many values -> sum (a - b)² / (2 N), N the first axis of a."""

    type = 'EuclideanLoss'
    bottoms = 2
    loss = True

    def shape(self, bottoms):
        same_first(self, bottoms)
        a, b = bottoms
        if math.prod(a) != math.prod(b):
            raise self.error(f'bottoms of {dims(a)} and {dims(b)}', 'They must agree.')
        return [()]

    def forward(self, bottoms, params):
        a, b = bottoms
        return [(a - b.reshape(a.shape)).square().sum() / (2 * a.shape[0])]
