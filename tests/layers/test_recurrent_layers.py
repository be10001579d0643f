"""LSTM, RNN and LSTMUnit beyond their goldens: state, static input, exposed states, refusals."""

import numpy as np
import pytest
import torch
from layer_case import distinct, make_layer
from layer_evidence import reference_for, refusal_of
from texts import assert_facts, image, inputs, layer, message
from texts import net as build_net

FILLED = ('num_output: 3 weight_filler { type: "uniform" min: -1 max: 1 } '
          'bias_filler { type: "uniform" min: -1 max: 1 }')
STATES = {'LSTM': 2, 'RNN': 1}
TYPES = pytest.mark.parametrize('type', STATES)


def recurrent(type, bottoms='x cont', tops='y', more='', **shapes):
    return build_net(inputs(**shapes) + layer(
        type, 'r', bottoms, tops, f'recurrent_param {{ {FILLED} {more} }}'))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def unrolled(type, params, x, cont, static=0, states=None):
    """(outputs, last states) by Caffe's formulas, one stream and one step after the other."""
    w_x, b, *w_static, w_h = params[:-2] if type == 'RNN' else params
    outputs = np.empty((*x.shape[:2], w_h.shape[1]))
    last = [np.zeros(outputs[0].shape) if states is None else s.copy()
            for s in states or range(STATES[type])]
    for t in range(len(x)):
        for n in range(x.shape[1]):
            total = w_x @ x[t, n].ravel() + b + w_h @ (cont[t, n] * last[0][n])
            if w_static:
                total = total + w_static[0] @ static[n].ravel()
            if type == 'RNN':
                last[0][n] = np.tanh(total)
                outputs[t, n] = np.tanh(params[-2] @ last[0][n] + params[-1])
            else:
                i, f, o, g = np.split(total, 4)
                last[1][n] = cont[t, n] * sigmoid(f) * last[1][n] + sigmoid(i) * np.tanh(g)
                outputs[t, n] = last[0][n] = sigmoid(o) * np.tanh(last[1][n])
    return outputs, last


def numbers(net):
    return [blob.data.double().numpy() for blob in net.params['r']]


def close(ours, wanted):
    np.testing.assert_allclose(np.asarray(ours), wanted, rtol=1e-5, atol=1e-6)


@TYPES
def test_state_goes_on_from_pass_to_pass(type):
    """Two passes of 3 steps are one of 6; cont 0 begins anew."""
    parts, whole = (recurrent(type, x=(steps, 2, 4), cont=(steps, 2)) for steps in (3, 6))
    x, cont = image(6, 2, 4), torch.tensor([[0, 0], [1, 1], [1, 0], [1, 1], [1, 1], [0, 1.]])
    out = whole.forward(x=x, cont=cont)['y']
    pieces = [parts.forward(x=x[i:i + 3], cont=cont[i:i + 3])['y'] for i in (0, 3)]
    close(torch.cat(pieces).detach(), out.detach())
    close(out.detach(), unrolled(type, numbers(whole), x.numpy(), cont.numpy())[0])
    fresh = parts.forward(x=x[:3], cont=cont[:3])['y']
    assert torch.equal(fresh, pieces[0])


@TYPES
def test_no_gradient_runs_from_pass_to_pass(type):
    it = make_layer(type, 2, 1, {'recurrent_param': {'num_output': 3}})
    x, later = (distinct((2, 1, 4), seed).requires_grad_() for seed in (0, 1))
    on = torch.ones(2, 1).double()
    params = [distinct(shape, 7 + i) for i, (shape, _) in
              enumerate(it.parameters([(2, 1, 4), (2, 1)]))]
    first, = it.forward([x, on], params)
    second, = it.forward([later, on], params)
    assert not torch.equal(second, it.forward([later, on * 0], params)[0])
    second.sum().backward()
    assert x.grad is None and later.grad.any() and first.requires_grad


@TYPES
def test_fewer_streams_keep_their_states_and_more_begin_anew(type):
    net = recurrent(type, x=(1, 3, 4), cont=(1, 3))
    x, on = image(1, 3, 4), torch.ones(1, 3)
    first = unrolled(type, numbers(net), x.numpy(), on.numpy())
    close(net.forward(x=x, cont=on)['y'].detach(), first[0])
    fewer = unrolled(type, numbers(net), x[:, :2].numpy(), on[:, :2].numpy(),
                     states=[s[:2] for s in first[1]])
    close(net.forward(x=x[:, :2], cont=on[:, :2])['y'].detach(), fewer[0])
    close(net.forward(x=x, cont=on)['y'].detach(), first[0])


@TYPES
def test_static_input_and_exposed_states(type):
    count = STATES[type]
    given, last = ['h0', 'c0'][:count], ['hT', 'cT'][:count]
    net = recurrent(type, ' '.join(['x cont s', *given]), ' '.join(['y', *last]),
                    'expose_hidden: true', x=(4, 2, 3, 2), cont=(4, 2), s=(2, 5),
                    **dict.fromkeys(given, (1, 2, 3)))
    wide = 12 if type == 'LSTM' else 3
    shapes = [(wide, 6), (wide,), (wide, 5), (wide, 3), (3, 3), (3,)]
    assert [b.shape for b in net.params['r']] == shapes[:4 if type == 'LSTM' else 6]
    fed = {'x': image(4, 2, 3, 2), 's': image(2, 5, seed=1),
           'cont': torch.tensor([[1, 0], [1, 1], [0, 1], [1, 1.]])}
    fed |= {name: image(1, 2, 3, seed=2 + i) for i, name in enumerate(given)}
    wanted, states = unrolled(type, numbers(net), fed['x'].numpy(), fed['cont'].numpy(),
                              fed['s'].numpy(), [fed[name][0].numpy() for name in given])
    for _ in range(2):                  # what is exposed is not carried
        out = net.forward(**fed)
        close(out['y'].detach(), wanted)
        for name, state in zip(last, states, strict=True):
            assert out[name].shape == (1, 2, 3) and not out[name].requires_grad
            close(out[name][0], state)


@TYPES
def test_gradients_reach_x_and_parameters_alone(type):
    """As in Caffe: none to cont, none to a given first state."""
    given = ['h0', 'c0'][:STATES[type]]
    fed = [distinct((3, 2, 4)), torch.ones(3, 2).double()]
    fed += [distinct((1, 2, 3), 3 + i) for i in range(len(given))]
    fed = [x.requires_grad_() for x in fed]
    it = make_layer(type, len(fed), 1 + len(given),
                    {'recurrent_param': {'num_output': 3, 'expose_hidden': True}})
    params = [distinct(shape, 7 + i).requires_grad_() for i, (shape, _) in
              enumerate(it.parameters([x.shape for x in fed]))]
    it.forward(fed, params)[0].square().sum().backward()
    assert fed[0].grad.any() and all(p.grad.any() for p in params)
    assert all(x.grad is None for x in fed[1:])


@reference_for('LSTMUnit')
def test_unit_is_one_step_and_its_slope_is_caffes():
    """LSTMUnit's forget gate f = cont sigmoid has the slope f (1 - f), whatever cont is."""
    cell, gates = distinct((1, 2, 3)), distinct((1, 2, 12), 1)
    cont = torch.tensor([[0.5, 1]]).double()
    fed = [x.requires_grad_() for x in (cell, gates, cont)]
    after, hidden = make_layer('LSTMUnit', 3, 2, {}).forward(fed, [])
    i, f, o, g = np.split(gates[0].detach().numpy(), 4, -1)
    keep = cont[0].detach().numpy()[:, None] * sigmoid(f)
    wanted = keep * cell[0].detach().numpy() + sigmoid(i) * np.tanh(g)
    close(after[0].detach(), wanted)
    close(hidden[0].detach(), sigmoid(o) * np.tanh(wanted))
    after.sum().backward()
    close(gates.grad[0, :, 3:6], keep * (1 - keep) * cell[0].detach().numpy())
    close(cell.grad[0], keep)
    assert cont.grad is None


REFUSED = [
    ('LSTM', 'x cont', 'y', 'num_output: 0', ('recurrent_param.num_output',)),
    ('RNN', 'x cont', 'y', 'num_output: 3 debug_info: true', ('recurrent_param.debug_info',)),
    ('LSTM', 'x', 'y', 'num_output: 3', ('1 bottoms', '2', '3')),
    ('LSTM', 'x cont', 'y a b', 'num_output: 3 expose_hidden: true', ('2 bottoms', '4', '5')),
    ('LSTM', 'x cont h h', 'y', 'num_output: 3 expose_hidden: true', ('1 tops', '3')),
    ('RNN', 'x wrong', 'y', 'num_output: 3', ('4x2x5', '4x3')),
    ('RNN', 'cont cont', 'y', 'num_output: 3', ('4x2',)),
    ('RNN', 'x cont wrong', 'y', 'num_output: 3', ('x_static', '4x3', '2 streams')),
    ('LSTM', 'x cont h cont', 'y a b', 'num_output: 3 expose_hidden: true', ('4x2', '1x2x3')),
]


@pytest.mark.parametrize('type, bottoms, tops, more, wanted', REFUSED)
def test_refused_by_name(type, bottoms, tops, more, wanted):
    text = inputs(x=(4, 2, 5), cont=(4, 2), wrong=(4, 3), h=(1, 2, 3)) + layer(
        type, 'r', bottoms, tops, f'recurrent_param {{ {more} }}')
    assert_facts(message(build_net, text), f"net.prototxt:5: layer 'r' ({type})", *wanted)


@refusal_of('LSTMUnit')
def test_a_unit_of_other_shapes_is_refused():
    text = inputs(c=(1, 2, 3), g=(1, 2, 9), cont=(1, 2)) + layer('LSTMUnit', 'u', 'c g cont', 'a b')
    assert_facts(message(build_net, text), "net.prototxt:4: layer 'u' (LSTMUnit)", '1x2x3',
                 '1x2x9', '1x2')
