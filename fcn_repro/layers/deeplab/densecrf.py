"""DenseCRF: mean field inference of a fully connected CRF (DeepLab's densecrf_layer)."""

import math

import torch

from ... import ops
from ...errors import FcnError
from ...sizes import dims
from ..common.base import Layer
from ..common.pairwise import by_colour, by_place

SMALLEST = torch.finfo(torch.float32).tiny      # FLT_MIN, of which the logarithm is taken


class DenseCRF(Layer):
    """bottoms: scores (N, C, H, W), the size (h, w) of each image (N, 1, 1, 2), and the images
    (N, 3, H, W) if there are kernels of colour -> probabilities, or their logarithms without
    output_probability; 0 outside h and w.

    Kernels pos_w exp(-|p|^2 / 2 pos_xy_std^2) and bi_w exp(-|p|^2 / 2 bi_xy_std^2 - |I|^2 / 2
    bi_rgb_std^2), repeated fields, of the distances p and I of two pixels in place and colour;
    max_iter iterations. As in the fork: all images of a batch take the first one's colours; an
    image of at least H and W counts whole; nothing has a gradient.
    """

    type = 'DenseCRF'
    bottoms = 2, 3
    fields = 'dense_crf_param'
    dialect_fields = tuple(f'dense_crf_param.{name}' for name in (
        'max_iter', 'pos_xy_std', 'pos_w', 'bi_xy_std', 'bi_rgb_std', 'bi_w',
        'output_probability'))
    makes_tops = keeps_coordinates = True
    replayable = False                      # it runs on the CPU; the size is read from a blob

    def setup(self):
        p = self.param
        if p.max_iter < 0:
            raise self.error(f'max_iter {p.max_iter} is not at least 0', 'Fix the field.')
        for names in ('pos_w', 'pos_xy_std'), ('bi_w', 'bi_xy_std', 'bi_rgb_std'):
            counts = [len(getattr(p, name)) for name in names]
            if len(set(counts)) > 1:
                listed = ', '.join(f'{count} {name}' for count, name in
                                   zip(counts, names, strict=True))
                raise self.error(listed, 'Give one of each for every kernel.')
        for name in 'pos_xy_std', 'bi_xy_std', 'bi_rgb_std':
            for value in getattr(p, name):
                if not 0 < value < math.inf:
                    raise self.error(f'{name} {value:g} is not positive', 'Fix the field.')
        if p.bi_w and len(self.node.bottoms) < 3:
            raise self.error('bi_w is set, but there is no image', 'Give the image as third '
                             'bottom, or remove bi_w, bi_xy_std and bi_rgb_std.')
        if not p.bi_w and len(self.node.bottoms) > 2:
            raise self.error('there is an image, but no bi_w', 'Give bi_w, bi_xy_std and '
                             'bi_rgb_std, or remove the third bottom.')

    def shape(self, bottoms):
        scores, size, *image = bottoms
        if len(scores) != 4 or math.prod(size) != 2 * scores[0] or any(
                tuple(each) != (scores[0], 3, *scores[2:]) for each in image):
            raise self.error(f'bottoms of {", ".join(map(dims, bottoms))}', 'Give scores '
                             '(N, C, H, W), sizes (N, 1, 1, 2) and images (N, 3, H, W).')
        return [scores]

    def reads(self, bottom):
        return None                         # every pixel reads all others

    def scratch(self, bottoms):
        n, _, h, w = bottoms[0]
        return 6 * h * w if n else 0        # the weights of the simplices

    @torch.no_grad()
    def forward(self, bottoms, params):
        scores, sizes, *image = bottoms
        result = torch.zeros_like(scores)
        for n, (h, w) in enumerate(self.sizes(scores, sizes)):
            kernels = self.kernels(h, w, image[0][0, :, :h, :w] if image else None)
            rows = scores[n, :, :h, :w].flatten(1).T.cpu().float()
            found = ops.mean_field(rows, kernels, self.param.max_iter)
            if not self.param.output_probability:
                found = found.clamp(SMALLEST).log()
            result[n, :, :h, :w] = found.T.reshape(-1, h, w).to(result)
        return [result]

    def sizes(self, scores, sizes):
        """The part (h, w) of each image that counts."""
        whole = tuple(scores.shape[2:])
        for size in sizes.detach().reshape(-1, 2).long().tolist():
            h, w = whole if size[0] >= whole[0] and size[1] >= whole[1] else size
            if not (0 < h <= whole[0] and 0 < w <= whole[1]):
                raise self.error(f'an image of {dims(size)} in a blob of {dims(scores.shape)}',
                                 'Give the size of the image: at least 1, at most that of the '
                                 'blob, or at least that on both sides.')
            yield h, w

    def kernels(self, h, w, image):
        """The kernels of an image (3, h, w)."""
        p = self.param
        try:
            return [*(by_place(h, w, xy).weighed(weight) for weight, xy in
                      zip(p.pos_w, p.pos_xy_std, strict=True)),
                    *(by_colour(image, xy, rgb).weighed(weight) for weight, xy, rgb in
                      zip(p.bi_w, p.bi_xy_std, p.bi_rgb_std, strict=True))]
        except FcnError as error:
            raise self.placed(error) from None
