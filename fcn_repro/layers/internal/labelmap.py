"""LabelMap: the class of each pixel; Graph.labelled appends it to the scores."""

import torch

from ...sizes import dims
from ..common.internal import InternalLayer

BYTE = 256      # classes that fit into a uint8


class LabelMap(InternalLayer):
    """Scores (N, C, H, W) -> the index of the largest (N, H, W), uint8, or int64 for more than 256
    classes; the lowest one on ties, as in the release's scripts (Caffe's ArgMax: the highest)."""

    type = 'LabelMap'
    instead = 'Write an ArgMax.'

    def shape(self, bottoms):
        if len(bottoms[0]) != 4:
            raise self.error(f'scores of shape {dims(bottoms[0])}', 'Give N x C x H x W.')
        return [(bottoms[0][0], *bottoms[0][2:])]

    def forward(self, bottoms, params):
        self.shape([bottoms[0].shape])
        return [bottoms[0].argmax(1).to(index_type(bottoms[0].shape[1]))]


def index_type(classes):
    return torch.uint8 if classes <= BYTE else torch.int64
