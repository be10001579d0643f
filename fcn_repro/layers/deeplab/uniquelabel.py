"""UniqueLabel: which labels an image has (DeepLab's unique_label_layer)."""

import torch

from ...sizes import dims
from ..common.base import Layer


class UniqueLabel(Layer):
    """(N, 1, H, W) labels -> (N, max_labels, 1, 1): the labels that each image has, those of
    ignore_label left out and those of force_label added, in ascending order, then -1."""

    type = 'UniqueLabel'
    replayable = False
    fields = 'unique_label_param'
    dialect_fields = tuple(f'unique_label_param.{name}' for name in (
        'max_labels', 'ignore_label', 'force_label'))

    def setup(self):
        forced = set(self.param.force_label)
        if self.param.max_labels <= len(forced):
            raise self.error(f'max_labels {self.param.max_labels} for {len(forced)} values of '
                             'force_label', 'There has to be room for one more.')

    def shape(self, bottoms):
        if len(bottoms[0]) != 4 or bottoms[0][1] != 1:
            raise self.error(f'a bottom of shape {dims(bottoms[0])}',
                             'UniqueLabel takes labels (N, 1, H, W).')
        return [(bottoms[0][0], self.param.max_labels, 1, 1)]

    def forward(self, bottoms, params):
        labels, most = bottoms[0].detach(), self.param.max_labels
        top = labels.new_full((len(labels), most, 1, 1), -1)
        for row, image in zip(top, labels, strict=True):
            found = set(image.unique().tolist()) - set(map(float, self.param.ignore_label))
            values = sorted(found | set(self.param.force_label))
            if len(values) > most:
                raise self.error(f'{len(values)} labels in an image, max_labels {most}',
                                 'Raise max_labels.')
            row[:len(values), 0, 0] = torch.tensor(values)
        return [top]
