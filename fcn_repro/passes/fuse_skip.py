"""fuse_skip: Deconvolution + Crop of a skip's scores + Eltwise -> UpCropAdd."""

from collections.abc import Collection
from dataclasses import replace

from ..net.graph import Graph
from ..proto import EltwiseParameter
from .replacing import replaced


def fuse_skip(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Fuse the sum of upsampled scores and finer ones cropped to their size, at the Eltwise.

    Precondition: the Eltwise is a plain SUM of two bottoms; one is a Deconvolution's top (one
    bottom, no bias, no dilation), which only the Eltwise and the Crop read; the other is the top of
    that Crop, from axis 2 on, which only the Eltwise reads. None of them is in `keep` or has a
    loss weight or propagate_down. Whether the weights are bilinear is tested when the net runs.
    """
    fused, gone = {}, set()
    for add in graph.nodes:
        found = _skip_before(graph, add, keep)
        if found:
            up, _, cut = found
            gone |= set(found)
            fused[add] = replace(add, type='UpCropAdd', parts=(up, cut, add),
                                     bottoms=(up.bottoms[0], cut.bottoms[0]))
    return replaced(graph, fused, gone)


def _skip_before(graph, add, keep):
    """(Deconvolution, Split, Crop) that feed only this node, or None."""
    p = add.param.eltwise_param
    if add.type != 'Eltwise' or len(add.bottoms) != 2 or p.operation != EltwiseParameter.SUM \
            or any(c != 1 for c in p.coeff) or add.param.propagate_down:
        return None
    for value, other in (add.bottoms, add.bottoms[::-1]):
        split, cut = graph.producer(value), graph.producer(other)
        if split.type != 'Split' or cut.type != 'Crop' \
                or set(split.tops) != {value, cut.bottoms[1]}:
            continue
        up = graph.producer(split.bottoms[0])
        inside = [*up.tops, *split.tops, *cut.tops]
        if up.type == 'Deconvolution' and _plain(up) \
                and cut.param.crop_param.axis in (2, -2) and len(graph.consumers(other)) == 1 \
                and not any(node.param.propagate_down or any(node.param.loss_weight)
                            for node in (up, split, cut)) \
                and not any(graph.values[v] in keep for v in inside):
            return up, split, cut
    return None


def _plain(up):
    p = up.param.convolution_param
    return len(up.bottoms) == 1 and not p.bias_term and all(d == 1 for d in p.dilation)
