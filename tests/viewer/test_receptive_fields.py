"""Receptive fields: equal to those that gradients show, on nets with every kind of layer."""

from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fcn_repro.net import Net
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.fields import INPUT, field_of, misaligned
from fcn_repro.viewer.reading import parse_source

SIDE = 40
DATA = ('layer { name: "data" type: "Input" top: "b0" input_param { shape { dim: 1 dim: 1 '
        f'dim: {SIDE} dim: {SIDE} }} }} }}\n')
ONES = 'weight_filler { type: "constant" value: 1 }'


def chain(*layers):
    """The text of a net: each layer reads the blob before, and makes b1, b2, …"""
    return DATA + ''.join(f'layer {{ name: "l{i}" type: "{kind}" bottom: "b{i - 1}" top: "b{i}" '
                          f'{text} }}\n' for i, (kind, text) in enumerate(layers, 1))


def conv(kernel, stride=1, pad=0, dilation=1, kind='Convolution'):
    return kind, (f'convolution_param {{ num_output: 1 kernel_size: {kernel} stride: {stride} '
                  f'pad: {pad} dilation: {dilation} {ONES} }}')


def pool(kernel, stride):
    return 'Pooling', f'pooling_param {{ pool: AVE kernel_size: {kernel} stride: {stride} }}'


def span_by_gradient(x, top, row):
    """First and last row of the input x that a row of a blob depends on; None: on nothing."""
    grad, = torch.autograd.grad(top[0, 0, row].sum(), x, retain_graph=True)
    rows = grad[0, 0].abs().sum(1).nonzero().flatten()
    return (int(rows[0]), int(rows[-1])) if len(rows) else None


def layers_of(net, x):
    """{blob: tensor} with the graph of autograd from the input on."""
    values = {net.graph.first('b0'): x}
    for node in net.graph.nodes:
        if node.bottoms:
            values.update(zip(node.tops, net.layer(node).forward(
                [values[v] for v in node.bottoms], net.params_of(node)), strict=True))
    return {net.graph.values[v]: value for v, value in values.items()}


def check(text):
    """Every row in the middle of a blob, away from padding, reads what its gradient shows."""
    net = Net.of(parse_net(text), TEST)
    x = torch.ones(1, 1, SIDE, SIDE, requires_grad=True)
    tops, drawn = layers_of(net, x), describe(parse_source(text))
    for blob in drawn.blobs.values():
        height = blob.shape[2]
        for row in range(height // 3, -(-2 * height // 3)):
            first, last = blob.field[0].span(row)
            if first > last:
                assert span_by_gradient(x, tops[blob.name], row) is None
            elif first >= 0 and last < SIDE:
                assert span_by_gradient(x, tops[blob.name], row) == (first, last)


@pytest.mark.parametrize('layers', [
    [conv(3), pool(2, 2), conv(3, pad=1), pool(3, 2)],
    [conv(5, 3), conv(4, 2, 1, kind='Deconvolution'), conv(3)],
    [conv(3, 2, 1), conv(3, 2, 1), conv(4, 2, 1, kind='Deconvolution'),
     conv(4, 2, 1, kind='Deconvolution')],
    [conv(3, 1, 2, 2), ('ReLU', ''), conv(2, 3, kind='Deconvolution'), pool(2, 2)],
    [pool(2, 2), conv(8, 4, 2, kind='Deconvolution'), conv(3, 2)],
    [('LRN', 'lrn_param { local_size: 5 norm_region: WITHIN_CHANNEL }'), conv(3)]])
def test_equal_to_gradients(layers):
    check(chain(*layers))


WINDOWS = st.one_of(
    st.builds(conv, st.integers(1, 5), st.integers(1, 3), st.integers(0, 2), st.integers(1, 2)),
    # with a stride above the kernel some cells read nothing, and a window over them less
    st.builds(lambda k, s: conv(max(k, s), s, 0, 1, 'Deconvolution'), st.integers(1, 5),
              st.integers(1, 3)))


@settings(max_examples=10)
@given(st.lists(WINDOWS, min_size=1, max_size=3))
def test_equal_to_gradients_for_any_windows(layers):
    text = chain(*layers)
    assume(not describe(parse_source(text)).unknown)        # a window larger than its bottom
    check(text)


def test_skips_and_crops():
    """A sum reads what both of its bottoms read, a Crop what its first one does."""
    text = chain(conv(3, 2, 9), conv(3, 2, 1), conv(4, 2, 1, kind='Deconvolution'))
    text += 'layer { name: "c" type: "Crop" bottom: "b1" bottom: "b3" top: "c" crop_param { ' \
            'axis: 2 offset: 0 } }\nlayer { name: "s" type: "Eltwise" bottom: "c" bottom: "b3" ' \
            'top: "s" }\nlayer { name: "f" type: "Crop" bottom: "s" bottom: "b3" top: "f" ' \
            'crop_param { axis: 2 offset: 0 } }'
    check(text)


def test_fcn():
    """The paper's: 404 pixels for fc7 at stride 32."""
    path = 'layer { name: "data" type: "Input" top: "b0" input_param { shape { dim: 1 dim: 3 ' \
           'dim: 500 dim: 500 } } }\n'
    layers = []
    for convs in (2, 2, 3, 3, 3):
        layers += [conv(3, pad=100 if not layers and not i else 1) for i in range(convs)]
        layers.append(('Pooling', 'pooling_param { kernel_size: 2 stride: 2 }'))
    layers.append(conv(7))
    text = path + chain(*layers).split('\n', 1)[1]
    drawn = describe(parse_source(text))
    last = list(drawn.blobs.values())[-1]
    count = last.field[0]
    assert (count.size, count.stride, count.start) == (404, 32, Fraction(25, 2))


def test_what_reads_all_or_is_unknown():
    assert field_of([INPUT], None) is None and field_of([INPUT, None], ((1, 1, 0, 1),) * 2) is None
    half = field_of([INPUT], ((2, 2, 0, 1),) * 2)
    assert field_of([INPUT, half], ((1, 1, 0, 1),) * 2) is None       # other strides
    assert misaligned([INPUT, half]) == 0
    assert misaligned([INPUT, field_of([INPUT], ((2, 1, 0, 1),) * 2)]) == Fraction(1, 2)
    text = chain(conv(3)) + 'layer { name: "g" type: "Pooling" bottom: "b1" top: "g" ' \
        'pooling_param { global_pooling: true } }\nlayer { name: "i" type: "InnerProduct" ' \
        'bottom: "b1" top: "i" inner_product_param { num_output: 2 } }'
    blobs = {blob.name: blob for blob in describe(parse_source(text)).blobs.values()}
    assert blobs['g'].whole and blobs['i'].whole and blobs['g'].field is None
