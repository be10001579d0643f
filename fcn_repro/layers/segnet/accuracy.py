"""Accuracy of SegNet's and ENet's forks (accuracy_layer)."""

import torch

from ...proto import dialect_of
from ..accuracy import Accuracy


class ForkAccuracy(Accuracy):
    """As BVLC's, but of equal scores the larger class ranks first, and without a label that counts
    the accuracy is NaN. The accuracies of the classes are (C, 1, 1, 1), 1 for a class without
    labels, in SegNet's fork, and (C,), 0 for such a class, in ENet's."""

    @property
    def of_segnet(self):
        return dialect_of(self.node.param).name == 'segnet'

    def shape(self, bottoms):
        overall, *classes = super().shape(bottoms)
        return [overall, *((*shape, 1, 1, 1) if self.of_segnet else shape for shape in classes)]

    def ranks(self, scores, labels):
        own = scores.gather(1, labels[:, None])
        later = torch.arange(scores.shape[1], device=scores.device) > labels[:, None]
        return ((scores > own) | ((scores == own) & later)).sum(1)

    def share(self, hits, count):
        return hits / count

    def shares(self, hits, counts):
        if not self.of_segnet:
            return super().shares(hits, counts)
        found = torch.where(counts == 0, 1, hits / counts.clamp(min=1))
        return found.reshape(-1, 1, 1, 1)
