"""LSTMUnit: one step of an LSTM, after the sums of its gates (Caffe's lstm_unit_layer)."""

from ..sizes import dims
from .common.base import Layer
from .common.slope import with_slope


class LSTMUnit(Layer):
    """bottoms: the cell before (1, N, H), the gates' sums (1, N, 4H: input, forget, output, new),
    cont (1, N) -> the cell and the hidden state after, (1, N, H) each; no gradient to cont."""

    type = 'LSTMUnit'
    bottoms = 3
    tops = 2

    def shape(self, bottoms):
        cell, gates, cont = map(tuple, bottoms)
        if len(cell) != 3 or cell[0] != 1 or cont != cell[:2] \
                or gates != (*cell[:2], 4 * cell[2]):
            raise self.error(f'bottoms of {dims(cell)}, {dims(gates)} and {dims(cont)}',
                             'Give 1xNxH, 1xNx4H and 1xN.')
        return [cell, cell]

    def forward(self, bottoms, params):
        hidden, cell = lstm_unit(*bottoms[:2], bottoms[2].detach().unsqueeze(-1))
        return [cell, hidden]


def lstm_unit(cell, gates, cont):
    """(h, c) of cell (…, H), gates (…, 4H: input, forget, output, new) and cont (…, 1). The slope
    of the forget gate is f (1 - f), f = cont sigmoid: the derivative where cont is 0 or 1."""
    i, f, o, g = gates.chunk(4, -1)
    keep = cont * f.detach().sigmoid()
    cell = with_slope(keep, f, keep * (1 - keep)) * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell
