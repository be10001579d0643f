"""GatedCRFLoss: the Gated CRF loss for weakly supervised segmentation (Obukhov et al. 2019;
LEONOB2014/GatedCRFLoss at 9b57667), a type that no Caffe has.

Its fields are of fcn_repro_param: kernel (weight, place, colour), which has no default, and
radius 5. The authors' kernel is { place: 6 colour: 5.8 } for images in grey levels.
"""

import torch
import torch.nn.functional as F

from .. import ops
from ..sizes import dims
from .common.base import Layer
from .common.windows import check_maps, read_kernels, read_radius


class GatedCRFLoss(Layer):
    """bottoms: probabilities p (N, C, H, W), images (N, F, h, w), perhaps a mask (N, 1, h', w')
    -> sum over pixels i and j of m_j k_ij (1 - sum over classes of p_i p_j) / D, a scalar.

    k: the sum of the kernels, weight * exp(-|i - j|² / (2 place²) - |I_i - I_j|² / (2 colour²)),
    for pixels at most `radius` rows and columns apart, 0 for i = j and beyond. Images and masks may
    be larger than p: they are averaged by area. m: the mask, where it is at least 1, as in the
    authors' code; what is below, or NaN, is 0. D: the sum of m, at least 1; N H W without a mask.
    p alone has a gradient.

    The authors' sum also has, as a constant, the kernels between pixels at the edge and zeros
    beyond it.
    """

    type = 'GatedCRFLoss'
    bottoms = (2, 3)
    loss = unsupervised = True
    auto_tops = 1
    own_fields = 'kernel', 'radius'

    def setup(self):
        own = self.node.param.fcn_repro_param
        self.kernels, self.radius = read_kernels(self, own), read_radius(self, own)
        if not self.kernels:
            raise self.error('no kernel', 'Give one in fcn_repro_param, such as kernel { place: 6 '
                             'colour: 5.8 } for an image in grey levels.')

    def shape(self, bottoms):
        check_maps(self, bottoms)
        p, *others = bottoms
        if p[2] * p[3] == 1:
            raise self.error(f'probabilities of {dims(p)} have one pixel, and no pairs',
                             'Give a larger map, or remove the layer.')
        for name, shape in zip(('images', 'a mask'), others, strict=False):
            if shape[2] < p[2] or shape[3] < p[3]:
                raise self.error(f'{name} of {dims(shape)} for probabilities of {dims(p)}',
                                 'It must be as large or larger.')
        if len(others) > 1 and others[1][1] != 1:
            raise self.error(f'a mask of {dims(others[1])}', 'Give one channel.')
        return [()]

    def forward(self, bottoms, params):
        p, *others = bottoms
        image, *masks = (F.adaptive_avg_pool2d(x.detach(), p.shape[2:]) for x in others)
        mask = torch.where(masks[0] >= 1, masks[0], 0) if masks else torch.ones_like(p[:, :1])
        sums = ops.window_filter(torch.cat([mask * p, mask], 1), image, self.kernels, self.radius,
                                 centre=False)
        lost = sums[:, -1] - (p * sums[:, :-1]).sum(1)
        return [(lost.sum(dtype=torch.float64) / mask.sum(dtype=torch.float64).clamp(min=1))
                .to(p.dtype)]
