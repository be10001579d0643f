"""The gradients of a PReLU in one pass, against their twin and torch's."""

from importlib import import_module

import pytest
import torch
import torch.nn.functional as F
from conv_ops import LAST, check_devices, check_refused, check_threads, draws
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ops_inputs import views

from fcn_repro.ops import prelu, prelu_backward, prelu_backward_ref

MODULE = import_module('fcn_repro.ops.prelu')       # the package's name is the function


def example(shape):
    return (draws(*shape).contiguous(memory_format=LAST),
            draws(*shape, seed=1).contiguous(memory_format=LAST), draws(shape[1], seed=2))


@settings(max_examples=60)
@given(shape=st.tuples(st.integers(0, 3), st.integers(1, 40), st.integers(1, 23),
                       st.integers(1, 23)))
def test_equals_its_twin(shape):
    grad, x, slope = example(shape)
    of_x, of_slope = prelu_backward(grad, x, slope)
    wanted, sums = prelu_backward_ref(grad.double(), x.double(), slope.double())
    assert of_x.is_contiguous(memory_format=LAST) and of_slope.dtype == torch.float32
    torch.testing.assert_close(of_x.double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(of_slope.double(), sums, rtol=1e-5, atol=1e-4)


def test_at_0_nan_and_infinity_as_torch():
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 0., -0., 2, -3]).view(1, 1, 1, 7)
    for value in 1., torch.nan, torch.inf:
        found, wanted = [], []
        for results, run in (found, prelu), (wanted, F.prelu):
            each, slope = x.clone().requires_grad_(), torch.tensor([0.25], requires_grad=True)
            results += torch.autograd.grad(run(each, slope), (each, slope),
                                           torch.full_like(x, value))
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def test_layouts_and_threads():
    grad, x, slope = example((2, 5, 40, 23))
    wanted = prelu_backward(grad, x, slope)
    for name, view in views(x).items():
        stepped = slope.repeat_interleave(2)[::2]
        assert all(map(torch.equal, prelu_backward(views(grad)[name], view, stepped), wanted))
    check_threads(lambda: prelu_backward(grad, x, slope)[:1])
    sums = set()
    before = torch.get_num_threads()
    try:
        for count in 1, 2, 3:
            torch.set_num_threads(count)
            sums.add(tuple(prelu_backward(grad, x, slope)[1].tolist()))
    finally:
        torch.set_num_threads(before)
    assert len(sums) == 1


def test_gradients_of_any_order():
    _, x, slope = example((2, 3, 4, 5))
    tensors = [t.double().requires_grad_() for t in (x, slope)]
    torch.autograd.gradcheck(prelu, tensors)
    x, slope = (t.requires_grad_() for t in (x, slope))
    first = torch.autograd.grad(prelu(x, slope).square().sum(), (x, slope), create_graph=True)
    wanted = torch.autograd.grad(F.prelu(x, slope).square().sum(), (x, slope), create_graph=True)
    for a, b in zip(torch.autograd.grad(sum(t.square().sum() for t in first), (x, slope)),
                    torch.autograd.grad(sum(t.square().sum() for t in wanted), (x, slope)),
                    strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('change', ['double', 'contiguous', 'shared', 'two axes', 'none'])
def test_where_it_is_taken(monkeypatch, change):
    """Of float32 in channels_last with a slope a channel; in all cases torch's values."""
    calls, run = [], prelu_backward
    monkeypatch.setattr(MODULE, 'prelu_backward', lambda *args: calls.append(1) or run(*args))
    _, x, slope = example((2, 3, 4, 5))
    if change == 'double':
        x, slope = x.double(), slope.double()
    elif change == 'contiguous':
        x = x.contiguous()
    elif change == 'shared':
        slope = slope[0]
    elif change == 'two axes':
        x = x[:, :, 0, 0]
    results = []
    for each in prelu, F.prelu:
        tensors = x.clone().requires_grad_(), slope.clone().requires_grad_()
        results.append(torch.autograd.grad(each(*tensors).square().sum(), tensors))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert len(calls) == (change == 'none')


GOOD = {'grad': torch.ones(2, 3, 4, 5), 'x': torch.ones(2, 3, 4, 5), 'slope': torch.ones(3)}


@pytest.mark.parametrize('change, message', [
    ({'x': torch.ones(3, 4, 5)}, 'x is Float of shape'), ({'x': GOOD['x'].double()}, 'x is Double'),
    ({'grad': torch.ones(2, 3, 4, 4)}, r'grad is of shape \[2, 3, 4, 4\], expected \[2, 3, 4, 5'),
    ({'grad': GOOD['x'].half()}, 'grad is Half'), ({'slope': torch.ones(1)}, 'slope has 1 numbers'),
    ({'slope': torch.ones(())}, 'slope is Float of shape')])
def test_bad_arguments(change, message):
    check_refused(prelu_backward, GOOD, change, f'prelu_backward: {message}')


def test_devices_and_opcheck():
    check_devices(lambda *args: prelu_backward(*args)[0], 'prelu_backward', tuple(GOOD.values()))
    torch.library.opcheck(torch.ops.fcn_repro.prelu_backward, tuple(GOOD.values()))
