"""AdaptiveBiasChannel: constants that make present labels win a share of an image (DeepLab's
adaptive_bias_channel_layer)."""

import torch

from ...sizes import dims
from ..common.base import Layer


class AdaptiveBiasChannel(Layer):
    """bottoms: scores (N, C, H, W), C > 1, and the labels of each image (N, L, 1, 1), -1 for none
    -> scores.

    With suppress_others an absent label's score that is above the least one of the present labels
    becomes that less margin_others. Then, num_iter times, each present label's channel is raised by
    the n-th smallest distance to the maximum over present labels, n being bg_portion (label 0) or
    fg_portion of the pixels: so many pixels get that label. At last all channels are lowered alike,
    to the mean maximum from before. An image without labels stays as it is.

    The order of the labels in an iteration is random but for label 0, which is the first: a
    function of the net's seed, the layer's name and the number of forward passes. No bottom gets a
    gradient, as in the fork.
    """

    type = 'AdaptiveBiasChannel'
    bottoms = 2
    fields = 'adaptive_bias_channel_param'
    dialect_fields = tuple(f'adaptive_bias_channel_param.{name}' for name in (
        'num_iter', 'bg_portion', 'fg_portion', 'suppress_others', 'margin_others'))
    makes_tops = keeps_coordinates = True
    replayable = False

    def setup(self):
        p = self.param
        if p.num_iter < 1:
            raise self.error(f'num_iter {p.num_iter} is not positive', 'Fix the field.')
        if not p.margin_others >= 0:
            raise self.error(f'margin_others {p.margin_others:g} is not at least 0',
                             'Fix the field.')
        for name in 'bg_portion', 'fg_portion':
            if not 0 <= getattr(p, name) < 1:
                raise self.error(f'{name} {getattr(p, name):g} is not at least 0 and below 1',
                                 'Give the share of the pixels.')

    def shape(self, bottoms):
        scores, labels = bottoms
        if len(scores) != 4 or scores[1] < 2:
            raise self.error(f'scores of shape {dims(scores)}', 'Give (N, C, H, W) with C > 1.')
        if len(labels) != 4 or labels[0] != scores[0] or not labels[1] or labels[2:] != (1, 1):
            raise self.error(f'labels of {dims(labels)} for scores of {dims(scores)}',
                             'Give the labels of each image as (N, L, 1, 1).')
        return [scores]

    def forward(self, bottoms, params):
        top = bottoms[0].detach().clone()
        for n, image in enumerate(top):
            labels = bottoms[1][n].detach().long().flatten()
            wrong = labels[(labels < -1) | (labels >= len(image))]
            if wrong.numel():
                raise self.error(f'{wrong.numel()} labels outside 0 … {len(image) - 1}, such as '
                                 f'{wrong[0].item()}', 'Fix the labels; -1 is none.')
            present = sorted(labels[labels >= 0].tolist())
            if present:
                self.raise_labels(image.flatten(1), present, n)
        return [WithoutGradient.apply(bottoms[0], top)]

    def raise_labels(self, scores, labels, n):
        """Change the scores (C, H W) of image n, in place, for the labels that it has."""
        p, pixels = self.param, scores.shape[1]
        if p.suppress_others:
            least = scores[labels].amin(0)
            absent = [c for c in range(len(scores)) if c not in labels]
            others = scores[absent]
            scores[absent] = torch.where(others > least, least - p.margin_others, others)
        most = scores[labels].amax(0)
        before, first = most.double().mean(), int(0 in labels)
        for t in range(p.num_iter):
            order = torch.randperm(len(labels) - first, generator=self.draws(
                self.state.position, n, t)).tolist()
            labels[first:] = [labels[first + i] for i in order]
            for label in labels:
                share = p.fg_portion if label else p.bg_portion
                nth = min(int(torch.tensor(share) * pixels), pixels - 1)
                scores[label] += (most - scores[label]).sort().values[nth]
                most = torch.maximum(most, scores[label])
        scores += (before - most.double().mean()).to(scores.dtype)


class WithoutGradient(torch.autograd.Function):
    """The second argument, whose gradient to the first is 0."""

    @staticmethod
    def forward(ctx, x, top):
        return top.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad), None
