"""Python: a data layer by module and class name, served by the readers of fcn_repro.data."""

import ast
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import torch

from .. import data
from ..errors import FcnError, short
from .base import ANY, Layer

READING = ThreadPoolExecutor(2, 'reading')


def make_reader(param, overrides):
    """The data layer that a PythonParameter names; overrides: {class name: params}."""
    key = param.module, param.layer
    if key not in data.python_layers:
        known = ', '.join('.'.join(k) for k in data.python_layers)
        raise FcnError(f"no Python layer '{key[1]}' of module '{key[0]}'", do=f'Known: {known}.')
    try:
        params = ast.literal_eval(param.param_str or '{}')
        if not isinstance(params, dict):
            raise ValueError(f'a {type(params).__name__}')
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise FcnError(f'param_str is no Python dict: {short(param.param_str, 200)}',
                       do="Write a dict such as {'split': 'train'}.") from None
    return data.python_layers[key]({**params, **overrides.get(key[1], {})})


class Python(Layer):
    """tops: the blobs of the sample at the net's position, each at its own size.

    param_str is a Python literal, a dict, as in the FCN release. What the run state's `overrides`
    has under the class name replaces its keys (another folder for the same text).
    """

    type = 'Python'
    bottoms = 0
    tops = (1, ANY)
    fields = 'python_param'

    def setup(self):
        self._futures = {}

    @cached_property
    def reader(self):
        """The data layer, made when it is first needed: a net can be described without its data."""
        try:
            reader = make_reader(self.param, self.state.overrides)
        except FcnError as error:
            line = self.node.line if error.file is None else None
            raise error.at(line=line, layer=self.node.name, type=self.type) from None
        name = self.param.layer
        if reader.tops != len(self.node.tops):
            raise self.error(f'{len(self.node.tops)} tops, but {name} makes {reader.tops}',
                             'Mend the top lines.')
        return reader

    def batch(self):
        """The blobs at the net's position. The next ones are read meanwhile, in a thread: batches
        are a function of the position alone, so reading ahead changes nothing."""
        here = self.state.position
        for k in here, here + 1:
            if k not in self._futures:
                self._futures[k] = READING.submit(self.reader.batch, k)
        self._futures = {k: f for k, f in self._futures.items() if k in (here, here + 1)}
        try:
            return self._futures[here].result()
        except FcnError as error:
            raise error.at(layer=self.node.name, type=self.type) from None

    def shape(self, bottoms):
        return [blob.shape for blob in self.batch()]

    def forward(self, bottoms, params):
        return [torch.from_numpy(blob) for blob in self.batch()]
