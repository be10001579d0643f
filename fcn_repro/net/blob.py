"""Data and diff of a net under one name: Caffe's Blob, as tensors."""

from os import PathLike
from typing import Any

import torch
from torch import nn

from ..errors import FcnError
from ..ops.cache import TensorCache
from ..sizes import check_shape, dims


class NetBlob:
    """An activation of a net: `data`, `diff` and `shape`, in pycaffe's words.

    Holds the results of the latest forward and backward pass, if the forward pass was asked for
    them.
    """

    def __init__(self, name: str, shape: tuple[int, ...] = ()):
        self.name, self.shape = name, tuple(shape)
        self._data: torch.Tensor | None = None
        self._graded: torch.Tensor | None = None

    @property
    def data(self) -> torch.Tensor:
        """The tensor, of shape `shape`, detached from autograd."""
        return self._kept().detach()

    @property
    def diff(self) -> torch.Tensor:
        """The gradient after backward; zeros where backward left none."""
        grad = None if self._graded is None else self._graded.grad
        return torch.zeros_like(self.data) if grad is None else \
            grad.view(self.shape).to(self._kept().dtype)

    def seed_backward(self, diff: torch.Tensor, file: str | PathLike) \
            -> tuple[torch.Tensor, torch.Tensor]:
        """(tensor, gradient) to start autograd from, with a given diff in the tensor's form."""
        data = self._kept()
        if diff.numel() != data.numel():
            raise FcnError(f"the diff of '{self.name}' is {dims(diff.shape)}, the blob is "
                           f'{dims(data.shape)}', file=file, do='Give one of its shape.')
        return data, diff.to(data).reshape(data.shape)

    def keep(self, data: torch.Tensor | None, graded: torch.Tensor | None) -> None:
        """Hold the latest data, and the tensor whose gradient is the diff (None: no data)."""
        self._data, self._graded = data, graded
        if data is not None:
            self.shape = tuple(data.shape)

    def set_shape(self, shape: tuple[int, ...]) -> None:
        """Set the shape that the next forward pass will give."""
        self.shape = tuple(shape)

    def _kept(self):
        if self._data is None:
            raise FcnError(f"blob '{self.name}' was not kept by the latest forward pass",
                           do=f"Ask for it: net.forward(blobs=['{self.name}']), or blobs='all'.")
        return self._data

    def __repr__(self):
        return f"{type(self).__name__}('{self.name}', {dims(self.shape)})"


class InputBlob(NetBlob):
    """A top of an Input layer, whose data the caller writes and reshapes."""

    def __init__(self, name: str, shape: tuple[int, ...]):
        super().__init__(name, shape)
        self._data = torch.zeros(shape)

    def reshape(self, *shape: int) -> None:
        """Give it another shape; the data is zero until it is written."""
        check_shape(shape, f"blob '{self.name}'")
        if tuple(shape) != self.shape:
            self.keep(self.data.new_zeros(shape), None)


class ParamBlob(NetBlob):
    """A parameter blob: writing into `data` changes the net; backward passes add up in `diff`.

    parameter: the torch parameter; spec: its ParamSpec; owner: None, or the ParamBlob that it is
    shared from (`shape` may then differ from the parameter's, under PERMISSIVE sharing).
    """

    def __init__(self, name: str, parameter: nn.Parameter, shape: tuple[int, ...], spec: Any,
                 owner: 'ParamBlob | None' = None):
        super().__init__(name, shape)
        self.parameter, self.owner = parameter, owner
        self.casts = TensorCache()
        self.lr_mult, self.decay_mult = spec.lr_mult, spec.decay_mult
        self._spec = spec
        self._explicit: set[str] = set()        # multipliers that another layer has set

    @property
    def tensor(self) -> torch.Tensor:
        """The parameter in the shape in which its layer uses it."""
        same = tuple(self.parameter.shape) == self.shape
        return self.parameter if same else self.parameter.view(self.shape)

    def cast(self, dtype: torch.dtype) -> torch.Tensor:
        """`tensor` in another type, with its gradient; cached while autograd is off."""
        if torch.is_grad_enabled() or self.parameter.dtype == dtype:
            return self.tensor.to(dtype)
        return self.casts.get(self.tensor, lambda tensor: tensor.to(dtype), dtype)

    def set_multiplier(self, field: str, value: float) -> bool:
        """Set lr_mult or decay_mult from a layer that shares this parameter; False if another
        value was set before."""
        explicit = field in self._explicit or self._spec.HasField(field)
        if explicit and getattr(self, field) != value:
            return False
        setattr(self, field, value)
        self._explicit.add(field)
        return True

    def share_data(self, other: 'ParamBlob') -> None:
        """Become a new parameter over the data of `other`, of the same shape; or the owner's, where
        that has this data already."""
        data = other.parameter.detach()
        if self.owner is not None and self.owner.parameter.data_ptr() == data.data_ptr():
            self.parameter = self.owner.parameter
        else:
            self.parameter = nn.Parameter(data, self.parameter.requires_grad)

    @property
    def data(self) -> torch.Tensor:
        return self.tensor.detach()

    @property
    def diff(self) -> torch.Tensor:
        grad = self.parameter.grad
        return torch.zeros_like(self.data) if grad is None else grad.reshape(self.shape)
