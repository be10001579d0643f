"""fuse_score: UpCrop + SoftmaxWithLoss -> UpCropLoss, UpCrop + LabelMap -> UpCropLabels; Interp +
either of them -> InterpLoss, InterpLabels."""

from collections.abc import Collection
from dataclasses import replace

from ..layers import TYPES, layer_class
from ..layers.deeplab.interp import Interp
from ..net.graph import Graph
from ..proto import dialect_of
from .replacing import replaced


def fuse_score(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each loss or label map with the UpCrop (after fuse_upcrop) or Interp that makes its
    scores.

    Precondition: only the loss or the label map reads the UpCrop's or Interp's top, as its first
    bottom, and it is not in `keep`; the loss is BVLC's and of one label a position, has one top,
    and its classes lie along axis 1; the Interp is DeepLab's, with none of our own fields.
    """
    fused, gone = {}, set()
    for node in graph.nodes:
        if node.type == 'LabelMap' or (node.type == 'SoftmaxWithLoss' and _plain(node)):
            up, readers = graph.producer(node.bottoms[0]), graph.consumers(node.bottoms[0])
            if (up.type == 'UpCrop' or _resizes(up)) and len(readers) == 1 \
                    and graph.values[up.tops[0]] not in keep and not any(up.param.loss_weight):
                gone.add(up)
                fused[node] = _fused(up, node)
    return replaced(graph, fused, gone)


def _plain(loss):
    bvlc = layer_class(loss.type, dialect_of(loss.param)) is TYPES[loss.type]
    return bvlc and TYPES[loss.type].fuses(loss.param) and len(loss.tops) == 1 \
        and loss.param.softmax_param.axis in (1, -3) and not loss.param.propagate_down


def _resizes(up):
    """Whether a node is an Interp that the fused layers stand for."""
    return up.type == 'Interp' and layer_class(up.type, dialect_of(up.param)) is Interp \
        and not up.param.propagate_down \
        and not up.param.HasField('fcn_repro_param')


def _fused(up, node):
    if up.type == 'Interp':
        name = 'InterpLabels' if node.type == 'LabelMap' else 'InterpLoss'
        scores, *like = up.bottoms
        return replace(node, type=name, bottoms=(scores, *node.bottoms[1:], *like),
                       parts=(up, *[node] * (name == 'InterpLoss')))
    if node.type == 'LabelMap':
        return replace(node, type='UpCropLabels', bottoms=up.bottoms, parts=up.parts)
    return replace(node, type='UpCropLoss', bottoms=(*up.bottoms, *node.bottoms[1:]),
                   parts=(*up.parts, node))
