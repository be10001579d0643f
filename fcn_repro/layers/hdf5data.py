"""HDF5Data: batches of rows from the HDF5 files that a text file lists (hdf5_data_layer)."""

from functools import cached_property

import torch

from ..errors import FcnError
from .common.base import ANY, Layer
from .common.rows import listed_files, read_files


class HDF5Data(Layer):
    """tops: the datasets of their names, batch_size rows at a time, files in turn, in order.

    After the last row they start over.
    shuffle: in each epoch the files in a new order, and the rows of each file, as a function of
    the net's seed and the layer's name.
    """

    type = 'HDF5Data'
    bottoms = 0
    reads_data = True
    tops = (1, ANY)
    fields = 'hdf5_data_param'
    further_messages = ('transform_param',)     # to refuse it

    def setup(self):
        if self.param.batch_size < 1:
            raise self.error('hdf5_data_param.batch_size is missing or 0', 'Set it.')
        if self.node.param.HasField('transform_param'):
            raise self.error('transform_param, but rows are not transformed', 'Remove it.')
        self._orders = {}           # {(seed, epoch): rows} of the two latest

    @cached_property
    def data(self):
        """(one array of rows a top, rows per file)."""
        search = self.state.search
        try:
            files = listed_files(search.find(self.param.source, 'list',
                                             'hdf5_data_param.source'))
            return read_files([search.find(file, 'HDF5 file', self.param.source) for file in files],
                              self.node.param.top)
        except FcnError as error:
            raise self.placed(error) from None

    def shape(self, bottoms):
        return [(self.param.batch_size, *rows.shape[1:]) for rows in self.data[0]]

    def forward(self, bottoms, params):
        arrays, counts = self.data
        total, batch = sum(counts), self.param.batch_size
        first = self.state.position * batch
        epochs = range(first // total, (first + batch - 1) // total + 1)
        picks = torch.cat([self.order(epoch) for epoch in epochs]).numpy()
        start = first - epochs[0] * total
        return [torch.from_numpy(rows[picks[start:start + batch]]) for rows in arrays]

    def order(self, epoch):
        """The rows of an epoch, in the order in which it takes them."""
        key = self.state.seed, epoch        # a restored run may have changed the seed
        if key not in self._orders:
            self._orders = {**dict([*self._orders.items()][-1:]), key: self._shuffled(epoch)}
        return self._orders[key]

    def _shuffled(self, epoch):
        counts = self.data[1]
        if not self.param.shuffle:
            return torch.arange(sum(counts))
        draws = self.draws(epoch)
        starts = [sum(counts[:i]) for i in range(len(counts))]
        return torch.cat([starts[i] + torch.randperm(counts[i], generator=draws)
                          for i in torch.randperm(len(counts), generator=draws).tolist()])
