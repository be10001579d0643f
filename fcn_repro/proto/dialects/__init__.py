"""Dialects of caffe.proto: BVLC's, and those of forks of Caffe.

To add a dialect, write one file in this folder that makes a `Dialect`; it is found by itself:

    HOLES = Dialect(
        'holes',
        overlays=('''
    LayerParameter
      143 interp_param InterpParameter
    InterpParameter
      1 height int32=0, 2 width int32=0
    ConvolutionParameter
      19 hole uint32[]
    V1LayerParameter
      enum LayerType NONE CONVOLUTION=4 INTERP=44
    ''',),
        types={'Interp': 'fcn_repro.layers.interp:Interp'},
        v1_types={'INTERP': 'Interp'},
        upgrades=(hole_to_dilation,))

overlays: tables as in table.py, laid over BVLC's with the fork's own numbers: a field takes the
place of the one with its name; the one that has its number moves to a number of no Caffe, so that
texts can still set it. types: what each layer type that the fork adds or means differently is
computed by, as 'module:Class'; the class is imported when a net first has such a layer, so this
package imports no layers. as_bvlc: those of them that BVLC has too. lacking: {type: whose layer it
is} of the fork's types that are not computed here. blobs: {type: number of its parameters} where
that of another fork has another. without: types, and dotted fields of a layer, of BVLC that the
fork lacks, so that a text with one of them is not the fork's; for a fork of one commit only.
older: {type of BVLC's: how the fork's, written alike, differs} of those that are not computed here.
detected: whether texts that name no dialect may be of this one; old: only if their layers are old
(V1) ones. A class that reads fields which the
overlay adds names them in its `dialect_fields`; a net refuses all others. v1_types: the current
name of each V1 enum value that the fork adds. upgrades: functions that each get every current
layer's message when a text has been read, and change it in place (`hole` into `dilation`); an
FcnError of theirs gets file, line and layer.

A reader of text, NetSpec, weights, nets or solvers takes the dialect as `dialect=`, by its name or
an alias, in upper or lower case; readers of text find it by what the text holds (detect.py) where
none is given. From then on
the message carries it: `dialect_of(message)`. So code that copies a message writes
`type(message)()`, and code that needs a message of another kind
`dialect_of(message)['ParamSpec']()`; neither names BVLC's classes.

Fields that no Caffe has, for layers or settings of our own invention, never go into a message of
Caffe's: they live together in one message FcnReproParameter, the field fcn_repro_param (number
51411, in the range that protobuf leaves to private use) of LayerParameter, which every dialect has
(OWN_PROTO in table.py). What passes tell our internal layers is in `Node.setting`, not in a
message.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from ...errors import FcnError, nearest
from ..schema import Schema
from ..table import CAFFE_PROTO, OWN_PROTO

FILE = 'fcn_repro/{}.proto'         # the file that a dialect's descriptors belong to

UNION = 'union'     # of all forks (union.py), which is no fork's

_registry: dict[str, 'Dialect'] = {}


# Layers that BVLC's Caffe changed after nearly all forks had left it
OLDER = {'InfogainLoss': 'it takes probabilities there, scores in BVLC Caffe'}


@dataclass(frozen=True, eq=False)
class Dialect:
    """A fork's caffe.proto, layer types and upgrade rules; `dialect['NetParameter']` is a class.

    See this module's docstring for the fields. Raises FcnError for a name that is taken.
    """
    name: str
    overlays: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    v1_types: Mapping[str, str] = field(default_factory=dict)
    upgrades: tuple[Callable[[Any], None], ...] = ()
    aliases: tuple[str, ...] = ()
    as_bvlc: tuple[str, ...] = ()
    lacking: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, int] = field(default_factory=dict)
    without: tuple[str, ...] = ()
    older: Mapping[str, str] = field(default_factory=lambda: OLDER)
    detected: bool = False
    old: bool = False

    def __post_init__(self):
        if self.name in _registry:
            raise FcnError(f"there is a dialect '{self.name}' already", do='Give another name.')
        _registry[self.name] = self

    @cached_property
    def schema(self) -> Schema:
        """{message name: class}, in a descriptor pool of its own."""
        return Schema(CAFFE_PROTO, OWN_PROTO, *self.overlays, file=FILE.format(self.name))

    def __getitem__(self, message: str) -> Any:
        return self.schema[message]


BVLC = Dialect('bvlc', aliases=('bvlc-caffe',), older={})


def dialects() -> dict[str, Dialect]:
    """{name: dialect} of all that there are."""
    _import_all(tuple(__path__))
    return {name: dialect for name, dialect in _registry.items() if name != UNION}


@cache
def _import_all(folders: tuple[str, ...]) -> None:
    """Once, not for each layer: this reads the folders, and those of their compiled files too."""
    for info in pkgutil.iter_modules(folders, f'{__name__}.'):
        importlib.import_module(info.name)


def find_dialect(name: str | Dialect) -> Dialect:
    """The dialect of a name, or the dialect that is given. FcnError for an unknown name."""
    if isinstance(name, Dialect):
        return name
    known = dialects()
    names = {alias: dialect for dialect in known.values()
             for alias in (*dialect.aliases, dialect.name)}
    if name.lower() not in names:
        raise FcnError(f"unknown dialect '{name}'",
                       do=nearest(name, names) or f"Known: {', '.join(known)}.")
    return names[name.lower()]


def dialect_of(message: Message) -> Dialect:
    """The dialect that a message belongs to. FcnError for a message of another schema, such as a
    caffe_pb2 of Caffe itself."""
    file = message.DESCRIPTOR.file.name
    for dialect in _registry.values():
        if file == FILE.format(dialect.name):
            return dialect
    raise FcnError(f'a {message.DESCRIPTOR.full_name} of {file} is not a message of this package',
                   do='Make it from its text by fcn_repro.proto.prototxt.')


def dialects_with(message: str, name: str) -> list[str]:
    """Names of the dialects in which a message has a field, or an enum a value, of this name."""
    def has(dialect: Dialect) -> bool:
        if message not in dialect.schema:
            return False
        descriptor = dialect[message].DESCRIPTOR
        return name in descriptor.fields_by_name or name in descriptor.enum_values_by_name
    return [dialect.name for dialect in dialects().values() if has(dialect)]


def use_dialect(names: list[str]) -> str:
    """The remedy for what only the dialects of these names know; '' without any."""
    if not names:
        return ''
    mine = ' or '.join(repr(name) for name in names)
    return f'It belongs to the dialect {mine}, which Net.read and Solver take as dialect.'


def of_dialects(names: list[str]) -> dict[str, Any]:
    """What an FcnError says about something that only the dialects of these names know."""
    return {'code': 'which-dialect', 'facts': {'dialects': ', '.join(names)},
            'do': use_dialect(names)}


def dialects_with_type(name: str) -> list[str]:
    """Names of the dialects that have a layer type of their own of this name, computed here or
    not."""
    return [dialect.name for dialect in dialects().values()
            if name in dialect.types or name in dialect.lacking]


def added_fields(message: Message, path: str = '') -> Iterator[str]:
    """The dotted paths of all that is set in a message, at any depth, and that BVLC's schema lacks:
    fields ('convolution_param.hole') and enum values ('eltwise_param.operation.DIV')."""
    if not _adds(message.DESCRIPTOR):
        return
    known = BVLC.schema.get(message.DESCRIPTOR.name)
    fields = known.DESCRIPTOR.fields_by_name if known else {}
    for descriptor, value in message.ListFields():
        here = f'{path}{descriptor.name}'
        values = value if descriptor.is_repeated else [value]
        if descriptor.name not in fields:
            yield here
        if descriptor.message_type:
            for item in values:
                yield from added_fields(item, f'{here}.')
        elif descriptor.enum_type and descriptor.name in fields:
            yield from _added_values(descriptor.enum_type, values,
                                     fields[descriptor.name].enum_type, here)


@cache
def _adds(message: Descriptor, inside: tuple[Descriptor, ...] = ()) -> bool:
    """Whether a message type has anything at any depth that BVLC's lacks. inside: the types around
    it, since a type may hold itself."""
    known = BVLC.schema.get(message.name)
    if known is None:
        return True
    fields = known.DESCRIPTOR.fields_by_name
    return message != known.DESCRIPTOR and any(
        field.name not in fields or _other_enum(field, fields[field.name])
        or (field.message_type and field.message_type not in (*inside, message)
            and _adds(field.message_type, (*inside, message))) for field in message.fields)


def _other_enum(field: FieldDescriptor, known: FieldDescriptor) -> bool:
    numbers = [{name: value.number for name, value in each.enum_type.values_by_name.items()}
               for each in (field, known) if each.enum_type]
    return bool(field.enum_type) and (len(numbers) < 2 or numbers[0] != numbers[1])


def _added_values(enum: EnumDescriptor, values: list[int], known: EnumDescriptor | None,
                  path: str) -> Iterator[str]:
    """The paths of set enum values whose names BVLC's enum lacks, or has for another number."""
    for value in values:
        name = enum.values_by_number[value].name
        number = known.values_by_name[name].number if known and name in known.values_by_name \
            else None
        if number != value:
            yield f'{path}.{name}'
