"""InterpLabels: the LabelMap of an Interp's top, made by passes.fuse_score."""

from ... import ops
from ..common.internal import InternalLayer
from ..deeplab.interp import Interp
from .labelmap import index_type


class InterpLabels(InternalLayer):
    """(N, C, H, W), and where the Interp has one a blob of the size, whose values do not matter ->
    the label map (N, h, w) of the resized scores, which are never stored."""

    type = 'InterpLabels'
    bottoms = 1, 2
    content_bottoms = 1
    instead = 'Write an Interp and an ArgMax.'

    def setup(self):
        super().setup()
        self.interp = Interp(self.node.parts[0], self.state)

    def shape(self, bottoms):
        n, _, *size = self.interp.shape(bottoms)[0]
        return [(n, *size)]

    def forward(self, bottoms, params):
        x, (_, *size) = bottoms[0], self.shape([bottom.shape for bottom in bottoms])[0]
        return [ops.interp_argmax(self.interp.cropped(x), size, index_type(x.shape[1]))]
