"""A made-up dialect of caffe.proto: a layer type with a message of its own, fields and enum values
that BVLC lacks, numbers that BVLC uses for something else, and an upgrade rule."""

import torch

from fcn_repro.layers.common.base import Layer, constant
from fcn_repro.layers.eltwise import Eltwise
from fcn_repro.proto import Dialect


class Brighten(Layer):
    """The bottom plus amount, or times amount, times a learned factor."""

    type = 'Brighten'
    fields = 'brighten_param'
    dialect_fields = 'brighten_param.amount', 'brighten_param.mode'

    def parameters(self, bottoms):
        return [((1,), constant(2))]

    def shape(self, bottoms):
        return list(bottoms)

    def forward(self, bottoms, params):
        x, amount = bottoms[0], self.param.amount
        return [(x * amount if self.param.mode == self.param.MULTIPLY else x + amount) * params[0]]


class MeanEltwise(Eltwise):
    """Eltwise with the operation MEAN."""

    dialect_fields = ('eltwise_param.operation.MEAN',)

    def forward(self, bottoms, params):
        if self.param.operation == self.param.MEAN:
            return [torch.stack(bottoms).mean(0)]
        return super().forward(bottoms, params)


def hole_to_dilation(layer):
    """An upgrade rule: `hole` is this fork's name of dilation."""
    p = layer.convolution_param
    if p.hole:
        p.dilation.extend(p.hole)
        p.ClearField('hole')


TABLE = '''
LayerParameter
  146 brighten_param BrightenParameter, 300 strict bool
BrightenParameter
  enum Mode ADD MULTIPLY
  1 amount float=1, 2 mode Mode=ADD, 3 unused float
ConvolutionParameter
  19 hole uint32[], 20 mirrored bool
EltwiseParameter
  enum EltwiseOp PROD SUM MAX MEAN
PoolingParameter
  enum PoolMethod MAX AVE STOCHASTIC TILE
NetParameter
  9 profile string
SolverParameter
  43 warm_up int32
V1LayerParameter
  enum LayerType NONE CONVOLUTION=4 BRIGHTEN=39 ODD=40
  43 brighten_param BrightenParameter, 44 odd_param BrightenParameter
'''
TOY = Dialect('toy', (TABLE,), upgrades=(hole_to_dilation,), v1_types={'BRIGHTEN': 'Brighten'},
              types={'Brighten': 'toy_dialect:Brighten', 'Eltwise': 'toy_dialect:MeanEltwise'})
# The same names with other numbers and types.
OTHER = Dialect('other', ('''
ConvolutionParameter
  21 hole string
LayerParameter
  300 brighten_param BrightenParameter
BrightenParameter
  7 amount int32
''',))
