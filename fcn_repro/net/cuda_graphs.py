"""CUDA graphs: the kernels of a forward pass recorded, and launched again as one.

Those of training are in train_graphs.py.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from ..errors import FcnError
from .plan import Plan

if TYPE_CHECKING:
    from .net import Net

log = logging.getLogger(__name__)

LIMIT = 8           # recordings that are kept, over all plans of a net; VOC has a handful of sizes

Values = dict[int, torch.Tensor]            # {value number: tensor}
Run = Callable[[Plan, Values], list[torch.Tensor]]      # PlannedExecutor.run


class Replay:
    """Runs a net's plans: recorded once for each plan and input size, then replayed.

    For nets on a GPU, without autograd. A size is recorded at its second occurrence; the `limit`
    most recently used recordings are kept. A changed parameter discards them all: what a layer
    proved of its weights, or cast them to, is part of a recording. A plan that cannot be recorded,
    because a layer synchronises with the GPU, runs step by step, and the log says why.
    """

    verb = 'runs'

    def __init__(self, net: 'Net', record: 'Callable[..., Any] | None' = None, limit: int = LIMIT):
        self.net, self.record, self.limit = net, record or self.recorder(), limit
        self.recordings: OrderedDict[tuple, Any] = OrderedDict()
        self.known: list | None = None
        self.refused: set[int] = set()

    def recorder(self) -> Callable[..., Any]:
        """What records, where no other way is given."""
        return Recording

    def __call__(self, run: Callable[[Plan, Values], Any], plan: Plan, values: Values) -> Any:
        """What run(plan, values) does, replayed where there is a recording."""
        if not self.serves(plan):
            return run(plan, values)
        weights = self.weights()
        if weights != self.known:
            self.forget()
            self.known = weights
        key = id(plan), *((v, t.shape, t.stride(), t.dtype) for v, t in values.items())
        recording = self.recording(key, lambda: self.try_to_record(run, plan, values))
        return (recording or run)(plan, values)

    def weights(self) -> list:
        """What tells the parameters that recordings hold for."""
        return [(p.data_ptr(), p._version) for p in self.net.parameters()]

    def forget(self) -> None:
        """Discard all recordings."""
        self.recordings.clear()

    def recording(self, key: tuple, make: Callable[[], Any]) -> Any:
        """The recording for a plan and size, made at their second occurrence; None without."""
        if key not in self.recordings:
            self.keep(key, None)
            return None
        found = self.recordings.pop(key) or make()
        if found is not None:
            self.keep(key, found)
        return found

    def serves(self, plan: Plan) -> bool:
        """Whether this pass may be a replay: not where layers are random."""
        return not torch.is_grad_enabled() and self.constant(plan) \
            and not any(step.layer.train for step in plan.steps)

    def constant(self, plan: Plan) -> bool:
        """Whether a plan may be a constant list of kernels. A user's layers, and those that
        continue from the pass before, are not; debug_info needs every value."""
        return not (self.net.debug_info or id(plan) in self.refused
                    or any(p.is_inference() for p in self.net.parameters())
                    or any(not step.layer.replayable for step in plan.steps))

    def keep(self, key: tuple, recording: Any) -> None:
        self.recordings[key] = recording
        if len(self.recordings) > self.limit:
            self.recordings.popitem(last=False)

    def try_to_record(self, run: Run, plan: Plan, values: Values) -> Any:
        """A recording; None where that fails: from then on the plan runs without."""
        try:
            pool = next((each.pool for each in self.recordings.values() if each), None)
            return self.record(run, plan, values, pool)
        except (RuntimeError, FcnError) as error:       # out of memory is an FcnError
            self.refused.add(id(plan))
            for key in [key for key in self.recordings if key[0] == id(plan)]:
                del self.recordings[key]
            reason = error.__context__ or error     # the end of a failed recording fails too
            log.warning('%s %s without CUDA graphs: %s', self.net.graph.file, self.verb,
                        str(reason).partition('\n')[0])
            return None


def delivered(plan: Plan) -> set[int]:
    """The values that a plan delivers."""
    return {v for pair in plan.deliver.values() for v in pair}


class Recording:
    """One plan at one size as a CUDA graph.

    Its inputs are tensors of its own, which a call fills; delivered values are copied, because the
    next replay overwrites them, and because all recordings of a net share the memory of one `pool`.
    """

    def __init__(self, run: Run, plan: Plan, values: Values, pool: Any = None):
        device = next(iter(values.values())).device
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
            self.inputs = {v: t.clone() for v, t in values.items()}
            warm_up(lambda: run(plan, dict(self.inputs)), torch.cuda.Stream())
            self.graph, self.values = torch.cuda.CUDAGraph(), dict(self.inputs)
            with capturing(self.graph, pool):
                self.losses = run(plan, self.values)
            self.pool = self.graph.pool()

    def __call__(self, plan: Plan, values: Values) -> list[torch.Tensor]:
        for v, tensor in self.inputs.items():
            tensor.copy_(values[v])
        self.graph.replay()
        values.update({v: self.values[v].clone() for v in delivered(plan)})
        return [loss.clone() for loss in self.losses]


def warm_up(run: Callable[[], Any], stream: torch.cuda.Stream) -> None:
    """Run on a side stream, as recording requires: once so that proofs, casts and choices of
    algorithms are made, once more to find synchronisation."""
    here = torch.cuda.current_stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        run()
        with synchronisation_is_an_error():
            run()
    here.wait_stream(stream)


@contextmanager
def capturing(graph: torch.cuda.CUDAGraph, pool: Any,
              stream: torch.cuda.Stream | None = None) -> Iterator[None]:
    """Record what is launched in this block, while other threads may allocate memory."""
    with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(
            graph, pool, stream, capture_error_mode='thread_local'):
        yield           # torch.cuda.graph alone leaves its stream current where recording fails


@contextmanager
def synchronisation_is_an_error():
    """Raise RuntimeError in this block for operations that make the CPU wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
