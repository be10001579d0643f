"""What the default passes make of a net: which layers each of them replaced, by what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import FcnError
from ..net.graph import Graph, Node
from ..passes import DEFAULT, Pass
from ..passes.intervals import make_layer
from ..proto import TEST
from .reading import Note


@dataclass(frozen=True)
class Fusion:
    """One change that a pass made. request: what the pass served ('outputs', "labels of 'score'");
    layers: keys of the layers of the net that it is about; what: the change in words; kind: these
    words without the layers' names."""
    request: str
    of: str
    layers: tuple[tuple[str, int], ...]
    what: str
    kind: str


MANY = 3        # changes of one kind that are still told one by one


def alike(fusions: Sequence[Fusion]) -> list[list[int]]:
    """The numbers of the fusions, together where one pass made more than MANY of one kind."""
    groups: dict[tuple[str, str, str], list[int]] = {}
    for k, fusion in enumerate(fusions):
        groups.setdefault((fusion.of, fusion.request, fusion.kind), []).append(k)
    return sorted(part for group in groups.values()
                  for part in ([group] if len(group) > MANY else [[k] for k in group]))


def summary(fusions: Sequence[Fusion]) -> str:
    """Several of one kind in a few words."""
    return f'{len(fusions)} times {fusions[0].kind}'


def fusions_of(graph: Graph, notes: list[Note], passes: Sequence[Pass] = DEFAULT) -> list[Fusion]:
    """The changes for the net's outputs; in phase TEST for the label map of each output, too, where
    they differ. A fault of a layer that a pass asks is added to the notes."""
    found = list(changes(graph, 'outputs', graph.outputs, passes, notes))
    known = {(fusion.of, fusion.layers) for fusion in found}
    for blob in graph.outputs if graph.phase == TEST else ():
        if graph.producer(graph.last(blob)).bottoms:
            later = changes(graph.labelled(blob), f"labels of '{blob}'", ('(labels)',), passes, [])
            found += [fusion for fusion in later if (fusion.of, fusion.layers) not in known]
    return found


def changes(graph: Graph, request: str, outputs: Sequence[str], passes: Sequence[Pass],
            notes: list[Note]):
    """The Fusions of each pass in turn."""
    for optimise in passes:
        try:
            after = optimise(graph, frozenset(outputs))
        except FcnError as error:
            notes.append(Note(f'{optimise.__name__} cannot be applied: {error.what}', error.line,
                              error.layer))
            continue
        before = {node.key: node for node in graph.nodes}
        for node in after.nodes:
            old = before.get(node.key)
            if old is None or node.param is not old.param or node.type != old.type:
                yield change(optimise.__name__, request, node, old, after)
        graph = after


def change(of: str, request: str, node: Node, old: Node | None, graph: Graph) -> Fusion:
    """The Fusion of one node that a pass made, in the place of `old` if that is given."""
    if old is None:
        made = graph.producer(node.bottoms[0])
        cells = ''
        if node.setting:
            cells = f', which restores {max(count for *_, count in node.setting)} equal rows and ' \
                    'columns at each side'
        what = f'a {node.type} is inserted{cells}'
        return Fusion(request, of, (made.key,), f"after '{made.unique_name}' {what}", what)
    if node.type == old.type:
        pads = [make_layer(each).window()[2] for each in (old, node)]
        was, now = ('x'.join(map(str, dict.fromkeys(pad))) for pad in pads)
        what = f'pad {was} becomes {now}; the rows and columns that are left out are all equal, ' \
               'and restored later'
        return Fusion(request, of, (node.key,), f"'{node.unique_name}': {what}", what)
    parts = [part for part in node.parts if part.type != 'Split'] or [old]
    if old not in parts and not old.parts:
        parts.append(old)
    names = ' + '.join(f"'{part.unique_name}' ({part.type})" for part in parts)
    types = ' + '.join(part.type for part in parts)
    return Fusion(request, of, tuple(part.key for part in parts),
                  *(f'{words} become one {node.type}' for words in (names, types)))
