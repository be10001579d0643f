"""HDF5Output: writes two blobs to an HDF5 file (Caffe's hdf5_output_layer)."""

from ..errors import FcnError
from ..formats.hdf5_write import create_hdf5
from ..paths import writable
from ..sizes import dims
from .common.base import Layer


class HDF5Output(Layer):
    """bottoms: data and label, of up to 4 axes and one length -> float32 /data and /label, of 4
    axes each, in hdf5_output_param.file_name (from the working directory on), which must lie in one
    of the folders that the net may write in. No top, no gradient.

    The first forward pass writes the file, as a whole or not at all. A second pass is an error, as
    in Caffe.
    """

    type = 'HDF5Output'
    bottoms = 2
    tops = 0
    fields = 'hdf5_output_param'

    def setup(self):
        if not self.param.file_name:
            raise self.error('hdf5_output_param.file_name is missing', 'Set it.')
        self.path, self.written = self.state.search.output(self.param.file_name), False

    def shape(self, bottoms):
        return []

    def parameters(self, bottoms):          # called for layers without tops, too
        if max(map(len, bottoms)) > 4 or bottoms[0][:1] != bottoms[1][:1]:
            raise self.error(f'bottoms of {dims(bottoms[0])} and {dims(bottoms[1])}',
                             'Give up to 4 axes, and equally many rows.')
        return []

    def forward(self, bottoms, params):
        if self.written:
            raise self.error(f'{self.path} already holds the rows of an earlier forward pass',
                             'Run one pass, with all rows in a batch, or make a new net.')
        try:
            path = writable(self.path, self.state.writes,
                            "Give the net writes=['FOLDER'] with a folder that the file lies in.")
            with create_hdf5(path) as file:
                for name, blob in zip(('data', 'label'), bottoms, strict=True):
                    shape = (*blob.shape, 1, 1, 1, 1)[:4]
                    file[name] = blob.detach().float().cpu().reshape(shape).numpy()
        except FcnError as error:
            raise self.placed(error) from None
        self.written = True
        return []
