"""fuse_sum: Convolution or FoldedConvolution + Eltwise (+ ReLU or PReLU) -> FoldedConvolution, in
TEST."""

from collections.abc import Collection
from dataclasses import replace

from ..net.graph import Graph, Node
from ..proto import TEST, EltwiseParameter
from .fold_norm import only_reader, plain, rectifies
from .replacing import replaced


def fuse_sum(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each sum of two blobs with the convolution that makes one of them, and with the ReLU or
    PReLU after it, at the Eltwise's place (after fold_norm and fuse_relu).

    Precondition: the net is in TEST; the Eltwise is a plain SUM of two bottoms; one is the top of a
    Convolution along axis 1, or of a FoldedConvolution of one bottom that is not rectified, with
    one bottom and one top, which only the Eltwise reads; of two such the later is taken. A ReLU
    with negative_slope 0 or a PReLU is fused where only it reads the sum. None of the values
    between them is of a blob in `keep`; none has a loss weight or propagate_down.
    """
    if graph.phase != TEST:
        return graph
    place = {node: i for i, node in enumerate(graph.nodes)}
    fused, gone = {}, set()
    for add in graph.nodes:
        found = [node for node in map(graph.producer, add.bottoms)
                 if _sums(add) and _convolves(node) and only_reader(graph, node, keep, 2) is add]
        if not found:
            continue
        node = max(found, key=place.__getitem__)
        other, = (v for v in add.bottoms if v not in node.tops)
        after = only_reader(graph, add, keep)
        after = after if after is not None and rectifies(after) else None
        gone |= {node} | ({after} if after else set())
        fused[add] = replace(node, type='FoldedConvolution', bottoms=(*node.bottoms, other),
                             tops=(after or add).tops,
                             parts=(*(node.parts or (node,)), add, *([after] if after else [])))
    return replaced(graph, fused, gone)


def _sums(node: Node) -> bool:
    """Whether a node is the plain sum of two blobs."""
    p = node.param.eltwise_param
    return node.type == 'Eltwise' and len(set(node.bottoms)) == len(node.bottoms) == 2 \
        and p.operation == EltwiseParameter.SUM and all(c == 1 for c in p.coeff) and plain(node)


def _convolves(node: Node) -> bool:
    """Whether a node is a convolution that can take a sum."""
    parts = node.parts or (node,)
    return parts[0].type == 'Convolution' and plain(node) and not rectifies(parts[-1]) \
        and len(node.bottoms) == len(node.tops) == 1 and node.param.convolution_param.axis == 1
