"""Base class of layers that read images."""

import torch

from ...errors import FcnError
from .base import Layer


class Source(Layer):
    """A layer without bottoms, whose tops are a function of the net's position."""

    bottoms = 0

    def located(self, read, *what):
        """read(*what); an FcnError gets the layer's place."""
        try:
            return read(*what)
        except FcnError as error:
            raise self.placed(error) from None

    def on_host(self, arrays):
        """Arrays as tensors, in pinned memory if they are to be copied to a GPU."""
        tensors = [torch.from_numpy(array) for array in arrays]
        return [tensor.pin_memory() for tensor in tensors] if self.state.options.gpu else tensors

    def on_device(self, tensors):
        """Tensors of on_host on the net's device. The copy to a GPU is asynchronous; torch does not
        reuse the pinned memory until it is complete."""
        gpu = self.state.options.gpu
        return [tensor.to(gpu, non_blocking=True) for tensor in tensors] if gpu else tensors
