"""Norm: a BatchNorm and the Scale after it as one layer, made by passes.fuse_norm."""

import torch.nn.functional as F

from ..batchnorm import BatchNorm
from ..common.internal import InternalLayer
from ..scale import Scale


class Norm(InternalLayer):
    """(N, C, …) -> scale (x - mean) / sqrt(var + eps) + bias, per channel, in torch's own kernel.

    Parameters: the BatchNorm's three, then the Scale's scale and bias (C,). Running statistics are
    written as BatchNorm does. A batch of one value a channel, and one whose statistics several
    processes share, runs through the two layers in turn.
    """

    type = 'Norm'
    keeps_coordinates = in_place = overwritable = True
    instead = 'Write a BatchNorm and a Scale.'

    def setup(self):
        super().setup()
        norm, scale = self.node.parts
        self.norm, self.scale = BatchNorm(norm, self.state), Scale(scale, self.state)
        self.synchronised = self.norm.synchronised

    def shape(self, bottoms):
        return self.norm.shape(bottoms)

    def forward(self, bottoms, params):
        x, running, scale, bias = bottoms[0], params[:3], params[3], params[4]
        eps = self.norm.param.eps
        if self.norm.shared or x.numel() == x.shape[1]:     # torch refuses one value a channel
            return self.scale.forward(self.norm.forward(bottoms, running), params[3:])
        if self.norm.stored:
            mean, variance = self.norm.statistics(running)
            return [F.batch_norm(x, mean, variance, scale, bias, False, 0, eps)]
        mean, variance = x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
        top = F.batch_norm(x, mean, variance, scale, bias, True, 1, eps)    # fills them
        self.norm.add(running, mean, variance)
        return [top]

    def write(self, params, values):
        self.norm.write(params, values)

