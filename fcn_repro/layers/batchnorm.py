"""BatchNorm: channels of mean 0 and variance 1, without scale and bias (batch_norm_layer)."""

import torch

from ..sizes import dims
from .common.base import Layer, constant


class BatchNorm(Layer):
    """(N, C, …) -> (x - mean) / sqrt(var + eps), per channel.

    Parameters: running sums of the mean (C,), of the variance (C,), and their factor (1,): a
    statistic is its sum divided by the factor (factor 0: 0). TEST, or use_global_stats: true,
    takes those; TRAIN, or false, those of the batch, and each such forward pass writes
    sum = fraction sum + statistic, factor = fraction factor + 1; the variance that is summed is
    the one over m - 1. Backward never reaches the parameters; their lr_mult is 0.
    """

    type = 'BatchNorm'
    keeps_coordinates = True
    in_place = True
    fields = 'batch_norm_param'

    def setup(self):
        p = self.param
        self.stored = p.use_global_stats if p.HasField('use_global_stats') else not self.train
        specs = self.node.param.param
        for i, spec in enumerate(specs):
            if spec.lr_mult:
                raise self.error(f'lr_mult {spec.lr_mult:g} of parameter {i}, a running statistic',
                                 'Set lr_mult: 0; to learn a scale and a bias add a Scale layer.')
        while len(specs) < 3:               # as Caffe does, in the layer's own message
            specs.add(lr_mult=0)

    def parameters(self, bottoms):
        channels = self.shape(bottoms)[0][1]
        return [((channels,), constant()), ((channels,), constant()), ((1,), constant())]

    def shape(self, bottoms):
        if len(bottoms[0]) < 2:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}',
                             'BatchNorm takes (N, C, …).')
        return list(bottoms)

    def forward(self, bottoms, params):
        x = bottoms[0]
        if self.stored:
            mean, variance = self.statistics(params)
        else:
            axes = [i for i in range(x.dim()) if i != 1]
            variance, mean = torch.var_mean(x, axes, correction=0)
            count = x.numel() // x.shape[1]
            unbiased = variance * (count / (count - 1) if count > 1 else 1)
            self.add(params, mean, unbiased)
        wide = (1, -1, *[1] * (x.dim() - 2))
        return [(x - mean.view(wide)) / (variance + self.param.eps).sqrt().view(wide)]

    @staticmethod
    def statistics(params):
        """The mean and the variance (C,) that the parameters hold."""
        mean, variance, factor = (param.detach() for param in params)
        scale = torch.where(factor == 0, 0, 1 / factor)
        return mean * scale, variance * scale

    def add(self, params, mean, unbiased):
        """Add a batch's mean and unbiased variance (C,) to the running ones."""
        values = mean.detach(), unbiased.detach()
        if self.state.postponed is None:
            self.write(params, values)
        else:
            self.state.postponed.append((self.state.position, self.node.key, values))

    @torch.no_grad()
    def write(self, params, values):
        for param, value in zip(params, (*values, 1), strict=True):
            param.mul_(self.param.moving_average_fraction).add_(value)
