"""InterpLoss: an Interp and the SoftmaxWithLoss of its top as one layer, made by
passes.fuse_score."""

from ... import ops
from ...errors import FcnError
from ...proto import LossParameter
from ..common.internal import InternalLayer
from ..deeplab.interp import Interp
from ..softmaxwithloss import SoftmaxWithLoss


class InterpLoss(InternalLayer):
    """bottoms: the blob to resize (N, C, H, W), labels (N, 1, h, w) -> the loss, a scalar.

    Neither scores nor probabilities are stored, and the gradient is computed along with the loss.
    """

    type = 'InterpLoss'
    bottoms = 2
    loss = True
    instead = 'Write an Interp and a SoftmaxWithLoss.'

    def setup(self):
        super().setup()
        interp, loss = self.node.parts
        self.interp = Interp(interp, self.state)
        self.loss_layer = SoftmaxWithLoss(loss, self.state)

    def shape(self, bottoms):
        return self.loss_layer.shape([*self.interp.shape(bottoms[:1]), bottoms[1]])

    def forward(self, bottoms, params):
        (x, label), like = bottoms, self.loss_layer
        self.shape([x.shape, label.shape])
        inner = (len(x), *self.interp.shape([x.shape])[0][2:])
        labels, kept = label.detach().reshape(inner), like.kept(inner, 1, x.device)
        if kept is not None and like.ignore is not None:    # as in UpCropLoss
            labels, kept = labels.masked_fill(~kept, like.ignore), None
        try:
            loss = ops.interp_softmax_loss(
                self.interp.cropped(x), labels,
                LossParameter.NormalizationMode.Name(like.normalization), like.ignore,
                like.weights(ops.tap_dtype(x.dtype), x.device), kept,
                check=not self.state.unchecked)
        except FcnError as error:
            raise error.at(line=like.node.line, layer=like.node.name, type=like.type) from None
        return [loss.to(x.dtype)]
