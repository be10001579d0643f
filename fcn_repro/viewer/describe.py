"""A net as it is drawn: every layer with shapes, parameters and work, also where some are unknown.

`Net` refuses a net that it cannot run; here each fault is a note on its layer, and only what
follows from it is unknown. Nothing is allocated, no file of data is opened and no user's code runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import FcnError, known_names, located, nearest
from ..layers import Layer, RunState, auto_tops, types_of, unknown_type
from ..net.cost import peak
from ..net.graph import Graph, Node, build
from ..net.plan import make_plan
from ..passes import DEFAULT
from ..proto import TRAIN, dialect_of
from ..sizes import check_shape, check_shapes, dims
from .crops import Cut, cuts_of
from .fields import INPUT, Field, field_of, misaligned
from .fusions import Fusion, fusions_of
from .reading import Note, Source, filtered
from .settings import settings_of

Shape = tuple[int, ...]
FLOAT = 4               # bytes of a value


@dataclass
class Blob:
    """One value of the net, as one layer writes it. shape: None if unknown; sure: whether nothing
    was assumed for it; field: its receptive field in the input; whole: it is all of the input;
    new: whether it has memory of its own."""
    name: str
    shape: Shape | None = None
    sure: bool = True
    field: Field | None = None
    whole: bool = False
    new: bool = True

    @property
    def count(self) -> int:
        """Values in it, 0 if that is unknown."""
        return math.prod(self.shape) if self.shape is not None else 0


@dataclass
class Parameter:
    """A parameter blob. owner: the name of the layer whose blob it is, if it is shared."""
    shape: Shape
    owner: str | None = None
    learned: bool = True


@dataclass
class Item:
    """A layer of the text. bottoms, tops: numbers of Drawn.blobs. content: how many leading bottoms
    give the top its values, the others their size alone. macs: multiply-adds; None if unknown.
    kind: how it is coloured (KINDS). settings: what its message says, in short. known: its type."""
    node: Node
    name: str
    text: str
    bottoms: tuple[int, ...]
    tops: tuple[int, ...]
    kind: str
    settings: str
    content: int
    known: bool
    params: list[Parameter] = field(default_factory=list)
    macs: int | None = 0
    notes: list[Note] = field(default_factory=list)

    @property
    def in_place(self) -> bool:
        """Whether it writes its top over its bottom."""
        return any(a == b for a, b in zip(self.node.param.bottom, self.node.param.top,
                                          strict=False))

    @property
    def count(self) -> int:
        """Values of the parameters that are its own."""
        return sum(math.prod(p.shape) for p in self.params if p.owner is None)


@dataclass
class Drawn:
    """A net as it is drawn. unknown: how many blobs have no known shape. inference, training: the
    most bytes that a forward pass holds at once, and one that backward follows; None if unknown."""
    graph: Graph
    items: list[Item]
    blobs: dict[int, Blob]
    notes: list[Note]
    fusions: list[Fusion]
    cuts: dict[int, Cut]
    size: tuple[int, int] | None
    phase: str
    state: str
    inference: int | None = None
    training: int | None = None

    @property
    def name(self) -> str:
        return self.graph.name or '(net without a name)'

    @property
    def unknown(self) -> int:
        return sum(blob.shape is None for blob in self.blobs.values())

    @property
    def params(self) -> int:
        return sum(item.count for item in self.items)

    @property
    def macs(self) -> int:
        return sum(item.macs or 0 for item in self.items)

    @property
    def activations(self) -> int:
        """Bytes of all blobs that have memory of their own."""
        return FLOAT * sum(blob.count for blob in self.blobs.values() if blob.new)

    @property
    def whole(self) -> bool:
        """Whether all shapes are known, so that the totals are those of the net."""
        return not self.unknown and all(item.macs is not None for item in self.items)


# How layers are coloured, and what the legend says
KINDS = {
    'source': 'input or data',
    'weights': 'convolution, inner product, …: products with weights',
    'up': 'upsampling with weights',
    'window': 'pooling and other windows',
    'cell': 'value by value: activation, normalisation',
    'move': 'joins, cuts, reshapes',
    'loss': 'loss or score',
    'unknown': 'type that is not known here',
}


def describe(source: Source, phase: int | str = 'TEST', level: int = 0,
             stages: Sequence[str] = (), size: tuple[int, int] | None = None,
             shapes: Mapping[str, Shape] | None = None) -> Drawn:
    """The net of a text for a phase, level and stages.

    size: (H, W) of the images that the net reads; None: what its text says. shapes: {blob: shape}
    of inputs, of data and of blobs that layers of unknown types make. FcnError as by build, for a
    blob that there is not, and for the shape of a blob that is computed.
    """
    return _Describer(source, phase, level, tuple(stages), size, dict(shapes or {})).drawn()


class _Describer:
    """Goes through the layers once, in order."""

    def __init__(self, source: Source, phase: int | str, level: int, stages: Sequence[str],
                 size: tuple[int, int] | None, given: dict[str, Shape]):
        self.source, self.size, self.given = source, size, given
        self.types = types_of(dialect_of(source.net.message))
        self.graph = build(source.net, phase, level, stages, auto_tops(self.types))
        self.state = RunState(self.graph.phase)
        self.numbers = filtered(source, phase, level, stages)
        self.words = f'phase {phase}' + (f', level {level}' if level else '') \
            + (f', stages {", ".join(stages)}' if stages else '')
        self.layers: dict[int, tuple[Node, Layer]] = {}
        self.same: dict[int, int] = {}          # {top of a Split: the value it copies}
        self.blobs: dict[int, Blob] = {}
        self.owners: dict[str, tuple[str, Shape]] = {}      # of shared parameters, by their name
        self.items: list[Item] = []
        self.notes: list[Note] = []
        self.asked: Shape | None = None         # H, W of the first input, by the text
        self.pixels: Shape | None = None        # H, W of the first image
        self.used: set[str] = set()
        self.refused = False                    # whether a layer of a known type cannot be made

    def drawn(self) -> Drawn:
        """The whole net."""
        for blob in self.given:
            if blob not in self.graph.values:
                raise FcnError(f"the net has no blob '{blob}'", file=self.graph.file,
                               do=nearest(blob, self.graph.values)
                               or known_names(self.graph.values))
        if not self.graph.nodes:
            raise FcnError(f'no layer takes part in {self.words}', file=self.graph.file,
                           do='Give another phase, level or stages.')
        numbers = iter(self.numbers)
        number = next(numbers, None)
        for node in self.graph.nodes:
            if number is not None and self.is_of_text(node, number):
                self.add(node, number)
                number = next(numbers, None)
            else:
                self.same.update(dict.fromkeys(node.tops, self.real(node.bottoms[0])))
        drawn = Drawn(self.graph, self.items, self.blobs, self.all_notes(), [],
                      cuts_of(self.items, self.blobs, self.layers), self.size,
                      'TRAIN' if self.graph.phase == TRAIN else 'TEST', self.words)
        if not self.refused:                    # passes are for layers that can be made
            drawn.fusions = fusions_of(self.graph, drawn.notes)
        self.measure(drawn)
        return drawn

    def is_of_text(self, node, number) -> bool:
        """Whether a node of the graph is the layer of this number, and not a Split before it."""
        layer = self.source.net.message.layer[number]
        return (node.name, node.type) == (layer.name, layer.type)

    def real(self, value: int) -> int:
        return self.same.get(value, value)

    # ---- one layer ---------------------------------------------------------------------------

    def add(self, node: Node, number: int) -> None:
        cls = self.types.get(node.type)
        odd = self.source.odd.get(number, [])
        bottoms = tuple(map(self.real, node.bottoms))
        content = len(bottoms) if cls is None or cls.content_bottoms is None \
            else min(cls.content_bottoms, len(bottoms))
        item = Item(node, node.unique_name, self.source.texts[number], bottoms, node.tops,
                    'unknown', settings_of(node, cls), content, cls is not None)
        if cls is not None:
            item.notes += [replace(note, layer=item.name) for note in odd]
        self.items.append(item)
        for v in node.tops:
            self.blobs[v] = Blob(self.graph.values[v])
        if cls is None:
            self.add_unknown(item)
        elif cls.reads_data:
            self.add_data(item, cls)
        else:
            self.add_known(item, cls, bool(odd))
        self.take_given(item)
        if item.kind == 'unknown' and cls is not None:
            item.kind = kind_of(cls, item, self)
        for i, note in enumerate(item.notes):
            item.notes[i] = replace(note, index=len(self.items) - 1)

    def note(self, item: Item, what: str) -> None:
        item.notes.append(Note(what, item.node.line, item.name))

    def add_unknown(self, item: Item) -> None:
        """A layer of a type that is not known: its tops' shapes are, too, but for a blob that it
        overwrites."""
        item.macs = None
        error = unknown_type(item.node, self.types)
        hint = '' if 'Known types' in error.do else f' {error.do}'
        self.note(item, f"unknown layer type '{item.node.type}'.{hint}")
        if item.in_place:
            bottom, top = self.blobs[item.bottoms[0]], self.blobs[item.tops[0]]
            top.shape, top.field, top.sure, top.new = bottom.shape, bottom.field, False, False
            top.whole = bottom.whole
            self.note(item, 'it writes over its bottom, so the shape is assumed to stay')
        elif not item.bottoms and len(item.tops):
            self.assume(item, self.size and [(1, 3, *self.size)] + [None] * (len(item.tops) - 1))

    def add_data(self, item: Item, cls) -> None:
        """A layer whose tops' shapes files tell: those that its text tells are taken."""
        item.kind = 'source' if not item.bottoms else 'unknown'
        try:
            self.assume(item, cls.assumed_tops(item.node, self.size))
        except FcnError as error:
            self.note(item, f'{error.what}. {error.do}')

    def assume(self, item: Item, shapes) -> None:
        """Give the tops shapes that the text does not tell for sure."""
        names = [self.graph.values[v] for v in item.tops]
        if not shapes:
            if any(name not in self.given for name in names):
                size = '' if self.size else 'the size of the images, or '
                self.note(item, 'only its data or its code tell the shapes of its tops, and these '
                          f"are not opened; give {size}a shape for '{names[0]}'")
            return
        if len(shapes) != len(names):
            self.note(item, f'{len(names)} tops, but its data give {len(shapes)}')
            return
        for v, shape in zip(item.tops, shapes, strict=True):
            if shape is not None:
                if any(type(n) is not int for n in shape):
                    raise FcnError('its param_str gives no whole numbers as sizes',
                                   do='Correct it.')
                check_shape(shape, f"top '{self.graph.values[v]}'")
                self.set(v, shape, False)
        told = [f"'{name}' {dims(shape)}" for name, shape in zip(names, shapes, strict=True)
                if shape]
        self.note(item, f'assumed without its data: {", ".join(told)}')

    def add_known(self, item: Item, cls, odd: bool) -> None:
        """A layer of a known type: its own arithmetic, as far as its bottoms are known."""
        node, bottoms = item.node, [self.blobs[v] for v in item.bottoms]
        try:
            with located(self.graph.file, node):
                layer = cls(node, self.state)
                self.layers[id(node)] = node, layer
                if any(blob.shape is None for blob in bottoms):
                    item.macs = None
                    return
                shapes = [blob.shape for blob in bottoms]
                self.add_parameters(item, layer.parameters(shapes))
                tops = self.input_tops(item, layer) if not bottoms else layer.shape(shapes)
                if tops is None:
                    return
                check_shapes([tuple(shape) for shape in tops],
                             lambda i: f"top '{self.graph.values[node.tops[i]]}'")
                item.macs = layer.macs(shapes)
        except FcnError as error:
            item.macs = None
            self.refused |= id(node) not in self.layers
            self.note(item, f'{error.what}. {error.do}')
            return
        sure = all(blob.sure for blob in bottoms) and not odd
        if odd:
            self.note(item, 'computed as if that were not there')
        for v, shape in zip(node.tops, tops, strict=True):
            self.set(v, tuple(shape), sure)
        self.place(item, layer)

    def input_tops(self, item: Item, layer) -> list[Shape] | None:
        """The shapes of a layer without bottoms: an Input's of the size that is asked for."""
        tops = [tuple(shape) for shape in layer.shape([])]
        if item.node.type != 'Input':
            return tops
        if not item.node.param.input_param.shape and not self.size:
            self.note(item, 'its text gives no shape; give the size of the images, or a shape for '
                      f"'{self.graph.values[item.tops[0]]}'")
            return None
        if not item.node.param.input_param.shape:
            self.note(item, f'its text gives no shape; 1x3x{dims(self.size)} is assumed')
            tops = [(1, 3, 1, 1)] * len(tops)
        return [self.resized(shape) for shape in tops]

    def resized(self, shape: Shape) -> Shape:
        """An input's shape with the size that is asked for, if it is an image of the first
        input's."""
        if len(shape) != 4:
            return shape
        if self.asked is None:
            self.asked = shape[2:]
        return (*shape[:2], *self.size) if self.size and shape[2:] == self.asked else shape

    def add_parameters(self, item: Item, wanted) -> None:
        """The parameters that a layer declares; a name that an earlier one has means that one."""
        specs = item.node.param.param
        for i, (shape, _) in enumerate(wanted):
            spec = specs[i] if i < len(specs) else None
            name = spec.name if spec is not None else ''
            owner = self.owners.get(name) if name else None
            learned = spec is None or spec.lr_mult != 0
            item.params.append(Parameter(tuple(shape), owner and owner[0], learned))
            if name:
                self.owners.setdefault(name, (item.name, tuple(shape)))

    def set(self, value: int, shape: Shape, sure: bool) -> None:
        self.blobs[value].shape, self.blobs[value].sure = tuple(shape), sure

    def take_given(self, item: Item) -> None:
        """Give the tops the shapes that were asked for, and sources their receptive field."""
        for v in item.tops:
            name = self.graph.values[v]
            if name in self.given and name not in self.used:
                self.used.add(name)
                known = self.blobs[v]
                source = item.kind == 'source' or not item.bottoms
                if known.shape is not None and known.sure and not source:
                    raise FcnError(f"the shape of blob '{name}' is computed: {dims(known.shape)}",
                                   file=self.graph.file, line=item.node.line,
                                   layer=item.node.name, type=item.node.type,
                                   do='Give the shape of an input instead.')
                self.set(v, self.given[name], True)
        if not item.bottoms:
            for v in item.tops:
                shape = self.blobs[v].shape
                if shape and len(shape) == 4:
                    self.pixels = self.pixels or shape[2:]
                    self.blobs[v].field = INPUT if shape[2:] == self.pixels else None

    def place(self, item: Item, layer: Layer) -> None:
        """The receptive field and the memory of the tops."""
        bottoms = [self.blobs[v] for v in item.bottoms]
        for v in item.tops:
            self.blobs[v].new = not (item.in_place or layer.shares_data)
        fields = [blob.field for blob in bottoms[:item.content]]
        shape = bottoms[0].shape if bottoms else None
        reads = layer.reads(shape) if shape and len(shape) == 4 else None
        found = field_of(fields, reads)
        whole = reads is None or any(blob.whole for blob in bottoms[:item.content])
        for v in item.tops:
            blob = self.blobs[v]
            blob.field = found if len(blob.shape or ()) == 4 else None
            blob.whole = whole and any(b.whole or b.field for b in bottoms[:item.content])
        if found and (off := misaligned(fields)):
            self.note(item, f'its bottoms lie up to {pixels(off)} apart')
        elif found is None and reads and all(fields):
            self.note(item, 'its bottoms have other strides, so that it mixes places of the input')

    # ---- the whole net -----------------------------------------------------------------------

    def all_notes(self) -> list[Note]:
        net = self.source.net
        found = [Note(f"read in the dialect '{dialect_of(net.message).name}', found {net.found}")] \
            if net.found else []
        return [*found, *self.source.notes, *(note for item in self.items for note in item.notes)]

    def layer_of(self, node: Node) -> Layer:
        if id(node) not in self.layers:
            self.layers[id(node)] = node, self.types[node.type](node, self.state)
        return self.layers[id(node)][1]

    def measure(self, drawn: Drawn) -> None:
        """What a forward pass holds at once, alone and with backward after it."""
        if not drawn.whole or drawn.unknown:
            return
        shapes = {v: blob.shape or () for v, blob in self.blobs.items()}
        for node in self.graph.nodes:           # what no text names, and no page shows
            shapes |= {v: shapes[node.bottoms[0]] for v in node.tops if v not in shapes}
        costed = _Costed(self.graph, shapes, {item.node.key: item for item in self.items})
        try:
            with located(self.graph.file):
                ways = [peak(make_plan(self.graph, self.layer_of, passes, frozenset(), None),
                             costed, shapes, learning)[0]
                        for passes, learning in ((DEFAULT, False), ((), True))]
        except FcnError as error:
            drawn.notes.append(Note(f'its memory is not known: {error}'))
            return
        learned = sum(math.prod(p.shape) for item in self.items for p in item.params
                      if p.owner is None and p.learned)
        drawn.inference = FLOAT * (ways[0] + drawn.params)
        drawn.training = FLOAT * (ways[1] + drawn.params + learned)


@dataclass
class _Costed:
    """What cost.peak asks of a net."""
    graph: Graph
    shapes: dict[int, tuple[int, ...]]
    items: dict[tuple[str, int], Item]

    def learns(self, node: Node) -> bool:
        """Whether a parameter of a node's layer gets a gradient."""
        return any(p.learned for key in node.owners if key in self.items
                   for p in self.items[key].params)


def kind_of(cls: type[Layer], item: Item, describer: _Describer) -> str:
    """The kind of a layer of a known type, from what its class says."""
    if not item.bottoms:
        return 'source'
    if cls.loss or any(describer.blobs[v].shape == () for v in item.tops):
        return 'loss'
    if cls.macs is not Layer.macs:
        layer = describer.layers.get(id(item.node), (None, None))[1]
        image = len(describer.blobs[item.bottoms[0]].shape or (1, 1, 1, 1)) == 4
        reads = layer.reads((1, 1, 1, 1)) if layer and image else None
        return 'up' if reads and any(up > 1 for *_, up in reads) else 'weights'
    if cls.position_invariant and not cls.keeps_coordinates and not cls.in_place:
        return 'window'
    return 'cell' if cls.in_place or (cls.keeps_coordinates and cls.bottoms == 1) else 'move'


def pixels(count: Any) -> str:
    """A number of pixels in words."""
    text = f'{float(count):.6g}'
    return f'{text} pixel' if text in ('1', '-1') else f'{text} pixels'
