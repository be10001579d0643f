"""Bias: a sum with a learned or given blob, broadcast from an axis on (Caffe's bias_layer)."""

from .common.broadcast import BroadcastLayer


class Bias(BroadcastLayer):
    """bottoms: x, and optionally the bias; top as x. Parameter: the bias, unless it is the second
    bottom (filler default 0)."""

    type = 'Bias'
    fields = 'bias_param'

    def parameters(self, bottoms):
        if len(bottoms) == 2:
            return []
        return [(self.operand_shape(bottoms), self.param.filler)]

    def forward(self, bottoms, params):
        x, operand = bottoms[0], bottoms[1] if len(bottoms) == 2 else params[0]
        return [x + self.broadcast(operand, x)]
