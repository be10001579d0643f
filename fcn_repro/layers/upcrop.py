"""UpCrop: a Deconvolution and the Crop behind it as one layer, made by passes.fuse_upcrop."""

import torch

from .. import ops
from ..deconv import deconv_crop
from .base import Layer
from .crop import Crop
from .deconvolution import Deconvolution


class UpCrop(Layer):
    """bottoms: what is upsampled (N, C, H, W), and the blob that gives the size; top (N, C, h, w).

    Owns the Deconvolution's parameters. A weight that is one separable kernel for each channel
    (FCN's bilinear ones, dense and diagonal, or grouped), not being learned, has an op of its own;
    proven once per weight version. Any other, with a bias or without, is deconv_crop's. Blobs that
    are not images (N, C, H, W) go through the two layers as they stand.
    """

    type = 'UpCrop'
    bottoms = 2
    _proven = None

    def setup(self):
        if not self.node.parts:
            raise self.error('this type is made by a pass, not written in a text',
                             'Write a Deconvolution and a Crop.')
        up, cut = self.node.parts
        self.up, self.cut = Deconvolution(up, self.state), Crop(cut, self.state)

    def parameters(self, bottoms):
        return self.up.parameters(bottoms[:1])

    def shape(self, bottoms):
        return self.cut.shape([self.up.shape(bottoms[:1])[0], bottoms[1]])

    def forward(self, bottoms, params):
        x, reference = bottoms
        whole = self.up.shape([x.shape])[0]
        window = self.cut.window(whole, reference.shape)
        channel, _, stride, pad, _ = self.up.geometry(x.shape)
        if x.dim() != 4 or channel != 1:
            return self.cut.forward([*self.up.forward([x], params), reference], [])
        offset, size = zip(*[cut[1:] for cut in window])
        learned = params[0].requires_grad and torch.is_grad_enabled()
        taps = None if learned or len(params) > 1 else self.taps(params[0])
        if taps is not None:
            return [ops.upcrop(x, *taps, stride, pad, offset, size)]
        weight, bias = params if len(params) > 1 else (params[0], None)
        return [deconv_crop(x, weight, bias, stride, pad, self.up.param.group, offset, size)]

    def taps(self, weight):
        """The weight's (taps_y, taps_x) for ops.upcrop, or None."""
        counted = not weight.is_inference()         # torch counts no versions of such tensors
        key = counted and (weight.data_ptr(), weight._version, weight.dtype, weight.device)
        if not counted or self._proven is None or self._proven[0] != key:
            with torch.inference_mode(False):       # so that training can use them later
                taps = ops.recognise_bilinear(weight.detach(), self.up.param.group)
                if taps is not None:
                    taps = [t.to(weight.device, ops.tap_dtype(weight.dtype)) for t in taps]
            self._proven = key, taps
        return self._proven[1]
