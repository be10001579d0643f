"""Long texts and large nets take time in proportion to their size: processor seconds, with room."""

import time

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.net.net import Net
from fcn_repro.passes import PASSES
from fcn_repro.proto import prototxt
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
    'two readers': (f'layer {{ name: "e{i}" type: "Eltwise" bottom: "b{i}" bottom: "b{i}" '
                    f'top: "b{i + 1}" }}\n' for i in range(LAYERS)),
    'products': (f'layer {{ name: "p{i}" type: "InnerProduct" bottom: "b{i}" top: "b{i + 1}" '
                 'inner_product_param { num_output: 1 } }\n' for i in range(LAYERS)),
    'convolutions': (f'layer {{ name: "c{i}" type: "Convolution" bottom: "b{i}" top: "b{i + 1}" '
                     'convolution_param { num_output: 1 kernel_size: 1 } }\n'
                     for i in range(LAYERS)),
    'losses': (chain(i).replace(' }', ' loss_weight: 1 }') for i in range(LAYERS)),
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


ENDS = {'wrong name': ('dat: 1 } }', "no field 'dat'"), 'wrong number': ('data: 1_0 } }', '1_0'),
        'unclosed': ('data: 1', 'not closed')}


@pytest.mark.parametrize('end', ENDS)
def test_a_fault_at_the_end_of_many_fields(end, monkeypatch):
    """Protobuf's own parser, ten times as slow, gets the end of the text alone."""
    seen = []
    parse = prototxt.text_format.Parse
    monkeypatch.setattr(prototxt.text_format, 'Parse', lambda text, message: (
        seen.append(len(text.lstrip('\n'))), parse(text, message)))
    text, words = ENDS[end]
    with pytest.raises(FcnError, match=words) as error:
        parse_net('layer {\nblobs {\n' + 'data: 0.5\n' * FIELDS + text)
    assert error.value.line in (FIELDS + 3, FIELDS + 2) and max(seen) < 100
