"""DummyData: blobs made by fillers (Caffe's dummy_data_layer)."""

import math

from ..errors import FcnError
from ..fillers import fill
from ..sizes import check_room, check_shape
from .common.base import ANY, Layer, constant

SIDES = 'num', 'channels', 'height', 'width'      # the old form of shape, 4 axes


class DummyData(Layer):
    """No bottom; tops of dummy_data_param.shape (once, or once a top), filled by data_filler
    (none: zeros; one; or one a top). What is drawn is a function of the net's seed, the layer's
    name, the top and the number of forward passes so far: new values in every pass, as in Caffe.
    """

    type = 'DummyData'
    bottoms = 0
    tops = (1, ANY)
    fields = 'dummy_data_param'

    def setup(self):
        p, count = self.param, len(self.node.tops)
        old = [name for name in SIDES if len(getattr(p, name))]
        if old and len(p.shape):
            raise self.error(f'both shape and {old[0]}', 'Keep shape: the other is its old form.')
        for name in SIDES if old else ('shape',):
            given = len(getattr(p, name))
            if given not in (1, count):
                raise self.error(f'{given} {name} for {count} tops',
                                 'Give one, or one for each top.')
        if len(p.data_filler) not in (0, 1, count):
            raise self.error(f'{len(p.data_filler)} data_filler for {count} tops',
                             'Give none, one, or one for each top.')
        self.shapes = [tuple(getattr(p, name)[i % len(getattr(p, name))] for name in SIDES) if old
                       else tuple(p.shape[i % len(p.shape)].dim) for i in range(count)]
        fillers = list(p.data_filler) or [constant()]
        self.fillers = fillers * count if len(fillers) == 1 else fillers
        for i, shape in enumerate(self.shapes):
            check_shape(shape, f'top {i}')
        check_room(4 * sum(map(math.prod, self.shapes)), 'the tops of dummy_data_param take')
        self.forward([], [])                # reports a bad filler now

    def constant_tops(self):
        return {i: self.drawn(i) for i, filler in enumerate(self.fillers)
                if filler.type == 'constant'}

    def shape(self, bottoms):
        return self.shapes

    def forward(self, bottoms, params):
        return [self.drawn(i) for i in range(len(self.shapes))]

    def drawn(self, i):
        try:
            return fill(self.shapes[i], self.fillers[i], self.draws(i, self.state.position))
        except FcnError as error:
            raise error.at(line=self.node.line, layer=self.node.name, type=self.type) from None
