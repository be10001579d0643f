"""fuse_upcrop: Deconvolution + Crop -> UpCrop."""

from collections.abc import Collection
from dataclasses import replace

from ..net.graph import Graph
from .replacing import replaced


def fuse_upcrop(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse each Deconvolution with the Crop after it, at the Crop's place.

    Precondition: the Deconvolution has one bottom and no dilation; its top is read by the Crop
    alone, as the first bottom, and is not in `keep`; the Crop cuts from axis 2 on. Whether the
    weights are bilinear is tested when the net runs.
    """
    fused, gone = {}, set()
    for node in graph.nodes:
        crop = _crop_behind(graph, node, keep)
        if crop is not None:
            fused[crop] = replace(crop, type='UpCrop', parts=(node, crop),
                                  bottoms=(node.bottoms[0], crop.bottoms[1]))
            gone.add(node)
    return replaced(graph, fused, gone)


def _crop_behind(graph, node, keep):
    if node.type != 'Deconvolution' or len(node.bottoms) != 1:
        return None
    p, top = node.param.convolution_param, node.tops[0]
    consumers = graph.consumers(top)
    if any(d != 1 for d in p.dilation) or graph.values[top] in keep or node.param.loss_weight \
            or len(consumers) != 1:
        return None
    crop = consumers[0]
    fits = crop.type == 'Crop' and crop.bottoms[0] == top and crop.bottoms[1] != top \
        and crop.param.crop_param.axis in (2, -2) and not node.param.propagate_down \
        and not crop.param.propagate_down
    return crop if fits else None
