"""The layer types: a dict from Caffe's type name to a class. One file a type, found by itself."""

import importlib
import pkgutil

from .base import Layer, RunState

__all__ = ['TYPES', 'Layer', 'RunState']


def _find():
    found = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f'{__name__}.{info.name}')
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Layer) and cls.type \
                    and cls.__module__ == module.__name__:
                found[cls.type] = cls
    return found


TYPES = _find()
