"""Which parts of a net are what: its scores, their layers, the upsampling between them, the labels.

Found by walking up from the loss (or the output of a deploy net), never by names.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ..layers.deconvolution import Deconvolution
from ..net.graph import Node
from ..net.net import Net

SPLIT = 'Split'


@dataclass(frozen=True, eq=False)
class Anatomy:
    """net: what it is of. loss: its last loss that compares C scores with one label each; None for
    a deploy net, or one with another kind of loss. score: the value (N, C, …) of the scores, None
    where there are none; label: that of the labels."""

    net: Net
    loss: Node | None
    score: int | None
    label: int | None

    @cached_property
    def classes(self) -> int:
        """C; 0 without scores."""
        return 0 if self.score is None else self.net.shapes[self.score][1]

    def name(self, value: int | None) -> str:
        """The blob of a value; '' of none."""
        return '' if value is None else self.net.graph.values[value]

    @property
    def spatial(self) -> bool:
        """Whether there is a score for each pixel."""
        return self.score is not None and math.prod(self.net.shapes[self.score][2:]) > 1

    @cached_property
    def _walked(self) -> tuple[list[Node], list[Node]]:
        if self.score is None:
            return [], []
        return walk(self.net, self.score, self.classes)

    @property
    def score_layers(self) -> list[Node]:
        """The layers that make C channels of features, the deepest first."""
        return sorted(self._walked[0], key=lambda node: -len(below(self.net, node)))

    @property
    def up_layers(self) -> list[Node]:
        """The Deconvolutions that take scores to scores."""
        return self._walked[1]

    @cached_property
    def data(self) -> int | None:
        """The value of the images: the first top of a source with channels and pixels, other than
        the labels."""
        own = None if self.label is None else origin(self.net, self.label)
        for node in self.net.graph.nodes:
            for value in node.tops if not node.bottoms else ():
                if value != own and len(self.net.shapes[value]) == 4:
                    return value
        return None

    @cached_property
    def first_layer(self) -> Node | None:
        """The first layer with filters."""
        return next((node for node in self.net.graph.nodes
                     if any(blob.parameter.dim() > 1 for blob in params(self.net, node))), None)


def params(net: Net, node: Node) -> list:
    """The ParamBlobs of a node; [] for a layer without."""
    return list(net.layer_params.get(node.key, ()))


def find_anatomy(net: Net) -> Anatomy:
    """The Anatomy of a net."""
    for node in reversed(net.graph.nodes):
        if net.layer(node).loss and len(node.bottoms) > 1:
            scores, labels = (net.shapes[v] for v in node.bottoms[:2])
            if len(scores) > 1 and scores[1] > 1 and \
                    math.prod(labels) * scores[1] == math.prod(scores):
                return Anatomy(net, node, *node.bottoms[:2])
    return Anatomy(net, None, output_of(net), None)


def output_of(net: Net) -> int | None:
    """The value of a net's scores by its outputs, if it is a deploy net; else None."""
    if any(net.layer(node).loss for node in net.graph.nodes):
        return None
    found = [net.graph.last(name) for name in net.graph.outputs]
    found = [v for v in found if len(net.shapes[v]) in (2, 4) and net.shapes[v][1] > 1]
    return found[-1] if found else None


def origin(net: Net, value: int) -> int:
    """The value that a copy of Split is of; another one is its own."""
    node = net.graph.producer(value)
    while node.type == SPLIT:
        value = node.bottoms[0]
        node = net.graph.producer(value)
    return value


def walk(net: Net, score: int, classes: int) -> tuple[list[Node], list[Node]]:
    """(score layers, Deconvolutions of scores) between a value of scores and the features."""
    scores, ups = [], []
    waiting, seen = [score], set()
    while waiting:
        value = waiting.pop()
        node = net.graph.producer(value)
        if id(node) in seen or not node.bottoms:
            continue
        seen.add(id(node))
        layer, blobs = net.layer(node), params(net, node)
        if blobs and blobs[0].parameter.dim() > 1:
            of_scores = net.shapes[node.bottoms[0]][1] == classes
            if not (isinstance(layer, Deconvolution) and of_scores):
                scores.append(node)
                continue
            ups.append(node)
        waiting += [v for v in node.bottoms[:layer.content_bottoms]
                    if len(net.shapes[v]) > 1 and net.shapes[v][1] == classes]
    return scores, ups


def below(net: Net, node: Node) -> set[int]:
    """The values that a node is computed from."""
    waiting, seen = list(node.bottoms), set()
    while waiting:
        value = waiting.pop()
        if value not in seen:
            seen.add(value)
            waiting += net.graph.producer(value).bottoms
    return seen
