"""Coordinate maps and crop offsets: pycaffe's results, and the maps' own algebra."""

import json
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_repro.errors import FcnError
from fcn_repro.layers.common.coordinates import exact
from fcn_repro.net.coord_map import compose, coord_map_from_to, crop, crop_offset, inverse
from fcn_repro.proto.netspec import L

CASES = {case['name']: case for case in json.loads(
    (Path(__file__).parents[1] / 'data/coord_map/cases.json').read_text())}
# what our error says where pycaffe raises
ERRORS = {'scale mismatch': 'different scales', 'negative': 'be negative',
          'noninteger': 'not be whole', 'legacy': 'does not take',
          'kernel_size': 'needs kernel_size', 'compute map': 'common blob',
          "'bool' object": 'same coordinates', '': 'different axes'}


def build(layers):
    tops = {}
    for layer in layers:
        made = getattr(L, layer['type'])(*(tops[b] for b in layer['bottoms']),
                                         ntop=len(layer['tops']), **layer['params'])
        tops.update(zip(layer['tops'], made if isinstance(made, tuple) else (made,), strict=True))
    return tops


@pytest.mark.parametrize('name', CASES)
def test_crop_is_pycaffes(name):
    case = CASES[name]
    tops = build(case['layers'])
    if 'result' in case:
        made = crop(tops[case['crop_from']], tops[case['crop_to']])
        assert made.fn.type_name == 'Crop'
        assert made.fn.inputs == (tops[case['crop_from']], tops[case['crop_to']])
        assert made.fn.params['crop_param'] == case['result']
    else:
        message = case['error']['message']
        what = next(ours for theirs, ours in ERRORS.items() if theirs in message)
        with pytest.raises(FcnError, match=what):
            crop(tops[case['crop_from']], tops[case['crop_to']])


def test_separate_settings_inside_the_message_are_refused_too():
    """pycaffe looks for pad_h only beside convolution_param and then ignores it."""
    data = L.Input()
    conv = L.Convolution(data, convolution_param={'kernel_size': 3, 'pad_h': 1})
    with pytest.raises(FcnError, match='pad_h'):
        crop(data, conv)


def test_odd_strides_are_exact():
    """In floats 1/49 * 49 is not 1."""
    data = L.Input()
    pool = L.Pooling(data, kernel_size=49, stride=49)
    up = L.Deconvolution(pool, convolution_param={'kernel_size': 49, 'stride': 49})
    conv = L.Convolution(up, kernel_size=3)
    assert crop_offset(data, conv) == (2, [1])


def test_different_numbers_of_axes():
    data = L.Input()
    two = L.Convolution(L.Convolution(data, kernel_size=[3, 3]), kernel_size=[3, 3, 3])
    with pytest.raises(FcnError, match=r'[23] and [23] spatial axes'):
        crop(data, two)


def test_a_deep_net_of_branches_is_walked_once():
    top = data = L.Convolution(L.Input(), kernel_size=3)
    for _ in range(200):
        top = L.Eltwise(L.ReLU(top), L.TanH(top))
    assert crop_offset(top, L.Convolution(data, kernel_size=3)) == (2, [1])


sizes = st.integers(1, 9)
types = st.sampled_from(['Convolution', 'Deconvolution', 'Pooling'])
windows = st.tuples(types, sizes, sizes, sizes)


def chain(data, layers):
    for type, kernel, stride, pad in layers:
        params = {'kernel_size': kernel, 'stride': stride, 'pad': pad}
        data = getattr(L, type)(data, **params)
    return data


@settings(max_examples=50)
@given(st.lists(windows, min_size=1, max_size=6), st.lists(windows, min_size=1, max_size=6))
def test_algebra(first, second):
    data = L.Input()
    middle = chain(data, first)
    end = chain(middle, second)
    whole = coord_map_from_to(data, end)
    parts = compose(coord_map_from_to(middle, end), coord_map_from_to(data, middle))
    assert (whole[1] == parts[1]).all() and (whole[2] == parts[2]).all()
    there = compose(inverse(whole), whole)
    assert there[1] == [1] and there[2] == [0]
    back = coord_map_from_to(end, data)
    assert (back[1] == inverse(whole)[1]).all() and (back[2] == inverse(whole)[2]).all()


@given(windows)
def test_map_sends_the_centre_of_a_window_to_its_output(window):
    """Output i of a convolution sees inputs i * stride - pad ... + kernel - 1; a deconvolution's
    input i feeds those outputs."""
    type, kernel, stride, pad = window
    data = L.Input()
    _, scale, shift = coord_map_from_to(data, chain(data, [window]))
    for i in range(3):
        centre = i * stride - pad + Fraction(kernel - 1, 2)
        start, end = (i, centre) if type == 'Deconvolution' else (centre, i)
        assert scale[0] * start + shift[0] == end


def test_exact():
    assert list(exact([1, 2])) == [1, 2] and exact(3).shape == (1,)
