"""fuse_norm: BatchNorm + Scale -> Norm."""

from collections.abc import Collection
from dataclasses import replace

from ..net.graph import Graph, Node
from .replacing import replaced


def fuse_norm(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each BatchNorm with the Scale after it, at the Scale's place.

    Precondition: the BatchNorm's top is read by the Scale alone; the Scale has one bottom and a
    learned scale and bias for each channel (axis 1, one axis); the BatchNorm's top is not in `keep`
    unless the Scale overwrites it. Neither has a loss weight or propagate_down.
    """
    fused, gone = {}, set()
    for node in graph.nodes:
        scale = _scale_behind(graph, node, keep)
        if scale is not None:
            fused[scale] = replace(scale, type='Norm', bottoms=node.bottoms, parts=(node, scale))
            gone.add(node)
    return replaced(graph, fused, gone)


def _scale_behind(graph: Graph, node: Node, keep: Collection[str]) -> Node | None:
    """The Scale that can be fused with this node; None if the node is no such BatchNorm."""
    if node.type != 'BatchNorm' or any(node.param.loss_weight) or node.param.propagate_down:
        return None
    top, = node.tops
    consumers = graph.consumers(top)
    if len(consumers) != 1 or consumers[0].type != 'Scale':
        return None
    scale, p = consumers[0], consumers[0].param.scale_param
    plain = len(scale.bottoms) == 1 and p.bias_term and p.axis in (1,) and p.num_axes == 1 \
        and not scale.param.propagate_down and not any(scale.param.loss_weight)
    return scale if plain and graph.values[top] not in keep else None
