"""fuse_relu: Convolution + ReLU -> ConvolutionReLU."""

from collections.abc import Collection
from dataclasses import replace

from ..net.graph import Graph, Node


def fuse_relu(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each Convolution with the ReLU after it, at the Convolution's place (after
    collapse_border).

    Precondition: the Convolution has one bottom and one top, which the ReLU alone reads and which
    is not in `keep`; the ReLU's negative_slope is 0. Neither has a loss weight or propagate_down.
    """
    pairs = {}
    for node in graph.nodes:
        relu = _relu_behind(graph, node, keep)
        if relu is not None:
            pairs[node] = relu
    if not pairs:
        return graph
    gone = set(pairs.values())
    nodes = tuple(replace(node, type='ConvolutionReLU', tops=pairs[node].tops,
                          parts=(node, pairs[node])) if node in pairs else node
                  for node in graph.nodes if node not in gone)
    return replace(graph, nodes=nodes)


def _relu_behind(graph: Graph, node: Node, keep: Collection[str]) -> Node | None:
    """The ReLU that can be fused with this node; None if the node is no such Convolution."""
    if node.type != 'Convolution' or len(node.bottoms) != 1 or not _plain(node):
        return None
    top, = node.tops
    consumers = graph.consumers(top)
    if len(consumers) != 1 or consumers[0].type != 'ReLU' or graph.values[top] in keep:
        return None
    relu, = consumers
    return relu if relu.param.relu_param.negative_slope == 0 and _plain(relu) else None


def _plain(node):
    return not node.param.propagate_down and not any(node.param.loss_weight)
