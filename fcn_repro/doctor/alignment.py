"""Checks of where scores land: crop offsets, and upsampling that is not bilinear."""

from collections.abc import Iterator

import torch

from ..errors import FcnError
from ..fillers import bilinear_taps
from ..layers.common.coordinates import IDENTITY
from ..layers.crop import Crop
from ..layers.deconvolution import Deconvolution
from ..net.coord_map import compose, inverse
from ..net.graph import Node
from ..net.net import Net
from .anatomy import params
from .finding import DOUBT, FAULT, Finding
from .subject import Subject

CELL = 1            # of deviation from the coordinate map, from which on an offset is wrong: the
#                     offsets of coord_map.crop are exact, those of nets cropped by halves are
#                     within half a cell
NEAR = 1e-3         # of a bilinear kernel's largest weight: what rounding or float16 changes


# ---- crops ---------------------------------------------------------------------------------------

def crop_offsets(subject: Subject) -> Iterator[Finding]:
    """A Crop whose offset is not the one that aligns its two bottoms."""
    net = subject.net
    for node in net.graph.nodes:
        layer = net.layer(node)
        if not isinstance(layer, Crop) or layer.param.axis != 2:
            continue
        wanted = aligned_offset(net, node)
        if wanted is None:
            continue
        given = [int(v) for v in layer.param.offset] or [0]
        given = given * len(wanted) if len(given) == 1 else given
        off = max(abs(g - w) for g, w in zip(given, wanted, strict=False))
        if off >= max(CELL, block_of(net, node.bottoms[0]) / 2):
            yield Finding(
                FAULT, 'crop-offset', 'the offset does not align the two blobs that are cropped to '
                'each other', f'offset {given[0]}, the coordinate map gives {wanted[0]:g}: labels '
                f'are learned {off:g} cells beside their pixels', f'Set offset: {round(wanted[0])} '
                '(net.coord_map.crop derives it); it depends on every pad, kernel and stride '
                'before.', f"layer '{node.name}'")


def block_of(net: Net, value: int) -> int:
    """The side of the blocks that a learned Deconvolution whose kernel is its stride makes, each of
    one cell: it interpolates nothing, and a block may lie anywhere about its cell. 0 for other
    blobs."""
    node = net.graph.producer(value)
    layer = net.layer(node)
    if not isinstance(layer, Deconvolution) or not params(net, node)[0].lr_mult:
        return 0
    _, kernel, stride, *_ = layer.geometry(net.shapes[node.bottoms[0]])
    return int(kernel[0]) if tuple(kernel) == tuple(stride) else 0


def aligned_offset(net: Net, node: Node) -> list[float] | None:
    """The offsets (y, x) that align a Crop's bottoms; None where nothing says, as with layers that
    have no coordinate map between them, or blobs of different scales."""
    cut, reference = node.bottoms
    known = maps_to(net, cut)
    for value, reached in maps_to(net, reference).items():
        if value in known:
            try:
                _, scale, shift = compose(reached, inverse(known[value]))
            except FcnError:
                return None
            if (scale != 1).any():
                return None
            offsets = [float(-s) for s in shift]
            return offsets * 2 if len(offsets) == 1 else offsets
    return None


def maps_to(net: Net, top: int) -> dict[int, tuple]:
    """{value: the coordinate map from it to `top`} of all values that give `top` its content."""
    waiting, seen = [(top, IDENTITY)], {}
    while waiting:
        value, reached = waiting.pop()
        if value in seen:
            continue
        seen[value] = reached
        node = net.graph.producer(value)
        layer = net.layer(node)
        bottoms = node.bottoms[:layer.content_bottoms]
        try:
            step = layer.cell_map(net.shapes[bottoms[0]]) if bottoms else None
            if step is not None:
                waiting += [(bottom, compose(reached, step)) for bottom in bottoms]
        except FcnError:
            continue
    return seen


# ---- upsampling ----------------------------------------------------------------------------------

def interpolation(subject: Subject) -> Iterator[Finding]:
    """Upsampling of scores that is zero, mixes classes, is of another factor than its stride, or
    starts from anything but bilinear interpolation; repeated scores pass."""
    for node in subject.anatomy.up_layers:
        weight, *_ = params(subject.net, node)
        found = of_upsampling(subject, node, weight.data, bool(weight.lr_mult))
        if found:
            yield found


def of_upsampling(subject: Subject, node: Node, weight: torch.Tensor,
                  learned: bool) -> Finding | None:
    place, peak = f"layer '{node.name}'", float(weight.abs().max())
    p = node.param.convolution_param
    surgery = 'Make it bilinear before the first iteration: net.surgery.interp(tensors, ' \
        f"['{node.name}']), as the release's solve.py does; or give it group: {weight.shape[0]}, " \
        "num_output the same, weight_filler { type: \"bilinear\" } and lr_mult: 0."
    if peak == 0:
        rate = 'learned' if learned else 'fixed by lr_mult: 0'
        return Finding(FAULT, 'upsampling-zero', 'the upsampling is zero, so that every score is 0 '
                       'at every pixel and no gradient passes', f'largest weight 0, {rate}; '
                       'bilinear has 1 or nearly in the middle', surgery, place)
    if mixes_classes(weight, p.group):
        return Finding(FAULT, 'upsampling-mixes', 'each class is upsampled from the sum of all: '
                       'the bilinear filler fills every pair of channels',
                       f'group {p.group}, {weight.shape[1] * p.group} classes', surgery, place)
    if learned:
        return None             # it moves on from bilinear weights, or a filler that was chosen
    own = own_kernels(weight, p.group)
    if own is None or own.shape[-1] != own.shape[-2] or own.shape[-1] == 1:
        return None
    kernel, stride = own.shape[-1], (list(p.stride) or [p.stride_h or 1])[0]
    if kernel == stride and bool((own == 1).all()):
        return None             # each score for a square of pixels, as ENet's encoder has it
    taps = bilinear_taps(kernel)
    ideal = torch.outer(taps, taps).to(own)
    if float((own - ideal).abs().max()) > NEAR * float(ideal.max()):
        other = torch.outer(*(bilinear_taps(kernel, 'filler'),) * 2).to(own)
        if float((own - other).abs().max()) > NEAR * float(other.max()):
            return Finding(
                DOUBT, 'upsampling-not-bilinear', 'the upsampling of the scores is '
                'fixed, and is not bilinear',
                f'largest weight {peak:.3g}, bilinear has {float(ideal.max()):.3g}; largest '
                f'difference {float((own - ideal).abs().max()):.3g}', surgery, place)
    factor = (kernel + 1) // 2
    if factor != stride:
        return Finding(DOUBT, 'upsampling-factor', 'the bilinear kernel is one for another factor '
                       'than the stride', f'kernel_size {kernel} interpolates by {factor}, the '
                       f'stride is {stride}', f'Set kernel_size: {2 * stride - stride % 2}.', place)
    return None


def own_kernels(weight: torch.Tensor, group: int) -> torch.Tensor | None:
    """(C, k, k): what each class takes of itself; None for a weight that is not C classes to C."""
    if group == weight.shape[0] and weight.shape[1] == 1:
        return weight[:, 0]
    if group == 1 and weight.shape[0] == weight.shape[1]:
        return weight.diagonal().permute(2, 0, 1)
    return None


def mixes_classes(weight: torch.Tensor, group: int) -> bool:
    """Whether every pair of classes has one and the same kernel."""
    return group == 1 and weight.shape[1] > 1 and bool(weight.abs().max() > 0) and \
        bool(torch.equal(weight, weight[:1, :1].expand_as(weight)))
