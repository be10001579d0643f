"""Base classes of layers that read images."""

import torch

from ...errors import FcnError
from .base import Layer


class Source(Layer):
    """A layer without bottoms, whose tops are a function of the net's position."""

    bottoms = 0
    reads_data = True

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


class BatchSource(Source):
    """A source whose batches are read ahead from something that depends on the net's seed."""

    latest: tuple = (None, None)        # (seed, what open gave for it)

    def open(self, seed):
        """What batches are made of, a tuple; last, a Prefetch of the batch of each position."""
        raise NotImplementedError(self.type)

    def source(self, seed):
        """What open gives for a seed, made once."""
        if self.latest[0] != seed:
            self.latest = seed, self.open(seed)
        return self.latest[1]

    def forward(self, bottoms, params):
        *_, ahead = self.located(self.source, self.state.seed)
        tensors = self.located(ahead.take, self.state.position, self.state.options.workers,
                               self.state.share)
        return self.on_device(tensors)
