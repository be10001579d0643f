"""BatchNorm: channels of mean 0 and variance 1, without scale and bias (batch_norm_layer).

What Caffe's lacks is in fcn_repro_param. synchronised: where several processes train, the
statistics are those of the batches of all of them, as one process has them with one large batch.
"""

import numpy as np
import torch
from torch import nn

from ..sizes import dims
from .common.base import Layer, constant
from .common.exporting import number
from .common.together import normalised


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
    own_fields = ('synchronised',)

    @property
    def local(self):
        return self.stored

    def setup(self):
        p = self.param
        self.stored = p.use_global_stats if p.HasField('use_global_stats') else not self.train
        self.synchronised = self.node.param.fcn_repro_param.synchronised and not self.stored
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

    @property
    def shared(self):
        """Whether this pass takes the statistics of all processes."""
        return self.synchronised and self.state.together is not None

    def forward(self, bottoms, params):
        x = bottoms[0]
        if self.shared:
            y, mean, unbiased = normalised(x, self.param.eps, self.state.together)
            if self.state.together.first:       # once for all passes that are side by side
                self.add(params, mean, unbiased)
            return [y]
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

    @classmethod
    def folds(cls, param):
        p = param.batch_norm_param
        return p.use_global_stats or not p.HasField('use_global_stats')

    def affine(self, params):
        if not self.stored:
            return None
        mean, variance = self.statistics(params)
        scale = (variance + self.param.eps).rsqrt()
        return scale, -mean * scale

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

    def torch_code(self, code):
        x, eps = code.bottoms[0], number(self.param.eps)
        if not self.stored:
            return f'{code.helper(batch_norm)}({x}, {eps})'
        mean, variance = self.exported_statistics(code.blobs)
        shape = len(mean), *[1] * (len(code.dims[0]) - 2)
        text = ', '.join(map(str, shape))
        module = code.module(f'{code.helper(StoredNorm)}({text}, eps={eps})',
                             mean=mean.reshape(shape), variance=variance.reshape(shape))
        return f'{module}({x})'

    def onnx_nodes(self, nodes):
        if not self.stored:
            raise self.error('it normalises by the statistics of its batch, which cannot be '
                             'exported as ONNX', 'Set use_global_stats: true.')
        mean, variance = self.exported_statistics(nodes.blobs)
        ones, zeros = np.ones_like(mean), np.zeros_like(mean)
        return [nodes.op('BatchNormalization', nodes.bottoms[0],
                         *map(nodes.floats, (ones, zeros, mean, variance)),
                         epsilon=self.param.eps)]

    def exported_statistics(self, blobs):
        """Mean and variance of the three blobs, (C,) float32 arrays, as forward computes them."""
        mean, variance, factor = blobs
        scale = np.float32(0) if factor[0] == 0 else np.float32(1) / factor[0]
        return mean * scale, variance * scale


class StoredNorm(nn.Module):
    """Mean 0 and variance 1 by stored statistics, without scale or bias (Caffe's BatchNorm)."""

    def __init__(self, *shape, eps):
        super().__init__()
        self.eps = eps
        self.register_buffer('mean', torch.zeros(shape))
        self.register_buffer('variance', torch.ones(shape))

    def forward(self, x):
        return (x - self.mean) / (self.variance + self.eps).sqrt()


def batch_norm(x, eps):
    """Mean 0 and variance 1 by the batch's own statistics (Caffe's BatchNorm)."""
    axes = [i for i in range(x.dim()) if i != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    wide = (1, -1, *[1] * (x.dim() - 2))
    return (x - mean.view(wide)) / (variance + eps).sqrt().view(wide)
