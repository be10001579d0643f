"""Odd nets that can be exported, and what is said about those that cannot."""

import json
import sys

import pytest
import torch
from exported import export, image, imported, package, run_net, run_onnx, run_python
from texts import FILE, assert_facts, conv, inputs, layer, message, net

from fcn_repro.export import KINDS, SUFFIXES
from fcn_repro.formats.weights import read_extra
from fcn_repro.net import Net
from fcn_repro.net.placement import place
from fcn_repro.proto import TEST

DATA = inputs(data=(1, 3, 8, 8))


def same(made, given, folder):
    """Both forms that are run give the net's outputs; the Python one the same bits."""
    wanted = run_net(made, given)
    for name, top in run_python(made, given, folder).items():
        assert torch.equal(top, wanted[name]), name
    package('onnx')
    tops = run_onnx(made, given, folder)
    assert tops.keys() == wanted.keys()
    for name, top in tops.items():
        torch.testing.assert_close(top, wanted[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('text', [
    # names that are no Python names, keywords, names of torch's and of each other
    conv('conv1/7x7_s2', 'data', 'class') + conv('forward', 'class', 'self') +
    conv('conv1_7x7_s2', 'self', 'a/b') + conv('1', 'a/b', 'a_b') + conv('\\"', 'a_b', '\\n#'),
    # a value that is read before an in-place layer writes over it, and after
    conv('a', 'data') + conv('b', 'a') + layer('ReLU', 'relu', 'a', 'a') +
    layer('Eltwise', 'sum', 'a b', 'sum'),
    # several outputs, one of them dropped out, one a copy
    conv('a', 'data') + layer('Dropout', 'drop', 'a', 'a') + conv('b', 'a') +
    layer('Split', 'split', 'b', 'b1 b2'),
    # an output that is the input
    layer('Dropout', 'drop', 'data', 'top'),
    # layers of one name, a shared parameter
    conv('a', 'data') + conv('a', 'a', 'b') + conv('c', 'b', more='param { name: "w" }') +
    conv('d', 'c', more='param { name: "w" }'),
    # an unread top, a scalar
    conv('a', 'data') + layer('Silence', 'unread', 'a') +
    layer('Reduction', 'sum', 'data', 'sum', 'reduction_param { axis: 0 }'),
    layer('Parameter', 'p', '', 'p', 'parameter_param { shape { dim: 3 } }') +
    layer('Bias', 'bias', 'data p', 'bias'),
], ids=['names', 'in place', 'outputs', 'input', 'shared', 'scalar', 'parameter'])
def test_odd_nets(text, tmp_path):
    same(net(DATA + text), {'data': image(8, 8)}, tmp_path)


def test_two_inputs_and_one_output(tmp_path):
    made = net(inputs(a=(1, 2, 5, 6), b=(1, 2, 5, 6)) + layer('Concat', 'c', 'a b', 'c'))
    same(made, {'a': image(5, 6)[:, :2], 'b': image(5, 6, 1)[:, :2]}, tmp_path)


def test_a_shared_parameter_stays_one(tmp_path):
    made = net(DATA + conv('c', 'data', more='param { name: "w" }') +
               conv('d', 'c', more='param { name: "w" }'))
    path, _ = export(made, 'python', tmp_path / 'net.py')
    module = imported(path).load()
    assert module.c.weight is module.d.weight
    onnx = package('onnx')
    path, = export(made, 'onnx', tmp_path / 'net.onnx')
    assert [array.name for array in onnx.load(path).graph.initializer] == \
        ['c.weight', 'c.bias', 'd.bias']


def test_one_size(tmp_path):
    made = net(DATA + conv('score', 'data', kernel=3) + layer('Crop', 'cut', 'data score', 'cut'))
    onnx = package('onnx')
    path, = export(made, 'onnx', tmp_path / 'net.onnx', size=(12, 10))
    graph = onnx.load(path).graph
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [1, 3, 12, 10]
    assert 'Shape' not in {node.op_type for node in graph.node}
    _, text = export(made, 'caffemodel', tmp_path / 'net.caffemodel', size=(12, 10))
    assert Net.read(text, TEST).shapes[0] == (1, 3, 12, 10)
    assert made.shapes[0] == (1, 3, 8, 8)                   # the net is as it was


def test_the_latest_pass_and_placing_do_not_matter(tmp_path):
    made = net(DATA + conv('score', 'data', num_output=2))
    before = [path.read_bytes() for path in export(made, 'python', tmp_path / 'net.py')]
    place(made, channels_last=True)
    run_net(made, {'data': image(20, 30)})
    after = [path.read_bytes() for path in
             export(made, 'python', tmp_path / 'net.py', replace=True)]
    assert after == before


def test_metadata(tmp_path):
    made = net(DATA + conv('score', 'data', num_output=2))
    given = {'classes': ['background', 'Straße'], 'mean': (1, 2, 3.5)}
    weights, text = export(made, 'caffemodel', tmp_path / 'net.caffemodel', **given)
    assert json.loads(read_extra(weights)['export_mean']) == [1, 2, 3.5]
    assert 'Straße' in text.read_text() and 'channel_order: BGR' in text.read_text()
    onnx = package('onnx')
    path, = export(made, 'onnx', tmp_path / 'net.onnx', **given)
    facts = {each.key: each.value for each in onnx.load(path).metadata_props}
    assert json.loads(facts['classes']) == given['classes'] and facts['channel_order'] == 'BGR'
    assert json.loads(facts['palette']) == [[0, 0, 0], [128, 0, 0]]


# What cannot be exported

@pytest.mark.parametrize('kind', ['onnx', 'python', 'torch-export', 'safetensors'])
def test_a_layer_without_that_form_is_named(kind, tmp_path):
    if kind == 'onnx':
        package('onnx')
    made = net(DATA + layer('Im2col', 'patches', 'data', 'patches',
                            'convolution_param { kernel_size: 3 }'))
    said = message(export, made, kind, tmp_path / f'net{SUFFIXES[kind][0]}')
    assert_facts(said, f"{FILE}:2: layer 'patches' (Im2col)", 'docs/extending.md')
    assert not list(tmp_path.iterdir())


def test_what_is_no_deploy_net(tmp_path):
    made = net(layer('DummyData', 'd', '', 'd', 'dummy_data_param { shape { dim: 1 } }') +
               layer('Sigmoid', 's', 'd', 's'))
    said = message(export, made, 'python', tmp_path / 'net.py')
    assert_facts(said, FILE, 'deploy')
    made = net(DATA + inputs(label=(1, 3, 8, 8)) +
               layer('EuclideanLoss', 'loss', 'data label', 'loss'))
    said = message(export, made, 'python', tmp_path / 'net.py')
    assert_facts(said, f"{FILE}:3: layer 'loss' (EuclideanLoss)", 'deploy')


@pytest.mark.parametrize('kind', sorted(KINDS))
def test_a_file_that_is_there_is_kept(kind, tmp_path):
    made = net(DATA + conv('score', 'data'))
    last = tmp_path / f'net{SUFFIXES[kind][-1]}'
    last.write_text('mine')
    said = message(export, made, kind, tmp_path / f'net{SUFFIXES[kind][0]}')
    assert_facts(said, last, 'replace=True')
    assert last.read_text() == 'mine' and list(tmp_path.iterdir()) == [last]


def test_wrong_arguments(tmp_path):
    made = net(DATA + conv('score', 'data', kernel=3))
    fixed = net(DATA + layer('InnerProduct', 'fc', 'data', 'fc',
                             'inner_product_param { num_output: 2 }'))
    for arguments, options, *facts in [
            (('onx', 'net.onnx'), {}, 'onx', 'onnx'),
            (('python', 'net.pt'), {}, '.py', 'net.py'),
            (('python', 'net.py'), {'size': (0, 3)}, '(0, 3)'),
            (('python', 'net.py'), {'size': (2, 9)}, '3x3'),
            (('python', 'net.py'), {'classes': 'background'}, 'classes'),
            (('python', 'net.py'), {'classes': ['a'] * 257}, 257, 256),
            (('python', 'net.py'), {'mean': (1, 2)}, '(1, 2)')]:
        kind, name = arguments
        assert_facts(message(export, made, kind, tmp_path / name, **options), '', *facts)
    said = message(export, fixed, 'python', tmp_path / 'net.py', size=(9, 9))
    assert_facts(said, f"{FILE}: layer 'fc'", '9')


def test_a_folder_that_cannot_be_written(tmp_path):
    made = net(DATA + conv('score', 'data'))
    said = message(export, made, 'python', tmp_path / 'missing' / 'net.py')
    assert_facts(said, tmp_path / 'missing' / 'net.pt', 'folder')


def test_onnx_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnx', None)
    said = message(export, net(DATA + conv('a', 'data')), 'onnx', tmp_path / 'net.onnx')
    assert "'onnx'" in said and 'pip install onnx' in said
