"""Reading prototxt: Caffe's upgrades, filters and rejections, and errors that say where."""

import json
from pathlib import Path

import pytest
from google.protobuf import text_format

from fcn_repro.errors import FcnError
from fcn_repro.proto import TEST, TRAIN
from fcn_repro.proto.prototxt import filter_net, parse_net, parse_solver, read_net, read_solver

DATA = Path(__file__).parents[1] / 'data' / 'formats'
UPGRADED = sorted(p.name.removesuffix('.upgraded.prototxt')
                  for p in DATA.glob('*.upgraded.prototxt'))
REJECTS = json.loads((DATA / 'parse_rejects.json').read_text())


@pytest.mark.parametrize('name', UPGRADED)
def test_upgrade_is_caffes(name):
    read = read_solver if name.startswith('solver_') else read_net
    found = read(DATA / f'{name}.prototxt')
    expected = type(found.message)()
    text_format.Parse((DATA / f'{name}.upgraded.prototxt').read_text('utf-8'), expected)
    assert str(found.message) == str(expected)          # nan differs from itself, its text does not
    if read is read_net:
        assert len(found.lines) == len(found.message.layer)


@pytest.mark.parametrize('name', REJECTS)
def test_rejected_with_file_and_line(name):
    with pytest.raises(FcnError) as caught:
        parse_net(REJECTS[name]['text'], 'some/net.prototxt')
    assert caught.value.file == 'some/net.prototxt'
    lines = REJECTS[name]['text'].rstrip('\n').count('\n') + 1
    assert 1 <= caught.value.line <= lines
    assert f'some/net.prototxt:{caught.value.line}: ' in str(caught.value)


def test_unknown_field_names_the_nearest():
    with pytest.raises(FcnError, match=r"x:2: LayerParameter has no field 'relu_parm'.*_param'"):
        parse_net('name: "a"\nlayer { relu_parm { } }', 'x')


def test_unknown_enum_value_names_the_nearest():
    with pytest.raises(FcnError, match=r"has no value 'STOCASTIC'. Did you mean 'STOCHASTIC'"):
        parse_net('layer { pooling_param { pool: STOCASTIC } }')
    with pytest.raises(FcnError, match=r'x:2: .*"RELU".*without quotes'):
        parse_net('\nlayers { type: "RELU" }', 'x')


@pytest.mark.filterwarnings('ignore:invalid escape')
@pytest.mark.parametrize('text', [
    'layer { input_param { shape { dim: 1_000 } } }', 'input_dim: 0b11', 'input_dim: 0o17',
    r'name: "C:\data"', r'name: "\\\d"', 'input: "a"', 'input: "a" input_dim: 1 input_dim: 3',
    'input: "a" input: "b" input_shape { dim: 1 }', '', '# only a comment', 'name: "a"}',
    'layer [', 'layer { ]', '100: "x"', 'layer { [a.b] { } }', 'name: "\\377"'])
def test_other_rejections(text):
    with pytest.raises(FcnError, match='<text>:'):
        parse_net(text)


def test_lines_through_strings_comments_and_lists():
    text = '''# layer { }
name: "layer {" # layer {
layer { name: "a # layer { }" }
layer: [ { name: "b"
  top: ["x", "layer"] },
  < name: "c" > ]
layer
{ type: 'it\\'s layer {' pooling_param { pool: MAX } power_param { shift: -inf } } layer { }'''
    net = parse_net(text)
    assert [layer.name for layer in net.message.layer] == ['a # layer { }', 'b', 'c', '', '']
    assert net.lines == (3, 4, 6, 7, 8)


def test_lines_of_upgraded_nets():
    assert read_net(DATA / 'legacy_two_inputs_shape.prototxt').lines == (1, 5, 6)
    assert read_net(DATA / 'v0_net.prototxt').lines[:3] == (2, 5, 8)    # no padding layer


@pytest.mark.parametrize('text, what', [
    ('layers { layer { name: "r" type: "relu" pad: 1 } }', "x:1: layer 'r' .relu.: 'pad' means"),
    ('layers { layer { name: "r" type: "rely" } }', "unknown layer type 'rely'"),
    ('layers { layer { type: "relu" } }\nlayers { type: RELU }', 'x:2: .*no inner layer'),
    ('layers { layer { type: "relu" } include { phase: TEST } }', "'include' next to"),
    ('layers { layer { type: "padding" pad: 1 } bottom: "a" top: "b" }\n'
     'layers { layer { type: "relu" } bottom: "b" top: "b" }', 'x:2: .*padding layer'),
    ('layers { layer { type: "padding" } top: "b" }', '1 bottom and 1 top, not 0 and 1')])
def test_v0_rejections(text, what):
    with pytest.raises(FcnError, match=what):
        parse_net(text, 'x')


def test_rules_are_caffes():
    net = read_net(DATA / 'rules.prototxt')
    lines = dict(zip((layer.name for layer in net.message.layer), net.lines, strict=True))
    for case in json.loads((DATA / 'rules.json').read_text()):
        kept = filter_net(net, case['phase'], case['level'], case['stages'])
        assert [layer.name for layer in kept.message.layer] == case['layers']
        assert list(kept.lines) == [lines[name] for name in case['layers']]
    assert kept.message.state.phase == {'TRAIN': TRAIN, 'TEST': TEST}[case['phase']]
    assert len(net.message.layer) == 16                                   # the net is not changed


def test_filter_adds_to_the_nets_own_stages():
    net = parse_net('state { phase: TRAIN level: 3 stage: "a" }'
                    'layer { include { stage: "a" stage: "b" phase: TEST max_level: 0 } }')
    assert len(filter_net(net, TEST, 0, ['b']).message.layer) == 1
    assert not filter_net(net, TEST).message.layer


def test_include_and_exclude():
    net = parse_net('\nlayer { name: "c" include { } exclude { phase: TEST } }', 'n')
    with pytest.raises(FcnError, match="n:2: layer 'c': 1 include and 1 exclude"):
        filter_net(net, TRAIN)


def test_solver_lines_and_inline_nets():
    solver = parse_solver('base_lr: 1\ntest_net_param { layer { }\n layer { name: "b" } }\n'
                          'test_net_param { name: "t"\n\n layer { } }\nnet_param { name: "n" }\n')
    assert solver.lines == {'base_lr': 1, 'test_net_param': 2, 'net_param': 7}
    assert [n.lines for n in solver.inline_nets('test_net_param')] == [(2, 3), (6,)]
    assert [n.lines for n in solver.inline_nets('net_param')] == [()]
    assert solver.inline_nets('train_net_param') == []


def test_solver_errors():
    with pytest.raises(FcnError, match="s:2: SolverParameter has no field 'base_lrr'"):
        parse_solver('net: "a"\nbase_lrr: 1', 's')
    with pytest.raises(FcnError, match=r"no field 'layer'\. 'layer' belongs to a net: give"):
        parse_solver('layer { name: "a" }', 's')
    with pytest.raises(FcnError, match=r"no field 'base_lr'\. 'base_lr' belongs to a solver: give"):
        parse_net('base_lr: 1', 's')
    with pytest.raises(FcnError, match="s:2: both 'type' and"):
        parse_solver('type: "SGD"\nsolver_type: ADAM', 's')


def test_snapshot_prefix_default(tmp_path):
    path = tmp_path / 'my.solver.prototxt'
    path.write_text('base_lr: 1')
    assert read_solver(path).message.snapshot_prefix == str(tmp_path / 'my.solver')
    path.write_text(f'snapshot_prefix: "{tmp_path}"')
    assert read_solver(path).message.snapshot_prefix == str(tmp_path / 'my.solver')
    path.write_text('snapshot_prefix: "elsewhere/x"')
    assert read_solver(path).message.snapshot_prefix == 'elsewhere/x'


@pytest.mark.parametrize('data, what', [
    (None, 'cannot be read: No such file'),
    (b'', 'the file is empty'),
    (b'\n\xe4\x0aname: "\xe9"', ':2: this line is not UTF-8'),
    (b'name: "# \xe9"', ':1: this line is not UTF-8'),
    (b'\x0a\x04VGG_\x12\x00', 'binary file'),
    ('name: "a"'.encode('utf-16'), 'UTF-16')])
def test_unreadable_files(tmp_path, data, what):
    path = tmp_path / 'n.prototxt'
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(FcnError, match=what) as caught:
        read_net(path)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FcnError, match='is a folder where a prototxt is wanted'):
        read_net(tmp_path)


def test_bytes_that_caffe_lets_through(tmp_path):
    """A byte order mark, CRLF, and any bytes in comments."""
    path = tmp_path / 'n.prototxt'
    path.write_bytes(b'\xef\xbb\xbfname: "\xc3\xa9"\r\n# caf\xe9\r\nlayer { } # \xff\r\n')
    net = read_net(path)
    assert net.message.name == 'é'
    assert net.lines == (3,)
