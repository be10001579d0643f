"""Which fields of a layer's message its type reads: all others are refused, or warned about.

Caffe ignores a message that belongs to another type (pooling_param on a Convolution), so that is
one warning in the log. This project's own message (fcn_repro_param) on a type that does not read it
is an error, and so is a field or enum value that a dialect adds to BVLC's schema, unless the
layer's class states it in `dialect_fields`: the layer would compute without it.
"""

import logging
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ...errors import FcnError
from ...proto.dialects import added_fields, dialect_of, dialects

log = logging.getLogger(__name__)

OWN = 'fcn_repro_param'


def check_fields(node: Any, types: Mapping[str, Any], file: str) -> None:
    """Raise FcnError, with layer, type and line, for a set field that the type of a node does not
    read; log a warning for each message of another type.

    types: {Caffe's type name: class} of the node's dialect. file: the net's, for the warning.
    """
    cls = types[node.type]
    others = set(foreign_messages(node.param, cls))
    for path in [OWN] if OWN in others else own_paths(node.param, cls):
        raise FcnError(f"'{path}' is set, but this type does not read it", line=node.line,
                       layer=node.name, type=node.type, do='Remove it.')
    for path in added_fields(node.param):
        message = path.partition('.')[0]
        if message in others and (path != message or any(message in messages_of(other)
                                                         for other in types.values())):
            continue                    # the whole of it belongs to another type
        if not is_read(path, cls):
            raise FcnError(f"'{path}' is set, but this type does not read it", line=node.line,
                           layer=node.name, type=node.type, do=remedy(node))
    for name in others:
        log.warning("%s:%s: layer '%s' (%s): '%s' has no effect on this type", file, node.line,
                    node.name, node.type, name)


def messages_of(cls: Any) -> tuple[str, ...]:
    """The parameter messages of LayerParameter that a type reads."""
    return (*((cls.fields,) if cls.fields else ()), *cls.further_messages,
            *((OWN,) if cls.own_fields else ()))


def own_paths(param: Any, cls: Any) -> list[str]:
    """The set fields of a LayerParameter's own message that a type does not read."""
    return [f'{OWN}.{field.name}' for field, _ in getattr(param, OWN).ListFields()
            if field.name not in cls.own_fields]


def foreign_messages(param: Any, cls: Any) -> Iterator[str]:
    """The set parameter messages of a LayerParameter that a type does not read."""
    read, names = messages_of(cls), message_fields(param.DESCRIPTOR)
    for descriptor, _ in param.ListFields():
        name = names.get(descriptor)
        if name is not None and name not in read:
            yield name


@cache
def message_fields(message: Descriptor) -> dict[FieldDescriptor, str]:
    """{field: its name} of the messages that a type of message can have once."""
    return {field: field.name for field in message.fields
            if field.message_type and not field.is_repeated}


def is_read(path: str, cls: Any) -> bool:
    """Whether a type reads the field or enum value that a dialect adds at a dotted path."""
    message, field = path.partition('.')[0], path.split('.')[-2:]
    if message in messages_of(cls) and field[0].endswith('_filler') and field[-1] == 'num_groups':
        return True                     # by fillers.py, whatever the type
    return path in messages_of(cls) or any(
        path == field or field.startswith(f'{path}.') for field in cls.dialect_fields)


def remedy(node: Any) -> str:
    mine = dialect_of(node.param)
    others = [name for name, dialect in dialects().items()
              if dialect is not mine and node.type in dialect.types]
    if not others:
        return 'Remove it.'
    return f"Remove it, or give a dialect with a {node.type} of its own: {', '.join(others)}."
