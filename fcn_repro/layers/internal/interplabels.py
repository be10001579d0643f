"""InterpLabels: the LabelMap of an Interp's top, made by passes.fuse_score."""

from ... import ops
from ..common.internal import InternalLayer
from ..deeplab.interp import Interp
from .labelmap import index_type


class InterpLabels(InternalLayer):
    """(N, C, H, W) -> the label map (N, h, w) of its resized scores, which are never stored."""

    type = 'InterpLabels'
    instead = 'Write an Interp and an ArgMax.'

    def setup(self):
        super().setup()
        self.interp = Interp(self.node.parts[0], self.state)

    def shape(self, bottoms):
        n, _, *size = self.interp.shape(bottoms)[0]
        return [(n, *size)]

    def forward(self, bottoms, params):
        x, = bottoms
        size = self.shape([x.shape])[0][1:]
        return [ops.interp_argmax(self.interp.cropped(x), size, index_type(x.shape[1]))]
