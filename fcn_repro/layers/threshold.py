"""Threshold: 1 above a threshold, else 0 (Caffe's threshold_layer)."""

from .base import Layer


class Threshold(Layer):
    """Any shape; no gradient."""

    type = 'Threshold'
    fields = 'threshold_param'

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x = bottoms[0].detach()
        return [(x > self.param.threshold).to(x.dtype)]
