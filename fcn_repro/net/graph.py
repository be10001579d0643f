"""A net as a frozen graph: ordered nodes, every bottom resolved to the value it reads.

A Caffe blob name can be written several times, by the layer that makes it and by every in-place
layer after that. Here each write makes a new value (an integer), so that the readers of each are
explicit. A Split node is inserted after a value with several consumers, named as Caffe names it
(Net::Init and InsertSplits in BVLC Caffe).
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..errors import FcnError, known_names, located, nearest
from ..memory import collector_paused
from ..proto.dialects import BVLC, added_fields, dialect_of
from ..proto.prototxt import NetText, filter_net
from ..sizes import check_numbers

LABELS = '(labels)'     # name of the layer that makes a label map of scores, and of its top


@dataclass(frozen=True, eq=False, slots=True)       # compared and hashed by identity, never by name
class Node:
    """One layer. bottoms and tops are value numbers; param is its LayerParameter.

    parts holds the nodes that a pass fused into this one (empty for a layer of the text); setting
    is what a pass tells a layer of a type that has no message in Caffe. occurrence counts the
    layers of the same name before this one: Caffe allows repeated names.
    """
    name: str
    type: str
    param: Any
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    line: int | None = None
    parts: tuple['Node', ...] = ()
    setting: tuple | None = None
    occurrence: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """Identity of the layer in its net; a copy that a pass makes of the node keeps it."""
        return self.name, self.occurrence

    @property
    def unique_name(self) -> str:
        """The name, numbered from the second layer of this name on: conv, conv#2, conv#3."""
        return f'{self.name}#{self.occurrence + 1}' if self.occurrence else self.name

    @property
    def owners(self) -> tuple[tuple[str, int], ...]:
        """Keys of the layers whose parameters this node uses."""
        return tuple(part.key for part in self.parts) or (self.key,)


@dataclass(frozen=True)
class Graph:
    """values[v] is the blob name of value v. inputs are the tops of Input layers, in net order;
    outputs are the blobs that nobody consumes, in Caffe's (alphabetical) order."""
    name: str
    file: str
    phase: int
    nodes: tuple[Node, ...]
    values: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    force_backward: bool = False
    debug_info: bool = False

    @property
    def dialect(self):
        """The dialect of caffe.proto that the layers are written in."""
        return dialect_of(self.nodes[0].param) if self.nodes else BVLC

    def first(self, blob):
        """The value of `blob` before any in-place layer: Caffe leaves its diff in the blob."""
        return self._value(blob, self._firsts)

    def last(self, blob):
        """The value of `blob` after all in-place layers: Caffe leaves its data in the blob."""
        return self._value(blob, self._lasts)

    @cached_property
    def _lasts(self):
        return {blob: v for v, blob in enumerate(self.values)}

    @cached_property
    def _firsts(self):
        return {blob: v for v, blob in reversed([*enumerate(self.values)])}

    def _value(self, blob, known):
        if blob not in known:
            raise FcnError(f"the net has no blob '{blob}'", file=self.file,
                           do=nearest(blob, self.values) or known_names(self.values))
        return known[blob]

    def consumers(self, value):
        return list(self._consumers.get(value, ()))

    def producer(self, value):
        return self._producers[value]

    @cached_property
    def _consumers(self):
        found = {}
        for node in self.nodes:
            for v in dict.fromkeys(node.bottoms):
                found.setdefault(v, []).append(node)
        return found

    @cached_property
    def _producers(self):
        return {v: node for node in reversed(self.nodes) for v in node.tops}

    @property
    def written(self) -> tuple[Node, ...]:
        """The nodes but for inserted Splits: a text that has these makes this graph again, since
        its readers name the blob and not a copy."""
        read = {blob for node in self.nodes for blob in node.param.bottom}
        return tuple(node for node in self.nodes if node.type != 'Split' or not (
            self.consumers(node.tops[0]) and not read & set(node.param.top)))

    def upto(self, layer: 'str | Node') -> tuple[Node, ...]:
        """The nodes up to and with `layer`, for a run that stops there.

        layer: a node of this graph, or a name: then the first layer that has it, as in pycaffe's
        `forward(end=…)`. FcnError for an unknown name.
        """
        if isinstance(layer, Node):
            return self.nodes[:self.nodes.index(layer) + 1]
        names = [node.name for node in self.nodes]
        if layer not in names:
            raise FcnError(f"the net has no layer '{layer}'", file=self.file,
                           do=nearest(layer, names) or known_names(names))
        return self.nodes[:names.index(layer) + 1]

    def labelled(self, blob):
        """The graph that ends with the label map of a blob of scores, its one output."""
        value, label_map = self.last(blob), len(self.values)
        producer = self.producer(value)
        param = type(producer.param)(name=LABELS, type='LabelMap', bottom=[blob], top=[LABELS])
        node = Node(LABELS, 'LabelMap', param, (value,), (label_map,), setting=('lowest',))
        return replace(self, nodes=(*self.upto(self.producer(value)), node),
                       values=(*self.values, LABELS), outputs=(LABELS,))

    def describe(self):
        """One line a node: name, type, the blobs it reads and writes."""
        def names(values):
            return ', '.join(self.values[v] for v in values) or '-'
        return '\n'.join(f'{node.name:<24} {node.type:<16} {names(node.bottoms)} -> '
                         f'{names(node.tops)}' for node in self.nodes)


@collector_paused()
def build(net: NetText, phase, level=0, stages=(), auto_tops=None) -> Graph:
    """Filter `net` for the state, resolve its blobs and insert Splits.

    phase: TRAIN or TEST, number or name.
    auto_tops: {type: number of tops} of the types whose tops may be left out (layers.auto_tops).
    Raises FcnError for a bottom that no layer before makes and for a blob made twice.
    """
    net = filter_net(net, phase, level, stages)
    _check_net_fields(net)
    nodes, values = _resolve(net, auto_tops or {})
    with located(net.file):
        nodes, values = _insert_splits(nodes, values)
    nodes = _number_repeated_names(nodes)
    read = {v for node in nodes for v in node.bottoms}
    outputs = sorted(values[v] for node in nodes for v in node.tops if v not in read
                     and values[v] != AUTOMATIC)
    inputs = [values[v] for node in nodes if node.type == 'Input' for v in node.tops]
    return Graph(net.message.name, net.file, net.message.state.phase, tuple(nodes),
                 tuple(values), tuple(inputs), tuple(outputs), net.message.force_backward,
                 net.message.debug_info)


def _number_repeated_names(nodes):
    seen, out = {}, []
    for node in nodes:
        occurrence = seen.get(node.name, 0)
        out.append(replace(node, occurrence=occurrence) if occurrence else node)
        seen[node.name] = occurrence + 1
    return out


def _check_net_fields(net):
    """Raise FcnError for a field that a dialect adds to the net itself: no net reads one."""
    for path in added_fields(net.message):
        if not path.startswith('layer.'):
            raise FcnError(f"'{path}' is set, but no net reads it", file=net.file, do='Remove it.')


AUTOMATIC = '(automatic)'   # the name that Caffe gives a top which the text leaves out


def _resolve(net, auto_tops):
    latest, values, nodes = {}, [], []
    for param, line in zip(net.message.layer, net.lines, strict=True):
        try:
            check_numbers(param)
            if param.blobs:
                raise FcnError(f'{len(param.blobs)} blobs in the text of the net',
                               do='Remove them, and give the weights as a file of their own.')
            names = param.bottom[:]             # a slice: a protobuf list is slow item by item
            bottoms = tuple([_source(blob, latest) for blob in names])
            tops = []
            for i, blob in enumerate(param.top[:]):
                if blob in latest and names[i:i + 1] != [blob]:         # not in place
                    raise FcnError(f"top '{blob}' is made by another layer already",
                                   do='Rename it, or give it as the bottom too (in-place).')
                latest[blob] = len(values)
                tops.append(len(values))
                values.append(blob)
        except FcnError as error:
            raise error.at(file=net.file, line=line, layer=param.name, type=param.type) from None
        for _ in range(len(tops), auto_tops.get(param.type, 0)):
            tops.append(len(values))
            values.append(AUTOMATIC)
        nodes.append(Node(param.name, param.type, param, bottoms, tuple(tops), line))
    return nodes, values


def _source(blob, latest):
    if blob not in latest:
        raise FcnError(f"unknown bottom '{blob}': no layer before this one has it as a top",
                       do=nearest(blob, latest) or f'Known here: {", ".join(latest) or "none"}.')
    return latest[blob]


def _insert_splits(nodes, values):
    uses = Counter(v for node in nodes for v in node.bottoms)
    weighted = {}                               # {node: none, or a loss weight for each top}
    for node in nodes:                          # a loss weight is one more use of a top
        weights = node.param.loss_weight[:]     # as many as tops, as the layer will check
        if weights:
            weighted[node] = weights
            uses.update(v for v, w in zip(node.tops, weights, strict=False) if w)
    values, names, out, copies = list(values), set(values), [], {}
    for node in nodes:
        bottoms = tuple([next(copies[v]) if v in copies else v for v in node.bottoms])
        shared = [(i, v) for i, v in enumerate(node.tops) if uses[v] > 1]
        param, weights = node.param, weighted.get(node, ())
        if shared and weights:
            param = type(node.param)()
            param.CopyFrom(node.param)
        same = bottoms == node.bottoms and param is node.param
        out.append(node if same else
                   Node(node.name, node.type, param, bottoms, node.tops, node.line))
        for i, v in shared:
            weight = weights[i] if i < len(weights) else 0
            split = _split(node, i, v, values, names, uses[v])
            copies[v] = iter(split.tops)
            if weight:                          # the first copy is the loss
                split.param.loss_weight.extend([weight] + [0] * (uses[v] - 1))
                param.loss_weight[i] = 0
                next(copies[v])
            out.append(split)
    return out, values


def _split(node, i, v, values, names, count):
    """The Split of a node's top i, value v, into `count` copies, which are added to the values and
    to the names of blobs."""
    blob = values[v]
    name = f'{blob}_{node.name}_{i}_split'
    if f'{name}_0' in names:               # in Caffe too: a top that has several sources
        raise FcnError(f"the copies of '{blob}' would be called '{name}_0', a blob that is "
                       'there already', line=node.line, layer=node.name, type=node.type,
                       do='Rename the layer: one before has its name, and writes this blob too.')
    copies = [f'{name}_{k}' for k in range(count)]
    split = type(node.param)(name=name, type='Split', bottom=[blob], top=copies)
    first = len(values)
    values.extend(copies)
    names.update(copies)
    return Node(name, 'Split', split, (v,), tuple(range(first, first + count)), node.line)
