"""The passes of one iteration, and of one test, shared by the processes of a run.

Pass j of an iteration is computed by the process j % N, at the position that it has in a run of one
process: it reads the same samples and draws the same dropout masks. Gradients are summed in the
order of ranks (gradients.py), losses and batch statistics in the order of passes. So N processes
that compute one pass each have the bits of one process at iter_size N; with several passes each,
sums are taken in another order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from ..data.order import Share
from ..distributed import Group, Processes
from ..errors import FcnError
from ..net.blob import ParamBlob
from ..net.net import Net
from .gradients import GradientSum

LOGGED_VALUES = 100                         # of an output, at most
Outputs = dict[str, torch.Tensor]           # {name: its first values, on the host}
Postponed = tuple[int, Any, tuple[torch.Tensor, ...]]       # of RunState.postponed


class Result(NamedTuple):
    """What a process tells the others of its passes: the loss of each, the outputs of the last one,
    the statistics to write, and whether it was asked to stop."""
    losses: list[float]
    outputs: Outputs
    postponed: list[Postponed]
    stop: bool


class Iteration:
    """Computes the passes of a train net's iterations.

    passes: of one iteration, over all processes. stop: set it to have all processes agree, at the
    end of an iteration, to stop. FcnError for more processes than passes, and for a layer that
    continues from the pass before, which another process computes.
    """

    def __init__(self, net: Net, passes: int, processes: Processes):
        self.net, self.passes, self.processes = net, passes, processes
        self.stop = self.agreed = False
        self.gradients: GradientSum | None = None
        if processes.size > 1:
            self._check()
            net.state.postponed = []
        net.state.share = Share(processes.rank, processes.size, passes)

    def _check(self) -> None:
        if self.passes < self.processes.size:
            raise FcnError(f'{self.processes.size} processes for the {self.passes} passes of an '
                           'iteration', code='too-many-processes',
                           facts={'passes': self.passes}, file=self.net.graph.file,
                           do=f'Start at most {self.passes} processes.')
        for node in self.net.graph.nodes:
            if self.net.layer(node).stateful:
                raise FcnError('continues from the forward pass before, which another process '
                               'computes', file=self.net.graph.file, line=node.line,
                               layer=node.name, type=node.type,
                               do='Train in one process, or expose its state (expose_hidden).')
            if self.passes % self.processes.size and self.net.layer(node).synchronised:
                raise FcnError(f'{self.processes.size} processes share {self.passes} passes '
                               'unevenly, and this layer takes the statistics of passes that are '
                               'side by side', file=self.net.graph.file, line=node.line,
                               layer=node.name, type=node.type, do='Start a number of processes '
                               f'that divides {self.passes}, or remove synchronised.')

    @property
    def stopping(self) -> bool:
        """Whether all processes stop now."""
        return self.stop if self.processes.size == 1 else self.agreed

    def run(self, params: Sequence[ParamBlob], keep_outputs: bool) -> tuple[list[float], Outputs]:
        """Forward and backward passes of an iteration, from the net's position on; the gradients of
        params, over all processes, are then in their diffs.

        Returns the loss of each pass and, with keep_outputs, the outputs of the last one. FcnError
        (code 'process-lost') where another process died."""
        net, first = self.net, self.net.state.position
        share = self._share_from(first)
        mine = self.processes.share(self.passes)
        outputs: dict[str, torch.Tensor] = {}
        losses = []
        for j in mine:
            net.seek(first + j)
            if share.size == 1:
                outputs, loss = net.forward_backward()
            else:
                outputs, loss = self._side_by_side(params, last=j == mine[-1])
            losses.append(loss)
        net.seek(first + self.passes)
        if self.gradients is not None:
            self.gradients.finish()
        last = keep_outputs and mine[-1] == self.passes - 1
        return self._exchange(Result(losses, first_of_all(outputs) if last else {},
                                     net.state.postponed or [], self.stop))

    def _side_by_side(self, params: Sequence[ParamBlob], last: bool) -> tuple[Outputs, float]:
        """Outputs and loss of a pass that the other processes make one of, too. last: of this
        iteration, whose gradients are sent while backward runs: no CUDA graph."""
        self.net.state.together = self.processes
        try:
            outputs = self.net.forward()
            if last:
                self._sum_of(params).start()
            self.net.backward()
        finally:
            self.net.state.together = None
        return outputs, total_loss(self.net)

    def _share_from(self, first: int) -> Share:
        share = self.net.state.share
        if (first - share.origin) % self.passes:            # after restoring, or a user's seek
            share = Share(share.rank, share.size, self.passes, first % self.passes)
            self.net.state.share = share
        return share

    def _sum_of(self, params: Sequence[ParamBlob]) -> GradientSum:
        leaves = [blob.parameter for blob in params if blob.parameter.requires_grad]
        if self.gradients is None or any(
                a is not b for a, b in zip(leaves, self.gradients.params, strict=True)):
            assert isinstance(self.processes, Group)
            self.gradients = GradientSum(leaves, self.processes)
        return self.gradients

    def _exchange(self, mine: Result) -> tuple[list[float], Outputs]:
        """The losses of all passes and the outputs of the last one; writes the statistics."""
        if self.processes.size == 1:
            return mine.losses, mine.outputs
        results = self.processes.gather(mine)
        self.agreed = any(result.stop for result in results)
        self.net.write([item for result in results for item in result.postponed])
        self.net.state.postponed = []
        size = self.processes.size
        losses = [results[j % size].losses[j // size] for j in range(self.passes)]
        return losses, results[(self.passes - 1) % size].outputs

    def write_own(self) -> None:
        """Write what this process's passes postponed, of passes that all processes made."""
        if self.net.state.postponed:
            self.net.write(self.net.state.postponed)
            self.net.state.postponed = []

    def check_equal(self, what: tuple) -> None:
        """FcnError unless all processes have equal parameters and an equal `what`, as printed."""
        if self.processes.size == 1:
            return
        digest = hashlib.sha256(repr(what).encode())
        for blob in self.net.learnable_params:
            data = blob.parameter.detach()
            digest.update(str((tuple(data.shape), data.double().sum().item(),
                               data.double().square().sum().item())).encode())
        found = self.processes.gather(digest.hexdigest())
        wrong = [rank for rank, each in enumerate(found) if each != found[0]]
        if wrong:
            raise FcnError(f'process {wrong[0]} starts from other weights, another iteration or '
                           'other settings than process 0', file=self.net.graph.file,
                           code='processes-differ',
                           do='Give all processes the same files and settings: a folder that all '
                              'machines share, and one version of this project and of torch.')


def test_passes(net: Net, count: int, processes: Processes) -> list[tuple[Outputs, float]]:
    """The first values of the outputs, and the loss, of each of `count` passes of a test net."""
    first = net.state.position
    net.state.share = Share(processes.rank, processes.size, max(count, 1),
                            first % max(count, 1))
    mine = []
    for k in processes.share(count):
        net.seek(first + k)
        mine.append((first_of_all(net.forward()), total_loss(net)))
    net.seek(first + count)
    return processes.in_order(mine, count)


def first_of_all(outputs: dict[str, torch.Tensor]) -> Outputs:
    return {name: first_values(top) for name, top in outputs.items()}


def first_values(top: torch.Tensor) -> torch.Tensor:
    """The first values of an output, on the host."""
    return top.detach().flatten()[:LOGGED_VALUES].float().cpu()


def total_loss(net: Net) -> float:
    return 0.0 if net.total_loss is None else net.total_loss.item()
