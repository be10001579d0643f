"""UpCropLoss: upsampling, crop and SoftmaxWithLoss as one layer, made by passes.fuse_score."""

from dataclasses import replace

from ... import ops
from ..common.fusedloss import fused_loss
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
        *known, size = fixed
        return [fused_loss(self.loss_layer, lambda labels, **how: ops.upcrop_softmax_loss(
            x, labels, *known, **how), x, label, size)]
