"""UpCropLoss: upsampling, crop and SoftmaxWithLoss as one layer, made by passes.fuse_score."""

from dataclasses import replace

from ... import ops
from ...errors import FcnError
from ...proto import LossParameter
from ..common.internal import InternalLayer
from ..softmaxwithloss import SoftmaxWithLoss
from .upcrop import UpCrop


class UpCropLoss(InternalLayer):
    """bottoms: the blob to upsample (N, C, H, W), the one that gives the size, labels (N, 1, h, w)
    -> the loss, a scalar.

    If the upsampling is bilinear and fixed, neither scores nor probabilities are stored, and the
    gradient is computed along with the loss; otherwise the layers run in turn.
    """

    type = 'UpCropLoss'
    bottoms = 3
    loss = True
    instead = 'Write a Deconvolution, a Crop and a SoftmaxWithLoss.'

    def setup(self):
        super().setup()
        *parts, loss = self.node.parts
        self.scores = UpCrop(replace(self.node, param=parts[1].param, bottoms=self.node.bottoms[:2],
                                     parts=tuple(parts)), self.state)
        self.loss_layer = SoftmaxWithLoss(loss, self.state)

    def parameters(self, bottoms):
        return self.scores.parameters(bottoms[:2])

    def shape(self, bottoms):
        return self.loss_layer.shape([*self.scores.shape(bottoms[:2]), bottoms[2]])

    def forward(self, bottoms, params):
        x, reference, label = bottoms
        fixed = self.scores.fixed(x.shape, reference.shape, params)
        if fixed is None:
            return self.loss_layer.forward([*self.scores.forward(bottoms[:2], params), label], [])
        self.shape([b.shape for b in bottoms])
        (*known, size), like = fixed, self.loss_layer
        inner = (len(x), *size)
        labels, kept = label.detach().reshape(inner), like.kept(inner, 1, x.device)
        if kept is not None and like.ignore is not None:    # a third of the time that a mask takes
            labels, kept = labels.masked_fill(~kept, like.ignore), None
        try:
            loss = ops.upcrop_softmax_loss(
                x, labels, *known, LossParameter.NormalizationMode.Name(like.normalization),
                like.ignore, like.weights(ops.tap_dtype(x.dtype), x.device), kept,
                check=not self.state.unchecked)
        except FcnError as error:
            raise error.at(line=like.node.line, layer=like.node.name, type=like.type) from None
        return [loss.to(x.dtype)]
