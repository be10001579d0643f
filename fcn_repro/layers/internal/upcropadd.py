"""UpCropAdd: the skip of FCN-16s and FCN-8s, made by passes.fuse_skip."""

from ... import ops
from ...sizes import dims
from ..common.bilinear import Bilinear
from ..common.internal import InternalLayer
from ..crop import Crop
from ..deconvolution import Deconvolution
from ..eltwise import Eltwise


class UpCropAdd(InternalLayer):
    """bottoms: coarse scores (N, C, H, W) and finer ones (N, C, h, w) -> the sum of the coarse,
    upsampled, and the finer, cropped to that size.

    Owns the Deconvolution's parameters. A fixed bilinear upsampling takes one fused op; otherwise
    the three layers run in turn.
    """

    type = 'UpCropAdd'
    makes_tops = True
    bottoms = 2
    instead = 'Write a Deconvolution, a Crop and an Eltwise.'

    def setup(self):
        super().setup()
        up, cut, add = self.node.parts
        self.up, self.cut = Deconvolution(up, self.state), Crop(cut, self.state)
        self.add, self.bilinear = Eltwise(add, self.state), Bilinear(self.up)

    def parameters(self, bottoms):
        return self.up.parameters(bottoms[:1])

    def shape(self, bottoms):
        coarse, fine = bottoms
        whole, = self.up.shape([coarse])
        return self.add.shape([whole, *self.cut.shape([fine, whole])])

    def forward(self, bottoms, params):
        coarse, fine = bottoms
        whole, = self.up.shape([coarse.shape])
        window = self.cut.window(fine.shape, whole)
        known = self.bilinear.arguments(coarse.shape, params)
        if known is None or window[0][0] != 2:
            up, = self.up.forward([coarse], params)
            return self.add.forward([up, *self.cut.forward([fine, up], [])], [])
        if whole[:2] != fine.shape[:2]:
            raise self.error(f'{dims(whole)} and {dims(fine.shape)}', 'Their channels must agree.')
        _, offset, size = zip(*window, strict=True)
        return [ops.upcrop_add(coarse, *known, (0, 0), size, fine, offset)]
