"""UpCropLabels: the LabelMap of an UpCrop's top, made by passes.fuse_score."""

from ... import ops
from .labelmap import index_type
from .upcrop import UpCrop


class UpCropLabels(UpCrop):
    """Bottoms as UpCrop's -> the label map (N, h, w). If the upsampling is bilinear and fixed,
    scores are never stored."""

    type = 'UpCropLabels'
    makes_tops = False       # of bytes

    def shape(self, bottoms):
        n, _, *size = super().shape(bottoms)[0]
        return [(n, *size)]

    def forward(self, bottoms, params):
        x, reference = bottoms
        fixed = self.fixed(x.shape, reference.shape, params)
        if fixed is None:
            scores, = super().forward(bottoms, params)
            return [scores.argmax(1).to(index_type(scores.shape[1]))]
        return [ops.upcrop_argmax(x, *fixed, index_type(x.shape[1]))]
