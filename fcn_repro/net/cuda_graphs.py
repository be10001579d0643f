"""CUDA graphs: the kernels of one forward pass recorded, and launched again as one."""

import logging
from collections import OrderedDict
from collections.abc import Callable
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

    def __init__(self, net: 'Net', record: 'Callable[..., Any] | None' = None, limit: int = LIMIT):
        self.net, self.record, self.limit = net, record or Recording, limit
        self.recordings: OrderedDict[tuple, Any] = OrderedDict()
        self.weights: list | None = None
        self.refused: set[int] = set()

    def __call__(self, run: Run, plan: Plan, values: Values) -> list[torch.Tensor]:
        """What run(plan, values) does, replayed where there is a recording."""
        if not self.serves(plan):
            return run(plan, values)
        weights = [(p.data_ptr(), p._version) for p in self.net.parameters()]
        if weights != self.weights:
            self.recordings.clear()
            self.weights = weights
        key = id(plan), *((v, t.shape, t.stride(), t.dtype) for v, t in values.items())
        if key not in self.recordings:
            self.keep(key, None)
            return run(plan, values)
        recording = self.recordings.pop(key) or self.try_to_record(run, plan, values)
        if recording is None:
            return run(plan, values)
        self.keep(key, recording)
        return recording(plan, values)

    def serves(self, plan: Plan) -> bool:
        """Whether this pass may be a replay. Layers that are random, a user's own, or continue from
        the pass before launch no constant list of kernels; debug_info and autograd need every
        value."""
        return not (torch.is_grad_enabled() or self.net.debug_info or id(plan) in self.refused
                    or any(p.is_inference() for p in self.net.parameters())
                    or any(step.layer.train or not step.layer.replayable for step in plan.steps))

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
            log.warning('%s runs without CUDA graphs: %s', self.net.graph.file,
                        str(error).splitlines()[0])
            return None


class Recording:
    """One plan at one size as a CUDA graph.

    Its inputs are tensors of its own, which a call fills; delivered values are copied, because the
    next replay overwrites them, and because all recordings of a net share the memory of one `pool`.
    """

    def __init__(self, run: Run, plan: Plan, values: Values, pool: Any = None):
        device = next(iter(values.values())).device
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
            self.inputs = {v: t.clone() for v, t in values.items()}
            self.warm_up(run, plan)
            self.graph, self.values = torch.cuda.CUDAGraph(), dict(self.inputs)
            with torch.cuda.graph(self.graph, pool, capture_error_mode='thread_local'):
                self.losses = run(plan, self.values)
            self.pool = self.graph.pool()

    def warm_up(self, run: Run, plan: Plan) -> None:
        """Run on a side stream, as recording requires: once so that proofs, casts and choices of
        algorithms are made, once more to find synchronisation."""
        stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            run(plan, dict(self.inputs))
            with synchronisation_is_an_error():
                run(plan, dict(self.inputs))
        here.wait_stream(stream)

    def __call__(self, plan: Plan, values: Values) -> list[torch.Tensor]:
        for v, tensor in self.inputs.items():
            tensor.copy_(values[v])
        self.graph.replay()
        values.update({v: self.values[v].clone() for pair in plan.deliver.values() for v in pair})
        return [loss.clone() for loss in self.losses]


@contextmanager
def synchronisation_is_an_error():
    """Raise RuntimeError in this block for operations that make the CPU wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
