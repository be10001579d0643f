"""Running a net layer by layer over memory that anyone may write into between any two layers.

Caffe's ForwardFromTo and BackwardFromTo: each layer reads its bottoms' data from their blobs and
writes its tops' there; backward reads the tops' diffs, writes those of the bottoms, and adds to
those of the parameters. The layers, shapes and parameters are those of fcn_repro.net.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Collection
from typing import Any, ClassVar

import torch

from ..errors import FcnError, located
from ..layers import Layer
from ..net import Net
from ..net.cost import room
from ..net.debug_info import backward_flags, log_backward, log_forward, log_param_norms
from ..net.graph import AUTOMATIC, Node
from ..net.precision import tf32
from ..sizes import check_room, dims
from .arrays import Memory, settle
from .blob import diff_of
from .userlayer import Chosen, UserPython


def values_with_diffs(net: Net) -> set[int]:
    """The values that get a diff in backward: those above a learned parameter, all of them with
    force_backward, and those that propagate_down asks for."""
    needed = set(range(len(net.graph.values))) if net.graph.force_backward else set()
    for node in net.graph.nodes:
        learned = any(p.requires_grad for p in net.params_of(node))
        if learned or any(wanted_diffs(node, needed)):
            needed.update(node.tops)
    return needed


def wanted_diffs(node: Node, needed: set[int]) -> list[bool]:
    """For each bottom of a node: does this node give it a diff?"""
    return [bool(down) for down in node.param.propagate_down] or [v in needed for v in node.bottoms]


class LayerwiseExecutor:
    """Runs a net layer by layer. memory: {value: Memory}, one Memory for each blob name; blobs:
    {name: Memory}; callbacks: {place: the user's functions of a layer's number}."""

    def __init__(self, net: Net):
        self.net = weakref.proxy(net)   # which owns this object: a cycle would outlive its last use
        self.total_loss: torch.Tensor | None = None
        self.callbacks: dict[str, list[Callable[[int], Any]]] = {
            'before_forward': [], 'after_forward': [], 'before_backward': [], 'after_backward': []}
        self._needed = values_with_diffs(net)
        self._allocate()

    def placed(self) -> None:
        """Follow the net to its device."""
        if self.net.options.device != self._device:
            self._allocate()

    def reshaped(self) -> None:
        """Follow the net to its new shapes."""
        for v, shape in self.net.shapes.items():
            self.memory[v].reshape(shape)
        self._seen = {node.key: [self.net.shapes[v] for v in node.bottoms]
                      for node in self.net.graph.nodes}

    # ---- before anything runs ----------------------------------------------------------------

    def _allocate(self):
        """Make the memory of all blobs, on the net's device."""
        self._device = self.net.options.device
        self._records: dict[int, tuple] = {}    # of layer i: bottoms, parameters, tops
        self.memory = self._make_memory()
        self._seen: dict[tuple, list] = {}      # shapes of its bottoms that a layer was checked for
        self.reshaped()
        self.blobs = {self.net.graph.values[v]: memory for v, memory in self.memory.items()}
        self._constants = self._fill_constants()
        self._connect_user_layers()

    def _make_memory(self):
        """One Memory for each blob name; a Split's tops have their bottom's data, unless the blob
        is written again after the Split."""
        graph, memory, homes = self.net.graph, {}, {}
        for node in graph.nodes:
            for v, weight in zip(node.tops, self.net.layer(node).loss_weights, strict=True):
                name, source = graph.values[v], None
                if self.net.layer(node).shares_data and \
                        graph.last(graph.values[node.bottoms[0]]) == node.bottoms[0]:
                    source = memory[node.bottoms[0]]
                new = Memory(self._device, source, weight)
                memory[v] = new if name == AUTOMATIC else homes.setdefault(name, new)
                memory[v].reshape(self.net.shapes[v])
        return memory

    def _connect_user_layers(self):
        for node in self.net.graph.nodes:
            layer = self.net.layer(node)
            if isinstance(layer, UserPython):
                layer.connect([self.memory[v] for v in node.bottoms],
                              [self.memory[v] for v in node.tops],
                              self.net.layer_params.get(node.key, []))

    def _fill_constants(self):
        """Fill the tops that are constant (DummyData) once: a caller may write there."""
        found = set()
        for node in self.net.graph.nodes:
            for i, top in self.net.layer(node).constant_tops().items():
                self.memory[node.tops[i]].data.copy_(top)
                found.add(node.tops[i])
        return found

    # ---- forward -----------------------------------------------------------------------------

    def forward(self, blobs: str | Collection[str], stop_after: str | None, labels_of: str | None,
                inputs: dict[str, Any]) -> dict[str, torch.Tensor]:
        """As Net.forward, on the data in the inputs' memory."""
        if inputs or labels_of is not None:
            raise FcnError('a net that runs layer by layer takes no inputs and makes no label map',
                           file=self.net.graph.file,
                           do="Write into the inputs' blobs, and take the argmax of the scores.")
        graph = self.net.graph
        names = (blobs,) if isinstance(blobs, str) else blobs
        last = len(graph.upto(stop_after)) if stop_after else len(graph.nodes)
        self.total_loss = torch.tensor(self.run(0, last - 1))
        return {name: self.memory[graph.last(name)].data for name in (*graph.outputs, *names)}

    def run(self, first: int, last: int) -> float:
        """Forward through the layers first to last, both included; their loss. As in Caffe each
        layer takes its bottoms at the shapes that they have when it runs; the others keep theirs.
        """
        settle()
        nodes, loss = self.net.graph.nodes, 0.0
        self._check_room(nodes[first:last + 1])
        with tf32(self.net.options.precision == 'tf32'):
            for i in range(first, last + 1):
                made = self._tops(i)
                self._write(nodes[i], made)
                if self.net.debug_info:
                    log_forward(self.net, nodes[i], [self.memory[v].data for v in nodes[i].tops])
                weights = self.net.layer(nodes[i]).loss_weights
                for top, weight in zip(made, weights, strict=True):
                    loss += weight * float(top.detach().sum()) if weight else 0.0
                self._call('after_forward', i)
        if first == 0:                          # a pass from a later layer on takes no new sample
            self.net.seek(self.net.state.position + 1)
        return loss

    def _check_room(self, nodes):
        """FcnError, with the largest layer, where the blobs that these layers write take more
        memory than the device has: a blob keeps its data after the pass."""
        counts = {}             # {id of a blob's memory: (values, the layer that makes it)}
        for node in nodes:
            for v in node.tops:
                if not self.memory[v].source:
                    counts.setdefault(id(self.memory[v]), (math.prod(self.net.shapes[v]), node))
        if counts:
            _, largest = max(counts.values(), key=lambda pair: pair[0])
            with located(self.net.graph.file, largest):
                check_room(4 * sum(count for count, _ in counts.values()), 'the blobs of the net, '
                           'of which this layer makes the largest, take', room(self.net.options))

    def _call(self, when, i):
        """Call the user's functions of this place with the layer's number."""
        for function in self.callbacks[when]:
            function(i)
            settle()

    def _tops(self, i):
        """The top tensors of layer i, from its bottoms' memory. What backward needs is recorded,
        unless a second run of the layer gives it as well."""
        self._call('before_forward', i)
        node = self.net.graph.nodes[i]
        self._check(node)
        if node.type == 'Input':
            return [self.memory[v].data for v in node.tops]
        layer, in_place = self.net.layer(node), self._in_place(node)
        if isinstance(layer, UserPython):
            return layer.run()
        record = layer.train or in_place or layer.stateful
        self._records.pop(i, None)
        with located(self.net.graph.file), torch.set_grad_enabled(record):
            computed = self._compute(node, layer, in_place)
        if record:
            self._records[i] = computed
        return computed[2]

    def _compute(self, node: Node, layer: Layer, in_place: bool):
        """(bottoms, parameters, tops) of one layer: leaves of autograd, and its results."""
        bottoms = []
        for v, wanted in zip(node.bottoms, wanted_diffs(node, self._needed), strict=True):
            data = self.memory[v].data.data
            bottoms.append((data.clone() if in_place else data).requires_grad_(wanted))
        params = [p.data.requires_grad_(p.requires_grad) for p in self.net.params_of(node)]
        return bottoms, params, layer.forward(bottoms, params)

    def _in_place(self, node):
        """Does the layer overwrite one of its bottoms?"""
        return any(self.memory[v] is self.memory[w] for v in node.bottoms for w in node.tops)

    def _check(self, node):
        """FcnError where the bottoms' shapes are new and the layer cannot take them."""
        bottoms = [self.memory[v].shape for v in node.bottoms]
        if bottoms != self._seen[node.key]:
            with located(self.net.graph.file, node):
                self.net.check_layer(node, bottoms)
            self._seen[node.key] = bottoms

    def adapt(self) -> None:
        """Give all blobs the shapes that follow from those of the sources now; FcnError where they
        do not fit."""
        self.net.reshape({v: self.memory[v].shape for node in self.net.graph.nodes
                          if not node.bottoms for v in node.tops}, whole=True)

    @torch.no_grad()
    def _write(self, node, tops):
        """Copy a layer's tops into their memory."""
        for v, top in zip(node.tops, tops, strict=True):
            memory, top = self.memory[v], top.detach()
            if v in self._constants:
                continue
            memory.reshape(tuple(top.shape))
            if top.data_ptr() != memory.data.data_ptr():
                memory.data.copy_(top)

    # ---- backward ----------------------------------------------------------------------------

    def backward(self, diffs: dict[str, Any]) -> None:
        """As Net.backward, from the tops' diffs in memory: of a loss, its weight."""
        if diffs:
            raise FcnError('a net that runs layer by layer takes no diffs',
                           file=self.net.graph.file, do="Write them into the outputs' blobs.")
        self.run_back(len(self.net.graph.nodes) - 1, 0)
        if self.net.debug_info:
            log_param_norms(self.net)

    def train(self) -> None:
        """There are no CUDA graphs: anyone may write between two layers."""

    def run_back(self, first: int, last: int) -> None:
        """Backward through the layers first down to last, both included, from their tops' diffs."""
        settle()
        net = self.net
        flags = backward_flags(net) if net.debug_info else {}
        with tf32(net.options.precision == 'tf32'):
            for i in range(first, last - 1, -1):
                self._call('before_backward', i)
                node, layer = net.graph.nodes[i], net.layer(net.graph.nodes[i])
                if not isinstance(layer, UserPython):
                    self._layer_back(i, node, layer)
                elif self._needed.intersection(node.tops):
                    layer.run_back(wanted_diffs(node, self._needed))
                if flags.get(id(node)) is not None:
                    self._log_backward(node, flags[id(node)])
                self._call('after_backward', i)

    def _log_backward(self, node, flags):
        diffs = {v: self.memory[v].diff for v, wanted in zip(node.bottoms, flags, strict=True)
                 if wanted}
        log_backward(self.net, node, diffs,
                     [blob.diff for blob in self.net.layer_params.get(node.key, ())])

    def _layer_back(self, i, node, layer):
        """Backward through one layer of the engine."""
        if node.type == 'Input':
            return
        with located(self.net.graph.file), torch.enable_grad():
            bottoms, params, tops = self._records.get(i) or self._compute(node, layer, False)
        starts = [(top, self._top_diff(node, v, top))
                  for v, top in zip(node.tops, tops, strict=True) if top.requires_grad]
        leaves = [x for x in (*bottoms, *params) if x.requires_grad]
        if starts and leaves:
            tops, diffs = zip(*starts, strict=True)
            grads = torch.autograd.grad(tops, leaves, diffs, retain_graph=True, allow_unused=True)
            self._leave(node, bottoms, params, dict(zip(map(id, leaves), grads, strict=True)))

    def _top_diff(self, node, v, top):
        """The diff of a top, in its shape."""
        diff = self.memory[v].diff
        if diff.numel() != top.numel():
            raise FcnError(f"blob '{self.net.graph.values[v]}' is {dims(diff.shape)}, and its "
                           f'bottoms now make it {dims(top.shape)}', file=self.net.graph.file,
                           line=node.line, layer=node.name, type=node.type,
                           do='Run forward through this layer first.')
        return diff.reshape(top.shape)

    @torch.no_grad()
    def _leave(self, node, bottoms, params, grads):
        """Write gradients, {id of a leaf: gradient}, into the bottoms' diffs, and add them to the
        parameters'."""
        for v, bottom in zip(node.bottoms, bottoms, strict=True):
            if grads.get(id(bottom)) is not None:
                self.memory[v].diff.copy_(grads[id(bottom)])
        blobs = [blob for owner in node.owners for blob in self.net.layer_params.get(owner, ())]
        for blob, param in zip(blobs, params, strict=True):
            if grads.get(id(param)) is not None:
                diff_of(blob.parameter).add_(grads[id(param)].reshape(blob.parameter.shape))

    def clear_param_diffs(self) -> None:
        """Zero all parameters' diffs in place, so that arrays of them stay valid."""
        settle()
        for parameter in self.net.parameters():
            if parameter.grad is not None:
                parameter.grad.zero_()


class LayerwiseNet(Net):
    """The engine's net behind a pycaffe Net. Python layers may be users' own."""

    own_types: ClassVar[dict[str, Any]] = {'Python': Chosen}
    executor_type = LayerwiseExecutor
