"""What layer classes claim of themselves holds for their random cases."""

import ast
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_case import distinct, make_layer
from layer_cases import CASES

import fcn_repro.pycaffe as caffe
from fcn_repro.layers import TYPES, Layer, internal
from fcn_repro.layers.common.coordinates import IDENTITY
from fcn_repro.proto import TEST, TRAIN

PACKAGE = Path(__file__).parents[2] / 'fcn_repro'
some = settings(max_examples=12)


def claiming(trait):
    """The types whose class has a trait that the base class does not have."""
    return sorted(name for name in CASES if getattr(TYPES[name], trait) != getattr(Layer, trait))


def tops_of(case, layer, bottoms, weights):
    return [top.detach() for top in layer.forward([x.clone() for x in bottoms], weights)]


@pytest.mark.parametrize('type', claiming('linear'))
@some
@given(st.data(), st.sampled_from([TEST, TRAIN]))
def test_linear(type, data, phase):
    """f(x + y) - f(y) = f(x) - f(0), also with a bias."""
    case = data.draw(CASES[type])
    layer = case.layer(phase)
    assume(layer.linear)
    weights, xs = case.weights(layer), case.bottoms
    ys = [distinct(x.shape, 11 + i) for i, x in enumerate(xs)]
    both, y, x, zero = (tops_of(case, layer, bottoms, weights) for bottoms in (
        [x + y for x, y in zip(xs, ys, strict=True)], ys, xs, [x * 0 for x in xs]))
    for a, b, c, d in zip(both, y, x, zero, strict=True):
        torch.testing.assert_close(a - b, c - d)


def test_a_product_of_blobs_is_not_linear():
    assert make_layer('Eltwise', 2, 1, {}).linear
    assert not make_layer('Eltwise', 2, 1, {'eltwise_param': {'operation': 'PROD'}}).linear


@pytest.mark.parametrize('type', claiming('overwritable'))
@some
@given(st.data())
def test_overwritable(type, data):
    """Backward goes through after the tops were written over; torch counts what is written."""
    case = data.draw(CASES[type])
    layer = case.layer()
    weights = [w.clone().requires_grad_() for w in case.weights(layer)]
    bottoms = [x.clone().requires_grad_() for x in case.bottoms]
    tops = layer.forward(bottoms, weights)
    with torch.no_grad():
        for top in tops:
            top.fill_(torch.nan)
    torch.autograd.backward(tops, [torch.ones_like(top) for top in tops])
    assert all(torch.isfinite(x.grad).all() for x in bottoms)


def test_a_softmax_may_not_be_overwritten():
    """The test above can fail."""
    x = distinct((2, 3)).requires_grad_()
    top, = make_layer('Softmax', 1, 1, {}).forward([x], [])
    with torch.no_grad():
        top.fill_(0)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        top.backward(torch.ones_like(top))


@pytest.mark.parametrize('type', claiming('shares_data'))
@some
@given(st.data())
def test_shares_data(type, data):
    case = data.draw(CASES[type])
    tops = case.layer().forward(case.bottoms, [])
    assert {top.data_ptr() for top in tops} == {case.bottoms[0].data_ptr()}


@pytest.mark.parametrize('type', sorted(set(claiming('position_invariant')) - {
    'Convolution', 'Pooling', 'SpreadPooling'}))
@some
@given(st.data())
def test_one_cell_windows_treat_all_positions_alike(type, data):
    """Moving the cells of a bottom moves those of the top; what reads larger windows is held to
    that by the tests of collapse_border."""
    settings, x = data.draw(CASES[type]).settings, distinct((2, 3, 4, 5))
    layer = make_layer(type, 1, 1, settings)
    weights = [distinct(shape, i) for i, (shape, _) in enumerate(layer.parameters([x.shape]))]
    top, moved = (layer.forward([y], weights)[0] for y in (x, x.roll((1, 1), (2, 3))))
    if type == 'LRN' and settings['lrn_param']['norm_region'] == 'WITHIN_CHANNEL':
        assert layer.window() is None
        return
    assert layer.window() == ((1, 1), (1, 1), (0, 0)) and layer.macs_per_cell(3) == (0, 3)
    torch.testing.assert_close(moved, top.roll((1, 1), (2, 3)), equal_nan=True)


@pytest.mark.parametrize('type', claiming('keeps_coordinates'))
@some
@given(st.data())
def test_keeps_coordinates(type, data):
    """A top has the spatial size of its bottom, and the map of nothing moved."""
    case = data.draw(CASES[type])
    layer = case.layer()
    assert layer.coord_map({}) is layer.cell_map(case.bottoms[0].shape) is IDENTITY
    assert all(shape[2:] == tuple(case.bottoms[0].shape[2:]) for shape in map(
        tuple, layer.shape(case.shapes())) if case.bottoms[0].dim() == 4)


@pytest.mark.parametrize('type', claiming('keeps_ranking'))
def test_keeps_ranking(type):
    x = distinct((2, 3, 4, 5))
    top, = make_layer(type, 1, 1, {}).forward([x], [])
    assert torch.equal(top.argmax(1), x.argmax(1))


@pytest.mark.parametrize('type', claiming('stateful'))
def test_what_has_a_state_gives_other_tops_the_second_time(type):
    layer = make_layer(type, 2, 1, {'recurrent_param': {'num_output': 2}})
    bottoms = [distinct((3, 2, 2)), torch.ones(3, 2)]
    weights = [distinct(shape, i).float() for i, (shape, _) in enumerate(
        layer.parameters([x.shape for x in bottoms]))]
    bottoms[0] = bottoms[0].float()
    (first,), (second,) = (layer.forward(bottoms, weights) for _ in range(2))
    assert not torch.equal(first, second) and not layer.replayable


def test_internal_types_are_no_business_of_callers():
    ours = {name for name, cls in TYPES.items() if cls.__module__.startswith(internal.__name__)}
    assert ours == {name for name, cls in TYPES.items() if cls.internal}
    assert caffe.layer_type_list() == sorted(set(TYPES) - ours)


def test_only_content_bottoms_are_followed():
    """The second bottom of a Crop gives a size: other values there change nothing."""
    layer = make_layer('Crop', 2, 1, {})
    x, size = distinct((1, 2, 4, 4)), distinct((1, 2, 2, 3))
    top, other = (layer.forward([x, y], [])[0] for y in (size, size + 1))
    assert torch.equal(top, other) and layer.content_bottoms == 1


def lists_of_types(text):
    """Lines of literals that name two layer types or more."""
    for node in ast.walk(ast.parse(text)):
        items = node.keys if isinstance(node, ast.Dict) else getattr(node, 'elts', ())
        names = [item.value for item in items if isinstance(item, ast.Constant)]
        if len({name for name in names if isinstance(name, str)} & set(TYPES)) > 1:
            yield node.lineno


def test_nothing_else_lists_layer_types():
    """What is true of some types only, their classes say."""
    packages = 'net', 'passes', 'solver', 'predict', 'report', 'recipe', 'pycaffe'
    files = [file for package in packages for file in (PACKAGE / package).rglob('*.py')]
    found = [(file.name, line) for file in files for line in lists_of_types(file.read_text())]
    assert len(files) > 50 and not found


def test_a_list_of_layer_types_is_found():
    assert list(lists_of_types("x = 1\nif kind in ('ReLU', 'Dropout'):\n    pass\n")) == [2]
    assert list(lists_of_types("NAMES = {'ReLU': 1, 'LRN': 2}")) == [1]
