"""MultiStageMeanfield: mean field inference with learned weights, CRF as RNN (Zheng et al. 2015;
multi_stage_meanfield of torrvision/caffe), as its branch master computes it."""

import math

import numpy as np
import torch

from ...errors import FcnError
from ...files import read_regular
from ...fillers import Given
from ...sizes import dims
from ..common.base import Layer
from ..common.pairwise import by_colour, by_place


class MultiStageMeanfield(Layer):
    """bottoms: unary u (N, C, H, W), the first scores q (N, C, H, W), images (N, 3, H, W) -> q
    after num_iterations of q = u - M (S k_s(p) + B k_b(p)), where p = softmax(q).

    k_s filters by place with deviation theta_gamma, k_b by place with theta_alpha and by colour
    with theta_beta, each normalised at every pixel. Parameters (1, 1, C, C): S and B, the weights
    of the two kernels, and M, the compatibility, at first -1 on the diagonal. The image has no
    gradient.

    S and B begin with the numbers in spatial.par and bilateral.par, one for each class, as master
    leaves them in a net of float32: it reads float64 into that memory, so that the two halves of
    each number stand as float32 on the diagonal and right of it (3 becomes 0 and 2.125).
    """

    type = 'MultiStageMeanfield'
    bottoms = 3
    fields = 'multi_stage_meanfield_param'
    dialect_fields = tuple(f'multi_stage_meanfield_param.{name}' for name in (
        'compatibility_mode', 'threshold', 'theta_alpha', 'theta_beta', 'theta_gamma',
        'num_iterations', 'spatial_filter_weight', 'bilateral_filter_weight',
        'forced_spatial_filter_weight', 'forced_bilateral_filter_weight'))
    ignored = ('compatibility_mode', 'threshold', 'spatial_filter_weight',
               'bilateral_filter_weight', 'forced_spatial_filter_weight',
               'forced_bilateral_filter_weight')         # read nowhere in the fork either
    makes_tops = keeps_coordinates = True
    replayable = False                      # lattices are made on the CPU

    def setup(self):
        p = self.param
        for name in 'theta_alpha', 'theta_beta', 'theta_gamma':
            if not 0 < getattr(p, name) < math.inf:
                raise self.error(f'{name} {getattr(p, name):g} is not positive', 'Fix the field.')
        if p.num_iterations < 2:
            raise self.error(f'num_iterations {p.num_iterations} is not at least 2',
                             'Fix the field.')

    def parameters(self, bottoms):
        classes = self.shape(bottoms)[0][1]
        shape = (1, 1, classes, classes)
        return [(shape, Given(lambda: self.weights('spatial', classes))),
                (shape, Given(lambda: self.weights('bilateral', classes))),
                (shape, Given(lambda: -torch.eye(classes)[None, None]))]

    def weights(self, kernel, classes):
        """The first weights (1, 1, C, C) of a kernel."""
        name = f'{kernel}.par'
        try:
            path = self.state.search.find(name, 'file of weights', name)
        except FcnError as error:
            raise self.error(error.what, f'Make {name} where the command runs, or beside the net: '
                             f'one number for each of the {classes} classes.') from None
        text = read_regular(path, 'a file of weights').decode('utf-8', errors='replace')
        numbers = np.array(self.numbers(text, classes, str(path)), np.float64)
        memory = np.zeros(classes * classes + 1, np.float32)
        for i, halves in enumerate(numbers.view(np.float32).reshape(-1, 2)):
            memory[i * (classes + 1):][:2] = halves
        return torch.from_numpy(memory[:-1]).reshape(1, 1, classes, classes)

    def numbers(self, text, classes, place):
        """The first of the numbers in a text, one for each class."""
        words = text.split()[:classes]
        try:
            found = [float(word) for word in words]
        except ValueError:
            found = []
        if len(found) < classes or not all(map(math.isfinite, found)):
            raise self.error(f'{place} has not one finite number for each of {classes} classes',
                             f'Give {classes} numbers with spaces between them.')
        return found

    def shape(self, bottoms):
        unary, first, image = bottoms
        if len(unary) != 4 or tuple(first) != tuple(unary) or \
                tuple(image) != (unary[0], 3, *unary[2:]):
            raise self.error(f'bottoms of {", ".join(map(dims, bottoms))}',
                             'Give (N, C, H, W) twice, and images (N, 3, H, W).')
        return [unary]

    def reads(self, bottom):
        return None                         # every pixel reads all others

    def scratch(self, bottoms):
        return 4 * self.param.num_iterations * math.prod(bottoms[0])    # all steps, for backward

    def forward(self, bottoms, params):
        unary, first, image = bottoms
        kernels = self.kernels(image)
        tops = [self.inference(unary[n], first[n], kernel, params)
                for n, kernel in enumerate(kernels)]
        return [torch.stack(tops) if tops else unary.clone()]

    def kernels(self, images):
        """What filters the probabilities (n, C) of each image: functions to the two results."""
        spatial, bilateral = self.pairwise(images)

        def of(colours):
            return lambda p: (spatial.filter(p), colours.filter(p))
        return [of(each) for each in bilateral]

    def pairwise(self, images):
        """The kernel of place, and the kernel of colour of each image."""
        p = self.param
        try:
            return by_place(*images.shape[2:], p.theta_gamma), \
                [by_colour(image, p.theta_alpha, p.theta_beta) for image in images]
        except FcnError as error:
            raise self.placed(error) from None

    def inference(self, unary, first, kernel, params):
        """The result (C, H, W) of one image."""
        rows, q = (blob.flatten(1).T.cpu() for blob in (unary, first))
        spatial, bilateral, compatibility = (blob[0, 0].T.cpu() for blob in params)
        for _ in range(self.param.num_iterations):
            near, like = kernel(torch.softmax(q, 1))
            q = rows - (near @ spatial + like @ bilateral) @ compatibility
        return q.T.reshape(unary.shape).to(unary.device)


class OneImageMeanfield(MultiStageMeanfield):
    """As master's, by branch crfrnn: S and B begin with the numbers of spatial_filter_weights_str
    and bilateral_filter_weights_str on their diagonals.

    It does not handle batches, and this does as it does. The first image is filtered by the colours
    of the last and normalised by its own; the gradient sums the adjoint filters over all images.
    All other images pass u through.
    """

    dialect_fields = tuple(f'multi_stage_meanfield_param.{name}' for name in (
        'compatibility_mode', 'threshold', 'theta_alpha', 'theta_beta', 'theta_gamma',
        'num_iterations', 'spatial_filter_weights_str', 'bilateral_filter_weights_str',
        'force_cpu'))
    ignored = ('compatibility_mode', 'threshold', 'force_cpu')

    def weights(self, kernel, classes):
        field = f'{kernel}_filter_weights_str'
        numbers = self.numbers(getattr(self.param, field), classes, field)
        return torch.diag(torch.tensor(numbers, dtype=torch.float32))[None, None]

    def kernels(self, images):
        spatial, bilateral = self.pairwise(images)
        return [lambda p: Batch.apply(p, spatial, bilateral)][:len(images)]

    def forward(self, bottoms, params):
        (top,), unary = super().forward(bottoms, params), bottoms[0]
        return [torch.cat([top, unary[1:]])]


class Batch(torch.autograd.Function):
    """The first image's probabilities (n, C) filtered by place and by the last image's colours,
    with the gradient that the branch crfrnn computes."""

    @staticmethod
    def forward(ctx, p, spatial, bilateral):
        ctx.spatial, ctx.bilateral = spatial, bilateral
        like = bilateral[-1]._replace(norm=bilateral[0].norm)
        return spatial.filter(p), like.filter(p)

    @staticmethod
    def backward(ctx, near, like):
        near = ctx.spatial.adjoint(near)
        norm = ctx.bilateral[0].norm
        return sum(near + each._replace(norm=norm).adjoint(like) for each in ctx.bilateral), \
            None, None
