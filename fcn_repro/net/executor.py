"""PlannedExecutor: runs the nodes that a request needs, after the passes, with autograd.

An executor belongs to one Net and has the methods that Net's own forward, backward,
clear_param_diffs, place and reshape call. The other one is pycaffe's (pycaffe/layerwise.py).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import FcnError, located
from .blob import InputBlob, NetBlob
from .cost import check_plan, check_sources
from .cuda_graphs import Replay
from .debug_info import Trace
from .graph import AUTOMATIC, Node
from .plan import Plan, bottoms_of, make_plan, widened
from .precision import tf32
from .train_graphs import TrainingPass, TrainReplay

if TYPE_CHECKING:
    from .net import Net

ALL = 'all'
Values = dict[int, torch.Tensor]        # {value number: tensor}


class PlannedExecutor:
    """Runs a net by plans, one for each set of requested blobs, each made once.

    blobs: {name: NetBlob}. total_loss: of the latest forward pass, 0-d, or None. make_replay(net),
    make_training(net): what runs the plans instead of `run`, and the training passes (None: CUDA
    graphs, on a GPU and where the options have them).
    """

    def __init__(self, net: Net, make_replay: Callable[[Net], Replay] | None = None,
                 make_training: Callable[[Net], TrainReplay] | None = None):
        # the net owns this object: a reference back would keep both past their last use
        self.net: Net = cast('Net', weakref.proxy(net))
        self.blobs = self._make_blobs()
        self.total_loss: torch.Tensor | None = None
        self.plans: dict[tuple, Plan] = {}
        self._costed: tuple = (None, None, None)    # plan, shapes, autograd of the latest check
        self._spent = False             # whether backward ran after the latest forward pass
        self._trace: Trace | None = None
        self._make_replay, self._make_training = make_replay, make_training
        self.replay = make_replay(self.net) if make_replay else None
        self.training = make_training(self.net) if make_training else None

    def _make_blobs(self):
        graph, inputs = self.net.graph, set(self.net.graph.inputs)
        return {graph.values[v]: (InputBlob if graph.values[v] in inputs else NetBlob)
                (graph.values[v], shape) for v, shape in self.net.shapes.items()
                if graph.values[v] != AUTOMATIC}

    def placed(self) -> None:
        """Follow the net to its device, with its new options."""
        graphs = self.net.options.graphs and self.net.options.gpu
        make = self._make_replay or (Replay if graphs else None)
        self.replay = make(self.net) if make else None
        make_training = self._make_training or (TrainReplay if graphs else None)
        self.training = make_training(self.net) if make_training else None

    def reshaped(self) -> None:
        """Follow the net to its new shapes."""
        for v, shape in self.net.shapes.items():
            if self.net.graph.values[v] != AUTOMATIC:
                self.blobs[self.net.graph.values[v]].set_shape(shape)

    # ---- forward -----------------------------------------------------------------------------

    def forward(self, blobs: str | Collection[str], stop_after: str | None, labels_of: str | None,
                inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """As Net.forward says."""
        names = self.net.graph.values if blobs == ALL else \
            (blobs,) if isinstance(blobs, str) else blobs
        plan = self.plan(frozenset(names), stop_after, labels_of)
        with tf32(self.net.options.precision == 'tf32'):
            values = self.prepare(plan, inputs)
            losses = self.replay(self.run, plan, values) if self.replay else self.run(plan, values)
        self.net.seek(self.net.state.position + 1)
        self.total_loss = cast(torch.Tensor, sum(losses)) if losses else None
        self._spent = False
        return self.deliver(plan, values)

    def prepare(self, plan: Plan, inputs: dict[str, Any]) -> Values:
        """The fed values of a pass, whose shapes the net then has; FcnError without the memory."""
        if self._costed[1] is not self.net.shapes:
            check_sources(self.net)
        values = self.feed(inputs)
        self.net.reshape({v: tuple(t.shape) for v, t in values.items()})
        self._check_room(plan)
        return values

    def _check_room(self, plan):
        """FcnError for a plan beyond the memory there is; for the same shapes it is costed once."""
        costed = plan, self.net.shapes, torch.is_grad_enabled()
        if any(a is not b for a, b in zip(costed, self._costed, strict=True)):
            check_plan(plan, self.net)
            self._costed = costed

    def run(self, plan: Plan, values: Values) -> list[torch.Tensor]:
        """Run a plan over the fed values, of which those to deliver stay; the weighted losses."""
        losses = []
        for step in plan.steps:
            with located(self.net.graph.file, step.node):
                params = self.params_of(step.node, step.dtype if step.layer.casts_params
                                        else None)
                tops = step.layer.forward(bottoms_of(step, values), params)
            values.update(zip(step.node.tops, tops, strict=True))
            losses += [weight * values[v].sum() for v, weight in step.losses]
            self.observe(step.node.tops, values, plan)
            for v in step.release:
                del values[v]
        return losses

    def plan(self, blobs: frozenset[str], stop_after: str | None = None,
             labels_of: str | None = None) -> Plan:
        """The plan for these requested blobs."""
        net = self.net
        key = blobs, stop_after, labels_of, net.debug_info, net.options.dtype
        if key not in self.plans:
            passes = () if net.debug_info or net.has_replaced_types() else net.passes
            self.plans[key] = make_plan(net.graph, net.layer, passes, *key)
        return self.plans[key]

    def feed(self, inputs: dict[str, Any]) -> Values:
        """Values of the layers without bottoms: given, held by an input blob, or read."""
        net = self.net
        self._trace = Trace(net) if net.debug_info else None
        unknown = sorted(set(inputs) - set(net.graph.inputs))
        if unknown:
            raise FcnError(f"'{unknown[0]}' is not an input of this net", file=net.graph.file,
                           do=f'Its inputs: {", ".join(net.graph.inputs) or "none"}.')
        for name, data in inputs.items():
            self.blobs[name].keep(torch.as_tensor(data), None)
        values: Values = {}
        for node in net.graph.nodes:
            if node.type == 'Input':
                tops = [self.blobs[net.graph.values[v]].data for v in node.tops]
            elif not node.bottoms:
                with located(net.graph.file, node):
                    tops = net.layer(node).forward([], self.params_of(node))
            else:
                continue
            if node.key not in net.layer_params:        # the top of a Parameter layer is learned
                tops = [self.placed_input(top) for top in tops]
            values.update(zip(node.tops, tops, strict=True))
        return values

    def placed_input(self, tensor: torch.Tensor) -> torch.Tensor:
        """A fed tensor on the parameters' device, in their type and in the memory format."""
        net = self.net
        like = next(net.parameters(), tensor)
        tensor = tensor.detach().to(like.device, like.dtype)
        if net.options.channels_last and tensor.dim() == 4:
            tensor = tensor.contiguous(memory_format=torch.channels_last)
        return tensor.requires_grad_() if net.graph.force_backward else tensor

    def observe(self, tops: tuple[int, ...], values: Values, plan: Plan) -> None:
        """Have autograd keep the gradients of those of a step's tops whose diffs are requested."""
        for v in tops:
            if v in plan.observed and values[v].requires_grad:
                values[v].retain_grad()

    def params_of(self, node: Node, dtype: torch.dtype | None = None) -> list[torch.Tensor]:
        params = self.net.params_of(node, dtype)
        return self._trace.used(node, params) if self._trace else params

    def deliver(self, plan: Plan, values: Values) -> dict[str, torch.Tensor]:
        """Put the requested values into their blobs, and return them by name."""
        if self._trace:
            self._trace.log_forward(values)
        inputs = set(self.net.graph.inputs)
        for name, blob in self.blobs.items():
            if name in plan.deliver:
                first, last = plan.deliver[name]
                blob.keep(widened(values[last]), values[first])
            elif name not in inputs:
                blob.keep(None, None)
        return {name: widened(values[last]) for name, (_, last) in plan.deliver.items()}

    # ---- backward ----------------------------------------------------------------------------

    def backward(self, diffs: dict[str, Any]) -> None:
        """As Net.backward says."""
        file = self.net.graph.file
        if self._spent:
            raise FcnError('backward ran already after this forward pass', file=file,
                           do='Run forward before each backward; diffs of params add up.')
        if self._trace:
            self._trace.start_backward()
        loss = self.total_loss
        if not diffs and loss is None:
            raise FcnError('there is no loss to start backward from', file=file,
                           do='Give the diffs of outputs, or use a net with a loss layer.')
        with tf32(self.net.options.precision == 'tf32'):
            if diffs:
                self._backward_from(diffs)
            elif loss is not None and loss.requires_grad:
                loss.backward()
        self._spent = True
        if self._trace:
            self._trace.log_backward()

    def _backward_from(self, diffs: dict[str, Any]) -> None:
        seeds = []
        for name, diff in diffs.items():
            self.net.graph.first(name)          # raises if there is no such blob
            top, diff = self.blobs[name].seed_backward(torch.as_tensor(diff), self.net.graph.file)
            if top.requires_grad:
                seeds.append((top, diff))
        if seeds:
            tops, grads = zip(*seeds, strict=True)
            torch.autograd.backward(tops, grads)

    def train(self) -> tuple[dict[str, torch.Tensor], float] | None:
        """As Net.forward_backward, by CUDA graphs; None where there may be none."""
        net, plan = self.net, self.plan(frozenset())
        if self.training is None or not self.training.serves(plan):
            return None
        self._drop_graph()
        with tf32(net.options.precision == 'tf32'):
            values = self.prepare(plan, {})
            loss = self.training(TrainingPass(net), plan, values)
        net.seek(net.state.position + 1)
        self.total_loss, self._spent = loss.total, True
        return self.deliver(plan, values), loss.value

    def _drop_graph(self):
        """Drop autograd's graph of the latest pass: what it keeps for a parameter belongs to the
        stream of that pass, and would be used by the next one, which may be recorded on another."""
        self.total_loss = None
        inputs = set(self.net.graph.inputs)
        for name, blob in self.blobs.items():
            if name not in inputs:
                blob.keep(None, None)

    def clear_param_diffs(self) -> None:
        """Drop the parameters' diffs."""
        for parameter in self.net.parameters():
            parameter.grad = None
