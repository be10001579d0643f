"""Which labels of the data a prediction is scored on: those that the net's loss for it reads."""

from __future__ import annotations

from typing import NamedTuple

from ..net.graph import Node
from ..net.net import Net
from .labels import data_layer
from .outputs import SCORE, Output, coarser, find_output


class Head(NamedTuple):
    """A prediction and what it is scored on. label: '' for the samples' label, or the name of
    another one (data.reader.Sample.more), such as SIFT Flow's 'geometric'."""
    output: Output
    label: str = ''

    @property
    def words(self) -> str:
        """What is scored on what, for people."""
        return self.output.words + (f', scored on the {self.label} label' if self.label else '')


def find_heads(net: Net, output: str | None = None, threshold: float | None = None) -> list[Head]:
    """The predictions of a val net that are scored: the blob `output`; else 'score', or what
    find_output takes; else, of a net with several losses such as siftflow-fcn32s, or one for a
    larger blob than 'score', what each of them trains, in the order of the layers. FcnError as
    find_output."""
    trained = trained_blobs(net)
    if output is None and trained and (SCORE not in net.blobs or coarser(net, trained)):
        return [Head(find_output(net, blob, threshold), label) for blob, label in trained.items()]
    found = find_output(net, output, threshold)
    return [Head(found, trained.get(found.blob, ''))]


def trained_blobs(net: Net) -> dict[str, str]:
    """{blob that a loss takes as prediction: the label that it reads}, of losses whose labels come
    from the net's Python data layer. {} for a deploy net."""
    sources = [node for node in net.graph.nodes if node.type == 'Python' and not node.bottoms]
    losses = [node for node in net.graph.nodes if net.layer(node).loss and len(node.bottoms) > 1
              and not net.layer(node).unsupervised]
    if not sources or not losses:
        return {}
    tops, found = list(sources[0].tops), {}
    for node in losses:
        prediction, label = (before_splits(net, node, i) for i in (0, 1))
        if label in tops:
            found[net.graph.values[prediction]] = label_name(net, tops.index(label))
    return found


def before_splits(net: Net, node: Node, bottom: int) -> int:
    """The value that a bottom is, before Split layers."""
    value = node.bottoms[bottom]
    while (maker := net.graph.producer(value)).type == 'Split':
        value = maker.bottoms[0]
    return value


def label_name(net: Net, top: int) -> str:
    """The name in Sample.more of the label that a top of the data layer is; '' for the samples'
    own."""
    data = data_layer(net)
    names = getattr(data, 'top_names', ())
    return names[top] if top < len(names) and names[top] in data.more_labels else ''
