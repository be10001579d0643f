"""The proof that a Deconvolution is a fixed bilinear upsampling, which has ops of its own."""

import torch

from .. import ops


class Bilinear:
    """Of one Deconvolution layer, `up`. The proof holds for one version of its weight."""

    _proven = None

    def __init__(self, up):
        self.up = up

    def arguments(self, bottom, params):
        """(taps_y, taps_x, stride, pad), as the ops take them, for a bottom of this shape; None
        where the weight is learned, or no separable kernel for each channel, or has a bias."""
        channel, _, stride, pad, dilation = self.up.geometry(bottom)
        learned = params[0].requires_grad and torch.is_grad_enabled()
        if learned or len(params) > 1 or (channel, len(bottom), max(dilation)) != (1, 4, 1):
            return None
        taps = self.taps(params[0])
        return taps and (*taps, stride, pad)

    def taps(self, weight):
        """The weight's [taps_y, taps_x], or None."""
        counted = not weight.is_inference()         # torch counts no versions of such tensors
        key = counted and (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if not counted or self._proven is None or self._proven[0] != key:
            with torch.inference_mode(False):       # so that training can use them later
                taps = ops.recognise_bilinear(weight.detach(), self.up.param.group)
                if taps is not None:
                    taps = [t.to(weight.device, ops.tap_dtype(weight.dtype)) for t in taps]
            self._proven = key, taps
        return self._proven[1]
