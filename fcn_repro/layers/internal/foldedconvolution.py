"""FoldedConvolution: a Convolution, what scales and shifts its channels, and maybe a ReLU, as one
Convolution of other weights, made by passes.fold_norm."""

import torch

from ... import layers
from ...ops.cache import TensorsCache
from ...proto.dialects import dialect_of
from ..common.internal import InternalLayer
from ..convolution import Convolution
from ..relu import ReLU


class FoldedConvolution(InternalLayer):
    """(N, C, …) -> (N, num_output, …). Owns the parameters of its parts, in their order.

    The weights that these amount to are computed in float64, once for each version of any of them.
    Where a gradient is wanted, or a part takes the statistics of its batch, the parts run in turn.
    """

    type = 'FoldedConvolution'
    product = makes_tops = True
    casts_params = False        # a variance of 8 bits would be too little
    instead = 'Write a Convolution and what comes after it.'

    def setup(self):
        super().setup()
        self.parts = [layers.layer_class(part.type, dialect_of(part.param))(part, self.state)
                      for part in self.node.parts]
        self.convolution = Convolution(self.node.parts[0], self.state)
        self.convolution.rectified = isinstance(self.parts[-1], ReLU)
        self.cache = TensorsCache()

    def parameters(self, bottoms):
        found, shapes = [], bottoms
        for part in self.parts:
            found += part.parameters(shapes)
            shapes = part.shape(shapes)
        return found

    def shape(self, bottoms):
        return self.convolution.shape(bottoms)

    def scratch(self, bottoms):
        return self.convolution.scratch(bottoms)

    def forward(self, bottoms, params):
        learning = torch.is_grad_enabled() and (bottoms[0].requires_grad
                                                or any(param.requires_grad for param in params))
        folded = None if learning else self.cache.get(
            params, lambda params: self.folded(bottoms[0].shape, params, bottoms[0].dtype),
            bottoms[0].dtype)
        if folded is not None:
            return self.convolution.forward(bottoms, folded)
        shapes = [bottoms[0].shape]
        for part, own in self.owned(shapes, params):
            bottoms = part.forward(bottoms, [param.to(bottoms[0].dtype) for param in own]
                                   if part.product else own)
        return bottoms

    def owned(self, shapes, params):
        """(part, its parameters) of each part; shapes: of the bottom."""
        left = list(params)
        for part in self.parts:
            count = len(part.parameters(shapes))
            yield part, left[:count]
            left, shapes = left[count:], part.shape(shapes)

    def folded(self, shape, params, dtype):
        """[weight, bias] of the one Convolution, of this type; None where a part is no scale and
        shift. shape: of the bottom."""
        (_, (weight, *bias)), *parts = self.owned([tuple(shape)], params)
        scale = torch.ones(len(weight), dtype=torch.float64, device=weight.device)
        shift = bias[0].double() if bias else torch.zeros_like(scale)
        for part, own in parts:
            if isinstance(part, ReLU):
                continue
            affine = part.affine([param.double() for param in own])
            if affine is None:
                return None
            scale, shift = scale * affine[0], shift * affine[0] + affine[1]
        wide = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
        return [wide.to(dtype), shift.to(dtype)]
