"""The graph: what Caffe's Net::Init makes of a text, and what it refuses."""

import json

import pytest
from goldens import DATA
from texts import FILE, assert_facts, conv, graph, inputs, layer, message, net

from fcn_repro.net import Net
from fcn_repro.net.graph import build
from fcn_repro.proto import TEST, TRAIN
from fcn_repro.proto.prototxt import parse_net, read_net

LEGACY = json.loads((DATA / 'formats' / 'legacy_inputs.json').read_text())
REJECTS = json.loads((DATA / 'formats' / 'net_rejects.json').read_text())
DATA_2 = inputs(data=(1, 2, 6, 6))


@pytest.mark.parametrize('case', LEGACY)
def test_graph_is_caffes(case):
    """Layers with the Splits that Caffe inserts, blobs, inputs, outputs; shapes of params."""
    wanted, path = LEGACY[case], DATA / 'formats' / f'legacy_{case}.prototxt'
    found = build(read_net(path), 'TEST')
    assert [[node.name, node.type] for node in found.nodes] == wanted['layers']
    assert set(found.values) == set(wanted['blobs'])
    assert list(found.inputs) == wanted['inputs']
    assert list(found.outputs) == wanted['outputs']
    ours = Net.read(path, 'TEST')
    assert [(name, list(blob.shape)) for name, blob in ours.blobs.items()] \
        == list(wanted['blobs'].items())                            # in Caffe's order
    assert {name: [list(blob.shape) for blob in blobs] for name, blobs in ours.params.items()} \
        == wanted['params']


@pytest.mark.parametrize('case', REJECTS)
def test_rejected_as_caffe_does(case):
    text = REJECTS[case]['text']
    if not REJECTS[case]['rejected']:
        assert net(text).graph.nodes
        return
    error = message(net, text)
    lines = text.count('\n')
    assert any(error.startswith(f'{FILE}:{line}: ') for line in range(1, lines + 1)), error


def test_in_place_layers_are_explicit():
    found = graph(DATA_2 + conv('c', 'data') + layer('ReLU', 'r', 'c', 'c')
                  + layer('Dropout', 'd', 'c', 'c') + layer('Pooling', 'p', 'c', 'p',
                                                            'pooling_param { kernel_size: 2 }'))
    assert found.values == ('data', 'c', 'c', 'c', 'p')
    assert [(node.bottoms, node.tops) for node in found.nodes] == [
        ((), (0,)), ((0,), (1,)), ((1,), (2,)), ((2,), (3,)), ((3,), (4,))]
    assert (found.first('c'), found.last('c')) == (1, 3)
    assert found.producer(3).name == 'd' and [n.name for n in found.consumers(3)] == ['p']
    assert [node.line for node in found.nodes] == [1, 2, 3, 4, 5]


def test_describe():
    text = DATA_2 + inputs(label=(1, 1, 6, 6)) + conv('c', 'data') + layer('ReLU', 'r', 'c', 'c') \
        + layer('Power', 'p', 'c', 'p', 'loss_weight: 0.5') \
        + layer('SoftmaxWithLoss', 'loss', 'p label') + layer('Accuracy', 'acc', 'p label', 'acc')
    assert graph(text).describe() == '''\
data                     Input            - -> data
label                    Input            - -> label
label_label_0_split      Split            label -> label_label_0_split_0, label_label_0_split_1
c                        Convolution      data -> c
r                        ReLU             c -> c
p                        Power            c -> p
p_p_0_split              Split            p -> p_p_0_split_0, p_p_0_split_1, p_p_0_split_2
loss                     SoftmaxWithLoss  p_p_0_split_1, label_label_0_split_0 -> (automatic)
acc                      Accuracy         p_p_0_split_2, label_label_0_split_1 -> acc'''
    assert graph(text).outputs == ('acc', 'p_p_0_split_0')


def test_split_takes_the_loss_weight():
    """Caffe counts a loss as one more consumer, and gives the weight to the first copy."""
    text = DATA_2 + layer('Power', 'p', 'data', 'p', 'loss_weight: 3') \
        + layer('ReLU', 'r', 'p', 'y')
    split = next(node for node in graph(text).nodes if node.type == 'Split')
    assert list(split.param.loss_weight) == [3, 0]
    assert list(graph(text).nodes[1].param.loss_weight) == [0]
    text = DATA_2 + layer('Power', 'p', 'data', 'p', 'loss_weight: 3')
    assert not [node for node in graph(text).nodes if node.type == 'Split']


def test_the_text_is_left_as_it_was():
    """Building twice from one NetText gives the same graph: inserting Splits changes no message."""
    text = parse_net(DATA_2 + layer('Power', 'p', 'data', 'p', 'loss_weight: 3')
                     + layer('ReLU', 'r', 'p', 'y') + layer('ReLU', 's', 'p', 'z'))
    before = str(text.message)
    assert build(text, 'TEST').describe() == build(text, 'TEST').describe()
    assert str(text.message) == before


def test_unknown_bottom():
    assert_facts(message(graph, DATA_2 + conv('conv1', 'dat')),
                 "net.prototxt:2: layer 'conv1' (Convolution)", "'dat'", "'data'")
    assert_facts(message(graph, DATA_2 + conv('conv1', 'x')),
                 "net.prototxt:2: layer 'conv1' (Convolution)", "'x'")
    assert_facts(message(graph, layer('ReLU', 'r', 'x', 'y')),
                 "net.prototxt:1: layer 'r' (ReLU)", "'x'", 'none')


def test_duplicate_top():
    text = DATA_2 + conv('a', 'data', 'y') + conv('b', 'data', 'y')
    assert_facts(message(graph, text), "net.prototxt:3: layer 'b' (Convolution)", "'y'",
                 'in-place')


def test_unknown_type():
    assert_facts(message(net, DATA_2 + layer('Relu', 'r', 'data', 'y')),
                 "net.prototxt:2: layer 'r'", "'Relu'", "'ReLU'", 'AbsVal', 'Accuracy')
    assert_facts(message(net, DATA_2 + layer('Warp', 'f', 'data', 'y')),
                 "net.prototxt:2: layer 'f'", "'Warp'", 'AbsVal', 'Accuracy')
    assert_facts(message(net, 'layer { name: "data" type: "WindowData" top: "data" }'),
                 "net.prototxt:1: layer 'data' (WindowData)", 'window files', 'ImageData')


def test_weights_in_the_text():
    blobs = 'blobs { shape { dim: 1 } data: 2 }'
    assert_facts(message(net, DATA_2 + layer('Scale', 's', 'data', 'y', blobs)),
                 "net.prototxt:2: layer 's' (Scale)", '1 blobs')


def test_unknown_blob_and_layer():
    found = graph(DATA_2 + conv('conv1', 'data'))
    assert_facts(message(found.first, 'Conv1'), 'net.prototxt', "'Conv1'", "'conv1'")
    assert_facts(message(found.last, 'x'), 'net.prototxt', "'x'")
    assert_facts(message(found.upto, 'conv2'), 'net.prototxt', "'conv2'", "'conv1'")
    assert [node.name for node in found.upto('data')] == ['data']


PHASES = inputs(data=(1, 2, 4, 4), label=(1, 1, 4, 4)) + conv('c', 'data') \
    + layer('Dropout', 'd', 'c', 'c', 'include { phase: TRAIN }') \
    + layer('SoftmaxWithLoss', 'loss', 'c label', 'loss', 'include { phase: TRAIN }') \
    + layer('Accuracy', 'acc', 'c label', 'acc', 'include { phase: TEST not_stage: "deploy" }') \
    + layer('Softmax', 'prob', 'c', 'prob', 'include { phase: TEST min_level: 1 }') \
    + layer('Silence', 'quiet', 'label', '', 'include { stage: "deploy" }')


def test_phase_filter_end_to_end(tmp_path):
    (tmp_path / FILE).write_text(PHASES)

    def outputs(phase, **state):
        return Net.read(tmp_path / FILE, phase, **state).forward().keys()

    assert outputs('TRAIN') == {'loss'}
    assert outputs('TEST') == {'acc'}
    assert outputs('TEST', level=1) == {'acc', 'prob'}
    assert outputs('TEST', stages=('deploy',)) == {'c'}
    assert outputs('TEST', level=1, stages=('deploy',)) == {'prob'}


def test_phase_by_name_and_by_number_are_one():
    for name, number in ('TRAIN', TRAIN), ('TEST', TEST):
        assert graph(PHASES, name).phase == graph(PHASES, number).phase == number
