"""Recognises a Deconvolution that is a fixed bilinear upsampling, which has faster ops."""

import torch

from ... import ops
from ...ops.cache import TensorCache


class Bilinear:
    """The taps of one Deconvolution layer, `up`, cached until its weight changes."""

    def __init__(self, up):
        self.up, self.proven = up, TensorCache()

    def arguments(self, bottom, params):
        """(taps_y, taps_x, stride, pad), as the ops take them, for a bottom of this shape; None
        if the weight is being learned, is not one separable kernel per channel, or has a bias."""
        channel, _, stride, pad, dilation = self.up.geometry(bottom)
        learned = params[0].requires_grad and torch.is_grad_enabled()
        if learned or len(params) > 1 or (channel, len(bottom), max(dilation)) != (1, 4, 1):
            return None
        taps = self.proven.get(params[0], self.taps)
        return taps and (*taps, stride, pad)

    def taps(self, weight):
        """The weight's [taps_y, taps_x], or None."""
        taps = ops.recognise_bilinear(weight, self.up.param.group)
        return taps and [t.to(weight.device, ops.tap_dtype(weight.dtype)) for t in taps]
