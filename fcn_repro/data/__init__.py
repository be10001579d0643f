"""Data sets: folders on disk, the order of samples, and the classes behind Python data layers."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import FcnError, short

# Modules of this package with a tuple LAYERS of DataLayer classes. A new data set: its name here.
DATA_SETS = 'voc', 'own', 'sbd', 'nyud', 'siftflow', 'context', 'digits', 'm2nist'
LONGEST = 100_000       # characters of a param_str: Python reads some hundred thousand a second


class _PythonLayers(Mapping[tuple[str, str], type[Any]]):
    """{(module, class name), as a prototxt's python_param has them: DataLayer class}, imported when
    first asked for."""

    def __init__(self) -> None:
        self._classes: dict[tuple[str, str], type[Any]] = {}

    def _loaded(self) -> dict[tuple[str, str], type[Any]]:
        if not self._classes:
            modules = [importlib.import_module(f'.{name}', __name__) for name in DATA_SETS]
            self._classes = {(layer.module, layer.__name__): layer
                             for module in modules for layer in module.LAYERS}
        return self._classes

    def __getitem__(self, key: tuple[str, str]) -> type[Any]:
        return self._loaded()[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())


python_layers = _PythonLayers()


def parse_params(param_str: str) -> dict:
    """The literal dict of a python_param's param_str; FcnError for any other text, and for one of
    more than LONGEST characters."""
    if len(param_str) > LONGEST:
        raise FcnError(f'param_str has {len(param_str):,} characters, at most {LONGEST:,} are read',
                       do='Put what is long into a file, and name that.')
    try:
        params = ast.literal_eval(param_str or '{}')
        if not isinstance(params, dict):
            raise ValueError(f'a {type(params).__name__}')
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise FcnError(f'param_str is not a Python dict: {short(param_str, 200)}',
                       do="Write a dict such as {'split': 'train'}.") from None
    return params
