"""Which dialect a net is written in, by its fields and layer types.

A text that only BVLC's words make is BVLC's. One with words of forks is of a fork that has all of
them; where several do and mean the same by them, of the first. Where they mean different layers
(BN is three), the weights may tell by their number of blobs; else the dialect must be named. Words
of several forks in one net make the union's dialect, if each of them has one meaning.

Layers of BVLC's types that a fork computes otherwise are net/lookalikes.py's subject.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import FcnError
from .dialects import BVLC, Dialect, added_fields, dialects, dialects_with_type
from .union import fits, has, union

Blobs = Callable[[], Mapping[str, int]]
ORDER = ('deeplab-v2', 'pspnet', 'segnet', 'enet', 'future', 'crfasrnn-master', 'crfasrnn', 'hed',
         'dilation', 'deeplab-public', 'deeplab-v1')       # where several forks mean the same


def forks() -> list[Dialect]:
    """The forks' dialects, those first that are chosen first."""
    found = [dialect for dialect in dialects().values() if dialect.detected]
    return sorted(found, key=lambda d: ORDER.index(d.name) if d.name in ORDER else len(ORDER))


def words(net: Any) -> tuple[set[str], dict[str, list[Any]]]:
    """({paths of what forks add}, {type that a fork adds: its layers}) of a NetParameter of the
    union, old layers brought into the current form without any fork's rules."""
    own = {name for dialect in forks() for name in (*dialect.types, *dialect.lacking)
           if name not in dialect.as_bvlc}
    types: dict[str, list[Any]] = {}
    for layer in net.layer:
        if layer.type in own:
            types.setdefault(layer.type, []).append(layer)
    return set(added_fields(net)), types


def detect(raw: Any, net: Any, blobs: Blobs | None = None) -> tuple[Dialect, str]:
    """(the dialect of a net, by what it was found; '' for BVLC's). raw: the text's NetParameter as
    written, of the union; net: the same in the current form. blobs: returns {layer name: number of
    its blobs} of the weights it will get.

    FcnError, which says what comes from which fork, where no dialect or no single one fits.
    """
    paths, _ = words(raw)
    _, types = words(net)
    if not paths and not types:
        return BVLC, ''
    why = f'by {some_words(types, paths)}'
    found = [fork for fork in forks() if fits(fork, paths, set(types))
             and (raw.layers or not fork.old)]
    if not found:
        return mixture(paths, types), f'{why}, which are of several forks'
    if blobs and len({meaning(fork, net) for fork in found}) > 1:
        agreeing = by_blobs(found, types, counts := blobs())
        if not agreeing:
            raise other_blobs(found, types, counts)
        if len({meaning(fork, net) for fork in agreeing}) == 1:
            why += ' and the blobs of its weights'
        found = agreeing
    meanings: dict[tuple, Dialect] = {}
    for fork in found:
        meanings.setdefault(meaning(fork, net), fork)
    if len(meanings) > 1:
        raise ambiguous(list(meanings.values()), found, types)
    return found[0], why


def some_words(types: Iterable[str], paths: Iterable[str]) -> str:
    """The first words of forks in a net: types, else fields."""
    words = sorted(types) or [path.split('.', 1)[-1] for path in sorted(paths)]
    return ', '.join(words[:3]) + (', …' if len(words) > 3 else '')


def meaning(fork: Dialect, net: Any) -> tuple:
    """What a fork computes the types of a net by; two forks with the same mean the same net."""
    used = sorted({layer.type for layer in net.layer})
    return tuple((name, fork.types.get(name) or fork.lacking.get(name) or fork.older[name])
                 for name in used
                 if name in fork.types or name in fork.lacking or name in fork.older)


def by_blobs(found: list[Dialect], types: Mapping[str, list[Any]],
             blobs: Mapping[str, int]) -> list[Dialect]:
    """The dialects whose layers have as many parameters as the weights have blobs."""
    def agrees(fork: Dialect) -> bool:
        return all(blobs.get(layer.name, count) == count for name, count in fork.blobs.items()
                   for layer in types.get(name, ()))
    return [fork for fork in found if agrees(fork)]


def other_blobs(found: list[Dialect], types: Mapping[str, list[Any]],
                blobs: Mapping[str, int]) -> FcnError:
    """The error for weights that are of none of the dialects whose words a net has."""
    name, layer = next((name, layer) for name, layers in types.items() for layer in layers
                       if any(blobs.get(layer.name, fork.blobs.get(name)) != fork.blobs.get(name)
                              for fork in found))
    counts = [f'{fork.blobs[name]} in {fork.name}' for fork in found if name in fork.blobs]
    return FcnError(f'the weights have {blobs[layer.name]} blobs for it; a {name} has '
                    f'{", ".join(counts)}', layer=layer.name, type=name,
                    do='Give the weights of this net.')


def ambiguous(some: list[Dialect], found: list[Dialect],
              types: Mapping[str, list[Any]]) -> FcnError:
    """The error for a net whose words several forks have in different meanings."""
    differing = [name for name in types if len({fork.types.get(name) or fork.lacking.get(name)
                                                for fork in some}) > 1]
    layer = types[differing[0]][0] if differing else None
    names = ', '.join(fork.name for fork in found)
    what = f"the type means another layer in each of the dialects {names}" if layer else \
        f'the net may be of the dialects {names}, which differ'
    return FcnError(what, layer=layer and layer.name, type=layer and layer.type,
                    code='which-dialect', facts={'dialects': names},
                    do='Name the one that it is of as dialect.')


def mixture(paths: set[str], types: Mapping[str, list[Any]]) -> Dialect:
    """The union, for a net with words of several forks; FcnError if a type has several meanings."""
    both = union()
    for name, layers in types.items():
        if name not in both.types:
            homes = dialects_with_type(name)
            raise FcnError(f"the net has layers of several forks, and its '{name}' is of the "
                           f'dialects {", ".join(homes)}', items=origins(paths, types),
                           layer=layers[0].name, type=name, code='which-dialect',
                           facts={'dialects': ', '.join(homes)},
                           do='Write it for one fork, and name that as dialect.')
    return both


def origins(paths: Iterable[str], types: Iterable[str]) -> list[str]:
    """A line for each word of a fork: which dialects have it."""
    return [f"{word}: {', '.join(fork.name for fork in forks() if known(fork, word))}"
            for word in (*sorted(types), *sorted(paths))]


def known(fork: Dialect, word: str) -> bool:
    return word in fork.types or word in fork.lacking or (
        word.partition('.')[0] in ('layer', 'layers') and has(fork, word))
