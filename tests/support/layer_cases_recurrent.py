"""Random recurrent layers: see layer_cases.py.

Every stream begins at the first step, or is given its state, so that two passes are equal.
"""

import torch
from hypothesis import strategies as st
from layer_case import Case, distinct, ints


@st.composite
def recurrent(draw, type, states):
    steps, streams, size = ints(draw, 1, 4), ints(draw, 1, 3), ints(draw, 1, 3)
    static, exposed = draw(st.booleans()), draw(st.booleans())
    cont = torch.tensor([[draw(st.booleans()) for _ in range(streams)] for _ in range(steps)])
    cont[0] &= exposed
    bottoms = [distinct([steps, streams, *[ints(draw, 1, 3) for _ in range(ints(draw, 1, 2))]]),
               cont.double()]
    if static:
        bottoms.append(distinct([streams, *[ints(draw, 1, 3) for _ in range(ints(draw, 1, 2))]], 1))
    bottoms += [distinct([1, streams, size], 2 + i) for i in range(states * exposed)]
    return Case(type, bottoms, {'recurrent_param': {'num_output': size, 'expose_hidden': exposed}},
                1 + states * exposed, (0, 2) if static else (0,))


@st.composite
def lstm_unit(draw):
    streams, size = ints(draw, 1, 3), ints(draw, 1, 3)
    cont = torch.tensor([[draw(st.booleans()) for _ in range(streams)]]).double()
    return Case('LSTMUnit', [distinct([1, streams, size]), distinct([1, streams, 4 * size], 1),
                             cont], tops=2, learn=(0, 1))


CASES = {
    'LSTM': recurrent('LSTM', 2),
    'LSTMUnit': lstm_unit(),
    'RNN': recurrent('RNN', 1),
}
