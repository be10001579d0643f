"""Layers of BVLC's types that forks of Caffe compute otherwise, in texts that do not tell the fork.

A Crop without crop_param and a SigmoidCrossEntropyLoss are written as BVLC's in Caffe's branch
`future` and in HED's fork. Where the numbers would differ, and the text may be of such a fork, an
error names the dialects.
"""

from collections.abc import Iterator
from typing import Any

from ..errors import FcnError
from ..layers import types_of
from ..proto.detect import forks
from ..proto.dialects import BVLC, UNION, Dialect
from ..proto.prototxt import NetText
from ..proto.union import lacks
from .crops import offset_of
from .graph import Node

CHECKED = BVLC.name, UNION      # dialects that are found where no single fork's words are


def check_lookalikes(net: Any, text: NetText) -> None:
    """FcnError for a layer of a net that was read without a named dialect, if it means one thing in
    BVLC's Caffe and another in a fork whose text this may be."""
    if text.named or net.graph.dialect.name not in CHECKED:
        return
    for node in net.graph.nodes:
        differing = {fork.name: what for fork, what in readings(net, node, text)}
        if not differing:
            continue
        names = ', '.join((BVLC.name, *differing))
        raise FcnError(f'{next(iter(differing.values()))} in {", ".join(differing)}',
                       file=net.graph.file, line=node.line, layer=node.name, type=node.type,
                       code='which-dialect', facts={'dialects': names},
                       do=f'Name the dialect, one of {names}.')


def readings(net: Any, node: Node, text: NetText) -> Iterator[tuple[Dialect, str]]:
    """(fork, how it differs from BVLC's Caffe) of each fork that may have written a text and
    computes a node of it otherwise. Crops are aligned in more forks than those known here, so what
    one fork lacks says nothing of them."""
    for fork in forks():
        if node.type not in fork.as_bvlc or node.type not in fork.types or fork.old:
            continue
        cls = types_of(fork)[node.type]
        what = moved_crop(net, node) if cls.aligned else \
            one_map(net, node) if cls.balanced and not lacks(fork, text.message) else ''
        if what:
            yield fork, what


def moved_crop(net: Any, node: Node) -> str:
    """How a Crop without crop_param differs where it aligns its bottoms; '' if it does not."""
    if node.param.HasField('crop_param') or len(node.bottoms) != 2:
        return ''
    try:
        offsets = offset_of(net.graph, node, net.layer)
    except FcnError:
        return ''                   # no fork aligns it either
    return 'a Crop without crop_param cuts the top left corner out in BVLC Caffe, but at offset ' \
        f'{", ".join(map(str, offsets))}' if any(offsets) else ''


def one_map(net: Any, node: Node) -> str:
    """How a SigmoidCrossEntropyLoss of one map an image, as HED's edges are, differs in HED's; ''
    for other scores, which that fork's losses never had."""
    shape = net.shapes[node.bottoms[0]]
    if len(shape) != 4 or shape[1] != 1 or shape[2] * shape[3] == 1:
        return ''
    return 'a SigmoidCrossEntropyLoss weighs all pixels the same in BVLC Caffe, but edges and ' \
        'the rest by their shares'
