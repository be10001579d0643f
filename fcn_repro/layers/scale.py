"""Scale: a product with a learned or given blob, broadcast from an axis on (scale_layer)."""

from .common.base import constant
from .common.broadcast import BroadcastLayer


class Scale(BroadcastLayer):
    """bottoms: x, and optionally the scale; top as x. Parameters: scale (unless it is the second
    bottom; filler default 1) and, with bias_term, bias of the scale's shape (default 0)."""

    type = 'Scale'
    fields = 'scale_param'

    def parameters(self, bottoms):
        shape, p = self.operand_shape(bottoms), self.param
        out = []
        if len(bottoms) == 1:
            out.append((shape, p.filler if p.HasField('filler') else constant(1)))
        if p.bias_term:
            out.append((shape, p.bias_filler if p.HasField('bias_filler') else constant(0)))
        return out

    def forward(self, bottoms, params):
        x, params = bottoms[0], list(params)
        factor = bottoms[1] if len(bottoms) == 2 else params.pop(0)
        y = x * self.broadcast(factor, x)
        return [y + self.broadcast(params[0], x) if params else y]
