"""fold_norm: Convolution + BatchNorm, Scale, BN or Power (+ ReLU or PReLU) -> FoldedConvolution, in
TEST."""

from collections.abc import Collection
from dataclasses import replace

from ..layers import layer_class
from ..net.graph import Graph, Node
from ..proto import TEST
from ..proto.dialects import dialect_of


def fold_norm(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fold the layers after a Convolution that are a scale and a shift for each channel into its
    weights, and the ReLU or PReLU after them into its kernel, at the Convolution's place (before
    fuse_norm, after collapse_border).

    Precondition: the net is in TEST; the Convolution has one bottom and one top, and its channels
    along axis 1; behind it at least one layer that folds (Layer.folds) and maybe a ReLU with
    negative_slope 0 or a PReLU follow, each the only reader of the one before; none of the values
    between them is of a blob in `keep`. None has a loss weight or propagate_down.
    """
    if graph.phase != TEST:
        return graph
    chains = {node: chain for node in graph.nodes if (chain := _chain(graph, node, keep))}
    if not chains:
        return graph
    gone = {node for chain in chains.values() for node in chain}
    nodes = tuple(replace(node, type='FoldedConvolution', tops=chains[node][-1].tops,
                          parts=(node, *chains[node])) if node in chains else node
                  for node in graph.nodes if node not in gone)
    return replace(graph, nodes=nodes)


def _chain(graph: Graph, node: Node, keep: Collection[str]) -> list[Node]:
    """The nodes behind this one that can be folded into it; [] if it is no such Convolution."""
    if node.type != 'Convolution' or len(node.bottoms) != 1 or not plain(node) \
            or node.param.convolution_param.axis != 1:
        return []
    found: list[Node] = []
    while (after := only_reader(graph, (found or [node])[-1], keep)) is not None:
        if layer_class(after.type, dialect_of(after.param)).folds(after.param):
            found.append(after)
            continue
        if found and rectifies(after):
            found.append(after)
        break
    return found


def only_reader(graph: Graph, node: Node, keep: Collection[str], bottoms: int = 1) -> Node | None:
    """The one node that reads a node's one top, if it is plain and the top need not be kept."""
    top, = node.tops
    readers = graph.consumers(top)
    if len(readers) != 1 or graph.values[top] in keep:
        return None
    fits = plain(readers[0]) and len(readers[0].bottoms) == bottoms and len(readers[0].tops) == 1
    return readers[0] if fits else None


def plain(node: Node) -> bool:
    """Whether a node has neither a loss weight nor propagate_down."""
    return not node.param.propagate_down and not any(node.param.loss_weight)


def rectifies(node: Node) -> bool:
    """Whether a node is a ReLU with negative_slope 0, or a PReLU."""
    return node.type == 'PReLU' or (node.type == 'ReLU'
                                    and node.param.relu_param.negative_slope == 0)
