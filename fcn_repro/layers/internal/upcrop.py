"""UpCrop: a Deconvolution and the Crop after it as one layer, made by passes.fuse_upcrop."""

from ... import ops
from ...ops.deconv import deconv_crop
from ..common.bilinear import Bilinear
from ..common.internal import InternalLayer
from ..crop import Crop
from ..deconvolution import Deconvolution


class UpCrop(InternalLayer):
    """bottoms: the blob to upsample (N, C, H, W), and the one that gives the size -> (N, C, h, w).

    Owns the Deconvolution's parameters. A weight that is one separable kernel for each channel
    (FCN's bilinear ones, dense and diagonal, or grouped) and is not being learned goes to
    ops.upcrop; that is proven once per weight version. Any other goes to deconv_crop. Blobs that
    are not images (N, C, H, W) run through the two layers in turn.
    """

    type = 'UpCrop'
    makes_tops = True
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
        _, offset, size = zip(*self.cut.window(whole, reference.shape), strict=True)
        weight, bias = params if len(params) > 1 else (params[0], None)
        return [deconv_crop(x, weight, bias, stride, pad, self.up.param.group, offset, size)]

    def fixed(self, bottom, reference, params):
        """Arguments of ops.upcrop after x, for bottoms of these shapes; None if it cannot serve."""
        window = self.cut.window(self.up.shape([bottom])[0], reference)
        known = self.bilinear.arguments(bottom, params)
        if known is None or window[0][0] != 2:
            return None
        _, offset, size = zip(*window, strict=True)
        return (*known, offset, size)
