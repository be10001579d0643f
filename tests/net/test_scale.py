"""Long texts and large nets take time in proportion to their size: processor seconds, with room."""

import time

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.net.net import Net
from fcn_repro.passes import PASSES
from fcn_repro.proto.prototxt import parse_net

LAYERS, FIELDS = 20_000, 200_000        # where the square of either would take minutes
SECONDS = 8
INPUT = 'layer {{ name: "in" type: "Input" top: "b0" {} }}\n'
SHAPE = 'input_param { shape { dim: 1 dim: 1 } }'
RELU = 'layer {{ name: "r{}" type: "ReLU" bottom: "{}" top: "{}" }}\n'


def chain(i):
    return RELU.format(i, f'b{i}', f'b{i + 1}')


NETS = {
    'chain': (chain(i) for i in range(LAYERS)),
    'in place': (RELU.format(i, 'b0', 'b0') for i in range(LAYERS)),
    'fan': (RELU.format(i, 'b0', f'c{i}') for i in range(LAYERS)),
    'splits': (chain(i) + f'layer {{ name: "s{i}" type: "Silence" bottom: "b{i}" }}\n'
               for i in range(LAYERS // 2)),
}
LONG = {
    'dims': ('input_param { shape { ' + 'dim: 1 ' * FIELDS + '} }', '200000 axes'),
    'list of dims': ('input_param { shape { dim: [' + '1, ' * FIELDS + '1] } }', '200001 axes'),
    'shapes': ('input_param { ' + 'shape { dim: 1 } ' * FIELDS + '}', '200000 shapes'),
    'params': (SHAPE + ' param { lr_mult: 1 }' * FIELDS, '200000 param entries'),
    'blobs': (SHAPE + ' blobs { ' + 'data: 0.5 ' * FIELDS + '}', '1 blobs in the text'),
    'bottoms': (SHAPE + ' bottom: "x"' * FIELDS, "unknown bottom 'x'"),
}


@pytest.mark.parametrize('name', NETS)
def test_many_layers(name):
    text = INPUT.format(SHAPE) + ''.join(NETS[name])
    start = time.process_time()
    net = Net.of(parse_net(text), 'TEST', passes=PASSES.values())
    net.forward()
    assert time.process_time() - start < SECONDS
    assert len(net.graph.nodes) > LAYERS


@pytest.mark.parametrize('name', LONG)
def test_many_fields(name):
    fields, words = LONG[name]
    start = time.process_time()
    with pytest.raises(FcnError, match=words):
        Net.of(parse_net(INPUT.format(fields)), 'TEST')
    assert time.process_time() - start < SECONDS
