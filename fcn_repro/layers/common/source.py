"""Base classes of layers that read images."""

from functools import lru_cache
from typing import NamedTuple

import torch

from ...errors import FcnError
from .base import Layer

SENT_AHEAD = 32 * 2 ** 20       # bytes of a batch, at most, that reading threads copy to a GPU:
#                                 up to 2 * workers of them wait there


class Batch(NamedTuple):
    """The tops of a forward pass; copied: the event after which they are on a GPU, or None."""
    tensors: list[torch.Tensor]
    copied: torch.cuda.Event | None = None


class Source(Layer):
    """A layer without bottoms, whose tops are a function of the net's position."""

    bottoms = 0
    reads_data = True

    def epoch(self) -> int | None:
        """How many forward passes have every sample at least once; None where that is not known."""
        return None

    def located(self, read, *what):
        """read(*what); an FcnError gets the layer's place."""
        try:
            return read(*what)
        except FcnError as error:
            raise self.placed(error) from None

    def sent(self, arrays):
        """Arrays as a Batch: if they are for a GPU in pinned memory, or on their way to it. Called
        by reading threads."""
        tensors = [torch.from_numpy(array) for array in arrays]
        gpu = self.state.options.gpu
        if not gpu:
            return Batch(tensors)
        pinned = [tensor.pin_memory() for tensor in tensors]
        if sum(tensor.nbytes for tensor in pinned) > SENT_AHEAD:
            return Batch(pinned)
        with torch.cuda.stream(copying(gpu)):
            return Batch([tensor.to(gpu, non_blocking=True) for tensor in pinned],
                         torch.cuda.current_stream(gpu).record_event())

    def on_device(self, batch):
        """The tensors of a Batch on the net's device. Copies to a GPU are asynchronous; torch does
        not reuse the pinned memory until they are complete."""
        gpu = self.state.options.gpu
        for tensor in batch.tensors if batch.copied else ():
            here = torch.cuda.current_stream(tensor.device)
            here.wait_event(batch.copied)
            tensor.record_stream(here)          # its memory is the copying stream's
        return [tensor.to(gpu, non_blocking=True) if gpu else tensor for tensor in batch.tensors]


@lru_cache
def copying(gpu):
    """The stream on which reading threads copy batches to a GPU, while others compute."""
    return torch.cuda.Stream(gpu)


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
        batch = self.located(ahead.take, self.state.position, self.state.options.workers,
                             self.state.share)
        return self.on_device(batch)
