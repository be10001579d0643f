"""A cache of one value computed from a tensor."""

from collections.abc import Callable, Hashable
from typing import Any

import torch


class TensorCache:
    """One-entry cache keyed on a tensor's identity and version.

    The value is recomputed for another tensor, and after a write to the tensor. torch counts
    writes that go through torch, not those through a NumPy view.
    """

    def __init__(self):
        self._key = self._value = self._tensor = None

    def get(self, tensor: torch.Tensor, make: Callable[[torch.Tensor], Any], *more: Hashable):
        """make(tensor), detached, or its cached result. more: what else the result depends on."""
        if tensor.is_inference():           # torch counts no versions of such tensors
            return make(tensor)
        key = tensor.data_ptr(), tensor._version, tensor.dtype, tensor.device, *more
        if key != self._key:
            self._key = self._value = self._tensor = None       # free the old one first
            with torch.inference_mode(False), torch.no_grad():
                self._value = make(tensor.detach())
            # holding the tensor keeps its memory, and so its address in the key, from another's use
            self._key, self._tensor = key, tensor.detach()
        return self._value
