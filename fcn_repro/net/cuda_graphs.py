"""CUDA graphs: the kernels of one forward pass recorded, and launched again as one."""

import logging
from collections import OrderedDict
from contextlib import contextmanager

import torch

from ..errors import FcnError

log = logging.getLogger(__name__)

LIMIT = 8           # sizes that are kept, of all plans of a net; VOC has a handful


class Replay:
    """Runs a net's plans, in the place of `net.run`: recorded once for a plan and a size of what
    is fed, then replayed. For one on a GPU, where nobody goes backward.

    A size is recorded when it comes for the second time; the LIMIT latest ones stay. All are
    recorded anew where a parameter has changed: what a layer proved of its weights, or cast them
    to, is part of a recording. A plan that cannot be recorded, because a layer waits for the GPU,
    runs as it always did, and the log says why.
    """

    def __init__(self, net, record=None, limit=LIMIT):
        self.net, self.record, self.limit = net, record or Recording, limit
        self.recordings, self.weights, self.refused = OrderedDict(), None, set()

    def __call__(self, plan, values):
        """As net.run."""
        if not self.serves(plan):
            return self.net.run(plan, values)
        weights = [(p.data_ptr(), p._version) for p in self.net.parameters()]
        if weights != self.weights:
            self.recordings.clear()
            self.weights = weights
        key = id(plan), *((v, t.shape, t.stride(), t.dtype) for v, t in values.items())
        if key not in self.recordings:
            self.keep(key, None)
            return self.net.run(plan, values)
        recording = self.recordings.pop(key) or self.try_to_record(plan, values)
        if recording is None:
            return self.net.run(plan, values)
        self.keep(key, recording)
        return recording(plan, values)

    def serves(self, plan):
        """Whether this pass may be a replay. What is random, or a user's, or goes on from the
        pass before, is no constant list of kernels; debug_info and autograd look at every value."""
        return not (torch.is_grad_enabled() or self.net.debug_info or id(plan) in self.refused
                    or any(p.is_inference() for p in self.net.parameters())
                    or any(step.layer.train or not step.layer.replayable for step in plan.steps))

    def keep(self, key, recording):
        self.recordings[key] = recording
        if len(self.recordings) > self.limit:
            self.recordings.popitem(last=False)

    def try_to_record(self, plan, values):
        """A recording, or None: from then on the plan runs without."""
        try:
            pool = next((each.pool for each in self.recordings.values() if each), None)
            return self.record(self.net.run, plan, values, pool)
        except (RuntimeError, FcnError) as error:       # memory that runs out is an FcnError
            self.refused.add(id(plan))
            log.warning('%s runs without CUDA graphs: %s', self.net.graph.file,
                        str(error).splitlines()[0])
            return None


class Recording:
    """One plan at one size as a CUDA graph. Its inputs are tensors of its own, which a call fills;
    what it delivers is copied, because the next replay writes over it, and because all recordings
    of a net work in the memory of one `pool`."""

    def __init__(self, run, plan, values, pool=None):
        device = next(iter(values.values())).device
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(device):
            self.inputs = {v: t.clone() for v, t in values.items()}
            self.warm_up(run, plan)
            self.graph, self.values = torch.cuda.CUDAGraph(), dict(self.inputs)
            with torch.cuda.graph(self.graph, pool, capture_error_mode='thread_local'):
                self.losses = run(plan, self.values)
            self.pool = self.graph.pool()

    def warm_up(self, run, plan):
        """Run on another stream, as recording asks for: once so that proofs, casts and choices of
        algorithms are made, once more to find out what waits for the GPU."""
        stream, here = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(here)
        with torch.cuda.stream(stream):
            run(plan, dict(self.inputs))
            with waiting_is_an_error():
                run(plan, dict(self.inputs))
        here.wait_stream(stream)

    def __call__(self, plan, values):
        for v, tensor in self.inputs.items():
            tensor.copy_(values[v])
        self.graph.replay()
        values.update({v: self.values[v].clone() for pair in plan.deliver.values() for v in pair})
        return [loss.clone() for loss in self.losses]


@contextmanager
def waiting_is_an_error():
    """In this block what makes the CPU wait for the GPU raises RuntimeError, and does nothing."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode('error')
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
