"""RNN: a recurrent layer of tanh units over the steps of N streams (Caffe's rnn_layer)."""

import torch.nn.functional as F

from .common.recurrent import RecurrentLayer


class RNN(RecurrentLayer):
    """h = tanh(W_x x + b + W_static x_static + W_h (cont h)); the output is tanh(W_o h + b_o).

    Parameters: W_x, b, W_static, W_h, W_o, b_o. The state is h.
    """

    type = 'RNN'

    def parameters(self, bottoms):
        p, size = self.param, self.param.num_output
        return [*super().parameters(bottoms), ((size, size), p.weight_filler),
                ((size,), p.bias_filler)]

    def step(self, states, total, cont):
        return [total.tanh()]

    def output(self, hidden, params):
        return F.linear(hidden, *params).tanh()
