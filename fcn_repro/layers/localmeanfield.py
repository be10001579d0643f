"""LocalMeanField: mean field inference of a CRF whose pixels see a window, ConvCRF (Teichmann and
Cipolla 2018; GaussCRF of MarvinTeichmann/ConvCRF at 0930637), a type that no Caffe has.

Its fields are of fcn_repro_param, their defaults the authors' default_conf: kernel (weight, place,
colour), radius 5 (filter_size 11), blur 4, iterations 5, message_weight 0.2, align_corners.
"""

import math

import torch
import torch.nn.functional as F

from .. import ops
from ..sizes import dims
from .common.base import Layer, constant
from .common.coordinates import Reach
from .common.windows import check_maps, read_kernels, read_radius

DEFAULT = [ops.WindowKernel(3, place=3), ops.WindowKernel(10, colour=13)]


class LocalMeanField(Layer):
    """bottoms: scores x (N, C, H, W), images (N, F, H, W) -> scores q after `iterations` of
    q = (1 - w) u + w m(softmax(q)), where u = log softmax(x).

    m sums, at each pixel, over its window (2 radius + 1 pixels a side, itself included) with the
    sum of the kernels, weight * exp(-|p_i - p_j|² / (2 place²) - |I_i - I_j|² / (2 colour²)). As
    in the authors' code the first iteration passes u itself to m, and no softmax follows the last.
    blur: m is computed on the means of blur x blur pixels, places and colours too, and resized
    bilinearly, by align_corners (default true). Parameter: w, one for each class (C,), first
    message_weight. The image has no gradient.
    """

    type = 'LocalMeanField'
    bottoms = 2
    own_fields = 'kernel', 'radius', 'blur', 'iterations', 'message_weight', 'align_corners'
    makes_tops = keeps_coordinates = True

    @classmethod
    def learns(cls, param):
        return 1

    def setup(self):
        own = self.node.param.fcn_repro_param
        self.kernels, self.radius = read_kernels(self, own) or DEFAULT, read_radius(self, own)
        self.blur, self.iterations = own.blur, own.iterations
        self.message_weight, self.aligned = own.message_weight, own.align_corners
        if not 1 <= self.blur <= 2 ** 15:
            raise self.error(f'blur {self.blur}', 'Give 1, which leaves it out, to 32768.')
        if self.iterations < 1:
            raise self.error('iterations 0', 'Give at least 1, or remove the layer.')
        if not math.isfinite(self.message_weight):
            raise self.error(f'message_weight {self.message_weight:g} is not finite', 'Fix it.')

    def parameters(self, bottoms):
        return [((self.shape(bottoms)[0][1],), constant(self.message_weight))]

    def shape(self, bottoms):
        check_maps(self, bottoms)
        scores, image = bottoms
        if scores[2:] != image[2:]:
            raise self.error(f'scores of {dims(scores)}, images of {dims(image)}',
                             'Their heights and widths must agree: resize one by an Interp.')
        return [scores]

    def reach(self, bottom):
        if self.blur > 1 or len(bottom) != 4:
            return None                     # means of which pixels depends on the image's size
        far = self.radius * self.iterations
        return (Reach(low=-far, high=far),) * 2

    def reads(self, bottom):
        return super().reads(bottom) if self.blur == 1 else None

    def scratch(self, bottoms):
        return math.prod(bottoms[0])        # u

    def forward(self, bottoms, params):
        scores, image = bottoms
        return [local_mean_field(scores, image.detach(), params[0], self.kernels, self.radius,
                                 self.blur, self.iterations, self.aligned, ops.window_filter)]

    def torch_code(self, code):
        (scores, image), weight = code.bottoms, code.parameter()
        kernels = ', '.join(f'({", ".join(map(exported, kernel))})' for kernel in self.kernels)
        return f'{code.helper(local_mean_field)}({scores}, {image}, {weight}, [{kernels}], ' \
               f'{self.radius}, {self.blur}, {self.iterations}, {self.aligned}, ' \
               f'{code.helper(ops.window_filter_ref)})'


def exported(value):
    return repr(value) if math.isfinite(value) else "float('inf')"


def local_mean_field(scores, image, weight, kernels, radius, blur, iterations, aligned,
                     window_filter):
    """LocalMeanField of scores and images; window_filter: the sums in windows."""
    height, width = scores.shape[2:]
    pad = [(-n % blur + 1) // 2 for n in (height, width)]
    rows, columns = (torch.arange(n, dtype=scores.dtype, device=scores.device)
                     for n in (height, width))

    def coarse(x):
        return F.avg_pool2d(x, blur, padding=pad, count_include_pad=False)

    if blur > 1:
        image = coarse(image)
        rows, columns = (F.avg_pool1d(places[None], blur, padding=first, count_include_pad=False)[0]
                         for places, first in ((rows, pad[0]), (columns, pad[1])))

    def message(q):
        if blur == 1:
            return window_filter(q, image, kernels, radius, True, (rows, columns))
        found = window_filter(coarse(q), image, kernels, radius, True, (rows, columns))
        found = F.interpolate(found, [n * blur for n in found.shape[2:]], mode='bilinear',
                              align_corners=aligned)
        return found[:, :, pad[0]:pad[0] + height, pad[1]:pad[1] + width]

    unary, weight = torch.log_softmax(scores, 1), weight[:, None, None]
    q = unary
    for i in range(iterations):
        q = (1 - weight) * unary + weight * message(torch.softmax(q, 1) if i else q)
    return q
