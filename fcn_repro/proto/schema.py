"""Compile schema tables (table.py) into protobuf message classes in a pool of their own."""

import re

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

Field = descriptor_pb2.FieldDescriptorProto
SCALARS = ('int32', 'int64', 'uint32', 'float', 'double', 'bool', 'string', 'bytes')
FIELD = re.compile(r'(\d+) (\w+) (\w+)(\[\]|\[packed\]|!)?(?:=(.*))?')


class Schema(dict):
    """Message name -> class. `enums` maps each top-level enum's name to {value name: number}."""

    def __init__(self, *tables):
        """Later tables overlay earlier ones: a dialect is Caffe's table and a few lines more.

        In an overlay a field replaces the one with its number and the one with its name, `-name`
        removes one, and a new message or enum is added.
        """
        messages, self.enums = {}, {}
        for table in tables:
            _read(table, messages, self.enums)
        file = _file(messages, self.enums)
        pool = descriptor_pool.DescriptorPool()
        pool.AddSerializedFile(file.SerializeToString())
        super().__init__((name, message_factory.GetMessageClass(
            pool.FindMessageTypeByName(f'caffe.{name}'))) for name in messages)


def _read(table, messages, enums):
    """Add a table to messages {name: {'fields': {name: (number, type, kind, default)},
    'enums': {name: {value: number}}}} and to the top-level enums."""
    message = None
    for line in re.sub(r'\n {4,}', ' ', table).split('\n'):   # deeper lines continue an enum
        if line.startswith('enum '):
            _read_enum(line, enums)
        elif line and not line.startswith(' '):
            message = messages.setdefault(line.strip(), {'fields': {}, 'enums': {}})
        elif line.strip().startswith('enum '):
            _read_enum(line, message['enums'])
        else:
            for item in filter(None, (i.strip() for i in line.split(','))):
                _read_field(item, message['fields'])


def _read_enum(line, enums):
    _, name, *values = line.split()
    numbers = enums[name] = {}
    number = -1
    for value in values:
        value, _, given = value.partition('=')
        number = numbers[value] = int(given or number + 1)


def _read_field(item, fields):
    if item.startswith('-'):
        del fields[item[1:]]
        return
    number, name, type, kind, default = FIELD.fullmatch(item).groups()
    for old in [n for n, f in fields.items() if f[0] == int(number) or n == name]:
        del fields[old]
    fields[name] = (int(number), type, kind, default)


def _file(messages, enums):
    file = descriptor_pb2.FileDescriptorProto(name='fcn_repro/caffe.proto', package='caffe')
    for name, values in enums.items():
        _add_enum(file.enum_type, name, values)
    for name, parts in messages.items():
        message = file.message_type.add(name=name)
        for enum, values in parts['enums'].items():
            _add_enum(message.enum_type, enum, values)
        for field, (number, type, kind, default) in parts['fields'].items():
            proto = message.field.add(name=field, number=number, label=Field.LABEL_OPTIONAL)
            if kind in ('[]', '[packed]'):
                proto.label = Field.LABEL_REPEATED
            elif kind == '!':
                proto.label = Field.LABEL_REQUIRED
            if kind == '[packed]':
                proto.options.packed = True
            if default is not None:
                proto.default_value = default
            if type in SCALARS:
                proto.type = Field.Type.Value(f'TYPE_{type.upper()}')
            elif type in parts['enums'] or type in enums:
                scope = f'{name}.' if type in parts['enums'] else ''
                proto.type, proto.type_name = Field.TYPE_ENUM, f'.caffe.{scope}{type}'
            else:
                proto.type, proto.type_name = Field.TYPE_MESSAGE, f'.caffe.{type}'
    return file


def _add_enum(holder, name, values):
    enum = holder.add(name=name)
    for value, number in values.items():
        enum.value.add(name=value, number=number)
