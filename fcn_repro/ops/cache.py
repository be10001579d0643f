"""Caches of one value computed from tensors."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch


class TensorsCache:
    """One-entry cache keyed on the identities and versions of some tensors.

    The value is recomputed for other tensors, and after a write to one of them. torch counts
    writes that go through torch, not those through a NumPy view.
    """

    def __init__(self):
        self._key = self._value = self._tensors = None

    def get(self, tensors: Sequence[torch.Tensor], make: Callable[[list[torch.Tensor]], Any],
            *more: Hashable):
        """make(tensors), detached, or its cached result. more: what else the result depends on."""
        if any(tensor.is_inference() for tensor in tensors):    # torch counts no versions of such
            return make(list(tensors))
        key = *((t.data_ptr(), t._version, t.dtype, t.device) for t in tensors), *more
        if key != self._key:
            self._key = self._value = self._tensors = None      # free the old one first
            with torch.inference_mode(False), torch.no_grad():
                self._value = make([tensor.detach() for tensor in tensors])
            # holding them keeps their memory, and so the addresses in the key, from another's use
            self._key, self._tensors = key, [tensor.detach() for tensor in tensors]
        return self._value


class TensorCache(TensorsCache):
    """TensorsCache of one tensor."""

    def get(self, tensor: torch.Tensor, make: Callable[[torch.Tensor], Any], *more: Hashable):
        """make(tensor), detached, or its cached result. more: what else the result depends on."""
        return super().get([tensor], lambda tensors: make(tensors[0]), *more)
