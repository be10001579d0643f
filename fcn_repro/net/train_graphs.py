"""CUDA graphs of training: the kernels of a forward and of a backward pass, launched as two."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch

from ..layers import Layer
from .cost import room
from .cuda_graphs import Replay, Values, capturing, delivered, warm_up
from .plan import Plan

if TYPE_CHECKING:
    from .net import Net

SHARE = 8           # one over the share of a GPU's memory that the recordings' gradients may take
RARER = 2           # times that another size has to be as frequent, to replace a recording


class Loss(NamedTuple):
    """The total loss of a pass: a detached tensor, and its value."""
    total: torch.Tensor
    value: float


class OnHost:
    """A number, copied to the host as soon as the GPU has computed it."""

    def __init__(self, number: torch.Tensor):
        self.number, self.copied = number.detach(), None
        if number.is_cuda:
            self.number = torch.empty((), dtype=number.dtype, pin_memory=True)
            self.number.copy_(number.detach(), non_blocking=True)
            self.copied = torch.cuda.current_stream(number.device).record_event()

    def item(self) -> float:
        """Wait for the number, but for nothing that was launched since."""
        if self.copied is not None:
            self.copied.synchronize()
        return self.number.item()


class TrainingPass:
    """The forward and backward pass of a net's plans."""

    def __init__(self, net: Net):
        self.net = net          # a proxy: recordings, which the net owns, keep this object

    def __call__(self, plan: Plan, values: Values) -> Loss:
        """Run a plan over the fed values, of which those to deliver stay, detached. Gradients add
        up in the parameters' grad. The host waits for the forward pass alone."""
        total = self.forward(plan, values)
        number = OnHost(total)
        if total.requires_grad:
            total.backward()
        values.update({v: values[v].detach() for v in delivered(plan)})
        return Loss(total.detach(), number.item())

    def forward(self, plan: Plan, values: Values) -> torch.Tensor:
        """The total loss, with autograd's graph."""
        return cast(torch.Tensor, sum(self.net.executor.run(plan, values)))

    def check(self, plan: Plan, values: Values) -> None:
        """Raise what a layer raises for the labels among these fed values, which a recording cannot
        (RunState.unchecked)."""
        with torch.no_grad(), collecting(self.net, {}, []):
            self.net.state.unchecked = False
            self.net.executor.run(plan, dict(values))


@contextmanager
def collecting(net: Net, drawn: dict, written: list) -> Iterator[None]:
    """Have the layers neither draw for themselves, nor write statistics, nor check labels."""
    state = net.state
    before = state.drawn, state.postponed, state.unchecked
    state.drawn, state.postponed, state.unchecked = drawn, written, True
    try:
        yield
    finally:
        state.drawn, state.postponed, state.unchecked = before


class TrainReplay(Replay):
    """Runs a net's training passes: recorded once for each plan and input size, then replayed.

    Recorded and other passes launch the same kernels in the same order, and have the same bits. A
    size is recorded at its second occurrence. Recording takes the time of dozens of passes, so a
    further size than `limit` replaces the rarest one, as soon as it is RARER times as frequent. A
    recording holds gradients of its own: they take at most one SHARE-th of the GPU's memory.

    The solver may change parameters in place. Those that do not learn discard all recordings when
    they change, as proofs of their values are part of these.
    """

    verb = 'trains'

    def __init__(self, net: Net, record: Callable[..., Any] | None = None, **options: int):
        super().__init__(net, record, **options)
        self.seen: Counter = Counter()          # {key: occurrences}
        learned = sum(p.nbytes for p in net.parameters() if p.requires_grad)
        self.limit = min(self.limit, room(net.options) // (SHARE * max(1, learned)))

    def recorder(self) -> Callable[..., Any]:
        return TrainRecording

    def serves(self, plan: Plan) -> bool:
        """Whether this pass may be a replay: with a loss, which tells of bad labels, and without
        Parameter layers, whose tops are no inputs."""
        return torch.is_grad_enabled() and self.constant(plan) \
            and any(step.losses for step in plan.steps) \
            and all(step.losses for step in plan.steps if step.layer.loss) \
            and not any(node.key in self.net.layer_params
                        for node in self.net.graph.nodes if not node.bottoms)

    def weights(self) -> list:
        statistics = {id(blob.parameter) for node in self.net.graph.nodes
                      if type(self.net.layer(node)).write is not Layer.write
                      for blob in self.net.layer_params.get(node.key, ())}
        return [(p.data_ptr(), None if p.requires_grad or id(p) in statistics else p._version)
                for p in self.net.parameters()]

    def forget(self) -> None:
        super().forget()
        self.seen.clear()

    def recording(self, key: tuple, make: Callable[[], Any]) -> Any:
        self.seen[key] += 1
        if key not in self.recordings and self.has_place(key):
            found = make()
            if found is not None:
                self.recordings[key] = found
        return self.recordings.get(key)

    def has_place(self, key: tuple) -> bool:
        """Whether a size is to be recorded now; discards the recording that it replaces."""
        if self.seen[key] < 2 or not self.limit:
            return False
        if len(self.recordings) == self.limit:
            rarest = min(self.recordings, key=self.seen.__getitem__)
            if self.seen[key] < RARER * self.seen[rarest]:
                return False
            del self.recordings[rarest]
        return True


@lru_cache
def recording_stream(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings of a device: only so do they share a pool's memory, and a node
    that autograd keeps from the passes before a recording belongs to it."""
    return torch.cuda.Stream(device)


class TrainRecording:
    """A training pass at one size, as two CUDA graphs: the host has the loss when the first one
    ends.

    Inputs, random numbers and gradients are tensors of its own; the gradients become the
    parameters' grad until the next replay. All recordings of a net share the memory of one `pool`,
    and the two graphs of one are always launched one after the other.
    """

    def __init__(self, run: TrainingPass, plan: Plan, values: Values, pool: Any = None):
        self.run, self.plan, self.pool = run, plan, pool
        self.leaves = [p for p in run.net.parameters() if p.requires_grad]
        self.inputs = {v: t.detach().clone() for v, t in values.items()}
        self.tracked = {v for v, t in values.items() if t.requires_grad}
        self.drawn: dict[Layer, tuple[torch.Tensor, Callable]] = {}
        self.written: list = []
        before = [p.grad for p in self.leaves]
        try:
            with collecting(run.net, self.drawn, self.written):
                self.capture()
                self.grads = [p.grad for p in self.leaves]
        finally:
            for p, grad in zip(self.leaves, before, strict=True):
                p.grad = grad

    def capture(self) -> None:
        """Record both graphs; sets the tensors `total` and, in `values`, those delivered."""
        gc.collect()            # a cycle may keep autograd's nodes of a parameter on another stream
        device = next(iter(self.inputs.values())).device
        with torch.cuda.device(device):
            stream = recording_stream(device)
            warm_up(lambda: self.backward(self.forward(self.fed())), stream)
            self.graphs = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
            values = self.fed()
            with capturing(self.graphs[0], self.pool, stream):
                total = self.forward(values)
            self.pool = self.graphs[0].pool()
            with capturing(self.graphs[1], self.pool, stream):
                self.backward(total)
        self.keep(total, values)

    def fed(self) -> Values:
        """The inputs as leaves of a new pass, whose gradients and statistics are then its own."""
        self.written.clear()
        for p in self.leaves:
            p.grad = None
        return {v: t.detach().requires_grad_(v in self.tracked) for v, t in self.inputs.items()}

    def forward(self, values: Values) -> torch.Tensor:
        return self.run.forward(self.plan, values)

    def backward(self, total: torch.Tensor) -> None:
        if not total.requires_grad:
            raise RuntimeError('no parameter under the loss learns')
        total.backward()

    def keep(self, total: torch.Tensor, values: Values) -> None:
        self.total = total.detach()
        self.values = {v: values[v].detach() for v in delivered(self.plan)}

    def launch(self, i: int) -> None:
        """Run the forward (0) or the backward (1) graph."""
        self.graphs[i].replay()

    @torch.no_grad()
    def __call__(self, plan: Plan, values: Values) -> Loss:
        """As TrainingPass."""
        for v, tensor in self.inputs.items():
            tensor.copy_(values[v])
        for tensor, fill in self.drawn.values():
            fill(tensor)
        for p in self.leaves:
            if p.grad is not None:      # of the pass before, in memory that this replay may write
                p.grad = p.grad.clone()
        self.launch(0)
        number = OnHost(self.total)
        self.launch(1)
        value = number.item()
        if math.isnan(value):
            self.run.check(plan, values)
        for p, grad in zip(self.leaves, self.grads, strict=True):
            if grad is not None:
                p.grad = grad if p.grad is None else p.grad.add_(grad)
        self.run.net.write(self.written)
        values.update({v: tensor.clone() for v, tensor in self.values.items()})
        return Loss(self.total.clone(), value)
