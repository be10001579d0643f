"""A dialect reaches every reader and writer: text, binary, NetSpec, caffemodel, net, solver."""

import logging

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from texts import FILE, conv, image, inputs, layer
from toy_dialect import OTHER, TOY
from wire_format import blob, v1

from fcn_repro.errors import FcnError
from fcn_repro.formats.weights import read_weights
from fcn_repro.net import Net
from fcn_repro.net.cast import cast_classifier
from fcn_repro.passes import DEFAULT
from fcn_repro.proto import BVLC, TEST, Dialect, dialect_of, dialects, find_dialect
from fcn_repro.proto.netspec import L, NetSpec, Params, net_text
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.pycaffe.layerwise import LayerwiseNet
from fcn_repro.solver import Solver

DATA = inputs(x=(1, 3, 9, 9))
BRIGHT = layer('Brighten', 'b', 'x', 'b', 'brighten_param { amount: 3 mode: MULTIPLY }')


def make(text, dialect=TOY, **options):
    return Net.of(parse_net(text, FILE, dialect), 'TEST', **options)


def refused(function, *args, **options):
    with pytest.raises(FcnError) as caught:
        function(*args, **options)
    return caught.value


# ---- text, net ------------------------------------------------------------------------------

def test_a_net_runs_its_layers():
    x = image(1, 3, 9, 9)
    out = make(DATA + BRIGHT).forward(x=x)
    assert torch.equal(out['b'], x * 3 * 2)


def test_an_upgrade_rule_changes_a_layer():
    x, nets = image(1, 3, 9, 9), [make(DATA + conv('c', 'x', kernel=3, field=f'{name}: 2'))
                                  for name in ('hole', 'dilation')]
    tops = [net.forward(x=x)['c'] for net in nets]
    assert tops[0].shape == (1, 3, 5, 5) and torch.equal(*tops)
    assert nets[0].graph.nodes[1].param == nets[1].graph.nodes[1].param


def test_an_upgrade_rule_says_where_it_failed(monkeypatch):
    def refuse(layer):
        raise FcnError('no')
    monkeypatch.setattr(dialects, '_registry', dict(dialects._registry))
    error = refused(parse_net, DATA, FILE, Dialect('strict', upgrades=(refuse,)))
    assert (error.file, error.line, error.layer, error.type) == (FILE, 1, 'x', 'Input')


def test_a_replaced_type_is_the_dialects():
    more = layer('Eltwise', 'e', 'x y', 'e', 'eltwise_param { operation: MEAN }')
    x, y = image(1, 3, 9, 9), image(1, 3, 9, 9, seed=1)
    net = make(DATA + inputs(y=(1, 3, 9, 9)) + more, passes=DEFAULT)
    assert torch.equal(net.forward(x=x, y=y)['e'], torch.stack([x, y]).mean(0))


def test_copied_layers_stay_in_the_dialect():
    """Through the filter of a phase, Splits, the passes, the cast of a classifier."""
    text = DATA + BRIGHT + conv('c1', 'b', kernel=3, more='include { phase: TEST }') + \
        layer('InnerProduct', 'ip', 'b', 'ip', 'inner_product_param { num_output: 2 }')
    net, plain = make(text, passes=DEFAULT), make(text)
    assert {node.type for node in net.graph.nodes} >= {'Brighten', 'Split'}
    cast = Net(cast_classifier(net))
    for graph in (net.graph, cast.graph):
        assert {dialect_of(node.param) for node in graph.nodes} == {graph.dialect} == {TOY}
    x = image(1, 3, 9, 9)
    for name, top in plain.forward(x=x).items():
        torch.testing.assert_close(net.forward(x=x)[name], top)
    assert cast.forward(x=x)['ip'].shape == (1, 2, 1, 1)


def test_pycaffes_net():
    x, net = image(1, 3, 9, 9), LayerwiseNet.of(parse_net(DATA + BRIGHT, FILE, TOY), TEST)
    net.executor.memory[net.graph.last('x')].data.copy_(x)
    net.executor.run(0, 1)
    assert torch.equal(net.executor.memory[net.graph.last('b')].data, 6 * x)


def test_an_old_net_has_the_dialects_types():
    text = 'layers { name: "b" type: BRIGHTEN bottom: "x" top: "b" brighten_param { amount: 5 } }'
    new = parse_net(text, FILE, TOY).message.layer[0]
    assert (new.type, new.brighten_param.amount) == ('Brighten', 5)
    for odd in ('type: ODD', 'type: BRIGHTEN odd_param { }'):
        error = refused(parse_net, f'\nlayers {{ name: "o" {odd} }}', FILE, TOY)
        assert (error.file, error.line, error.layer) == (FILE, 2, 'o')


# ---- what a layer does not read --------------------------------------------------------------

@pytest.mark.parametrize('more, path', [
    ('convolution_param { num_output: 1 kernel_size: 1 mirrored: true }',
     'convolution_param.mirrored'),
    ('convolution_param { num_output: 1 kernel_size: 1 } strict: true', 'strict'),
])
def test_a_set_field_that_a_layer_does_not_read(more, path):
    error = refused(make, DATA + layer('Convolution', 'c', 'x', 'c', more))
    assert (error.file, error.line, error.layer, error.type) == (FILE, 2, 'c', 'Convolution')
    assert path in error.what


def test_a_field_of_its_own_message_that_a_layer_does_not_declare():
    error = refused(make, DATA + layer('Brighten', 'b', 'x', 'b', 'brighten_param { unused: 1 }'))
    assert error.layer == 'b' and 'brighten_param.unused' in error.what


def test_an_enum_value_that_a_layer_does_not_know():
    pool = 'pooling_param { pool: TILE kernel_size: 2 }'
    error = refused(make, DATA + layer('Pooling', 'p', 'x', 'p', pool))
    assert error.layer == 'p' and 'pooling_param.pool.TILE' in error.what


def test_a_field_of_the_net_itself():
    error = refused(make, 'profile: "x" ' + DATA)
    assert error.file == FILE and 'profile' in error.what


@pytest.mark.parametrize('dialect, more, field', [
    (BVLC, 'pooling_param { kernel_size: 2 }', 'pooling_param'),
    (TOY, 'brighten_param { amount: 2 unused: 3 }', 'brighten_param'),
    (TOY, 'convolution_param { mirrored: true }', 'convolution_param'),
])
def test_a_message_of_another_type_is_one_warning(caplog, dialect, more, field):
    with caplog.at_level(logging.WARNING):
        net = make(DATA + layer('ReLU', 'r', 'x', 'r', more), dialect)
        net.forward(x=image(1, 3, 9, 9))
    warning, = caplog.messages
    assert f"'{field}'" in warning and "'r'" in warning and f'{FILE}:2' in warning


def test_nothing_is_said_about_what_is_read(caplog):
    with caplog.at_level(logging.WARNING):
        make(DATA + BRIGHT + conv('c', 'x', more='param { lr_mult: 2 }'))
    assert not caplog.messages


# ---- binary ----------------------------------------------------------------------------------

def test_a_message_goes_through_bytes():
    net = parse_net(DATA + BRIGHT, FILE, TOY).message
    raw = net.SerializeToString()
    assert TOY['NetParameter'].FromString(raw) == net
    its = BVLC['NetParameter'].FromString(raw).layer[1]         # 146 is BVLC's recurrent_param
    assert its.HasField('recurrent_param') and not its.recurrent_param.num_output


def test_a_caffemodel_has_the_dialects_messages(tmp_path):
    path, net = tmp_path / 'm.caffemodel', make(DATA + BRIGHT)
    net.params['b'][0].data.fill_(7)
    net.save(path)
    saved = TOY['NetParameter'].FromString(path.read_bytes())
    assert [layer.type for layer in saved.layer] == ['Input', 'Brighten']
    assert saved.layer[1].brighten_param.amount == 3 and list(saved.layer[1].blobs[0].data) == [7]
    net.save_hdf5(tmp_path / 'm.h5')
    for file in (path, tmp_path / 'm.h5'):
        again = make(DATA + BRIGHT)
        again.copy_from(file)
        assert again.params['b'][0].data.tolist() == [7]


def test_old_weights_have_the_dialects_numbers(tmp_path):
    path = tmp_path / 'm.caffemodel'
    path.write_bytes(v1('b', 39, blob(np.float32([7]))))
    assert read_weights(path).types == {'b': 'Deconvolution'}
    assert read_weights(path, TOY).types == {'b': 'Brighten'}
    net = make(DATA + BRIGHT)
    net.copy_from(path)
    assert net.params['b'][0].data.tolist() == [7]


# ---- NetSpec ---------------------------------------------------------------------------------

def spec(dialect):
    n = NetSpec(dialect)
    n.x = L.Input(input_param={'shape': {'dim': [1, 3, 9, 9]}})
    n.b = L.Brighten(n.x, amount=3, mode=Params(TOY).Brighten.MULTIPLY)
    n.c = L.Convolution(n.b, num_output=1, kernel_size=1, hole=[2])
    return n.to_proto()


def test_netspec_writes_the_dialect():
    message = spec(TOY)
    assert dialect_of(message) is TOY and list(message.layer[2].convolution_param.hole) == [2]
    net = parse_net(net_text(message), FILE, TOY)
    assert net.message.layer[1] == message.layer[1]
    assert list(net.message.layer[2].convolution_param.dilation) == [2]
    assert refused(spec, BVLC).type == 'Brighten'


# ---- solver ----------------------------------------------------------------------------------

SOLVER = '''base_lr: 0.1 lr_policy: "fixed" momentum: 0.9 max_iter: 4 snapshot_prefix: "s"
random_seed: 1 snapshot_format: %s
net_param {
  layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {
    shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } } }
  layer { name: "b" type: "Brighten" bottom: "x" top: "b" brighten_param { amount: 3 } }
  layer { name: "l" type: "EuclideanLoss" bottom: "b" bottom: "y" top: "l" }
}
'''


@pytest.mark.parametrize('format', ['HDF5', 'BINARYPROTO'])
def test_a_solver_runs_and_goes_on(tmp_path, monkeypatch, format):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 's.prototxt').write_text(SOLVER % format)
    first, second = (Solver('s.prototxt', dialect=TOY) for _ in range(2))
    assert dialect_of(first.param) is first.net.graph.dialect is TOY
    first.step(2)
    _, state = first.snapshot()
    first.step(2)
    assert second.restore(state) == ''
    second.step(2)
    assert torch.equal(first.net.params['b'][0].data, second.net.params['b'][0].data)
    assert first.net.params['b'][0].data.item() != 2


def test_a_field_that_no_solver_reads(tmp_path):
    path = tmp_path / 's.prototxt'
    path.write_text(f'warm_up: 3\n{SOLVER % "HDF5"}')
    error = refused(Solver, path, dialect=TOY)
    assert error.line == 1 and 'warm_up' in error.what and error.file == str(path)


# ---- which dialect ---------------------------------------------------------------------------

@pytest.mark.parametrize('text', [
    conv('c', 'x', field='hole: 2'),
    layer('ReLU', 'r', 'x', 'r', 'brighten_param { amount: 3 }'),
    layer('Eltwise', 'e', 'x x', 'e', 'eltwise_param { operation: MEAN }'),
    layer('Brighten', 'b', 'x', 'b'),
])
def test_bvlc_refuses_it_and_names_the_dialect(text):
    error = refused(make, DATA + text, BVLC)
    assert error.file == FILE and error.line == 2 and "'toy'" in error.do


def test_dialects_do_not_disturb_each_other():
    """Nor a caffe_pb2 of Caffe itself, in protobuf's own pool."""
    file = descriptor_pb2.FileDescriptorProto(name='test/caffe.proto', package='caffe')
    file.message_type.add(name='LayerParameter').field.add(name='mine', number=1, type=9, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    theirs = message_factory.GetMessageClass(pool.FindMessageTypeByName('caffe.LayerParameter'))
    toy, other, bvlc = (dialect['LayerParameter']() for dialect in (TOY, OTHER, BVLC))
    toy.brighten_param.amount, other.brighten_param.amount = 2.5, 4
    toy.convolution_param.hole.append(2)
    other.convolution_param.hole = 'two'
    assert toy.brighten_param.amount == 2.5 and other.brighten_param.amount == 4
    assert not hasattr(bvlc, 'brighten_param') and bvlc.recurrent_param.num_output == 0
    assert [dialect_of(message) for message in (toy, other, bvlc)] == [TOY, OTHER, BVLC]
    assert theirs(mine='x').mine == 'x'
    assert refused(dialect_of, theirs()).file is None


def test_finding_a_dialect(tmp_path, monkeypatch):
    """By name; a file in the folder is enough."""
    assert find_dialect('bvlc') is BVLC and find_dialect('toy') is TOY
    assert "'toy'" in refused(find_dialect, 'toi').do
    refused(Dialect, 'toy')
    monkeypatch.setattr(dialects, '_registry', dict(dialects._registry))
    monkeypatch.setattr(dialects, '__path__', [*dialects.__path__, str(tmp_path)])
    (tmp_path / 'fork.py').write_text('from fcn_repro.proto import Dialect\nF = Dialect("fork")\n')
    assert find_dialect('fork').name == 'fork'
