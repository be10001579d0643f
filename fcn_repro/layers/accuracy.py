"""Accuracy: top-k, overall and per class (Caffe's accuracy_layer)."""

import torch

from .common.base import Layer
from .common.labels import label_layout, labels_of


class Accuracy(Layer):
    """bottoms: scores (…, C, …) and labels (as many as scores per class) -> a scalar, and
    optionally the accuracy of each class (C,). A tie counts against the true class."""

    type = 'Accuracy'
    bottoms = 2
    tops = (1, 2)
    fields = 'accuracy_param'

    def shape(self, bottoms):
        axis = label_layout(self, self.param.axis, *bottoms)
        classes = bottoms[0][axis]
        if self.param.top_k > classes:
            raise self.error(f'top_k {self.param.top_k} of {classes} classes', 'Lower top_k.')
        return [(), (classes,)][:len(self.node.tops)]

    def forward(self, bottoms, params):
        axis = label_layout(self, self.param.axis, bottoms[0].shape, bottoms[1].shape)
        scores = bottoms[0].detach().movedim(axis, -1)
        scores = scores.reshape(-1, scores.shape[-1])                   # (pixels, C)
        ignore = self.param.ignore_label if self.param.HasField('ignore_label') else None
        labels, valid = labels_of(self, bottoms[1].reshape(-1), scores.shape[1], ignore)
        hit = (self.ranks(scores, labels) < self.param.top_k) & valid
        tops = [self.share(hit.sum(), valid.sum()).to(scores.dtype)]
        if len(self.node.tops) == 2:
            per_class = torch.bincount(labels[valid], minlength=scores.shape[1])
            hits = torch.bincount(labels[hit], minlength=scores.shape[1])
            tops.append(self.shares(hits, per_class).to(scores.dtype))
        return tops

    def ranks(self, scores, labels):
        """How many classes are before the true one, for scores (n, C)."""
        return (scores >= scores.gather(1, labels[:, None])).sum(1) - 1

    def share(self, hits, count):
        """The accuracy over all labels that count."""
        return hits / count.clamp(min=1)

    def shares(self, hits, counts):
        """The accuracy of each class (C,), of the number of its hits and of its labels."""
        return hits / counts.clamp(min=1)
