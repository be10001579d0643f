"""Base class of LSTM and RNN: bottoms, parameters, state (Caffe's recurrent_layer)."""

import math

import torch
import torch.nn.functional as F

from ...sizes import dims
from .base import Layer


class RecurrentLayer(Layer):
    """bottoms: x (T, N, …), N streams of T steps; cont (T, N), 0 where a stream begins and 1 where
    it continues; optionally x_static (N, …); with expose_hidden the first states, of shape
    (1, N, num_output) -> the outputs (T, N, num_output); with expose_hidden the last states too.

    Parameters: input weight and bias, static weight (if there is x_static), state weight, and the
    type's own. Without expose_hidden each forward pass starts from the last states of the pass
    before, initially from 0; snapshots do not contain them. No gradient flows from pass to pass,
    nor to the exposed states and cont, as in Caffe. Unlike in Caffe, T may change.
    """

    fields = 'recurrent_param'
    makes_tops = True
    stateful, replayable = True, False
    unsupported = ('debug_info',)
    gates = states = 1          # per unit: sums of inputs, and state blobs

    @property
    def exposed(self):
        return self.states if self.param.expose_hidden else 0

    @property
    def bottoms(self):
        return 2 + self.exposed, 3 + self.exposed

    @property
    def tops(self):
        return 1 + self.exposed

    def setup(self):
        if not self.param.num_output:
            raise self.error('recurrent_param.num_output is missing or 0', 'Set it.')
        self.static, self.carried = len(self.node.bottoms) > 2 + self.exposed, []

    def shape(self, bottoms):
        x, cont = bottoms[:2]
        if len(x) < 3 or tuple(cont) != tuple(x[:2]):
            raise self.error(f'x of {dims(x)} and cont of {dims(cont)}',
                             'Give (steps, streams, …) and (steps, streams).')
        if self.static and (len(bottoms[2]) < 2 or bottoms[2][0] != x[1]):
            raise self.error(f'x_static of {dims(bottoms[2])} for {x[1]} streams',
                             'Give (streams, …).')
        state = 1, x[1], self.param.num_output
        for shape in bottoms[2 + self.static:]:
            if tuple(shape) != state:
                raise self.error(f'a first state of {dims(shape)}', f'Give {dims(state)}.')
        return [(*x[:2], state[2])] + [state] * self.exposed

    def parameters(self, bottoms):
        self.shape(bottoms)
        p, wide = self.param, self.gates * self.param.num_output
        static = [((wide, math.prod(bottoms[2][1:])), p.weight_filler)] if self.static else []
        return [((wide, math.prod(bottoms[0][2:])), p.weight_filler), ((wide,), p.bias_filler),
                *static, ((wide, p.num_output), p.weight_filler)]

    def macs(self, bottoms):
        """The input's and the state's weights in each step, the static input's once."""
        steps, streams = bottoms[0][:2]
        sizes = [math.prod(shape) for shape, _ in self.parameters(bottoms) if len(shape) == 2]
        static = sizes.pop(1) if self.static else 0
        return streams * (steps * sum(sizes) + static)

    def scratch(self, bottoms):
        """The sums of the inputs, of all steps at once, and the outputs before they are stacked."""
        steps, streams = bottoms[0][:2]
        return steps * streams * (self.gates + 1) * self.param.num_output

    def forward(self, bottoms, params):
        x, cont, rest = bottoms[0].flatten(2), bottoms[1].detach(), list(params)
        sums = F.linear(x, rest.pop(0), rest.pop(0))
        if self.static:
            sums = sums + F.linear(bottoms[2].flatten(1), rest.pop(0))
        blank = x.new_zeros(x.shape[1], self.param.num_output)
        first = [blob[0] for blob in bottoms[2 + self.static:]] or self.carried
        states = [blob.detach().to(blank)[:len(blank)] for blob in first]
        if not states or len(states[0]) < len(blank):       # more streams than in the pass before
            states = [blank] * self.states
        outputs, weight = [], rest.pop(0)
        for total, on in zip(sums, cont.unsqueeze(-1), strict=True):
            states = self.step(states, total + F.linear(states[0] * on, weight), on)
            outputs.append(states[0])
        self.carried = [state.detach() for state in states]
        exposed = self.carried[:self.exposed]
        return [self.output(torch.stack(outputs), rest), *(blob.unsqueeze(0) for blob in exposed)]
