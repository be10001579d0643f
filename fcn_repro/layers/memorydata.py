"""MemoryData: batches of arrays that the caller gives (Caffe's memory_data_layer)."""

import logging

import torch

from ..glog import at
from ..sizes import dims
from .common.base import Layer

log = logging.getLogger(__name__)

SIDES = 'batch_size', 'channels', 'height', 'width'


class MemoryData(Layer):
    """No bottom; tops data (batch_size, channels, height, width) and label (batch_size, 1, 1, 1),
    the next rows in each forward pass, from the start again after the last.

    `Net.set_input_arrays` gives the rows. As in Caffe, transform_param does not apply to them,
    and a warning says so.
    """

    type = 'MemoryData'
    bottoms = 0
    tops = 2
    fields = 'memory_data_param'
    further_messages = ('transform_param',)     # to warn of it

    def setup(self):
        sides = tuple(getattr(self.param, name) for name in SIDES)
        if min(sides) < 1:
            raise self.error(f'{", ".join(SIDES)} of memory_data_param are {dims(sides)}',
                             'All four must be given and positive.')
        self.sides, self.rows = sides, None
        self.transforms = self.node.param.HasField('transform_param')

    def reset(self, data, labels):
        """Take data (n, channels, height, width) and n labels; the next pass starts at row 0.

        FcnError for other shapes, and if n is not a multiple of batch_size.
        """
        data, labels = torch.as_tensor(data), torch.as_tensor(labels)
        if tuple(data.shape[1:]) != self.sides[1:] or labels.numel() != len(data):
            raise self.error(f'arrays of {dims(data.shape)} and {dims(labels.shape)}',
                             f'Give data nx{dims(self.sides[1:])} and n labels.')
        if not len(data) or len(data) % self.sides[0]:
            raise self.error(f'{len(data)} rows are not a multiple of batch_size {self.sides[0]}',
                             'Give whole batches.')
        if self.transforms:
            log.warning('MemoryData does not transform array data on Reset()',
                        extra=at('memory_data_layer.cpp', 90))
        self.rows, self.start = (data, labels.reshape(-1, 1, 1, 1)), self.state.position

    def shape(self, bottoms):
        return [self.sides, (self.sides[0], 1, 1, 1)]

    def forward(self, bottoms, params):
        if self.rows is None:
            raise self.error('no data', 'Call net.set_input_arrays(data, labels) before forward.')
        batch = self.sides[0]
        first = (self.state.position - self.start) * batch % len(self.rows[0])
        return [rows[first:first + batch] for rows in self.rows]
