"""UpCrop: a Deconvolution and the Crop behind it as one layer, made by passes.fuse_upcrop."""

from ... import ops
from ...ops.deconv import deconv_crop
from ..common.bilinear import Bilinear
from ..common.internal import InternalLayer
from ..crop import Crop
from ..deconvolution import Deconvolution


class UpCrop(InternalLayer):
    """bottoms: what is upsampled (N, C, H, W), and the blob that gives the size; top (N, C, h, w).

    Owns the Deconvolution's parameters. A weight that is one separable kernel for each channel
    (FCN's bilinear ones, dense and diagonal, or grouped), not being learned, has an op of its own;
    proven once per weight version. Any other, with a bias or without, is deconv_crop's. Blobs that
    are not images (N, C, H, W) go through the two layers as they stand.
    """

    type = 'UpCrop'
    bottoms = 2
    instead = 'Write a Deconvolution and a Crop.'

    def setup(self):
        super().setup()
        up, cut = self.node.parts
        self.up, self.cut = Deconvolution(up, self.state), Crop(cut, self.state)
        self.bilinear = Bilinear(self.up)

    def parameters(self, bottoms):
        return self.up.parameters(bottoms[:1])

    def shape(self, bottoms):
        return self.cut.shape([self.up.shape(bottoms[:1])[0], bottoms[1]])

    def forward(self, bottoms, params):
        x, reference = bottoms
        fixed = self.fixed(x.shape, reference.shape, params)
        if fixed is not None:
            return [ops.upcrop(x, *fixed)]
        whole, (channel, _, stride, pad, _) = self.up.shape([x.shape])[0], self.up.geometry(x.shape)
        if x.dim() != 4 or channel != 1:
            return self.cut.forward([*self.up.forward([x], params), reference], [])
        _, offset, size = zip(*self.cut.window(whole, reference.shape))
        weight, bias = params if len(params) > 1 else (params[0], None)
        return [deconv_crop(x, weight, bias, stride, pad, self.up.param.group, offset, size)]

    def fixed(self, bottom, reference, params):
        """What ops.upcrop takes behind x, for bottoms of these shapes; None where it cannot."""
        window = self.cut.window(self.up.shape([bottom])[0], reference)
        known = self.bilinear.arguments(bottom, params)
        if known is None or window[0][0] != 2:
            return None
        _, offset, size = zip(*window)
        return (*known, offset, size)
