"""Reduction: sums over all axes from one on (Caffe's reduction_layer)."""

from ..proto import ReductionParameter
from .common.base import Layer
from .common.exporting import number


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

    def torch_code(self, code):
        p, x = self.param, f'{code.bottoms[0]}.flatten({self.axis(self.param.axis, code.dims[0])})'
        inner = {ReductionParameter.ASUM: '.abs()', ReductionParameter.SUMSQ: '.square()'}
        mean = p.operation == ReductionParameter.MEAN
        y = f'{x}{inner.get(p.operation, "")}.{"mean" if mean else "sum"}(-1)'
        return y if p.coeff == 1 else f'{y} * {number(p.coeff)}'

    def onnx_nodes(self, nodes):
        p, x = self.param, nodes.bottoms[0]
        axes = list(range(self.axis(p.axis, nodes.dims[0]), len(nodes.dims[0])))
        if p.operation == ReductionParameter.ASUM:
            x = nodes.op('Abs', x)
        elif p.operation == ReductionParameter.SUMSQ:
            x = nodes.op('Mul', x, x)
        if p.operation == ReductionParameter.MEAN:
            y = nodes.op('ReduceMean', x, axes=axes, keepdims=0)
        else:
            y = nodes.op('ReduceSum', x, nodes.ints(axes), keepdims=0)
        return [y if p.coeff == 1 else nodes.op('Mul', y, nodes.floats(p.coeff))]
