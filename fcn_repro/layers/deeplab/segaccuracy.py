"""SegAccuracy: pixel accuracy, mean recall and mean IU (DeepLab's seg_accuracy_layer)."""

import torch

from ...sizes import dims
from ..common.base import Layer


class SegAccuracy(Layer):
    """bottoms: scores (N, C, H, W) and labels (N, 1, H, W) -> (1, 1, 1, 3): the share of the pixels
    that are right; the mean over the classes that occur in the labels of the share of theirs that
    are right; the mean over all classes of intersection over union, 1 for a class that neither
    labels nor predictions have.

    Of equal scores the largest class is predicted. Labels of ignore_label do not count. With
    `reset: false` the counts go on over all forward passes. Without any pixel the measures are 0.
    """

    type = 'SegAccuracy'
    replayable = False
    bottoms = 2
    fields = 'seg_accuracy_param'
    dialect_fields = ('seg_accuracy_param.ignore_label', 'seg_accuracy_param.reset',
                      'seg_accuracy_param.metric')
    ignored = ('metric',)

    def setup(self):
        self.counts = None          # (C, C), [label, prediction], where they go on
        self.stateful = not self.param.reset

    def shape(self, bottoms):
        scores, labels = bottoms
        if len(scores) != 4 or not scores[1]:
            raise self.error(f'scores of shape {dims(scores)}', 'SegAccuracy takes (N, C, H, W).')
        if tuple(labels) != (scores[0], 1, *scores[2:]):
            raise self.error(f'labels of {dims(labels)} for scores of {dims(scores)}',
                             f'Give labels of {dims((scores[0], 1, *scores[2:]))}.')
        return [(1, 1, 1, 3)]

    def forward(self, bottoms, params):
        scores, labels = bottoms[0].detach(), bottoms[1].detach().long().flatten()
        classes = scores.shape[1]
        predictions = classes - 1 - scores.flip(1).argmax(1).flatten()
        valid = torch.ones_like(labels, dtype=torch.bool)
        for ignored in self.param.ignore_label:
            valid &= labels != ignored
        wrong = valid & ((labels < 0) | (labels >= classes))
        if wrong.any():
            bad = labels[wrong]
            raise self.error(f'{bad.numel()} labels outside 0 … {classes - 1}, such as '
                             f'{bad[0].item()}, with ignore_label '
                             f'{list(self.param.ignore_label) or "not set"}',
                             'Fix the labels, or list them as seg_accuracy_param.ignore_label.')
        pairs = labels[valid] * classes + predictions[valid]
        counts = torch.bincount(pairs, minlength=classes ** 2).reshape(classes, classes).double()
        if self.stateful:
            counts = self.counts = counts if self.counts is None else self.counts + counts
        return [self.measures(counts).to(scores.dtype).reshape(1, 1, 1, 3)]

    @staticmethod
    def measures(counts):
        """The three measures of counts (C, C), [label, prediction]."""
        right, labels, predictions = counts.diagonal(), counts.sum(1), counts.sum(0)
        union, total = labels + predictions - right, counts.sum()
        iu = torch.where(union > 0, right / union.clamp(min=1), 1)
        recall = (right / labels.clamp(min=1)).sum() / (labels > 0).sum().clamp(min=1)
        return torch.stack([right.sum() / total.clamp(min=1), recall, iu.mean()])
