"""caffe.draw and `fcn-repro caffe draw_net`. No test needs Graphviz: a stand-in of its `dot`."""

import builtins
import stat

import pytest
from google.protobuf import text_format
from packages import required
from small_runs import ROOT, call
from texts import layer

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.proto.prototxt import read_net
from fcn_repro.pycaffe import TEST, TRAIN, draw
from fcn_repro.pycaffe.proto.caffe_pb2 import LayerParameter, NetParameter

pydot = required('pydot')
NET = 'name: "a-b" ' + layer(
    'Data', 'd', '', 'data label', 'include { phase: TRAIN } data_param { batch_size: 7 }'
) + layer('Input', 'i', '', 'data', 'exclude { phase: TRAIN } input_param { shape { dim: 1 } }') \
    + layer('Convolution', 'c/1', 'data', 'c:1', 'param { lr_mult: 2 } convolution_param { '
            'num_output: 5 kernel_size: 3 stride: 2 }') \
    + layer('ReLU', 'r', 'c:1', 'c:1') \
    + layer('Pooling', 'p', 'c:1', 'p', 'pooling_param { pool: AVE kernel_size: 2 stride: 4 }') \
    + layer('InnerProduct', 'ip', 'p', 'ip', 'inner_product_param { num_output: 9 }')


def graph(phase=None, rankdir='LR', **options):
    return draw.get_pydot_graph(text_format.Parse(NET, NetParameter()), rankdir, phase=phase,
                                **options)


def nodes(made):
    return {node.get_name().strip('"'): node for node in made.get_nodes()}


def edges(made):
    return {(edge.get_source().strip('"'), edge.get_destination().strip('"')): edge.get_label()
            for edge in made.get_edges()}


def test_nodes_and_edges():
    found = nodes(graph(TRAIN))
    conv = r'c/1\n(Convolution)\nkernel size: 3\nstride: 2\npad: 0'
    assert set(found) == {
        r'd\n(Data)', 'data', 'label', conv, 'c:1', r'r\n(ReLU)',
        r'p\n(Pooling AVE)\nkernel size: 2\nstride: 4\npad: 0', 'p', r'ip\n(InnerProduct)', 'ip'}
    assert found[conv].get_fillcolor().strip('"') == '#FF5050'
    assert found[r'r\n(ReLU)'].get_fillcolor().strip('"') == '#90EE90'
    assert found['label'].get_shape() == 'octagon'
    labels = edges(graph(TRAIN))
    assert labels[r'd\n(Data)', 'label'].strip('"') == 'Batch 7'
    assert labels[conv, 'c:1'].strip('"') == '5' and labels[r'ip\n(InnerProduct)', 'ip'] == '9'
    assert labels['c:1', r'r\n(ReLU)'] == '""' and (r'r\n(ReLU)', 'c:1') in labels


def test_phases_directions_and_multipliers():
    assert r'd\n(Data)' not in nodes(graph(TEST)) and r'i\n(Input)' in nodes(graph(TEST))
    assert {r'd\n(Data)', r'i\n(Input)'} <= set(nodes(graph()))
    assert 'p (Pooling AVE) kernel size: 2 stride: 4 pad: 0' in nodes(graph(rankdir='TB'))
    shown = nodes(graph(display_lrm=True))
    assert r'ip\n(InnerProduct)\nlr mult: 1.0, 1.0' in shown
    assert any(name.endswith(r'\nlr mult: 2.0, 1.0') for name in shown)
    assert set(edges(graph(label_edges=False)).values()) == {'""'}
    both = NetParameter()
    both.layer.add(name='x').include.add(phase=0)
    both.layer[0].exclude.add(phase=1)
    with pytest.raises(ValueError, match='both include and exclude'):
        draw.get_pydot_graph(both, 'LR', phase=TRAIN)
    with pytest.raises(ValueError, match='no lr_mult'):
        draw.get_layer_lr_mult(LayerParameter(type='ReLU'))
    three = LayerParameter(type='InnerProduct')
    for _ in range(3):
        three.param.add()
    with pytest.raises(ValueError, match='3 param'):
        draw.get_layer_lr_mult(three)


def test_styles_are_not_changed_by_drawing():
    before = dict(draw.LAYER_STYLE_DEFAULT)
    graph()
    assert before == draw.LAYER_STYLE_DEFAULT


def test_shipped_nets_as_text(tmp_path):
    """What draw_net writes is what pydot reads: as many nodes as were drawn."""
    files = (ROOT / 'prototxt').glob('*/train*.prototxt')
    for file in sorted(files, key=lambda file: file.stat().st_size)[:5]:    # pydot reads slowly
        net = read_net(file).message
        (read,) = pydot.graph_from_dot_data(draw.draw_net(net, 'TB', 'dot').decode())
        assert len(read.get_nodes()) >= len({layer.name for layer in net.layer})


@pytest.fixture
def no_graphviz(tmp_path, monkeypatch):
    (tmp_path / 'bin').mkdir()
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    (tmp_path / 'net.prototxt').write_text(NET)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command(no_graphviz, capsys):
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'net.prototxt', 'net.gv', '--rankdir',
                'BT', '--phase', 'TEST', '--display_lrm', main=main)
    assert done.status == 0 and done.out == 'Drawing net to net.gv\n' and not done.err
    text = (no_graphviz / 'net.gv').read_text()
    assert 'rankdir=BT' in text and 'lr mult: 2.0, 1.0' in text and '(Data)' not in text
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'net.prototxt', 'net.gv', '--phase',
                'VAL', main=main)
    assert done.status == 2 and 'TRAIN' in done.err
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'net.prototxt', 'net', main=main)
    assert done.status == 1 and 'no ending' in done.err
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'net.prototxt', 'none/net.dot', main=main)
    assert done.status == 1 and 'none/net.dot: cannot write' in done.err
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'none.prototxt', 'net.dot', main=main)
    assert done.status == 1 and 'none.prototxt' in done.err


def test_pictures_need_graphviz(no_graphviz, capsys):
    done = call(capsys, 'fcn-repro', 'caffe', 'draw_net', 'net.prototxt', 'net.png', main=main)
    assert done.status == 1 and 'needs Graphviz' in done.err and 'NAME.dot' in done.err
    assert not (no_graphviz / 'net.png').exists()


def test_pictures_are_what_graphviz_writes(no_graphviz):
    dot = no_graphviz / 'bin' / 'dot'
    dot.write_text('#!/bin/sh\n[ "$1" = -Txyz ] && { echo "no format xyz" >&2; exit 1; }\n'
                   'echo "picture $1"\n')
    dot.chmod(dot.stat().st_mode | stat.S_IXUSR)
    net = text_format.Parse(NET, NetParameter())
    draw.draw_net_to_file(net, 'net.svg')
    assert (no_graphviz / 'net.svg').read_text() == 'picture -Tsvg\n'
    with pytest.raises(FcnError, match="cannot draw the format 'xyz'"):
        draw.draw_net(net, 'LR', 'xyz')


def test_pydot_is_imported_when_it_is_used(monkeypatch):
    def refuse(name, *given, real=builtins.__import__):
        if name == 'pydot':
            raise ImportError(name)
        return real(name, *given)
    monkeypatch.setattr(builtins, '__import__', refuse)
    assert draw.get_pooling_types_dict()[0] == 'MAX'
    with pytest.raises(FcnError, match='pip install pydot'):
        draw.draw_net(NetParameter(), 'LR', 'dot')
