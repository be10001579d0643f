"""Caffe's Blob: data and diff of one name."""

import torch

from ..errors import FcnError
from ..ops.cache import TensorCache
from ..sizes import check_shape, dims


class Blob:
    """What a net holds under a name: `data`, `diff`, `shape`, in pycaffe's words.

    Holds what the latest forward and backward left, where the forward pass was asked for it.
    """

    def __init__(self, name, shape=()):
        self.name, self.shape = name, tuple(shape)
        self._data = self._graded = None

    @property
    def data(self):
        """The tensor, of shape `shape`, detached from autograd."""
        if self._data is None:
            raise FcnError(f"blob '{self.name}' was not kept by the latest forward pass",
                           do=f"Ask for it: net.forward(blobs=['{self.name}']), or blobs='all'.")
        return self._data.detach()

    @property
    def diff(self):
        """The gradient after backward; zeros where backward left none."""
        grad = None if self._graded is None else self._graded.grad
        return torch.zeros_like(self.data) if grad is None else \
            grad.view(self.shape).to(self._data.dtype)

    def start(self, diff, file):
        """The kept tensor, and a given diff in its form, to start backward from."""
        data = self.data
        if diff.numel() != data.numel():
            raise FcnError(f"the diff of '{self.name}' is {dims(diff.shape)}, the blob is "
                           f'{dims(data.shape)}', file=file, do='Give one of its shape.')
        return self._data, diff.to(data).reshape(data.shape)

    def keep(self, data, graded):
        """Hold the latest data, and the tensor whose gradient is the diff (None: no data)."""
        self._data, self._graded = data, graded
        if data is not None:
            self.shape = tuple(data.shape)

    def __repr__(self):
        return f"Blob('{self.name}', {dims(self.shape)})"


class InputBlob(Blob):
    """A top of an Input layer: its data is the caller's, to write and to reshape."""

    def __init__(self, name, shape):
        super().__init__(name, shape)
        self._data = torch.zeros(shape)

    def reshape(self, *shape):
        """Give it another shape; the data is zero until it is written."""
        check_shape(shape, f"blob '{self.name}'")
        if tuple(shape) != self.shape:
            self.keep(self._data.new_zeros(shape), None)


class ParamBlob(Blob):
    """A parameter blob: writing into `data` changes the net; backward passes add up in `diff`.

    parameter: the torch parameter; owner: None, or the ParamBlob that it is shared from (`shape`
    may then differ from the parameter's, under PERMISSIVE sharing).
    """

    def __init__(self, name, parameter, shape, spec, owner=None):
        super().__init__(name, shape)
        self.parameter, self.owner = parameter, owner
        self.casts = TensorCache()
        self.lr_mult, self.decay_mult = spec.lr_mult, spec.decay_mult
        self.given = {field: spec.HasField(field) for field in ('lr_mult', 'decay_mult')}

    @property
    def tensor(self):
        """The parameter in the shape in which its layer uses it."""
        same = tuple(self.parameter.shape) == self.shape
        return self.parameter if same else self.parameter.view(self.shape)

    def cast(self, dtype):
        """`tensor` in another type, with its gradient; without autograd made once."""
        if torch.is_grad_enabled() or self.parameter.dtype == dtype:
            return self.tensor.to(dtype)
        return self.casts.get(self.tensor, lambda tensor: tensor.to(dtype), dtype)

    @property
    def data(self):
        return self.tensor.detach()

    @property
    def diff(self):
        grad = self.parameter.grad
        return torch.zeros_like(self.data) if grad is None else grad.reshape(self.shape)
