"""Python: a data layer by module and class name, implemented by the readers of fcn_repro.data."""

import time
from functools import cached_property

from .. import data
from ..data.prefetch import Prefetch
from ..errors import FcnError
from .common.base import ANY
from .common.source import Source


def make_reader(param, overrides):
    """The data layer that a PythonParameter names; overrides: {class name: params}."""
    key = param.module, param.layer
    if key not in data.python_layers:
        known = ', '.join('.'.join(k) for k in data.python_layers)
        raise FcnError(f"no Python layer '{key[1]}' of module '{key[0]}'", do=f'Known: {known}.')
    params = data.parse_params(param.param_str)
    return data.python_layers[key]({**params, **overrides.get(key[1], {})})


class Python(Source):
    """tops: the blobs of the sample at the net's position, each at its own size. The next ones
    are read ahead: a sample depends on the position only, so that changes nothing.

    param_str is a Python literal, a dict, as in the FCN release. The entry of the run state's
    `overrides` for the class name replaces its keys (another folder for the same text).
    """

    type = 'Python'
    tops = (1, ANY)
    fields = 'python_param'
    replayable = False          # users' code
    ignored = ('share_in_parallel',)

    samples = ()            # of the batch that forward gave last; a classifier's reader has none
    seconds = 0., 0.        # of that batch: reading it, and waiting until it had been read

    @classmethod
    def assumed_tops(cls, node, size):
        """Of the data layers of this project; no other's code is run."""
        p = node.param.python_param
        layer = data.python_layers.get((p.module, p.layer))
        return layer and layer.assumed_shapes(data.parse_params(p.param_str), size)

    @cached_property
    def reader(self):
        """The data layer, made when it is first needed: a net can be described without its data."""
        try:
            reader = make_reader(self.param, self.state.overrides)
        except FcnError as error:
            raise self.placed(error) from None
        name = self.param.layer
        if reader.tops != len(self.node.tops):
            raise self.error(f'{len(self.node.tops)} tops, but {name} makes {reader.tops}',
                             'Fix the top lines.')
        return reader

    def epoch(self):
        try:
            return len(self.reader)
        except NotImplementedError:         # the default of DataLayer
            return None

    @cached_property
    def ahead(self):
        return Prefetch(self.read)

    def read(self, k):
        """(Samples, Batch, seconds that it took) of the k-th batch."""
        start = time.perf_counter()
        if hasattr(self.reader, 'samples'):
            samples = self.reader.samples(k)
            blobs = self.reader.blobs(samples)
        else:
            samples, blobs = (), self.reader.batch(k)
        return samples, self.sent(blobs), time.perf_counter() - start

    def shape(self, bottoms):
        _, batch, _ = self.located(self.ahead.peek, self.state.position)
        return [tensor.shape for tensor in batch.tensors]

    def forward(self, bottoms, params):
        start = time.perf_counter()
        self.samples, batch, reading = self.located(
            self.ahead.take, self.state.position, self.state.options.workers, self.state.share)
        self.seconds = reading, time.perf_counter() - start
        return self.on_device(batch)
