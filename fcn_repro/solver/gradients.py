"""Sum of the gradients of several processes, in the order of their ranks, while backward runs.

Each process gives away N - 1 of the N parts of a bucket and gets the others' of its own part, adds
these in the order of ranks, and the sums are gathered: the traffic of a ring all-reduce, and the
order of additions of one process that accumulates N passes, so that the bits are its own.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import nn

from ..distributed import Group

to_all = dist.all_to_all_single
gather_into = getattr(dist, 'all_gather_single', None) or \
    dist.all_gather_into_tensor         # its name before torch 2.13
BUCKET = 25 * 2 ** 20 // 4      # numbers in a bucket: 25 MiB of float32, DistributedDataParallel's


class Piece(NamedTuple):
    """Numbers start to stop of the gradient of parameter i."""
    i: int
    start: int
    stop: int


def buckets(sizes: Sequence[int], most: int = BUCKET) -> list[list[Piece]]:
    """Split parameters of these sizes into buckets of at most `most` numbers, the last parameter
    first, as backward reaches it first: several small ones, or a part of a large one."""
    found: list[list[Piece]] = []
    room = 0
    for i in reversed(range(len(sizes))):
        if sizes[i] > most // 2:
            found += [[Piece(i, start, min(start + most, sizes[i]))]
                      for start in range(0, sizes[i], most)]
            room = 0
        elif sizes[i]:
            if sizes[i] > room:
                found.append([])
                room = most
            found[-1].append(Piece(i, 0, sizes[i]))
            room -= sizes[i]
    return found


class GradientSum:
    """Replaces the gradients of parameters by their sums over a group's processes.

    params: the leaves of one net, the same in every process. `start` before the last backward pass
    of an iteration, `finish` after it: a bucket is exchanged as soon as all its gradients are
    there. A parameter without a gradient counts as zeros.
    """

    def __init__(self, params: Sequence[nn.Parameter], group: Group):
        self.params, self.group = list(params), group
        self.buckets = buckets([p.numel() for p in self.params])
        self.waiting: list[int] = []        # per bucket, parameters whose gradient is to come
        self.members: list[list[int]] = [[] for _ in self.params]
        for b, bucket in enumerate(self.buckets):
            for i in {piece.i for piece in bucket}:
                self.members[i].append(b)
        self.next, self.armed = 0, False
        self.error: BaseException | None = None
        self.received: torch.Tensor | None = None
        self.summed: torch.cuda.Event | None = None     # the latest sums, on a GPU
        self.tasks: queue.SimpleQueue = queue.SimpleQueue()
        self.done = threading.Semaphore(0)
        for i, param in enumerate(self.params):
            if param.requires_grad:
                param.register_post_accumulate_grad_hook(lambda _, i=i: self.ready(i))
        if self.params:
            thread = threading.Thread(target=self.work, name='gradients', daemon=True)
            thread.start()

    def start(self) -> None:
        """Expect the gradients of the coming backward pass."""
        self.waiting = [len({piece.i for piece in bucket}) for bucket in self.buckets]
        self.next, self.armed = 0, True

    def ready(self, i: int) -> None:
        """Take note that a gradient is complete; exchange, in their order, the buckets that are."""
        if not self.armed:
            return
        for b in self.members[i]:
            self.waiting[b] -= 1
        while self.next < len(self.buckets) and not self.waiting[self.next]:
            self.submit()

    def submit(self) -> None:
        param = self.params[self.buckets[self.next][0].i]
        computed = torch.cuda.current_stream(param.device).record_event() if param.is_cuda else None
        self.tasks.put((self.buckets[self.next], computed))
        self.next += 1

    def finish(self) -> None:
        """Exchange what is left, and wait. FcnError (code 'process-lost') where a process died."""
        self.armed = False
        while self.next < len(self.buckets):
            self.submit()
        for _ in self.buckets:
            self.done.acquire()
        if self.error is not None:
            if isinstance(self.error, torch.OutOfMemoryError):
                raise self.error
            with self.group.others_alive():
                raise self.error
        if self.summed is not None:
            torch.cuda.current_stream(self.params[0].device).wait_event(self.summed)

    def work(self) -> None:
        """Exchange buckets one after the other: every process has to do so in one order."""
        stream = torch.cuda.Stream(self.params[0].device) if self.params[0].is_cuda else None
        while True:
            bucket, computed = self.tasks.get()
            try:
                if self.error is None:
                    with torch.no_grad(), torch.cuda.stream(stream):
                        if computed is not None:
                            computed.wait(stream)
                        self.exchange(bucket)
                        self.summed = stream.record_event() if stream else None
            except BaseException as error:          # raised again by finish
                self.error = error
            finally:
                self.done.release()

    def exchange(self, bucket: list[Piece]) -> None:
        """Replace the gradients of a bucket by their sums; those of one piece that has N equal
        parts, most of the numbers of a net, without a copy."""
        views = [self.gradient(piece.i)[piece.start:piece.stop] for piece in bucket]
        count, size = sum(len(view) for view in views), self.group.size
        part = -(-count // size)
        if self.received is None or len(self.received) < size * part:
            self.received = views[0].new_empty(size * part)
        direct = len(views) == 1 and count == size * part
        mine = views[0] if direct else torch.cat([*views, views[0].new_zeros(size * part - count)])
        theirs = self.received[:size * part]
        to_all(theirs, mine, group=self.group.gradients)
        total, *others = theirs.view(size, part)
        for other in others:
            total += other
        gather_into(mine, total, group=self.group.gradients)
        if not direct:
            for view, summed in zip(views, mine[:count].split([len(v) for v in views]),
                                    strict=True):
                view.copy_(summed)

    def gradient(self, i: int) -> torch.Tensor:
        """The gradient of a parameter as a flat view of its memory, in the order in which the
        parameter lies there: that is the same in every process."""
        param = self.params[i]
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        elif param.grad.stride() != param.stride():
            param.grad = torch.empty_like(param).copy_(param.grad)
        return param.grad.as_strided((param.numel(),), (1,))
