"""--dialect and --define of the commands that read a net, a solver or weights of the user's own."""

import argparse

import h5py
import numpy as np
import pytest
from packages import required
from small_runs import SOLVER, assert_error, small_stage
from small_runs import call as call_tool
from texts import FILE, conv, inputs, layer
from wire_format import blob, save, v1

import fcn_repro
import fcn_repro.pycaffe as caffe
from fcn_repro import doctor
from fcn_repro.cli.caffe import ACTIONS
from fcn_repro.cli.caffe import load as load_action
from fcn_repro.cli.main import COMMANDS, load, main
from fcn_repro.formats.weights import read_extra, read_weights
from fcn_repro.net import Net
from fcn_repro.proto.prototxt import parse_net, read_net
from fcn_repro.pycaffe.mode import set_dialect

X = inputs(data=(1, 3, 8, 8))
CROP = X + conv('c_${EXP}', 'data', kernel=3, field='pad: 6') \
    + layer('Crop', 'score', 'c_${EXP} data', 'score')


def call(capsys, *words):
    return call_tool(capsys, 'fcn-repro', main=lambda: main([*words]))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'n.prototxt').write_text(CROP)
    Net.of(parse_net(CROP, FILE, 'hed', {'EXP': 'a'}), 'TEST').save('w.caffemodel')
    return tmp_path


def test_an_undefined_name(capsys):
    words = 'draw', 'n.prototxt', '--text'
    done = call(capsys, *words)
    assert done.status == 1 and 'Give each of them as --define EXP=VALUE.' in done.err
    assert '${EXP} (line 2)' in done.err
    assert 'c_voc12' in call(capsys, *words, '--define', 'EXP=voc12').out
    assert_error(call(capsys, *words, '--define', 'EXP'), 'Give it as --define NUM_LABELS=21.')
    assert_error(call(capsys, *words, '--define', 'EXP="'), 'Give a number or a plain word.')


def test_a_dialect_that_the_text_does_not_tell(here, capsys):
    words = 'export', '--net', 'n.prototxt', '--weights', 'w.caffemodel', '--python', '--out', \
        'net.py', '--force', '--define', 'EXP=a'
    assert_error(call(capsys, *words), 'Give --dialect NAME, one of bvlc, future, crfasrnn-master, '
                 'hed, parsenet.')
    for name in 'hed', 'bvlc':
        assert call(capsys, *words, '--dialect', name).status == 0
        assert ('5:5 + ' in (here / 'net.py').read_text()) == (name == 'hed')
    assert_error(call(capsys, *words, '--dialect', 'hedd'), "Did you mean 'hed'?")


# ---- every command -------------------------------------------------------------------------------

OF_THE_PACKAGE = 'staged', 'paper', 'make-prototxt'     # whose nets are this project's
READS = {'net', 'solver', 'weights', 'model', 'input_net_proto_file', 'script'}
ONLY_WEIGHTS = 'convert'


@pytest.mark.parametrize('name', [name for name in COMMANDS if name != 'caffe'])
def test_every_command_that_reads_one_has_them(name):
    parser = argparse.ArgumentParser()
    load(name).add_arguments(parser)
    names = {action.dest for action in parser._actions}
    reads = (bool(names & READS) or name == ONLY_WEIGHTS) and name not in OF_THE_PACKAGE
    assert ('dialect' in names) == reads and ('define' in names) == (reads and
                                                                     name != ONLY_WEIGHTS)


@pytest.mark.parametrize('action', ACTIONS)
def test_every_action_of_caffe_that_reads_one_has_them(action):
    module = load_action(action)
    if hasattr(module, 'FLAGS'):
        names = {flag.name for flag in module.FLAGS}
        reads = bool(names & READS) or 'PROTO' in module.USAGE or action.startswith('upgrade_')
        assert ('dialect' in names) == reads
        assert ('define' in names) == (reads and 'binary' not in action)


def assert_undefined(done):
    """An error that lists ${EXP} with its line, with a remedy in the words of the command."""
    assert done.status == 1 and '${EXP} (line ' in done.err, done
    assert 'Give each of them as --define EXP=VALUE.' in done.err, done


GIVEN = '--define', 'EXP=a', '--dialect', 'hed'
FLAGS = '--define=EXP=a', '--define', 'N=2', '--dialect=hed'


def golden(path, **attrs):
    with h5py.File(path, 'w') as file:
        file.attrs.update(phase='TEST', **attrs)
        file['inputs/data'] = np.ones((1, 3, 8, 8), 'f4')
        file['blobs/data'] = np.ones((1, 3, 8, 8), 'f4')
    return str(path)


def test_check_parity(here, capsys):
    words = 'check-parity', 'n.prototxt', 'w.caffemodel', golden(here / 'g.h5')
    assert_undefined(call(capsys, *words))
    assert call(capsys, *words, *GIVEN).status == 0
    made = 'check-parity', 'n.prototxt', 'w.caffemodel', golden(here / 'h.h5', fork='pspnet')
    assert_error(call(capsys, *made, *GIVEN), "a fork of the dialect 'pspnet', not 'hed'")


def test_cast(here, capsys):
    text = CROP + layer('InnerProduct', 'ip', 'score', 'ip', 'inner_product_param { '
                        'num_output: 2 weight_filler { type: "gaussian" } }')
    (here / 'c.prototxt').write_text(text)
    Net.of(parse_net(text, FILE, 'hed', {'EXP': 'a'}), 'TEST').save('c.caffemodel')
    words = 'cast', 'c.prototxt', 'c.caffemodel', '--out', 'fcn'
    assert_error(call(capsys, *words, '--define', 'EXP=a'), 'Give --dialect NAME, one of bvlc')
    assert call(capsys, *words, *GIVEN).status == 0


def test_doctor(here, capsys):
    words = 'doctor', '--net', 'n.prototxt', '--weights', 'w.caffemodel', '--static'
    assert_undefined(call(capsys, *words))
    done = call(capsys, *words, *GIVEN)
    assert 'cannot be used' not in done.out and not done.err, done
    assert_error(call(capsys, 'doctor', 'runs/x', *GIVEN), 'Leave out --dialect.')


TRAINED = '''
layer { name: "c_${EXP}" type: "Convolution" bottom: "x" top: "c"
  convolution_param { num_output: ${N} kernel_size: 3 pad: 6 weight_filler { type: "xavier" } } }
layer { name: "y" type: "Crop" bottom: "c" bottom: "x" top: "y" }
layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "t" top: "loss" }
'''
DUMMY = layer('DummyData', 'd', '', 'x t', 'dummy_data_param { shape { dim: 1 dim: 2 dim: 8 '
              'dim: 8 } }')


def test_caffes_actions(here, capsys):
    (here / 't.prototxt').write_text(DUMMY + TRAINED)
    (here / 's.prototxt').write_text('net: "t.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: '
                                     '1 snapshot_prefix: "s_${EXP}"')
    for words in (['train', '--solver=s.prototxt'], ['time', '--model=t.prototxt'],
                  ['test', '--model=t.prototxt', '--weights=s_a_iter_1.caffemodel']):
        tail = [] if words[0] == 'train' else ['--iterations=1']
        assert_undefined(call(capsys, 'caffe', *words, *tail))
        assert call(capsys, 'caffe', *words, *tail, *FLAGS).status == 0
    unnamed = call(capsys, 'caffe', 'time', '--model=t.prototxt', *FLAGS[:3])
    assert unnamed.status == 1 and 'Give --dialect NAME, one of bvlc' in unnamed.err
    assert 'c_a' in read_weights('s_a_iter_1.caffemodel')
    required('lmdb')
    features = 'extract_features', 's_a_iter_1.caffemodel', 't.prototxt', 'y', 'out', '1', 'lmdb'
    assert_undefined(call(capsys, 'caffe', *features))
    assert call(capsys, 'caffe', *features, *FLAGS).status == 0
    assert call(capsys, 'caffe', 'draw_net', 't.prototxt', 'o.dot', '--define', 'EXP=a', '--define',
                'N=2').status == 0 and 'c_a' in (here / 'o.dot').read_text()


OLD = 'layers { name: "i" type: INTERP bottom: "${EXP}" top: "i" interp_param { zoom_factor: 2 } }'


def test_caffes_upgrades(here, capsys):
    (here / 'o.prototxt').write_text(OLD)
    words = 'caffe', 'upgrade_net_proto_text', 'o.prototxt', 'n2.prototxt'
    assert_undefined(call(capsys, *words))
    assert_error(call(capsys, *words, '--define=EXP=x', '--dialect=bvlc'), 'deeplab-v1')
    assert call(capsys, *words, '--define=EXP=x').status == 0
    made = read_net('n2.prototxt').message.layer[0]
    assert (made.type, made.interp_param.zoom_factor) == ('Interp', 2)
    one = blob(np.float32([1]))
    save(here / 'o.caffemodel', v1('b', 4, one) + v1('i', 41) + v1('p', 42) + v1('m', 43))
    words = 'caffe', 'upgrade_net_proto_binary', 'o.caffemodel', 'n2.caffemodel'
    assert call(capsys, *words).status == 0                 # only DeepLab's first has all four
    assert [each.type for each in read_weights('n2.caffemodel').layers] == [
        'Convolution', 'Interp', 'Padding', 'MatWrite']
    save(here / 'o.caffemodel', v1('b', 4, one) + v1('i', 41))
    assert_error(call(capsys, *words), 'deeplab-v1', 'parsenet', 'deconvnet')
    assert call(capsys, *words, '--dialect=parsenet').status == 0
    assert read_weights('n2.caffemodel').types['i'] == 'ParseOutput'
    (here / 's.prototxt').write_text('net: "${EXP}" solver_type: ADAM')
    words = 'caffe', 'upgrade_solver_proto_text', 's.prototxt', 's2.prototxt'
    assert_undefined(call(capsys, *words))
    assert call(capsys, *words, '--define=EXP=x').status == 0
    assert 'type: "Adam"' in (here / 's2.prototxt').read_text()


def test_convert_names_old_numbers_by_dialect(here, capsys):
    one = blob(np.float32([1]))
    save(here / 'o.caffemodel', v1('b', 4, one) + v1('d', 39, one))
    assert 'Deconvolution' in call(capsys, 'convert', '--inspect', 'o.caffemodel').out
    save(here / 'o.caffemodel', v1('b', 4, one) + v1('n', 43, one, one))
    assert 'BN' in call(capsys, 'convert', '--inspect', 'o.caffemodel').out     # DeconvNet's alone
    words = 'convert', 'o.caffemodel', 'n.caffemodel', '--dialect'
    assert_error(call(capsys, *words, 'hed'), "43 of the old (V1) format is MatWrite in deeplab-v1",
                 "BN in deconvnet", "not in the dialect 'hed'", 'Give --dialect NAME, one of')
    assert call(capsys, *words, 'deconvnet').status == 0
    assert read_weights('n.caffemodel').types['n'] == 'BN'
    save(here / 'o.caffemodel', v1('n', 99, one))
    assert_error(call(capsys, *words, 'hed'), 'no dialect has the type number 99')


def test_pycaffe_scripts(here, capsys):
    (here / 'run.py').write_text('import caffe\nnet = caffe.Net("n.prototxt", caffe.TEST, weights='
                                 '"w.caffemodel")\nprint(list(net.params), net.forward()["score"]'
                                 '.shape)')
    assert_undefined(call(capsys, 'pycaffe', 'run.py'))
    try:
        assert "['c_a'] (1, 3, 8, 8)" in call(capsys, 'pycaffe', *GIVEN, 'run.py').out
        (here / 't.prototxt').write_text(DUMMY + TRAINED)
        (here / 's.prototxt').write_text('net: "t.prototxt" base_lr: 0.1 lr_policy: "fixed"')
        set_dialect('hed', {'EXP': 'a', 'N': 2})
        solver = caffe.get_solver('s.prototxt')
        solver.step(1)
        assert 'c_a' in solver.net.params
    finally:
        set_dialect()


def test_load_and_segment(here):
    options = {'dialect': 'hed', 'define': {'EXP': 'a'}}
    picture = np.zeros((8, 8, 3), np.uint8)
    model = fcn_repro.load('n.prototxt', 'w.caffemodel', **options)
    labels = fcn_repro.segment(picture, 'n.prototxt', 'w.caffemodel', **options)
    assert (model.segment(picture) == labels).all()
    for more in {}, {'define': options['define']}:
        with pytest.raises(fcn_repro.FcnError, match=r'EXP|one of bvlc'):
            fcn_repro.load('n.prototxt', 'w.caffemodel', **more)


# ---- training ------------------------------------------------------------------------------------

def test_training_by_a_solver_of_a_fork(tmp_path, monkeypatch, capsys):
    folder, _ = small_stage(tmp_path, monkeypatch, 'small')
    (folder / 'deploy.prototxt').write_text(X)      # a run has one
    net = (folder / 'train.prototxt').read_text()
    first = net.index('name: "') + len('name: "')
    own = tmp_path / 'own'
    own.mkdir()
    (own / 'train.prototxt').write_text(net[:first] + '${EXP}' + net[first:])
    (own / 'solver.prototxt').write_text(SOLVER.replace('"train.prototxt"', '"own/train.prototxt"'))
    words = 'train', 'small', '--iterations', '1', '--solver', 'own/solver.prototxt'
    assert_undefined(call(capsys, *words))
    done = call(capsys, *words, '--define', 'EXP=a', '--dialect', 'pspnet')
    assert done.status == 0, done
    assert read_extra('runs/small/train_iter_1.caffemodel.h5')['dialect'] == 'pspnet'
    subject = doctor.of_run('runs/small')           # whose texts tell no dialect
    assert subject.net.graph.dialect.name == subject.solver.dialect.name == 'pspnet'
    again = call(capsys, *words, '--define', 'EXP=a', '--dialect', 'deeplab', '--fresh')
    assert again.status == 0
    again = call(capsys, *words, '--define', 'EXP=a', '--dialect', 'pspnet')
    assert again.status == 1 and 'dialect deeplab-v2, EXP=a' in again.err, again
    assert_error(call(capsys, 'train', 'small', '--dialect', 'hed'), 'Leave out --dialect.')


def test_what_was_found_is_said(here, capsys):
    text = X + layer('Interp', 'i', 'data', 'i', 'interp_param { zoom_factor: 2 }') \
        + conv('score', 'i')
    (here / 'i.prototxt').write_text(text)
    Net.of(parse_net(text, FILE), 'TEST').save('i.caffemodel')
    words = 'export', '--net', 'i.prototxt', '--weights', 'i.caffemodel', '--python', '--out', \
        'net.py', '--force'
    said = "i.prototxt is read in the dialect 'deeplab-v2', found by Interp"
    assert said in call(capsys, *words).out
    assert 'is read in' not in call(capsys, *words, '--dialect', 'pspnet').out
    assert "read in the dialect 'deeplab-v2'" in call(capsys, 'draw', 'i.prototxt').err
