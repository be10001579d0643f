"""Which nets a solver trains and tests: files and texts of its own, their states, their number."""

import pytest
import torch
from goldens import DATA
from small_runs import run
from texts import assert_facts, conv, inputs, message

from fcn_repro.net.graph import build
from fcn_repro.proto import TRAIN, NetState, dialect_of
from fcn_repro.proto.prototxt import parse_net, parse_solver
from fcn_repro.search import SearchPath
from fcn_repro.solver import Solver
from fcn_repro.solver.nets import test_nets as nets_to_test
from fcn_repro.solver.nets import train_net, with_state

HEAD = 'base_lr: 0.05 lr_policy: "fixed" max_iter: 2 test_interval: 1 snapshot_prefix: "x"\n'
DATA_1 = inputs(data=(1, 1, 1, 1))
ONE = DATA_1 + conv('a', 'data', more='loss_weight: 1', num_output=1)
STAGED = DATA_1 + ''.join(
    conv(name, 'data', more=f'include {{ {rule} }}') for name, rule in (
        ('train', 'phase: TRAIN'), ('test', 'phase: TEST'), ('deep', 'stage: "deep"'),
        ('low', 'max_level: 1'), ('high', 'min_level: 2')))


def solver(text, tmp_path=None):
    file = 'solver.prototxt' if tmp_path is None else str(tmp_path / 'solver.prototxt')
    return parse_solver(HEAD + text, file)


def layers(net):
    """The names of the layers that a NetText has in its state."""
    nodes = build(net, net.message.state.phase, net.message.state.level).nodes
    return [node.name for node in nodes if node.type == 'Convolution']


@pytest.mark.parametrize('text, names', [
    ('', ['train', 'low']),
    ('train_state { stage: "deep" }', ['train', 'deep', 'low']),
    ('train_state { level: 2 }', ['train', 'high']),
    ('train_state { phase: TEST }', ['test', 'low']),
])
def test_states_of_the_train_net(text, names):
    """What the net says of itself counts, and the solver's train_state before that."""
    assert layers(train_net(solver(f'net_param {{ {STAGED} }} {text}'), SearchPath())) == names
    own = 'state { level: 2 stage: "deep" }'
    found = layers(train_net(solver(f'train_net_param {{ {own} {STAGED} }} {text}'), SearchPath()))
    assert found == [n for n in ('train', 'test', 'deep', 'high') if n in names or n in (
        'deep', 'high')]


def test_test_nets_in_caffes_order(tmp_path):
    (tmp_path / 'file.prototxt').write_text(DATA_1 + conv('file', 'data'))
    text = solver(f'net_param {{ {DATA_1} {conv("general", "data")} }} test_net: "file.prototxt" '
                  'test_iter: 1 test_iter: 2 test_iter: 3 test_iter: 4 test_iter: 5'
                  + ''.join(f' test_net_param {{ {DATA_1} {conv(name, "data")} }}'
                            for name in ('one', 'two')), tmp_path)
    assert [layers(net) for net in nets_to_test(text, SearchPath((tmp_path,)))] == [
        ['one'], ['two'], ['file'], ['general'], ['general']]
    states = solver(f'net_param {{ {STAGED} }} test_iter: 1 test_iter: 1 test_state {{ stage: '
                    '"deep" } test_state { level: 2 }')
    assert [layers(net) for net in nets_to_test(states, SearchPath())] == [
        ['test', 'deep', 'low'], ['test', 'high']]


@pytest.mark.parametrize('text, place, facts', [
    ('', '', ['train_net', 'net']),
    ('net: "a"\ntrain_net: "b"', ':3', ['net', 'train_net']),
    ('net_param { }\nnet: "a" train_net_param { }', ':3', ['net', 'net_param', 'train_net_param']),
    ('net: "none.prototxt"', ':2', ["'none.prototxt'"]),
    ('net: ""', ':2', ['net is empty']),
    ('train_net_param { layers { } }', ':2', ['train_net_param', "'layers'"]),
    ('net_param { input: "a" }', ':2', ['net_param', "'input'"]),
])
def test_train_nets_that_cannot_be(text, place, facts):
    assert_facts(message(train_net, solver(text), SearchPath()), f'solver.prototxt{place}', *facts)


@pytest.mark.parametrize('text, place, facts', [
    ('train_net_param { } test_iter: 1', ':2', ['1 test_iter', '0 test nets']),
    ('net_param { } test_net: "a"', '', ['0 test_iter', '1 test nets']),
    ('net_param { } test_iter: 1\ntest_state { } test_state { }', ':3',
     ['2 test_state', '1 test nets']),
    ('net_param { } test_iter: 1', '', ['test_interval', '0']),
])
def test_test_nets_that_cannot_be(text, place, facts):
    text = parse_solver(HEAD.replace('test_interval: 1', '') + text, 'solver.prototxt')
    told = message(lambda: list(nets_to_test(text, SearchPath())))
    assert_facts(told, f'solver.prototxt{place}', *facts)


def test_an_inline_net_runs_as_its_file_and_restores(tmp_path, monkeypatch):
    """The same losses and the same snapshots as with train_net; data paths start at the solver."""
    folder = DATA / 'solvers' / 'lr_fixed'
    net, text = ((folder / name).read_text() for name in ('train.prototxt', 'solver.prototxt'))
    for name in ('data.txt', 'data.h5'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    for name, change in (('inline', f'train_net_param {{ {net} }}'), ('file', None)):
        (tmp_path / 'train.prototxt').write_text(net)
        inline = text.replace('train_net: "train.prototxt"', change) if change else text
        (tmp_path / f'{name}.prototxt').write_text(inline + 'test_iter: 1 test_interval: 2 '
                                                   f'test_net_param {{ {net} }}')
        run(Solver(f'{name}.prototxt', prefix=f'{name}/x'), 3)
    mine, its = ((tmp_path / name / 'x_iter_3.caffemodel.h5').read_bytes()
                 for name in ('inline', 'file'))
    assert mine == its
    one = Solver('file.prototxt', prefix='y')
    assert one.restore('inline/x_iter_3.solverstate.h5') == ''      # nothing differs
    (tmp_path / 'other.prototxt').write_text(
        (tmp_path / 'inline.prototxt').read_text().replace('pad: 1', 'pad: 2'))
    assert '-    pad: 1' in message(Solver('other.prototxt').restore,
                                    'inline/x_iter_3.solverstate.h5')


def test_weights_of_the_solver_reach_what_only_a_test_net_has(tmp_path):
    """Caffe loads them into every net, then shares."""
    more = conv('b', 'data', num_output=1)
    (tmp_path / 'net.prototxt').write_text(ONE + more)
    (tmp_path / 'first.prototxt').write_text(HEAD + 'net: "net.prototxt"')
    first = Solver(tmp_path / 'first.prototxt')
    first.net.save_hdf5(tmp_path / 'w.h5')
    (tmp_path / 'solver.prototxt').write_text(
        f'{HEAD} net_param {{ {ONE} }} test_net: "net.prototxt" test_iter: 1 weights: "w.h5"')
    second = Solver(tmp_path / 'solver.prototxt', seed=5)
    test, = second.test_nets
    for name in 'ab':
        assert torch.equal(test.params[name][0].data, first.net.params[name][0].data)
    second.net.params['a'][0].data.add_(1)
    assert torch.equal(test.params['a'][0].data, second.net.params['a'][0].data)


def test_a_solver_without_test_nets_tests_nothing(tmp_path):
    """Where no iteration tests, none are made unless idle_test_nets asks for them."""
    (tmp_path / 'net.prototxt').write_text(ONE)
    (tmp_path / 'solver.prototxt').write_text(
        'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5 test_iter: 1 '
        'test_interval: 1000 test_initialization: false snapshot_prefix: "x"')
    path = tmp_path / 'solver.prototxt'
    assert Solver(path).test() == []
    assert len(Solver(path, idle_test_nets=True).test()) == 1


def test_a_state_goes_to_a_net_of_another_dialect():
    """The solver's train_state is of its own dialect, which is BVLC's where the net's text tells
    one."""
    text = parse_net('''layer { name: "data" type: "Input" top: "data"
        input_param { shape { dim: 1 dim: 1 dim: 9 dim: 9 } } }
        layer { name: "up" type: "Interp" bottom: "data" top: "up" interp_param { zoom_factor: 2 } }
        ''', 'net.prototxt')
    assert dialect_of(text.message).name == 'deeplab-v2'
    stated = with_state(text, TRAIN, NetState(stage=['x'], level=2))
    assert list(stated.message.state.stage) == ['x'] and stated.message.state.level == 2
    assert stated.message.state.phase == TRAIN
