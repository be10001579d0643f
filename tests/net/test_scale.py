"""Long texts and large nets take work in proportion to their size: calls are counted, of a size and
of twice that."""

import gc
import os
import sys

import pytest

from fcn_repro.errors import FcnError
from fcn_repro.net.net import Net
from fcn_repro.passes import PASSES
from fcn_repro.proto import prototxt
from fcn_repro.proto.prototxt import parse_net

LAYERS, FIELDS = 500, 2_000
INPUT = 'layer {{ name: "in" type: "Input" top: "b0" {} }}\n'
SHAPE = 'input_param { shape { dim: 1 dim: 1 } }'
RELU = 'layer {{ name: "r{}" type: "ReLU" bottom: "{}" top: "{}" }}\n'


def chain(i):
    return RELU.format(i, f'b{i}', f'b{i + 1}')


NETS = {        # the text of layer i
    'chain': chain,
    'in place': lambda i: RELU.format(i, 'b0', 'b0'),
    'fan': lambda i: RELU.format(i, 'b0', f'c{i}'),
    'two readers': lambda i: f'layer {{ name: "e{i}" type: "Eltwise" bottom: "b{i}" '
                             f'bottom: "b{i}" top: "b{i + 1}" }}\n',
    'products': lambda i: f'layer {{ name: "p{i}" type: "InnerProduct" bottom: "b{i}" '
                          f'top: "b{i + 1}" inner_product_param {{ num_output: 1 }} }}\n',
    'convolutions': lambda i: f'layer {{ name: "c{i}" type: "Convolution" bottom: "b{i}" '
                              f'top: "b{i + 1}" convolution_param {{ num_output: 1 '
                              'kernel_size: 1 } }\n',
    'losses': lambda i: chain(i).replace(' }', ' loss_weight: 1 }'),
    'splits': lambda i: chain(i) + f'layer {{ name: "s{i}" type: "Silence" bottom: "b{i}" }}\n',
}
LONG = {        # of a number of fields: the text, and the error's words
    'dims': lambda n: ('input_param { shape { ' + 'dim: 1 ' * n + '} }', f'{n} axes'),
    'list of dims': lambda n: ('input_param { shape { dim: [' + '1, ' * (n - 1) + '1] } }',
                               f'{n} axes'),
    'shapes': lambda n: ('input_param { ' + 'shape { dim: 1 } ' * n + '}', f'{n} shapes'),
    'params': lambda n: (SHAPE + ' param { lr_mult: 1 }' * n, f'{n} param entries'),
    'blobs': lambda n: (SHAPE + ' blobs { ' + 'data: 0.5 ' * n + '}', '1 blobs in the text'),
    'bottoms': lambda n: (SHAPE + ' bottom: "x"' * n, "unknown bottom 'x'"),
}


def calls(function, *arguments):
    """How many functions, C's too, a call calls, in all; not what a collection of other tests'
    garbage calls meanwhile."""
    count = 0
    gc.collect()
    gc.disable()

    def profile(frame, event, argument):
        nonlocal count
        count += event in ('call', 'c_call')

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def run_net(name, layers):
    text = INPUT.format(SHAPE) + ''.join(map(NETS[name], range(layers)))
    net = Net.of(parse_net(text), 'TEST', passes=PASSES.values())
    net.forward()
    assert len(net.graph.nodes) > layers


def refuse_net(name, count):
    fields, words = LONG[name](count)
    with pytest.raises(FcnError, match=words):
        Net.of(parse_net(INPUT.format(fields)), 'TEST')


def assert_linear(function, name, size):
    function(name, 2 * size)        # what is made once and kept, whatever ran before this test
    few, many = (calls(function, name, n) for n in (size, 2 * size))
    assert many < 2.1 * few, (few, many)


@pytest.mark.parametrize('name', NETS)
def test_many_layers(name):
    assert_linear(run_net, name, LAYERS)


@pytest.mark.parametrize('name', NETS)
def test_no_folder_is_read(name, monkeypatch):
    """What is found in folders (types, dialects, passes) is found once, not for each layer."""
    run_net(name, 1)
    for function in ('listdir', 'scandir'):
        monkeypatch.setattr(os, function, lambda *path: pytest.fail(f'reads the folder {path}'))
    run_net(name, 3)


@pytest.mark.parametrize('name', LONG)
def test_many_fields(name):
    assert_linear(refuse_net, name, FIELDS)


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
