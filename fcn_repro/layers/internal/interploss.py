"""InterpLoss: an Interp and the SoftmaxWithLoss of its top as one layer, made by
passes.fuse_score."""

from ... import ops
from ..common.fusedloss import fused_loss
from ..common.internal import InternalLayer
from ..deeplab.interp import Interp
from ..softmaxwithloss import SoftmaxWithLoss


class InterpLoss(InternalLayer):
    """bottoms: the blob to resize (N, C, H, W), labels (N, 1, h, w), and where the Interp has one a
    blob of the size, whose values do not matter -> the loss, a scalar.

    Neither scores nor probabilities are stored, and the gradient is computed along with the loss.
    """

    type = 'InterpLoss'
    bottoms = 2, 3
    content_bottoms = 2
    loss = True
    instead = 'Write an Interp and a SoftmaxWithLoss.'

    def setup(self):
        super().setup()
        interp, loss = self.node.parts
        self.interp = Interp(interp, self.state)
        self.loss_layer = SoftmaxWithLoss(loss, self.state)

    def shape(self, bottoms):
        x, label, *like = bottoms
        return self.loss_layer.shape([*self.interp.shape([x, *like]), label])

    def forward(self, bottoms, params):
        shapes = [bottom.shape for bottom in bottoms]
        self.shape(shapes)
        x, label, *_ = bottoms
        (_, _, *size), = self.interp.shape([shapes[0], *shapes[2:]])
        return [fused_loss(self.loss_layer, lambda labels, **how: ops.interp_softmax_loss(
            self.interp.cropped(x), labels, **how), x, label, size)]
