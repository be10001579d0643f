"""LSTM: long short-term memory over the steps of N streams (Caffe's lstm_layer)."""

from .common.recurrent import RecurrentLayer
from .lstmunit import lstm_unit


class LSTM(RecurrentLayer):
    """The output is the hidden state h; the states are h and the cell c.

    i, f, o, g = W_x x + b + W_static x_static + W_h (cont h)
    c = cont sigmoid(f) c + sigmoid(i) tanh(g),  h = sigmoid(o) tanh(c)

    Parameters: W_x (4 num_output, …), b, W_static, W_h, the gates' rows in the order i, f, o, g.
    """

    type = 'LSTM'
    gates, states = 4, 2

    def step(self, states, gates, cont):
        return lstm_unit(states[1], gates, cont)

    def output(self, hidden, params):
        return hidden
