"""One schema with the fields of all forks by name, for reading a text before its dialect is known.

Its numbers are its own: it reads and writes no binary file.
"""

from functools import cache
from typing import Any

from ..errors import FcnError
from .dialects import UNION, Dialect, dialects
from .schema import MOVED, Message, read_table
from .table import CAFFE_PROTO, OWN_PROTO

FIRST = 2 * MOVED       # number of the first field that a fork adds


@cache
def union() -> Dialect:
    """The dialect of the union of all forks. Its types are those that mean the same in every fork
    that has them, of forks that know old (V1) layers alone only where no other has them; upgrade
    rules are all forks'. FcnError where a field has two types."""
    forks = [dialect for dialect in dialects().values() if dialect.detected]
    types: dict[str, str] = {}
    for name in {name for fork in forks for name in (*fork.types, *fork.lacking)}:
        having = [fork for fork in forks if name in fork.types or name in fork.lacking]
        found = {fork.types.get(name) for fork in having
                 if not fork.old or all(each.old for each in having)}
        meaning = found.pop()
        if not found and meaning and not any(name in fork.as_bvlc for fork in forks):
            types[name] = meaning
    return Dialect(UNION, (merged(forks),), types=types,
                   v1_types={name: type for fork in forks for name, type in fork.v1_types.items()},
                   upgrades=tuple(dict.fromkeys(rule for fork in forks for rule in fork.upgrades)))


def merged(forks: list[Dialect]) -> str:
    """The table of all that forks add to BVLC's messages."""
    base: dict[str, Message] = {}
    enums: dict[str, dict[str, int]] = {}
    for table in (CAFFE_PROTO, OWN_PROTO):
        read_table(table, base, enums)
    added: dict[str, Message] = {}
    for fork in forks:
        for table in fork.overlays:
            messages: dict[str, Message] = {}
            read_table(table, messages, {})
            for name, message in messages.items():
                merge(name, message, base.get(name, Message()), added.setdefault(name, Message()),
                      fork.name)
    return '\n'.join(line for name, message in added.items() for line in lines(name, message))


def merge(name: str, message: Message, base: Message, added: Message, fork: str) -> None:
    """Add to `added` the fields and enum values of a fork's message that the base lacks."""
    for field, (_, type, kind, default) in message.fields.items():
        here: Any = base.fields.get(field) or added.fields.get(field)
        if here is None:
            added.fields[field] = FIRST + len(added.fields), type, kind, default
        elif here[1:3] != (type, kind):
            raise FcnError(f"the field '{field}' of {name} is {type} in the dialect '{fork}', "
                           f'{here[1]} in another')
    for enum, values in message.enums.items():
        numbers = added.enums.setdefault(enum, dict(base.enums.get(enum, {})))
        for value, number in values.items():
            if value not in numbers:
                numbers[value] = FIRST + len(numbers) if number in numbers.values() else number


def lines(name: str, message: Message) -> list[str]:
    """The lines of a table for a message."""
    def text(field: str, number: int, type: str, kind: str | None, default: str | None) -> str:
        return f'  {number} {field} {type}{kind or ""}' + ('' if default is None else f'={default}')
    return [name, *(f'  enum {enum} ' + ' '.join(f'{value}={n}' for value, n in values.items())
                    for enum, values in message.enums.items()),
            *(text(field, *rest) for field, rest in message.fields.items())]


def fits(dialect: Dialect, paths: set[str], types: set[str]) -> bool:
    """Whether a dialect has all these fields and enum values, by path, and these types of forks."""
    return types <= {*dialect.types, *dialect.lacking} and \
        all(has(dialect, path) for path in paths)


def lacks(dialect: Dialect, net: Any) -> bool:
    """Whether a net in the current form has a layer type or a field that a fork's Caffe is known
    not to have (Dialect.without)."""
    layers = [layer for layer in net.layer          # upgrade_net makes one of the net's `input`
              if (layer.name, layer.type) != ('input', 'Input')]
    return any(layer.type in dialect.without or is_set(layer, path)
               for layer in layers for path in dialect.without)


def is_set(message: Any, path: str) -> bool:
    """Whether the field at a dotted path is set in a message."""
    for name in path.split('.'):
        fields = message.DESCRIPTOR.fields_by_name
        if name not in fields or not (getattr(message, name) if fields[name].is_repeated
                                      else message.HasField(name)):
            return False
        message = getattr(message, name)
    return True


def has(dialect: Dialect, path: str) -> bool:
    """Whether a dialect's NetParameter has the field or enum value at a dotted path."""
    message = dialect['NetParameter'].DESCRIPTOR
    *before, last = path.split('.')
    found = None
    for name in before:
        if message is None:
            return False
        found = message.fields_by_name.get(name)
        if found is None:
            return False
        message = found.message_type
    if message is None:
        return found is not None and last in found.enum_type.values_by_name
    return last in message.fields_by_name

