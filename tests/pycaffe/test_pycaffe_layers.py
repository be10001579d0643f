"""Layers that users write in Python, on the blobs of a pycaffe net."""

import shutil
import sys
from functools import partial

import numpy as np
import pytest
import torch
from goldens import DATA
from texts import assert_facts, conv, inputs, layer, message

import fcn_repro.pycaffe as caffe
from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT
from fcn_repro.pycaffe.userlayer import UserNet
from fcn_repro.solver.solver import Solver

MODULE = """
import json
import numpy as np
import caffe

class Count(caffe.Layer):
    '''A data layer: 0, 1, 2, ... at sizes that grow.'''
    def setup(self, bottom, top):
        self.at = json.loads(self.param_str)['first']

    def reshape(self, bottom, top):
        top[0].reshape(1, 2, 3 + self.at, 4)

    def forward(self, bottom, top):
        top[0].data[...] = self.at
        self.at += 1

    def backward(self, top, propagate_down, bottom):
        raise AssertionError('a data layer has no backward')

class SquareLoss(caffe.Layer):
    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception('two bottoms')

    def reshape(self, bottom, top):
        self.diff = np.zeros_like(bottom[0].data)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = (self.diff ** 2).sum() / bottom[0].num / 2

    def backward(self, top, propagate_down, bottom):
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * self.diff / bottom[i].num * top[0].diff[0]

class Scale(caffe.Layer):
    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs[0].data[0] = 3

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data[0] * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] += (top[0].diff * bottom[0].data).sum()
        bottom[0].diff[...] = self.blobs[0].data[0] * top[0].diff
        assert bottom[0].data.flags.c_contiguous and top[0].diff.flags.c_contiguous

class Phase(caffe.Layer):
    '''Two tops: the phase, a scalar, and a multiple of the bottom, of any number of axes.'''
    def setup(self, bottom, top):
        self.factor = float(self.param_str)

    def reshape(self, bottom, top):
        top[0].reshape()
        top[1].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[()] = self.phase
        top[1].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[1].diff

class Mine(Exception):
    pass

class Fails(Phase):
    '''Raises an error of its own in the method that param_str names.'''
    def setup(self, bottom, top):
        self.factor = 1
        if self.param_str == 'setup':
            raise Mine('setup')

    def __getattribute__(self, name):
        if name != 'setup' and name == object.__getattribute__(self, 'param_str'):
            raise Mine(name)
        return object.__getattribute__(self, name)

class Unfinished(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
"""


def python(name, bottoms, tops, kind, more='', param='', module='mine'):
    return layer('Python', name, bottoms, tops, f'{more} python_param {{ module: "{module}" '
                 f"layer: \"{kind}\" param_str: '{param}' }}")


PAIR = inputs(data=(2, 2, 3, 4), target=(2, 3, 3, 4)) + conv('a', 'data')
OURS = PAIR + python('s', 'a', 'b', 'Scale') \
    + python('loss', 'b target', 'loss', 'SquareLoss', 'loss_weight: 0.5')
ITS = PAIR + layer('Scale', 's', 'a', 'b', 'scale_param { axis: 0 num_axes: 0 filler { value: 3 } '
                   '}') + layer('EuclideanLoss', 'loss', 'b target', 'loss', 'loss_weight: 0.5')
COUNT = python('count', '', 'data', 'Count', param='{"first": 2}') + conv('a', 'data') \
    + layer('Reduction', 'sum', 'a', 'sum', 'loss_weight: 1')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a module `mine`, where we then are, and where `import caffe` means pycaffe."""
    (tmp_path / 'mine.py').write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(sys.modules, 'caffe', caffe)
    monkeypatch.delitem(sys.modules, 'mine', raising=False)
    yield tmp_path
    sys.modules.pop('mine', None)


def net(folder, text, phase=caffe.TRAIN):
    (folder / 'net.prototxt').write_text(text)
    return caffe.Net(str(folder / 'net.prototxt'), phase)


def test_layers_in_python_equal_the_built_in_ones(folder):
    ours, its = net(folder, OURS), net(folder, ITS)
    rng = np.random.default_rng(0)
    for shape in (2, 2, 3, 4), (1, 2, 5, 3):
        for each in ours, its:
            each.blobs['data'].reshape(*shape)
            each.blobs['target'].reshape(shape[0], 3, *shape[2:])
        given = {name: rng.standard_normal(blob.shape) for name, blob in
                 [(name, ours.blobs[name]) for name in ours.inputs]}
        for each in ours, its:
            each.clear_param_diffs()
            each.forward(**given)
            each.backward()
        for name, blob in its.blobs.items():
            np.testing.assert_allclose(ours.blobs[name].data.ravel(), blob.data.ravel(), 1e-5, 1e-6)
            np.testing.assert_allclose(ours.blobs[name].diff.ravel(), blob.diff.ravel(), 1e-5, 1e-6)
        for name in 'a', 's':
            np.testing.assert_allclose(ours.params[name][0].diff.ravel(),
                                       its.params[name][0].diff.ravel(), 1e-4, 1e-5)
    assert ours.layer_dict['s'].blobs[0].data == [3] and not ours.blobs['target'].diff.any()


def planned(folder, text, phase=caffe.TRAIN):
    (folder / 'planned.prototxt').write_text(text)
    return place(UserNet.read(folder / 'planned.prototxt', phase, passes=DEFAULT), 'cpu')


def test_a_planned_net_equals_the_layerwise_one(folder):
    """Losses, tops, and the diffs of blobs and parameters, at several sizes."""
    mine, its = planned(folder, OURS), net(folder, OURS)
    assert mine.params['s'][0].data == 3                    # from the user's setup
    mine.params['a'][0].data.copy_(torch.from_numpy(its.params['a'][0].data))
    rng = np.random.default_rng(0)
    for shape in (2, 2, 3, 4), (1, 2, 5, 3):
        given = {'data': rng.standard_normal(shape).astype('f4'),
                 'target': rng.standard_normal((shape[0], 3, *shape[2:])).astype('f4')}
        for name, array in given.items():
            its.blobs[name].reshape(*array.shape)
        its.clear_param_diffs()
        its.forward(**given)
        its.backward()
        mine.clear_param_diffs()
        mine.forward(blobs='all', **given)
        mine.backward()
        for name in 'a', 'b', 'loss':
            for part in 'data', 'diff':
                np.testing.assert_allclose(
                    getattr(mine.blobs[name], part).detach().numpy().ravel(),
                    getattr(its.blobs[name], part).ravel(), 1e-5, 1e-6)
        for name in 'a', 's':
            np.testing.assert_allclose(mine.params[name][0].diff.numpy().ravel(),
                                       its.params[name][0].diff.ravel(), 1e-4, 1e-5)


def test_a_planned_net_reads_a_users_data(folder):
    mine = planned(folder, COUNT)
    for i in 2, 3, 4:
        sums = mine.forward(blobs='data')
        assert (sums['data'] == i).all() and sums['data'].shape == (1, 2, 3 + i, 4)
        mine.backward()


def test_a_planned_solver_equals_pycaffes(folder):
    (folder / 'net.prototxt').write_text(COUNT + python('s', 'sum', 'b', 'Scale'))
    (folder / 'solver.prototxt').write_text(
        'net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" random_seed: 3')
    losses = []
    for make in partial(Solver, net_class=UserNet), caffe.SGDSolver:
        solver = make('solver.prototxt')
        solver.step(3)
        losses.append(float((solver if make is not caffe.SGDSolver else solver._solver).loss))
    assert losses[0] == pytest.approx(losses[1], 1e-6) and losses[0]


def test_a_data_layer_counts_passes(folder):
    ours = net(folder, COUNT)
    for i in 2, 3, 4:
        ours.forward()
        assert ours.blobs['data'].shape == (1, 2, 3 + i, 4) and (ours.blobs['data'].data == i).all()
        assert ours.blobs['a'].shape == (1, 3, 3 + i, 4)
        ours.backward()
    ours.forward(start='a')
    assert (ours.blobs['data'].data == 4).all()


def test_a_solver_learns_through_them(folder):
    (folder / 'net.prototxt').write_text(OURS)
    (folder / 'solver.prototxt').write_text('net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" '
                                            'test_iter: 1 test_interval: 1000')
    solver = caffe.SGDSolver('solver.prototxt')
    solver.net.blobs['data'].data[...] = solver.net.blobs['target'].data[...] = 1
    losses = [float(solver.net.forward()['loss'][0])]
    for _ in range(5):
        solver.step(1)
        losses.append(float(solver.net.blobs['loss'].data[0]))
    assert losses[-1] < losses[1] and solver.net.params['s'][0].data[0] != 3
    assert (solver.test_nets[0].params['s'][0].data == solver.net.params['s'][0].data).all()
    solver.net.save('w.caffemodel')
    again = net(folder, OURS)
    again.copy_from('w.caffemodel')
    assert again.params['s'][0].data == solver.net.params['s'][0].data


def test_what_is_wrong(folder):
    assert_facts(message(net, folder, python('x', '', 'data', 'A', module='none_such')),
                 f"{folder}/net.prototxt:1: layer 'x' (Python)", "'none_such'", 'none_such.py',
                 'voc_layers.VOCSegDataLayer', 'voc_layers.SBDDSegDataLayer',
                 'digit_layers.DigitDataLayer', 'm2nist_layers.M2nistDataLayer',
                 'm2nist_layers.M2nistDigitDataLayer')
    assert "has no class 'Cuont'" in message(net, folder, python('x', '', 'data', 'Cuont'))
    for name in 'caffe', '__name__':
        assert f"'{name}' of module 'mine' is " in message(
            net, folder, python('x', '', 'data', name))
    assert_facts(message(net, folder, PAIR + python('loss', 'a', 'loss', 'SquareLoss')), '',
                 "layer 'loss' (Python): setup of class 'SquareLoss' of module 'mine' raised "
                 'Exception: two bottoms', 'mine.py:24')
    for module in '', '..', 'no.such':
        assert 'there is no Python module' in message(
            net, folder, python('x', '', 'data', 'A', module=module))


def test_phase_and_several_tops(folder):
    text = 'force_backward: true ' + inputs(data=(2, 3, 4)) \
        + python('one', 'data', 'phase b', 'Phase', param='10') \
        + python('two', 'b', 'again c', 'Phase', param='0.5')
    for phase in caffe.TRAIN, caffe.TEST:
        ours = net(folder, text, phase)
        assert ours.forward()['phase'] == phase == ours.blobs['again'].data
        own = net(folder, text.replace('name: "one"', 'name: "one" phase: TEST'), phase)
        assert own.forward()['phase'] == caffe.TEST         # the layer's own wins
        for shape in (2, 3, 4), (5, 5, 5, 5), (7,):
            ours.blobs['data'].reshape(*shape)
            ours.blobs['data'].data[...] = 3
            ours.forward()
            assert ours.blobs['c'].shape == shape and (ours.blobs['c'].data == 15).all()
            ours.blobs['c'].diff[...] = 2
            assert (ours.backward()['data'] == 10).all()


def failing(where):
    return 'force_backward: true ' + inputs(data=(2, 3)) \
        + python('x', 'data', 'phase b', 'Fails', param=where)


@pytest.mark.parametrize('where', ['forward', 'backward'])
def test_the_layers_own_errors_come_through(where, folder):
    """As in pycaffe: a script may wait for one."""
    ours = net(folder, failing(where))
    with pytest.raises(Exception, match=f'^{where}$') as caught:
        ours.forward()
        assert where == 'backward'
        ours.backward()
    assert caught.type is sys.modules['mine'].Mine


@pytest.mark.parametrize('where', ['setup', 'reshape', 'forward', 'backward'])
def test_errors_name_layer_and_class(where, folder):
    """Of a net that is made, and of one that runs by plans, as the commands' do."""
    (folder / 'net.prototxt').write_text(failing(where))

    def use():
        ours = UserNet.read('net.prototxt', caffe.TRAIN)
        assert where not in ('setup', 'reshape')        # which making the net calls
        ours.forward(data=torch.zeros(2, 3))
        assert where == 'backward'
        ours.backward(phase=torch.ones(()), b=torch.ones(2, 3))
    told = message(use)
    assert (f"layer 'x' (Python): {where} of class 'Fails' of module 'mine' raised Mine: {where} "
            f'(at {folder}/mine.py:') in told


def test_a_layer_without_forward_is_no_layer(folder):
    ours = net(folder, inputs(data=(2, 3)) + python('x', 'data', 'b', 'Unfinished'))
    with pytest.raises(AttributeError, match=r"layer 'x'.*'Unfinished'.* has no forward") as caught:
        ours.forward()
    assert isinstance(caught.value, FcnError)


WRONG = """
import caffe

class NoReshape(caffe.Layer):
    pass

class Good(caffe.Layer):
    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)
    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data

class NoSetup(Good):
    setup = None

class NoBackward(Good):
    pass

class Init(Good):
    def __init__(self):
        pass

class Blobs(Good):
    def setup(self, bottom, top):
        self.blobs = [3]

class BlobsAdded(Good):
    def setup(self, bottom, top):
        self.blobs.append('x')

class Shape(Good):
    def reshape(self, bottom, top):
        top[0].reshape('x')

class Huge(Good):
    def reshape(self, bottom, top):
        top[0].reshape(10 ** 9, 10 ** 9)

class Second(Good):
    def reshape(self, bottom, top):
        top[1].reshape(1)

class Abstract(Good):
    def setup(self, bottom, top):
        raise NotImplementedError

class Longer(Good):
    def setup(self, bottom, top):
        top.append(None)
        return 5
"""


@pytest.mark.parametrize('kind, wanted', [
    ('NoReshape', 'has no reshape'), ('NoSetup', 'has no setup'), ('Init', '__init__ of class'),
    ('Blobs', 'self.blobs'), ('BlobsAdded', 'self.blobs'), ('Shape', 'reshape of class'),
    ('Huge', 'reshape of class'), ('Second', 'raised IndexError'),
    ('Abstract', 'setup of class \'Abstract\' of module \'wrong\' raised NotImplementedError (at')])
def test_classes_that_are_wrong(folder, kind, wanted):
    (folder / 'wrong.py').write_text(WRONG)
    text = inputs(data=(2, 3)) + python('x', 'data', 'b', kind, module='wrong')
    try:
        assert_facts(message(net, folder, text), '', "layer 'x' (Python)", f"'{kind}'", wanted)
    finally:
        sys.modules.pop('wrong', None)


def test_what_a_method_returns_is_ignored(folder):
    (folder / 'wrong.py').write_text(WRONG)
    ours = net(folder, 'force_backward: true ' + inputs(data=(2, 3)) + python(
        'x', 'data', 'b', 'Longer', module='wrong'))
    ours.blobs['data'].data[...] = 2
    assert (ours.forward()['b'] == 2).all()
    with pytest.raises(AttributeError, match=r"layer 'x'.*has no backward"):
        ours.backward()
    sys.modules.pop('wrong', None)


# What is imported

@pytest.fixture
def packages(folder):
    """Packages whose import leaves a trace, and the names of those imported."""
    for name in 'p', 'p/q':
        (folder / name).mkdir()
        (folder / name / '__init__.py').write_text('open("ran", "a").write(__name__ + " ")\n')
    (folder / 'p' / 'plain').mkdir()                                # a namespace in a package
    for name in 'alone.py', 'p/q/r.py', 'p/plain/r.py':
        (folder / name).write_text('open("ran", "a").write(__name__ + " ")\n' + MODULE)

    def ran():
        return (folder / 'ran').read_text().split() if (folder / 'ran').exists() else []
    yield ran
    for name in [name for name in sys.modules if name.partition('.')[0] in ('p', 'alone')]:
        del sys.modules[name]


def user(kind, module):
    return inputs(data=(2, 3)) + python('x', 'data', 'phase b', kind, module=module, param='1')


@pytest.mark.parametrize('module', ['p.q.none', 'p.none.r', 'p.q.r.s', 'p.plain.none', 'none.p',
                                    'p..q', '.p', 'p.', 'p/q/none.py', 'alone.r'])
def test_an_unknown_modules_packages_are_not_imported(folder, packages, module):
    assert "layer 'x' (Python)" in message(net, folder, user('Phase', module))
    assert packages() == []


@pytest.mark.parametrize('module', ['alone', 'p.q.r', 'p.plain.r', 'this', 'antigravity'])
def test_a_module_without_the_class_is_not_imported(folder, packages, module, capsys):
    assert f"module '{module}'" in message(net, folder, user('Phaze', module))
    assert packages() == [] and 'antigravity' not in sys.modules and not capsys.readouterr().out


@pytest.mark.parametrize('module, ran', [
    ('alone', ['alone']), ('p.q.r', ['p', 'p.q', 'p.q.r']), ('p.plain.r', ['p', 'p.plain.r'])])
def test_a_modules_packages_are_imported_for_its_class(folder, packages, module, ran):
    assert net(folder, user('Phase', module)).forward()['phase'] == caffe.TRAIN
    assert packages() == ran


@pytest.mark.parametrize('source', [
    'from mine import *', 'globals()["Phase"] = __import__("mine").Phase',
    'from mine import Phase', 'import mine\nPhase = mine.Phase', 'import mine as Phase',
    'import mine\ndef __getattr__(name):\n    return getattr(mine, name)'])
def test_classes_that_a_module_gets_from_elsewhere(folder, packages, source):
    (folder / 'alone.py').write_text(source)
    if source.endswith('as Phase'):
        assert 'no caffe.Layer' in message(net, folder, user('Phase', 'alone'))
    else:
        assert net(folder, user('Phase', 'alone')).forward()['phase'] == caffe.TRAIN


@pytest.mark.parametrize('source, wanted', [
    ('class Phase(:', 'SyntaxError'), ('Phase = 1 / 0', 'ZeroDivisionError'),
    ('import no_such_module\nPhase = 1', "No module named 'no_such_module'"),
    ('Phase = "a\0b"', 'null bytes')])
def test_modules_that_cannot_be_imported(folder, packages, source, wanted):
    (folder / 'alone.py').write_text(source)
    assert_facts(message(net, folder, user('Phase', 'alone')), '', "layer 'x' (Python)",
                 "the import of class 'Phase' of module 'alone'", wanted)


# Without users' code

@pytest.fixture
def no_user_code():
    caffe.set_user_code(False)
    yield
    caffe.set_user_code(True)


@pytest.mark.parametrize('module', ['alone', 'p.q.r', 'none', 'mine', 'os'])
def test_user_code_can_be_switched_off(folder, packages, no_user_code, module):
    for make in partial(net, folder), lambda text: UserNet.read('net.prototxt', caffe.TEST):
        told = message(make, user('Phase', module))
        assert "net.prototxt:2: layer 'x' (Python): class 'Phase' of" in told
        assert 'is user code' in told and 'set_user_code(True)' in told
    assert packages() == []


def test_layers_of_this_project_stay_and_stand_in(folder, no_user_code):
    """A module of that name on the path is not imported."""
    (folder / 'digit_layers.py').write_text('raise SystemExit')
    ours = net(folder, layer('Python', 'd', '', 'data label', 'python_param { module: '
                             '"digit_layers" layer: "DigitDataLayer" param_str: '
                             '"{\'split\': \'val\', \'batch_size\': 1}" }'))
    assert ours.forward()['data'].shape == (1, 3, 224, 224)


@pytest.mark.parametrize('words', [
    ['caffe', 'test', '--model=net.prototxt', '--weights=x', '--no-user-code'],
    ['caffe', '--no-user-code', 'time', '--model=net.prototxt'],
    ['caffe', 'train', '--solver=solver.prototxt', '--nouser_code'],
    ['caffe', 'extract_features', 'x', 'net.prototxt', 'b', 'db', '1', 'lmdb', '--no-user-code'],
    ['pycaffe', '--no-user-code', 'script.py'],
    ['infer', 'photo.png', '--net', 'net.prototxt', '--weights', 'x', '--no-user-code'],
    ['eval', '--net', 'net.prototxt', '--weights', 'x', '--no-user-code']])
def test_the_commands_refuse_it(folder, packages, words, capsys):
    (folder / 'net.prototxt').write_text(user('Phase', 'alone'))
    (folder / 'solver.prototxt').write_text('net: "net.prototxt" base_lr: 1 lr_policy: "fixed"')
    (folder / 'script.py').write_text('import caffe\ncaffe.Net("net.prototxt", caffe.TEST)')
    (folder / 'photo.png').touch()
    shutil.copy(DATA / 'weights/v1.caffemodel', folder / 'x')
    with pytest.raises(SystemExit):
        main(words)
    told = capsys.readouterr().err
    caffe.set_user_code(True)
    assert "layer 'x' (Python): class 'Phase' of module 'alone' is user code" in told
    assert packages() == []
    if '--no-user-code' in words and words[0] != 'pycaffe':
        assert 'If you trust it, leave out --no-user-code.' in told
