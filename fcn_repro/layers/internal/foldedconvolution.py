"""FoldedConvolution: a Convolution, what scales and shifts its channels, the sum with another blob,
and a ReLU or PReLU, as one Convolution of other weights, made by passes.fold_norm and fuse_sum."""

import torch

from ... import layers
from ...ops.cache import TensorsCache
from ...proto.dialects import dialect_of
from ..common.internal import InternalLayer
from ..convolution import Convolution
from ..eltwise import Eltwise
from ..prelu import PReLU
from ..relu import ReLU


class FoldedConvolution(InternalLayer):
    """(N, C, …), and with an Eltwise among the parts (N, num_output, …) -> (N, num_output, …). Owns
    the parameters of its parts, in their order.

    The weights that these amount to are computed in float64, once for each version of any of them.
    Where a gradient is wanted, or a part takes the statistics of its batch, the parts run in turn.
    """

    type = 'FoldedConvolution'
    bottoms = 1, 2
    product = makes_tops = True
    casts_bottoms = 1           # a sum stays in float32
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
        found, top = [], bottoms[0]
        for part in self.parts:
            shapes = [top] * len(part.node.bottoms)
            found += part.parameters(shapes)
            top, = part.shape(shapes)
        return found

    def shape(self, bottoms):
        return self.convolution.shape(bottoms[:1])

    def scratch(self, bottoms):
        return self.convolution.scratch(bottoms[:1])

    def forward(self, bottoms, params):
        x, *others = bottoms
        learning = torch.is_grad_enabled() and any(each.requires_grad
                                                   for each in (*bottoms, *params))
        folded = None if learning or (others and (x.dim() != 4 or not x.numel())) else \
            self.cache.get(params, lambda params: self.folded(x.shape, params, x.dtype), x.dtype)
        if folded is not None:
            *weights, slope = folded
            return self.convolution.forward([x], weights, slope=slope, other=next(iter(others),
                                                                                  None))
        for part, own in self.owned(tuple(x.shape), params):
            own = [param.to(x.dtype) for param in own] if part.product else own
            x, = part.forward([x, *others] if isinstance(part, Eltwise) else [x], own)
        return [x]

    def owned(self, top, params):
        """(part, its parameters) of each part; top: the shape of the first bottom."""
        left = list(params)
        for part in self.parts:
            shapes = [top] * len(part.node.bottoms)
            count = len(part.parameters(shapes))
            yield part, left[:count]
            left, (top,) = left[count:], part.shape(shapes)

    def folded(self, shape, params, dtype):
        """[weight, bias] of the one Convolution, of this type, and the slopes of a PReLU (C,) or
        None; None where a part is no scale and shift. shape: of the first bottom."""
        (_, (weight, *bias)), *parts = self.owned(tuple(shape), params)
        scale = torch.ones(len(weight), dtype=torch.float64, device=weight.device)
        shift, slope = bias[0].double() if bias else torch.zeros_like(scale), None
        for part, own in parts:
            if isinstance(part, PReLU):
                slope = own[0].expand(len(weight)).contiguous()
            elif not isinstance(part, (Eltwise, ReLU)):
                affine = part.affine([param.double() for param in own])
                if affine is None:
                    return None
                scale, shift = scale * affine[0], shift * affine[0] + affine[1]
        wide = weight.double() * scale.view(-1, *[1] * (weight.dim() - 1))
        return [wide.to(dtype), shift.to(dtype), slope]
