"""fuse_score: UpCrop + SoftmaxWithLoss -> UpCropLoss, UpCrop + LabelMap -> UpCropLabels."""

from collections.abc import Collection
from dataclasses import replace

from ..layers import TYPES, layer_class
from ..net.graph import Graph
from ..proto import dialect_of
from .replacing import replaced


def fuse_score(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each loss or label map with the UpCrop that makes its scores (after fuse_upcrop).

    Precondition: only the loss or the label map reads the UpCrop's top, as its first bottom, and
    it is not in `keep`; the loss is BVLC's, has one top, and its classes lie along axis 1.
    """
    fused, gone = {}, set()
    for node in graph.nodes:
        if node.type == 'LabelMap' or (node.type == 'SoftmaxWithLoss' and _plain(node)):
            up, readers = graph.producer(node.bottoms[0]), graph.consumers(node.bottoms[0])
            if up.type == 'UpCrop' and len(readers) == 1 and graph.values[up.tops[0]] not in keep \
                    and not any(up.param.loss_weight):
                gone.add(up)
                fused[node] = _fused(up, node)
    return replaced(graph, fused, gone)


def _plain(loss):
    bvlc = layer_class(loss.type, dialect_of(loss.param)) is TYPES[loss.type]
    return bvlc and len(loss.tops) == 1 and loss.param.softmax_param.axis in (1, -3) \
        and not loss.param.propagate_down


def _fused(up, node):
    if node.type == 'LabelMap':
        return replace(node, type='UpCropLabels', bottoms=up.bottoms, parts=up.parts)
    return replace(node, type='UpCropLoss', bottoms=(*up.bottoms, *node.bottoms[1:]),
                   parts=(*up.parts, node))
