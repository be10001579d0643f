"""collapse_border: skip the identical rows and columns of a large pad, and restore them
further down."""

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

from ..layers import layer_class
from ..net.graph import Graph, Node
from ..proto import dialect_of
from .intervals import ELEMENT, has_border, make_layer, may_have_border, trace


def collapse_border(graph: Graph, keep: Collection[str] = frozenset()) -> Graph:
    """Shrink the pad of each Convolution with a large one, and insert RepeatBorder nodes further
    down where that minimises work. Everything after the last of them is unchanged, for images of
    any size.

    Precondition: a chain of layers that treat all positions alike, each with one bottom and one
    top, which only the next reads: those whose class says `position_invariant` and whose settings
    have a `window` (Convolution, Pooling that is not global, LRN across channels, elementwise
    types). Everything is restored before any other (Dropout, BatchNorm, LRN within channels, MVN,
    Python, Split, Deconvolution, Eltwise, ...), before a loss weight, and where a blob of `keep` is
    made. A layer of the chain must need two spatial axes: a Pooling, an LRN, or a Convolution with
    a setting for each.
    """
    pads, repeats, done = {}, {}, set()
    for node in graph.nodes:
        if node.type != 'Convolution' or node in done or not may_have_border(node) \
                or not _is_link(node) or not has_border(node):
            continue
        chain = _chain(graph, node, keep)
        stops = trace(chain) if any(make_layer(node).spatial_axes == 2 for node in chain) else []
        path = cheapest(stops)[1]
        if path:
            pads[node] = stops[path[0]].removable
            done |= {stop.node for stop in stops[:path[-1] + 1]}
        for i, later in pairwise([*path, None]):
            repeats[stops[i].node] = _setting(stops[i], _removed(stops, later))
    return _rebuilt(graph, pads, repeats) if pads else graph


def _chain(graph, node, keep):
    """The nodes from `node` on that can run without the identical cells. Only the next one reads
    the top of each; after the last, all cells must be restored."""
    found = []
    while _is_link(node):
        found.append(node)
        top, = node.tops
        readers = graph.consumers(top)
        if len(readers) != 1 or graph.values[top] in keep:
            break
        node, = readers
    return found


def _is_link(node):
    """Whether a node may be in a chain: one bottom, one top without a loss weight, and a layer that
    treats all positions alike."""
    return len(node.bottoms) == len(node.tops) == 1 and not any(node.param.loss_weight) \
        and layer_class(node.type, dialect_of(node.param)).position_invariant \
        and make_layer(node).window() is not None


def cheapest(stops):
    """(work, [i, ..]): the stops at which to restore cells so that the chain takes the least work,
    with as many left out before each as possible. Exact, by dynamic programming from the end."""
    best = {}
    for i in range(len(stops) - 1, -2, -1):         # -1: before the first node
        best[i] = min(_next_legs(stops, i, best))
    return best[-1] if stops else (0, [])


def _next_legs(stops, i, best):
    """(work, path) from stop i on, for each stop that may be the next."""
    for later in (None, *range(i + 1, len(stops))):
        removed = _removed(stops, later)
        leg = stops[i + 1:] if later is None else stops[i + 1:later + 1]
        work = sum(_work(stop, stop.work, removed) for stop in leg)
        if i >= 0:
            fewer = [a - b for a, b in zip(stops[i].removable, removed, strict=True)]
            if min(fewer) < 0 or not any(fewer):
                continue
            work += _work(stops[i], ELEMENT * stops[i].channels, removed)
        if later is None:
            yield work, []
        else:
            yield work + best[later][0], [later, *best[later][1]]


def _removed(stops, later):
    """Pixels at each side that are left out up to stop `later` (None: none), rows and columns."""
    return (0, 0) if later is None else stops[later].removable


def _work(stop, each, removed):
    rows, columns = (n - 2 * r / s for n, r, s in zip(stop.size, removed, stop.stride, strict=True))
    return each * rows * columns


def _setting(stop, removed):
    """Node.setting of the RepeatBorder after a stop, if `removed` pixels are left out beyond it."""
    return tuple((start, end, (r - after) // step) for start, end, r, after, step in zip(
        stop.start, stop.end, stop.removable, removed, stop.stride, strict=True))


def _rebuilt(graph, pads, repeats):
    values, nodes = list(graph.values), []
    for node in graph.nodes:
        original = node
        if node in pads:
            node = _padded_less(node, pads[node])
        if original in repeats:
            top, = node.tops
            name = f'{node.name}_border'
            nodes.append(replace(node, tops=(len(values),)))
            param = type(node.param)(name=name, type='RepeatBorder', bottom=[f'{name}less'],
                                     top=[values[top]])
            node = Node(name, 'RepeatBorder', param, (len(values),), (top,), node.line,
                        setting=repeats[original])
            values.append(f'{name}less')
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), values=tuple(values))


def _padded_less(node, removed):
    param = type(node.param)()
    param.CopyFrom(node.param)
    p = param.convolution_param
    pads = (p.pad_h, p.pad_w) if p.HasField('pad_h') or p.HasField('pad_w') else \
        ([*p.pad] * 2)[:2]              # one for both axes, or one each
    for field in 'pad', 'pad_h', 'pad_w':
        p.ClearField(field)
    p.pad.extend(pad - r for pad, r in zip(pads, removed, strict=True))
    return replace(node, param=param)
