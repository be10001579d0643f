"""HDF5Data: batches of rows from the HDF5 files that a text file lists (hdf5_data_layer)."""

from functools import cached_property
from pathlib import Path

import h5py
import numpy as np
import torch

from ..errors import FcnError
from .base import ANY, Layer


class HDF5Data(Layer):
    """tops: the datasets of their names, batch_size rows at a time, files in turn, in order.

    Relative paths start at the folder of the net's text. Rows go on past the end from the start.
    """

    type = 'HDF5Data'
    bottoms = 0
    tops = (1, ANY)
    fields = 'hdf5_data_param'

    def setup(self):
        if self.param.batch_size < 1:
            raise self.error('hdf5_data_param.batch_size is missing or 0', 'Set it.')
        if self.param.shuffle:
            raise self.error('hdf5_data_param.shuffle is not supported',
                             "Remove it: Caffe's order came from the C library's random_shuffle.")

    @cached_property
    def rows(self):
        """The datasets of all listed files, one array a top."""
        source = Path(self.state.folder, self.param.source)
        try:
            files = source.read_text().split()
        except OSError as error:
            raise self.error(f'cannot read {source}: {error.strerror}', 'Mend source.') from None
        except UnicodeDecodeError:
            raise self.error(f'{source} is no text', 'Give a text file that names the HDF5 files, '
                             'one a line.') from None
        if not files:
            raise self.error(f'{source} lists no file', 'Name one HDF5 file a line.')
        parts = [self._read(Path(self.state.folder, file)) for file in files]
        return [np.concatenate(arrays) for arrays in zip(*parts)]

    def _read(self, file):
        try:
            with h5py.File(file, 'r') as f:
                names = [blob for blob in self.node.param.top if blob not in f]
                if names:
                    raise FcnError(f"{file} has no dataset '{names[0]}'",
                                   do=f'It has: {", ".join(f)}.')
                arrays = [f[blob][...].astype(np.float32) for blob in self.node.param.top]
        except OSError as error:
            raise self.error(f'cannot read {file}: {error}') from None
        except FcnError as error:
            raise self.error(error.what, error.do) from None
        if len({len(a) for a in arrays}) != 1:
            raise self.error(f'{file}: {[len(a) for a in arrays]} rows in its datasets',
                             'All must have equally many.')
        return arrays

    def shape(self, bottoms):
        return [(self.param.batch_size, *rows.shape[1:]) for rows in self.rows]

    def forward(self, bottoms, params):
        batch = self.param.batch_size
        picks = np.arange(self.state.position * batch, (self.state.position + 1) * batch)
        return [torch.from_numpy(rows[picks % len(rows)]) for rows in self.rows]
