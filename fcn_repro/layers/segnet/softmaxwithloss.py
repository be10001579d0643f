"""SoftmaxWithLoss of SegNet's and ENet's forks (softmax_loss_layer)."""

import math

import torch

from ...sizes import dims
from ..softmaxwithloss import SoftmaxWithLoss


class WeightedSoftmaxWithLoss(SoftmaxWithLoss):
    """As Caffe's, but with weight_by_label_freqs each term is multiplied by its label's number of
    class_weighting, one for each class. The sum is divided by the number of labels that count,
    whatever their weights, or with normalize: false by the number of images; without a label that
    counts the loss and its gradient are NaN. Without weight_by_label_freqs class_weighting changes
    nothing, nor does `normalization`, which ENet's fork has, ever.
    """

    dialect_fields = ('loss_param.weight_by_label_freqs', 'loss_param.class_weighting')

    def setup(self):
        super().setup()
        p = self.param
        if p.HasField('normalization') and not self.has_normalization:
            raise self.error('loss_param.normalization is not supported: its number is that of '
                             'weight_by_label_freqs in this fork', 'Give normalize instead.')
        self.by_labels = p.normalize if p.HasField('normalize') else True
        if not p.weight_by_label_freqs:
            return
        if self.class_weight:
            raise self.error('both fcn_repro_param.class_weight and loss_param.class_weighting',
                             'Keep one of them.')
        self.class_weight = p.class_weighting[:]
        if not self.class_weight:
            raise self.error('weight_by_label_freqs without class_weighting',
                             'Give one class_weighting for each class.')
        if not all(map(math.isfinite, self.class_weight)):
            raise self.error(f'class_weighting {[f"{w:g}" for w in self.class_weight]}',
                             'Give finite numbers.')

    @property
    def has_normalization(self):
        """Whether the fork's loss_param has the field, which it does not read."""
        return 'class_weighting' in self.param.DESCRIPTOR.fields_by_name and \
            self.param.DESCRIPTOR.fields_by_name['normalization'].number == 5

    def shape(self, bottoms):
        classes = bottoms[0][self.class_axis(*bottoms)]
        if self.param.weight_by_label_freqs and len(self.class_weight) != classes:
            raise self.error(f'{len(self.class_weight)} class_weighting for {classes} classes of '
                             f'scores {dims(bottoms[0])}', 'Give one for each class.')
        return super().shape(bottoms)

    def divisor(self, scores, axis, valid):
        if self.by_labels:
            return valid.sum()
        return torch.full((), math.prod(scores[:axis]), device=valid.device)
