"""What a plan holds at once, computed from shapes before any of it is allocated.

A lower bound: parameters, the values that are alive between two steps, what a layer says that it
surely takes beside them (Layer.scratch), and in training the inputs of products whose weights
learn, which backward reads. What layers and libraries may take further is not in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import torch

from ..errors import located
from ..layers import ExecutionOptions
from ..sizes import check_room, memory, size
from .graph import Graph, Node
from .plan import Plan, Step

if TYPE_CHECKING:
    from .net import Net


class Costed(Protocol):
    """What peak asks of a net: its graph, the shapes of its values, and which nodes learn."""
    graph: Graph
    shapes: dict[int, tuple[int, ...]]

    def learns(self, node: Node) -> bool:
        """Whether a parameter of a node's layer gets a gradient."""


class Held:
    """Counts the values in memory while steps run. Several numbers may have one memory: those of an
    in-place layer, and of one whose tops may be views."""

    def __init__(self) -> None:
        self.total = 0
        self.blocks: dict[int, list[int]] = {}      # {value: its memory, [count, values in it]}

    def make(self, value: int, count: int) -> None:
        """A value with memory of its own."""
        self.blocks[value] = [count, 1]
        self.total += count

    def add_top(self, value: int, count: int, bottom: int, own: bool) -> None:
        """A top, in memory of its own or (own is false) perhaps in that of a bottom: as large as
        that it has the same at least, else nothing is known."""
        if own or self.blocks[bottom][0] != count:
            self.make(value, count if own else 0)
        else:
            self.blocks[value] = self.blocks[bottom]
            self.blocks[value][1] += 1

    def keep(self, value: int) -> None:
        """Never free the memory of a value."""
        self.blocks[value][1] += 1

    def drop(self, value: int) -> None:
        block = self.blocks.pop(value)
        block[1] -= 1
        if not block[1]:
            self.total -= block[0]


def peak(plan: Plan, net: Costed, shapes: dict, learning: bool) -> tuple[int, Step | None]:
    """(most values that are held at once, the step that holds them). shapes: {value: shape} of the
    sources, from which the others follow: passes change them. learning: whether backward may
    follow."""
    held, most, at = Held(), 0, None
    sources = {v for node in net.graph.nodes if not node.bottoms for v in node.tops}
    learned = {v for node in net.graph.nodes if node.type == 'Parameter' for v in node.tops}
    own = set(map(id, net.graph.nodes))         # not made by a pass
    known, shapes = net.shapes, {v: shapes[v] for v in sources}
    for v in sources:
        held.make(v, 0 if v in learned else math.prod(shapes[v]))
    for step in plan.steps:
        node, layer = step.node, step.layer
        bottoms = [shapes[v] for v in node.bottoms]
        if id(node) in own and bottoms == [known[v] for v in node.bottoms]:
            tops = [known[v] for v in node.tops]
        else:
            tops = list(map(tuple, layer.shape(bottoms)))
        for v, shape in zip(node.tops, tops, strict=True):
            shapes[v] = shape
            held.add_top(v, math.prod(shape), node.bottoms[0], layer.makes_tops)
        if learning and layer.product and net.learns(node):
            held.keep(node.bottoms[0])
        need = held.total + layer.scratch(bottoms)
        if need > most:
            most, at = need, step
        for v in step.release:
            held.drop(v)
    return most, at


def bottoms_of_plan(plan: Plan, net: Net, shapes: dict) -> dict[tuple[str, int], tuple]:
    """{Node.key: shape of the first bottom} of a plan's steps; shapes: {value: shape} of the
    sources, of any size, since nothing is allocated."""
    shapes, found = dict(shapes), {}
    for step in plan.steps:
        bottoms = [shapes[v] for v in step.node.bottoms]
        found[step.node.key] = bottoms[0]
        shapes.update(zip(step.node.tops, map(tuple, step.layer.shape(bottoms)), strict=True))
    return found


def plan_bytes(plan: Plan, net: Net, shapes: dict) -> int:
    """Bytes that a plan holds at once at least, in inference, for sources of these shapes."""
    each = 4 if net.options.dtype is None else 2
    return each * peak(plan, net, shapes, learning=False)[0] \
        + sum(blob.parameter.nbytes for blob in net.learnable_params)


def check_plan(plan: Plan, net: Net) -> None:
    """FcnError, with the layer that needs most, where a plan for the net's present shapes takes
    more memory than the device has."""
    learning = torch.is_grad_enabled()
    each = 4 if net.options.dtype is None else 2        # bytes of a value at least
    values, step = peak(plan, net, net.shapes, learning)
    params = sum(blob.parameter.nbytes for blob in net.learnable_params)
    if step is not None:
        with located(net.graph.file, step.node):
            check_room(each * values + params, 'this layer, what is alive around it and the '
                       f'parameters ({size(params)}) take', room(net.options))


def room(options: ExecutionOptions) -> int:
    """Bytes of memory of the device that these options name."""
    return memory() if options.gpu is None else \
        torch.cuda.get_device_properties(options.gpu).total_memory


def check_sources(net: Net) -> None:
    """FcnError, with its layer, where the tops that a layer reads or draws take more memory than
    this machine has."""
    for node in net.graph.nodes:
        if not node.bottoms:
            count = sum(math.prod(net.shapes[v]) for v in node.tops)
            with located(net.graph.file, node):
                check_room(4 * count, 'its tops take')
