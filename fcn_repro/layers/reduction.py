"""Reduction: sums over all axes from one on (Caffe's reduction_layer)."""

from ..proto import ReductionParameter
from .common.base import Layer


class Reduction(Layer):
    """bottom -> its axes before `axis`; with axis 0 a scalar. coeff times the SUM, the ASUM of
    absolute values, the SUMSQ of squares, or the MEAN. At 0 the gradient of ASUM is 0."""

    type = 'Reduction'
    fields = 'reduction_param'

    def shape(self, bottoms):
        return [tuple(bottoms[0][:self.axis(self.param.axis, bottoms[0])])]

    def forward(self, bottoms, params):
        x, p = bottoms[0], self.param
        x = x.flatten(self.axis(p.axis, x.shape))
        if p.operation == ReductionParameter.ASUM:
            x = x.abs()
        elif p.operation == ReductionParameter.SUMSQ:
            x = x.square()
        y = x.mean(-1) if p.operation == ReductionParameter.MEAN else x.sum(-1)
        return [y if p.coeff == 1 else y * p.coeff]
