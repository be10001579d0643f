"""The rules' algebra: what no run of Caffe shows, and what follows from their formulas alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.proto.prototxt import parse_solver
from fcn_repro.solver import Solver
from fcn_repro.solver.rules import RULES, check_rule

RATES = st.floats(2 ** -10, 2, width=32)
DECAYS = st.floats(0, 0.9375, width=32)
GRADIENTS = st.lists(st.floats(2 ** -10, 2 ** 10, width=32) | st.floats(-2 ** 10, -2 ** -10,
                     width=32), min_size=1, max_size=5)


def steps(kind, gradients, rate=0.1, **fields):
    """What the rule subtracts for each of the gradients ([numbers of one iteration], …)."""
    p = parse_solver(f'type: "{kind}"').message
    for name, value in fields.items():
        setattr(p, name, value)
    rule = RULES[kind]
    gradients = torch.tensor(gradients, dtype=torch.float32)
    histories = [torch.zeros_like(gradients[0]) for _ in range(rule.histories)]
    return [rule.step(diff.clone(), histories, rate, p, t).numpy().copy()
            for t, diff in enumerate(gradients, 1)]


@given(GRADIENTS, RATES)
def test_without_momentum_nesterov_is_sgd(gradients, rate):
    pairs = zip(*(steps(kind, [[g] for g in gradients], rate) for kind in ('SGD', 'Nesterov')),
                strict=True)
    assert all((a == b).all() for a, b in pairs)


@given(GRADIENTS, RATES, DECAYS)
def test_nesterov_looks_one_step_ahead(gradients, rate, momentum):
    """SGD's step with momentum once more: momentum h + rate g, of SGD's h."""
    many = [[g] for g in gradients]
    plain = steps('SGD', many, rate, momentum=momentum)
    scale = 2 * rate * max(map(abs, gradients)) / (1 - momentum)
    nesterov = steps('Nesterov', many, rate, momentum=momentum)
    for g, h, ahead in zip(gradients, plain, nesterov, strict=True):
        assert ahead[0] == pytest.approx(momentum * h[0] + rate * g, abs=1e-6 * scale)


@pytest.mark.parametrize('kind', ['AdaGrad', 'RMSProp', 'Adam'])
@given(GRADIENTS, RATES, DECAYS)
def test_first_step_is_the_rate(kind, gradients, rate, decay):
    """Whatever the gradient; Adam's correction sees to it for any decays. RMSProp has none."""
    fields = {'RMSProp': {'rms_decay': decay}, 'AdaGrad': {}, 'Adam': {
        'momentum': decay, 'momentum2': 0.75 - decay / 2}}[kind]
    step, = steps(kind, [gradients], rate, **fields)
    scale = (1 - decay) ** -0.5 if kind == 'RMSProp' else 1
    np.testing.assert_allclose(step, rate * scale * np.sign(gradients), rtol=1e-4)


@pytest.mark.parametrize('kind', ['AdaGrad', 'RMSProp', 'Adam'])
@given(GRADIENTS, st.integers(-10, 10))
def test_the_size_of_gradients_cancels(kind, gradients, power):
    """To the bit for powers of 2, without delta."""
    small, large = (steps(kind, [[c * g] for g in gradients], delta=0) for c in (1, 2.0 ** power))
    assert all((a == b).all() for a, b in zip(small, large, strict=True))


@given(st.floats(0.125, 8, width=32), RATES)
def test_adagrad_slows_down_with_the_root_of_time(gradient, rate):
    for t, step in enumerate(steps('AdaGrad', [[gradient]] * 9, rate), 1):
        assert step[0] == pytest.approx(rate / t ** 0.5, rel=1e-5)


@given(GRADIENTS, DECAYS)
def test_adadelta_begins_with_the_root_of_delta(gradients, decay):
    g = np.array(gradients)
    step, = steps('AdaDelta', [gradients], 1.0, momentum=decay, delta=0.01)
    np.testing.assert_allclose(step, g * (0.01 / ((1 - decay) * g * g + 0.01)) ** 0.5, rtol=1e-5)


NET = '''
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 } } }
layer { name: "a" type: "Convolution" bottom: "x" top: "a" loss_weight: 1 param { lr_mult: 0 }
  convolution_param { num_output: 1 kernel_size: 1 bias_term: false
    weight_filler { type: "constant" value: 2 } } }
'''


@pytest.mark.parametrize('kind', RULES)
def test_weights_of_lr_mult_0(kind, tmp_path):
    """They stay, and are not even written to; weight decay goes into the histories all the same
    where Caffe's hold no rate."""
    (tmp_path / 'net.prototxt').write_text(NET)
    (tmp_path / 'solver.prototxt').write_text(
        f'net: "net.prototxt" type: "{kind}" base_lr: 0.5 lr_policy: "fixed" weight_decay: 0.25')
    solver = Solver(tmp_path / 'solver.prototxt', prefix=tmp_path / 'run')
    weight = solver.net.params['a'][0]
    version = weight.parameter._version
    solver.step(1)
    assert weight.data.item() == 2 and weight.parameter._version == version
    first = {'AdaGrad': 0.25, 'RMSProp': 0.0025, 'AdaDelta': 0.25, 'Adam': 0.5}.get(kind, 0)
    assert solver.history[0].item() == pytest.approx(first)


@pytest.mark.parametrize('text, line, said', [
    ('type: "adam"', 1, "type 'adam' is unknown. Use SGD, Nesterov, AdaGrad, RMSProp, AdaDelta"),
    ('type: "AdaGrad"\nmomentum: 0.5', 2, 'momentum 0.5, but AdaGrad has none. Remove momentum'),
    ('type: "RMSProp"\nmomentum: 0.5', 2, 'momentum 0.5, but RMSProp has none. Remove momentum'),
    ('solver_type: RMSPROP\nrms_decay: 1', 2, 'rms_decay 1 is not in .*Give RMSProp a rms_decay'),
    ('type: "RMSProp" rms_decay: -0.5', 1, 'rms_decay -0.5 is not in'),
    ('type: "RMSProp" rms_decay: nan', 1, 'rms_decay nan is not in'),
    ('type: "Adam" momentum: 1', 1, 'momentum 1 is not in'),
    ('type: "Adam"\n\nmomentum2: 1.5', 3, 'momentum2 1.5 is not in'),
])
def test_what_a_type_refuses(text, line, said):
    solver = parse_solver(text)
    with pytest.raises(FcnError, match=said) as caught:
        check_rule(solver.message, solver.lines)
    assert caught.value.line == line


@pytest.mark.parametrize('kind', ['AdaGrad', 'RMSProp'])
def test_a_momentum_of_0_is_none(kind):
    check_rule(parse_solver(f'type: "{kind}" momentum: 0').message, {})
