"""A plan: which nodes run, in which order, to deliver a set of blobs, and what is freed when."""

from dataclasses import dataclass, replace

import torch

from ..errors import FcnError
from ..layers import Layer
from ..memory import collector_paused
from .graph import AUTOMATIC, Node

NARROW = torch.bfloat16, torch.float16


@dataclass(frozen=True, slots=True)
class Step:
    """One node: its layer, (top, loss weight) pairs, bottoms that get no gradient, bottoms that
    must get one, the values that nobody reads after it, and the type that its floating bottoms
    and parameters are cast to (None: as they come)."""
    node: Node
    layer: Layer
    losses: tuple[tuple[int, float], ...]
    cut: tuple[int, ...]
    force: tuple[int, ...]
    release: tuple[int, ...]
    dtype: torch.dtype | None = None


@dataclass(frozen=True)
class Plan:
    """deliver: {blob name: (value whose gradient is its diff, value that is its data)}."""
    steps: tuple[Step, ...]
    deliver: dict
    observed: frozenset


@collector_paused()
def make_plan(graph, layer_of, passes, blobs, stop_after, labels_of=None, everything=False,
              dtype=None):
    """The plan that delivers the outputs (or, with stop_after, that layer's tops; with labels_of,
    that blob's label map) and `blobs`.

    passes: functions (graph, keep) -> graph; keep names the blobs that must stay.
    layer_of(node) gives a node's layer. everything: keep and observe every value. dtype: a 16-bit
    type for the products; the last ones, which make scores, and all else compute in float32.
    """
    inner = _inner(graph, layer_of) if dtype is not None else set()
    if stop_after is not None:
        nodes = graph.upto(stop_after)
        graph = replace(graph, nodes=nodes, outputs=tuple(
            graph.values[v] for v in nodes[-1].tops if graph.values[v] != AUTOMATIC))
    if labels_of is not None:
        graph = graph.labelled(labels_of)
    made = {v for node in graph.nodes for v in node.tops}
    lasts = {graph.values[v]: v for v in sorted(made)}
    deliver = {name: _first_and_last(graph, name, made, lasts)
               for name in dict.fromkeys([*graph.outputs, *sorted(blobs)]) if name != AUTOMATIC}
    for optimise in passes:
        graph = optimise(graph, frozenset(deliver))
    keep = made if everything else {v for pair in deliver.values() for v in pair}
    nodes = [node for node in graph.nodes if node.bottoms]
    steps, later = [], set()            # from the last to the first: what is read later
    for node in reversed(nodes):
        steps.append(_step(graph, node, layer_of, keep, later))
        later.update(node.bottoms)
    if dtype is not None:
        steps = [replace(step, dtype=_type_of(step, inner, dtype)) for step in steps]
    observed = frozenset(made if everything else
                         (deliver[name][0] for name in blobs if name != AUTOMATIC))
    return Plan(tuple(reversed(steps)), deliver, observed)


def _first_and_last(graph, name, made, lasts):
    """The values of a blob before and after its in-place layers, of those that are made. lasts:
    {blob: its last value that is made}."""
    first = graph.first(name)
    if first not in made:
        raise FcnError(f"blob '{name}' is not made by the layers up to "
                       f"'{graph.nodes[-1].name}'", file=graph.file, do='Stop later.')
    return first, lasts[name]


def _inner(graph, layer_of):
    """Keys of the layers whose tops reach the bottom of a product, however many layers on."""
    inner, read = set(), set()          # read: values from which a product is reached
    for node in reversed(graph.nodes):
        if read & set(node.tops):
            inner.add(node.key)
        if layer_of(node).product or node.key in inner:
            read.update(node.bottoms)
    return inner


def _type_of(step, inner, dtype):
    if step.layer.product and step.node.key in inner:
        return dtype
    return None if step.layer.narrow else torch.float32


def _step(graph, node, layer_of, keep, later):
    layer = layer_of(node)
    bottom, = node.bottoms[:1]
    if bottom not in keep and bottom not in later and layer.overwrites \
            and layer_of(graph.producer(bottom)).overwritable:
        layer = layer.overwriting()
    losses = [(v, w) for v, w in zip(node.tops, layer.loss_weights, strict=True) if w]
    release = [v for v in {*node.bottoms, *node.tops} if v not in later and v not in keep]
    down = node.param.propagate_down[:] if not node.parts else ()
    marked = list(zip(node.bottoms, down, strict=True)) if down else ()
    return Step(node, layer, tuple(losses), tuple([v for v, d in marked if not d]),
                tuple([v for v, d in marked if d]), tuple(release))


def widened(tensor):
    """A value as its blob shows it: 16-bit floats as float32."""
    return tensor.float() if tensor.dtype in NARROW else tensor


def bottoms_of(step, values):
    """A step's bottom tensors, with its propagate_down obeyed."""
    out = []
    for i, v in enumerate(step.node.bottoms):
        x = values[v].detach() if v in step.cut else values[v]
        x = x.requires_grad_() if v in step.force and not x.requires_grad else x
        cast = step.dtype is not None and x.is_floating_point() \
            and (step.layer.casts_bottoms is None or i < step.layer.casts_bottoms)
        out.append(x.to(step.dtype) if cast else x)
    return out
