"""Compile schema tables (table.py) into protobuf message classes in a pool of their own."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ..errors import FcnError

PACKAGE = 'caffe'
MOVED = 60000       # in protobuf's range for private use, with room for all of Caffe's numbers
SCALARS = ('int32', 'int64', 'uint32', 'float', 'double', 'bool', 'string', 'bytes')
FIELD = re.compile(r'(\d+) (\w+) (\w+)(\[\]|\[packed\]|!)?(?:=(.*))?')
FieldProto = descriptor_pb2.FieldDescriptorProto
Enum = dict[str, int]


@dataclass
class Message:
    """A message under construction: {field: (number, type, kind, default)}, {enum: its values}."""
    fields: dict[str, tuple[int, str, str | None, str | None]] = field(default_factory=dict)
    enums: dict[str, Enum] = field(default_factory=dict)


class Schema(dict):
    """Message name -> class. `enums` maps each top-level enum's name to {value name: number}."""

    def __init__(self, *tables: str, file: str = 'fcn_repro/caffe.proto'):
        """Compile Caffe's table and its overlays, later ones over earlier ones.

        In an overlay a field replaces the one with its name and takes the number from the one that
        has it, which moves to MOVED + number: what a fork lacks can still be written in its texts.
        `-name` removes a field, an enum replaces that of its name, and a new message or enum is
        added.
        file: the name of the descriptors' file. Raises FcnError for another kind of line,
        TypeError for a field of an unknown type.
        """
        messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        for table in tables:
            read_table(table, messages, self.enums)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(_descriptors(file, messages, self.enums).SerializeToString())
        super().__init__((name, message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f'{PACKAGE}.{name}'))) for name in messages)


def read_table(table: str, messages: dict[str, Message], enums: dict[str, Enum]) -> None:
    """Add a table's messages and top-level enums to `messages` and `enums`."""
    message: Message | None = None
    for line in re.sub(r'\n {4,}', ' ', table).split('\n'):   # deeper lines continue an enum
        if line.startswith('enum '):
            _read_enum(line, enums)
        elif line and not line.startswith(' '):
            message = messages.setdefault(line.strip(), Message())
        elif line.strip() and message is None:
            raise FcnError(f'schema table: {line.strip()!r} stands before any message')
        elif message is not None:
            _read_body(line.strip(), message)


def _read_body(line: str, message: Message) -> None:
    """Add a line of a message's body: an enum, or fields separated by commas."""
    if line.startswith('enum '):
        _read_enum(line, message.enums)
    else:
        for item in filter(None, (i.strip() for i in line.split(','))):
            _read_field(item, message.fields)


def _read_enum(line: str, enums: dict[str, Enum]) -> None:
    _, name, *values = line.split()
    numbers = enums[name] = {}
    number = -1
    for value in values:
        value, _, given = value.partition('=')
        number = numbers[value] = int(given or number + 1)


def _read_field(item: str, fields: dict) -> None:
    if item.startswith('-'):
        if item[1:] not in fields:
            raise FcnError(f"schema table: there is no field '{item[1:]}' to remove")
        del fields[item[1:]]
        return
    match = FIELD.fullmatch(item)
    if match is None:
        raise FcnError(f'schema table: {item!r} is not `number name type`')
    number, name, type, kind, default = match.groups()
    fields.pop(name, None)
    for old in [n for n, f in fields.items() if f[0] == int(number)]:
        fields[old] = (MOVED + int(number), *fields[old][1:])
    fields[name] = (int(number), type, kind, default)


def _descriptors(file: str, messages: dict[str, Message],
                 enums: dict[str, Enum]) -> descriptor_pb2.FileDescriptorProto:
    """The FileDescriptorProto of all messages and enums."""
    proto = descriptor_pb2.FileDescriptorProto(name=file, package=PACKAGE)
    for name, values in enums.items():
        _add_enum(proto.enum_type, name, values)
    for name, message in messages.items():
        added = proto.message_type.add(name=name)
        for enum, values in message.enums.items():
            _add_enum(added.enum_type, enum, values)
        scopes = {enum: f'{PACKAGE}.{enum}' for enum in enums} \
            | {enum: f'{PACKAGE}.{name}.{enum}' for enum in message.enums}
        added.field.extend(_fields(message, scopes))
    return proto


def _fields(message: Message, enums: dict[str, str]) -> Iterator[FieldProto]:
    """The field descriptors of a message; enums: {enum that it can name: full name}."""
    for name, (number, type, kind, default) in message.fields.items():
        proto = FieldProto(name=name, number=number, default_value=default,
                           label=_label(kind))
        if kind == '[packed]':
            proto.options.packed = True
        if type in SCALARS:
            proto.type = FieldProto.Type.Value(f'TYPE_{type.upper()}')
        elif type in enums:
            proto.type, proto.type_name = FieldProto.TYPE_ENUM, f'.{enums[type]}'
        else:
            proto.type, proto.type_name = FieldProto.TYPE_MESSAGE, f'.{PACKAGE}.{type}'
        yield proto


def _label(kind: str | None) -> FieldProto.Label.ValueType:
    if kind == '!':
        return FieldProto.LABEL_REQUIRED
    return FieldProto.LABEL_REPEATED if kind else FieldProto.LABEL_OPTIONAL


def _add_enum(holder, name: str, values: Enum) -> None:
    enum = holder.add(name=name)
    for value, number in values.items():
        enum.value.add(name=value, number=number)
