"""What layers do that write over their bottom, and gradients at kinks, by Caffe's formulas."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_case import distinct, make_node
from layer_cases import CASES, REFERENCES
from texts import assert_facts, inputs, layer, message
from texts import net as build_net

from fcn_repro.layers import TYPES, RunState
from fcn_repro.proto import TEST

# The factor of the diff by Caffe's backward passes, which read bottom x and top y; in place x is y.
FACTORS = [
    ('AbsVal', '', lambda x, y: x.sign()),
    ('BNLL', '', lambda x, y: x.sigmoid()),
    ('Clip', 'clip_param { min: -0.25 max: 0.5 }', lambda x, y: (x >= -0.25) & (x <= 0.5)),
    ('ELU', 'elu_param { alpha: 0.5 }', lambda x, y: (x > 0) + (0.5 + y) * (x <= 0)),
    ('ELU', 'elu_param { alpha: -2 }', lambda x, y: (x > 0) + (y - 2) * (x <= 0)),
    ('Exp', 'exp_param { base: 2 scale: 0.5 shift: 1 }', lambda x, y: 0.5 * math.log(2) * y),
    ('Log', 'log_param { base: 2 scale: -0.5 shift: 2 }',
     lambda x, y: -0.5 / math.log(2) / (2 - 0.5 * x)),
    ('Power', 'power_param { power: 3 }', lambda x, y: 3 * y / x),
    ('Power', 'power_param { power: 2 scale: 0.5 shift: 2 }', lambda x, y: 0.5 * x + 2),
    ('Power', 'power_param { power: -1.5 scale: 0.5 shift: 2 }',
     lambda x, y: -0.75 * y / (0.5 * x + 2)),
    ('Power', 'power_param { scale: 3 shift: 2 }', lambda x, y: 0 * x + 3),
    ('Power', 'power_param { power: 0 }', lambda x, y: 0 * x),
    ('ReLU', '', lambda x, y: x > 0),
    ('ReLU', 'relu_param { negative_slope: 0.1 }', lambda x, y: (x > 0) + 0.1 * (x <= 0)),
    ('ReLU', 'relu_param { negative_slope: -1 }', lambda x, y: 1. * (x > 0) - 1. * (x <= 0)),
    ('Sigmoid', '', lambda x, y: y * (1 - y)),
    ('TanH', '', lambda x, y: 1 - y ** 2),
]


@pytest.mark.parametrize('type, more, factor, in_place', [
    (*row, in_place) for row in FACTORS for in_place in (False, True)
    if not (in_place and row[0] == 'AbsVal')])          # AbsVal is never in place
def test_gradients_by_caffes_formulas(type, more, factor, in_place):
    """At 0 and at the bounds too; NaN where Caffe divides 0 by 0."""
    top = 'c' if in_place else 'y'
    net = build_net('force_backward: true ' + inputs(x=(3, 4)) + layer('Power', 'c', 'x', 'c')
                    + layer(type, 'it', 'c', top, more))
    x = torch.tensor([*torch.linspace(-0.9, 0.85, 9), 0, -0.25, 0.5]).view(3, 4)
    y = net.forward(blobs='all', x=x)[top]
    net.backward(**{top: torch.full((3, 4), 2.)})
    wanted = 2 * factor(y.detach() if in_place else x, y.detach())
    torch.testing.assert_close(net.blobs['x'].diff, wanted.float(), equal_nan=True)


@pytest.mark.parametrize('type, more, factor', [
    ('Swish', 'swish_param { beta: 0.5 }',
     lambda x, y: 0.5 * y + (x / 2).sigmoid() * (1 - 0.5 * y)),
    ('Softmax', '', lambda x, y: 0 * x),
    ('Scale', 'scale_param { filler { value: 3 } }', lambda x, y: 0 * x + 3),
    ('Bias', '', lambda x, y: 0 * x + 1),
    ('PReLU', '', lambda x, y: (x > 0) + 0.25 * (x <= 0)),
    ('Dropout', '', lambda x, y: 0 * x + 1)])
def test_in_place_layers_that_keep_what_their_gradient_needs(type, more, factor):
    net = build_net('force_backward: true ' + inputs(x=(3, 4)) + layer('Power', 'c', 'x', 'c')
                    + layer(type, 'it', 'c', 'c', more))
    x = distinct((3, 4)).float()
    y = net.forward(blobs='all', x=x)['c']
    net.backward(c=torch.ones(3, 4))
    torch.testing.assert_close(net.blobs['x'].diff, factor(x, y.detach()))


IN_PLACE = {'BNLL', 'BatchNorm', 'Bias', 'Clip', 'Dropout', 'ELU', 'Exp', 'Log', 'PReLU', 'Power',
            'Norm', 'ReLU', 'Scale', 'Sigmoid', 'Softmax', 'Swish', 'TanH', 'Threshold'}


WITHOUT = {'DummyData', 'Input', 'Parameter', 'Silence'}       # a bottom or a top


@pytest.mark.parametrize('type', sorted(set(CASES) - WITHOUT - set(REFERENCES)))    # Caffe's types
@settings(max_examples=3)
@given(st.data())
def test_only_where_caffe_computes_in_place_may_the_top_be_the_bottom(type, data):
    """Elsewhere Caffe stops, reshapes the bottom under itself, or reads what it has overwritten."""
    case = data.draw(CASES[type])
    node = make_node(type, len(case.bottoms), case.tops, case.settings, case.parts)
    node.param.top[0] = node.param.bottom[0]
    if type in IN_PLACE:
        assert TYPES[type](node, RunState(TEST)).overwrites
    else:
        assert_facts(message(TYPES[type], node, RunState(TEST)), f"layer 'it' ({type})", 'in-place')
