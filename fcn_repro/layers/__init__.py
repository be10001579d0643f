"""The registry of layer types, {type name: class}: one file per type, discovered on import.

Caffe's types are in this folder, those that passes make in internal/, shared code in common/.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import lru_cache

from ..errors import FcnError, nearest
from ..proto.dialects import (
    BVLC,
    Dialect,
    dialect_of,
    dialects,
    dialects_with_type,
    of_dialects,
)
from ..proto.upgrade import TYPES as V1_ROWS
from . import internal
from .common.base import Layer
from .common.foreign import foreign_remedy
from .common.state import PRECISIONS, ExecutionOptions, RunState

__all__ = ['PRECISIONS', 'TYPES', 'ExecutionOptions', 'Layer', 'RunState', 'auto_tops',
           'layer_class', 'types_of', 'unknown_type']


def _find():
    """Every class with a type name, by that name, from the modules here and in internal/."""
    found = {}
    for info in [*pkgutil.iter_modules(__path__, f'{__name__}.'),
                 *pkgutil.iter_modules(internal.__path__, f'{internal.__name__}.')]:
        module = importlib.import_module(info.name)
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Layer) and cls.type \
                    and cls.__module__ == module.__name__:
                found[cls.type] = cls
    return found


TYPES = _find()


@lru_cache
def types_of(dialect: Dialect) -> dict[str, type[Layer]]:
    """{type name: class} of a dialect: BVLC's types, but for those that the fork computes
    otherwise, and those that it adds or replaces."""
    added = {}
    for name, path in dialect.types.items():
        module, _, cls = path.partition(':')
        added[name] = getattr(importlib.import_module(module), cls)
    return {name: cls for name, cls in TYPES.items() if name not in dialect.older} | added


def layer_class(type_name: str, dialect: Dialect = BVLC) -> type[Layer]:
    """The class of a type; for an unknown one Layer itself, which claims nothing."""
    return types_of(dialect).get(type_name, Layer)


def auto_tops(types: Mapping[str, type[Layer]]) -> dict[str, int]:
    """{type: number of tops} of the types whose tops a text may leave out, as graph.build takes
    it."""
    return {name: cls.auto_tops or int(cls.loss) for name, cls in types.items()
            if cls.auto_tops or cls.loss}


V1_NAMES = {row[0]: row[1] for row in V1_ROWS}


def unknown_type(node, types):
    """The FcnError for a node whose type is none of `types`, {type name: class}."""
    if node.type == 'WindowData':
        return FcnError("WindowData layers read R-CNN's window files, which are not supported",
                        line=node.line, layer=node.name, type=node.type,
                        do='Cut the windows out once, list them in a text file and use ImageData; '
                           'or for a deploy net an Input layer.')
    mine = dialect_of(node.param)
    if node.type in mine.lacking:
        return FcnError(f"the layer type '{node.type}' of the dialect '{mine.name}' is not "
                        'supported', line=node.line, layer=node.name,
                        do='Write it as a Python layer, or cut the net before it.')
    if node.type in mine.older:
        return FcnError(f"the layer type '{node.type}' of the dialect '{mine.name}' is not "
                        f'supported: {mine.older[node.type]}', line=node.line, layer=node.name,
                        do="Name the dialect 'bvlc' if it is meant as there, or write it as a "
                           'Python layer.')
    homes = [name for name, dialect in dialects().items()
             if dialect is not mine and node.type in dialect.types]
    lacking = [name for name in dialects_with_type(node.type) if name not in homes]
    if lacking and not homes:
        return FcnError(f"unknown layer type '{node.type}'", line=node.line, layer=node.name,
                        do=foreign_remedy(node.type) or f'It is a layer of the '
                        f'{"dialects" if len(lacking) > 1 else "dialect"} {", ".join(lacking)}, '
                        'and is not supported: write it as a Python layer.')
    if homes:
        return FcnError(f"the dialect '{mine.name}' has no layer type '{node.type}'",
                        line=node.line, layer=node.name, **of_dialects(homes))
    known = [name for name, layer in types.items() if not layer.internal]
    return FcnError(f"unknown layer type '{node.type}'", line=node.line, layer=node.name,
                    do=foreign_remedy(node.type)
                    or f'{nearest(v1_name(node.type), known)} Known types: '
                       f'{", ".join(sorted(known))}.'.lstrip())


def v1_name(name):
    """The current name of a type that is written as V1 has it (SOFTMAX_LOSS), else the name."""
    return V1_NAMES.get(name.upper(), name)
