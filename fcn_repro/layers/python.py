"""Python: a data layer by module and class name, served by the readers of fcn_repro.data."""

import ast
from functools import cached_property

import torch

from .. import data
from ..errors import FcnError
from .base import ANY, Layer


class Python(Layer):
    """tops: the blobs of the sample at the net's position, each at its own size.

    param_str is a Python literal, a dict, as in the FCN release. Keys in the run state's
    `overrides` replace those that param_str has (another folder for the same text).
    """

    type = 'Python'
    bottoms = 0
    tops = (1, ANY)
    fields = 'python_param'
    _kept = None

    @cached_property
    def reader(self):
        """The data layer, made when it is first needed: a net can be described without its data."""
        key = self.param.module, self.param.layer
        if key not in data.python_layers:
            known = ', '.join('.'.join(k) for k in data.python_layers)
            raise self.error(f"no Python layer '{key[1]}' of module '{key[0]}'", f'Known: {known}.')
        try:
            params = ast.literal_eval(self.param.param_str or '{}')
            reader = data.python_layers[key](self._override(params))
        except FcnError as error:
            raise error.at(line=self.node.line, layer=self.node.name, type=self.type) from None
        except (ValueError, SyntaxError):
            raise self.error(f'param_str is no Python literal: {self.param.param_str}',
                             "Write a dict such as {'split': 'train'}.") from None
        if reader.tops != len(self.node.tops):
            raise self.error(f'{len(self.node.tops)} tops, but {key[1]} makes {reader.tops}',
                             'Mend the top lines.')
        return reader

    def _override(self, params):
        return params | {k: v for k, v in self.state.overrides.items() if k in params}

    def batch(self):
        """The blobs at the net's position; kept, since shape and forward both need them."""
        if self._kept is None or self._kept[0] != self.state.position:
            self._kept = self.state.position, self.reader.batch(self.state.position)
        return self._kept[1]

    def shape(self, bottoms):
        return [blob.shape for blob in self.batch()]

    def forward(self, bottoms, params):
        return [torch.from_numpy(blob) for blob in self.batch()]
