"""Arrays that Python reads and writes over the memory of a net, as Caffe's SyncedMemory gives them.

On the CPU an array is the tensor's memory itself. Of a tensor on a GPU it is a copy, lent until
the net next computes: what was written into it goes back then, and an array held longer than that
is as stale as Caffe's would be.
"""

import torch

_lent = {}          # (address, shape) of a GPU tensor: the tensor, and the copy on the CPU


def array(tensor):
    """A writable float32 array of a tensor's shape, C-contiguous."""
    tensor = tensor.detach()
    if tensor.device.type == 'cpu':
        return tensor.numpy()
    key = tensor.data_ptr(), tuple(tensor.shape)
    if key not in _lent:
        _lent[key] = tensor, tensor.cpu()
    return _lent[key][1].numpy()


def settle():
    """Write every lent copy back to its GPU tensor."""
    for tensor, copy in _lent.values():
        with torch.no_grad():
            tensor.copy_(copy)
    _lent.clear()


class Memory:
    """The data and the diff of one blob, float32 on `device`; zeros until something is written.

    source: the Memory whose data is this one's too (the tops of a Split); weight: what the diff
    starts from, the loss weight of a top.
    """

    def __init__(self, device, source=None, weight=0.0):
        self.device, self.source, self.weight = device, source, weight
        self._data = torch.zeros((), device=device)
        self._diff = None

    @property
    def data(self):
        return self.source.data if self.source else self._data

    @property
    def shape(self):
        return tuple(self.data.shape)

    @property
    def diff(self):
        if self._diff is None or tuple(self._diff.shape) != self.shape:
            self._diff = torch.full(self.shape, self.weight, device=self.device)
        return self._diff

    def hold(self, tensor):
        """Use a tensor's own memory as the data."""
        self.device, self.source, self._data = tensor.device, None, tensor.detach()

    def reshape(self, shape):
        """Another shape: new memory, of zeros."""
        if self.source:
            self.source.reshape(shape)
        elif self.shape != tuple(shape):
            self._data = torch.zeros(tuple(shape), device=self.device)
