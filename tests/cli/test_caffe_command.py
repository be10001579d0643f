"""`fcn-repro caffe`: train, test, time, resuming, signals, and the log as parsers read it.

The tree is laid out as Caffe's own: the command runs from its root, and so start all paths.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import fcn_repro.pycaffe as caffe
from fcn_repro import glog
from fcn_repro.cli import main
from fcn_repro.cli.caffe import ACTIONS, load, run_words
from fcn_repro.cli.caffe.gflags import Flag, parse
from fcn_repro.errors import FcnError
from fcn_repro.lock import locked
from fcn_repro.net import Net

HEAD = r'[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w./]+:\d+\] '
NET = '''
name: "Tiny"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
        hdf5_data_param { source: "examples/tiny/list.txt" batch_size: 16 } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
        hdf5_data_param { source: "examples/tiny/list.txt" batch_size: 10 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "ip" type: "InnerProduct" bottom: "conv1" top: "ip"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip" bottom: "label" top: "accuracy"
        include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
'''
SOLVER = '''
net: "examples/tiny/net.prototxt"
test_iter: 3
test_interval: 20
base_lr: 0.01
momentum: 0.9
weight_decay: 0.0005
lr_policy: "inv"
gamma: 0.0001
power: 0.75
display: 10
max_iter: 60
snapshot: 40
snapshot_prefix: "examples/tiny/tiny"
solver_mode: GPU
'''
PATH = 'examples/tiny'
TRAIN = ['train', f'--solver={PATH}/solver.prototxt']
STATE = f'{PATH}/tiny_iter_40.solverstate'
MODEL = f'{PATH}/tiny_iter_60.caffemodel'


@pytest.fixture(autouse=True)
def own_log():
    """Leave the package's loggers as they were."""
    handlers, level = list(glog.ROOT.handlers), glog.ROOT.level
    yield
    glog.ROOT.handlers[:] = handlers
    glog.ROOT.setLevel(level)
    glog.CAFFE.setLevel(logging.WARNING)


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Caffe's root, where we then are."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / PATH
    folder.mkdir(parents=True)
    (folder / 'net.prototxt').write_text(NET)
    (folder / 'solver.prototxt').write_text(SOLVER)
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 48)
    with h5py.File(folder / 'a.h5', 'w') as file:
        file['data'] = (random.normal(size=(48, 1, 8, 8)) + labels[:, None, None, None]).astype('f')
        file['label'] = labels.astype('f')
    (folder / 'list.txt').write_text(f'{PATH}/a.h5\n')
    return tmp_path


@pytest.fixture
def log(root, capfd):
    """A function that runs the command, and returns what it wrote to stderr."""
    def run(*words):
        capfd.readouterr()
        run_words(words)
        return capfd.readouterr().err
    return run


@pytest.fixture
def trained(log):
    """The log of a run of 60 iterations."""
    return log(*TRAIN)


def change(root, *replacements, file='solver.prototxt'):
    path = root / PATH / file
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)


def refused(words, *parts):
    with pytest.raises(FcnError) as caught:
        run_words(words)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


# The log

def test_lines_in_caffes_order(trained):
    """One of each kind that parsers look for, with the file that Caffe names there."""
    at = 0
    for line in (r'caffe.cpp:\d+\] Use CPU.',
                 r'solver.cpp:\d+\] Initializing solver from parameters:\s*\ntest_iter: 3',
                 rf'solver.cpp:\d+\] Creating training net from net file: {PATH}/net.prototxt',
                 r'net.cpp:\d+\] Initializing net from parameters:\s*\nname: "Tiny"',
                 r'layer_factory.hpp:\d+\] Creating layer conv1',
                 r'net.cpp:\d+\] Creating Layer conv1', r'net.cpp:\d+\] conv1 <- data',
                 r'net.cpp:\d+\] conv1 -> conv1', r'net.cpp:\d+\] Setting up conv1',
                 r'net.cpp:\d+\] Top shape: 16 4 6 6 \(2304\)',
                 r'net.cpp:\d+\] Memory required for data: 13376',
                 r'net.cpp:\d+\] relu1 -> conv1 \(in-place\)', r'Top shape: \(1\)\n',
                 r'net.cpp:\d+\]     with loss weight 1\n',
                 r'net.cpp:\d+\] conv1 needs backward computation.',
                 r'net.cpp:\d+\] data does not need backward computation.',
                 r'net.cpp:\d+\] This network produces output loss',
                 r'net.cpp:\d+\] Network initialization done.',
                 rf'solver.cpp:\d+\] Creating test net \(#0\) specified by net file: {PATH}/net',
                 r'net.cpp:\d+\] label_data_1_split -> label_data_1_split_1',
                 r'net.cpp:\d+\] accuracy does not need backward computation.',
                 r'solver.cpp:\d+\] Solver scaffolding done.',
                 r'caffe.cpp:\d+\] Starting Optimization', r'solver.cpp:\d+\] Solving Tiny',
                 r'solver.cpp:\d+\] Learning Rate Policy: inv',
                 r'solver.cpp:\d+\] Iteration 0, Testing net \(#0\)',
                 r'solver.cpp:\d+\]     Test net output #0: accuracy = [\d.]+\n',
                 r'solver.cpp:\d+\]     Test net output #1: loss = ([\d.]+) \(\* 1 = \1 loss\)\n',
                 r'solver.cpp:\d+\] Iteration 0 \(\S+ iter/s, \S+s/10 iters\), loss = [\d.]+\n',
                 r'solver.cpp:\d+\]     Train net output #0: loss = ([\d.]+) \(\* 1 = \1 loss\)\n',
                 r'sgd_solver.cpp:\d+\] Iteration 0, lr = 0.01\n',
                 rf'solver.cpp:\d+\] Snapshotting to binary proto file {PATH}/tiny_iter_40.caffemo',
                 rf'sgd_solver.cpp:\d+\] Snapshotting solver state to binary proto file {STATE}',
                 r'solver.cpp:\d+\] Iteration 60, loss = [\d.]+\n',
                 r'solver.cpp:\d+\] Optimization Done.', r'caffe.cpp:\d+\] Optimization Done.'):
        found = re.compile(line).search(trained, at)
        assert found, line
        at = found.start()
    assert 'solver_mode is GPU' in trained and trained.count('\nW') == 0    # the first line alone


def test_parsers_find_their_columns(trained):
    """As BVLC's parse_log.py, extract_seconds.py (first fields) and parse_log.sh (columns) do."""
    lines = trained.splitlines()
    start = next(i for i, line in enumerate(lines) if '] Solving ' in line)
    assert all(re.match(HEAD, line) for line in lines[start:])
    iteration, rows = None, {'Train': [], 'Test': []}
    for line in lines[start:]:
        if found := re.search(r'Iteration (\d+)', line):
            iteration = int(found[1])
        if found := re.search(r'(Train|Test) net output #(\d+): (\S+) = ([\.\deE+-]+)', line):
            rows[found[1]].append((iteration, found[3], float(found[4])))
    assert [i for i, _, _ in rows['Train']] == [0, 10, 20, 30, 40, 50]
    assert [(i, name) for i, name, _ in rows['Test']] == [
        (i, name) for i in (0, 20, 40, 60) for name in ('accuracy', 'loss')]
    assert rows['Test'][-2][2] == 1
    rates = [line.split() for line in lines if ', lr = ' in line]
    assert rates[0][8] == '0.01' and len(rates) == 6
    tests = [line.split() for line in lines if 'Test net output #0' in line]
    assert [float(words[10]) for words in tests] == [value for _, name, value in rows['Test']
                                                     if name == 'accuracy']
    losses = [line.split(' = ')[1] for line in lines if ', loss = ' in line]
    assert len(losses) == 7 and all(map(float, losses))


def test_levels_and_files(root, log, monkeypatch):
    monkeypatch.setenv('GLOG_minloglevel', '1')
    assert re.fullmatch(HEAD + 'solver_mode is GPU.*\n', log(*TRAIN))
    assert log(*TRAIN, '--minloglevel=2') == ''
    monkeypatch.delenv('GLOG_minloglevel')
    monkeypatch.setenv('GLOG_log_dir', '.')
    both = log(*TRAIN)
    written, = root.glob(f'caffe.*.log.INFO.*.{os.getpid()}')
    head, rest = written.read_text().split('threadid file:line] msg\n')
    assert head.startswith('Log file created at: ') and rest == both
    monkeypatch.setenv('GLOG_logtostderr', '1')
    log(*TRAIN)
    assert len(list(root.glob('caffe.*.log.*'))) == 1
    assert (root / 'caffe.INFO').read_text() == head + 'threadid file:line] msg\n' + rest
    monkeypatch.setenv('GLOG_minloglevel', '')
    assert glog.settings()['minloglevel'] == 0
    monkeypatch.setenv('GLOG_minloglevel', 'much')
    refused(TRAIN, "GLOG_minloglevel is 'much'")
    refused([*TRAIN, '--minloglevel=0', '--logtostderr=0', '--log_dir=gone'],
            'the log cannot be written')


def test_our_own_log_has_no_set_up_lines(root, caplog):
    caplog.set_level(logging.INFO)
    Net.read(f'{PATH}/net.prototxt', caffe.TEST)
    assert not caplog.text
    caffe.init_log()
    Net.read(f'{PATH}/net.prototxt', caffe.TEST)
    assert 'Network initialization done.' in caplog.text


def test_pycaffes_log(root, capfd, monkeypatch):
    caffe.init_log()
    solver = caffe.get_solver(f'{PATH}/solver.prototxt')
    solver.step(11)
    caffe.log('a word')
    err = capfd.readouterr().err
    assert re.search(r'solver.cpp:\d+\] Iteration 10 \(\S+ iter/s, \S+s/10 iters\), loss = ', err)
    assert re.search(HEAD + 'a word\n', err) and '_caffe.cpp:' in err
    monkeypatch.setenv('GLOG_minloglevel', '2')
    caffe.init_log()
    solver.step(10)
    assert capfd.readouterr().err == ''


# Resuming

def test_a_resumed_run_ends_as_the_whole_one(root, log, trained):
    whole = Path(MODEL).read_bytes()
    Path(MODEL).unlink()
    said = log(*TRAIN, f'--snapshot={STATE}')
    assert Path(MODEL).read_bytes() == whole
    assert f'Resuming from {STATE}' in said and 'Restoring previous solver status' in said
    assert '\nW' not in said


def test_whatever_changed_one_line_says_it(root, log, trained):
    change(root, ('base_lr: 0.01', 'base_lr: 0.002'), ('0.0005', '0.001'), ('"inv"', '"fixed"'),
           ('gamma: 0.0001\npower: 0.75\n', ''))
    change(root, ('batch_size: 16', 'batch_size: 8'), ('tiny/list.txt', 'moved/list.txt'),
           file='net.prototxt')
    (root / 'examples/moved').mkdir()
    (root / 'examples/moved/list.txt').write_text((root / PATH / 'list.txt').read_text())
    said = log(*TRAIN, f'--snapshot={STATE}')
    warning, = re.findall(r'^W.* was written with other settings: (.*)$', said, re.M)
    for each in ('base_lr: 0.01 -> 0.002', 'batch_size: 16 -> 8', 'moved/list.txt',
                 'lr_policy: "inv" -> "fixed"', '; and 1 more'):
        assert each in warning
    assert 'Iteration 50, lr = 0.002' in said and 'Optimization Done' in said


def test_weights_of_another_run_are_taken(root, log, trained):
    """Caffe reads whatever lies under the name that the state gives."""
    Path(f'{PATH}/tiny_iter_40.caffemodel').write_bytes(Path(MODEL).read_bytes())
    said = log(*TRAIN, f'--snapshot={STATE}')
    assert 'iteration of the weights: 40 -> 60' in said


def test_another_net_does_not_fit(root, trained):
    change(root, ('num_output: 4', 'num_output: 5'), file='net.prototxt')
    refused([*TRAIN, f'--snapshot={STATE}'], 'another net or solver type', 'shape (4, 1, 3, 3)')


def test_states_of_our_solver_in_both_formats(root, trained):
    """In pycaffe, as `caffe train` wrote them."""
    change(root, ('solver_mode: GPU', 'snapshot_format: HDF5'), ('momentum: 0.9', 'momentum: 0.8'))
    run_words(TRAIN)
    solver = caffe.get_solver(f'{PATH}/solver.prototxt')
    for ending in '', '.h5':
        solver.restore(STATE + ending)
        assert solver.iter == 40
        solver.step(1)


def test_files_taken_for_each_other(root, trained):
    refused([*TRAIN, f'--snapshot={MODEL}'], 'no iteration count')
    refused([*TRAIN, f'--weights={STATE}'], 'is a solver state', 'Give the .caffemodel')
    change(root, ('max_iter: 60', 'max_iter: 60 snapshot_format: HDF5'))
    run_words(TRAIN)
    refused([*TRAIN, f'--snapshot={MODEL}.h5'], 'not a sol')
    refused([*TRAIN, f'--weights={STATE}.h5'], 'is a solver state')
    refused([*TRAIN, f'--weights={MODEL}', f'--snapshot={STATE}'], 'both a snapshot')


def test_remedies_of_the_command(root, trained, capfd):
    """They name what the command has, and it has no force."""
    change(root, ('base_lr: ', 'base_lr: 1e30 #'))
    for words, remedy in ([*TRAIN, f'--snapshot={MODEL}'], 'a new run, given as weights.'), (
            TRAIN, 'Lower base_lr (1e+30), or check the data'):
        with pytest.raises(SystemExit) as end:
            main.main(['caffe', *words])
        assert end.value.code == 1 and remedy in capfd.readouterr().err


def test_weights_by_comma_and_layers_left_out(root, log, trained):
    change(root, ('name: "ip"', 'name: "ip2"'), file='net.prototxt')
    said = log(*TRAIN, f'--weights={PATH}/tiny_iter_40.caffemodel,{MODEL}')
    assert said.count('] Finetuning from ') == 4 and 'Ignoring source layer ip\n' in said


def test_a_solver_whose_net_was_moved(root):
    (root / PATH / 'net.prototxt').rename(root / 'net.prototxt')
    refused(TRAIN, 'solver.prototxt:2: there is no net', f'{root}/{PATH}/net.prototxt and '
            f'{root}/{PATH}/{PATH}/net.prototxt')


# Signals

def start(root, *words):
    """A process that trains for long, once it iterates."""
    change(root, ('max_iter: 60', 'max_iter: 1000000'), ('snapshot: 40', 'snapshot: 0'),
           ('test_interval: 20', 'test_interval: 1000000'), ('display: 10', 'display: 100'))
    with open('err', 'w') as err:
        process = subprocess.Popen([sys.executable, '-m', 'fcn_repro', 'caffe', *TRAIN, *words],
                                   stderr=err)
    wait_for('sgd_solver.cpp:112] Iteration 100, lr', process)
    return process


def wait_for(pattern, process):
    end = time.monotonic() + 600
    while not re.search(pattern, Path('err').read_text(), re.DOTALL):
        assert process.poll() is None and time.monotonic() < end, Path('err').read_text()
        time.sleep(0.05)


def test_sighup_snapshots_and_sigint_stops(root):
    process = start(root)
    process.send_signal(signal.SIGHUP)
    wait_for('Snapshotting solver state.*Iteration [0-9]+, lr', process)      # a later iteration
    process.send_signal(signal.SIGINT)
    assert process.wait(600) == 0
    said = Path('err').read_text()
    assert said.count('Snapshotting solver state') == 2
    assert 'Optimization stopped early.' in said and said.endswith('Optimization Done.\n')
    assert len(list((root / PATH).glob('*.solverstate'))) == 2


def test_signals_with_other_effects(root):
    process = start(root, '--sigint_effect=none', '--sighup_effect=stop')
    process.send_signal(signal.SIGINT)
    wait_for('Iteration 300, lr', process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(600) == 0
    assert Path('err').read_text().count('Snapshotting solver state') == 1
    refused([*TRAIN, '--sigint_effect=die'], "sigint_effect is 'die'", 'snapshot, stop, none')


def test_two_runs_of_one_snapshot_prefix(root, log):
    """The second is refused while the first runs; one that writes no snapshots is not."""
    with locked(PATH, 'tiny'):
        refused(TRAIN, f'{PATH}/tiny: another run is writing files of this prefix: process '
                f'{os.getpid()} on ', 'another snapshot_prefix')
        assert not list((root / PATH).glob('tiny_iter_*'))
        change(root, ('snapshot: 40', 'snapshot_after_train: false'))
        log(*TRAIN)
    change(root, ('snapshot_after_train: false', 'snapshot: 30'), (f'"{PATH}/tiny"', '"new/a"'))
    log(*TRAIN)
    log(*TRAIN)
    assert sorted(path.name for path in (root / 'new').iterdir()) == sorted(
        f'a_iter_{i}.{kind}' for i in (30, 60) for kind in ('caffemodel', 'solverstate'))


# test, time, device_query

def test_scores(log, trained):
    said = log('test', f'--model={PATH}/net.prototxt', '-weights', MODEL, '-iterations', '3')
    values = {name: [float(v) for v in re.findall(rf'caffe.cpp:\d+\] Batch \d, {name} = (\S+)\n',
                                                  said)] for name in ('accuracy', 'loss')}
    assert values['accuracy'] == [1, 1, 1] and len(values['loss']) == 3
    mean = float(re.search(r'caffe.cpp:\d+\] Loss: (\S+)\n', said)[1])
    assert mean == pytest.approx(np.mean(values['loss']), rel=1e-4)
    assert re.search(rf'caffe.cpp:\d+\] loss = {mean:g} \(\* 1 = {mean:g} loss\)\n$', said)
    assert re.search(r'caffe.cpp:\d+\] accuracy = 1\n', said)


def test_the_table_of_times(log):
    said = log('time', f'--model={PATH}/net.prototxt', '--iterations=2', '--phase=TEST')
    rows = re.findall(r'caffe.cpp:\d+\] ( *\w+)\t(forward|backward): (\S+) ms\.\n', said)
    names = [name for name, _, _ in rows]
    assert names[::2] == names[1::2] == [f'{name:>10}' for name in (
        'data', 'label_data_1_split', 'conv1', 'relu1', 'ip', 'ip_ip_0_split', 'accuracy', 'loss')]
    assert [way for _, way, _ in rows] == ['forward', 'backward'] * 8
    total = {name: float(ms) for name, ms in re.findall(
        r'\] (Average [\w -]+|Total Time): (\S+) ms\.\n', said)}
    assert list(total) == ['Average Forward pass', 'Average Backward pass',
                           'Average Forward-Backward', 'Total Time']
    assert total['Total Time'] == pytest.approx(2 * total['Average Forward-Backward'], rel=1e-3)
    ahead = sum(float(ms) for _, way, ms in rows if way == 'forward')
    assert ahead == pytest.approx(total['Average Forward pass'], rel=0.02)
    assert len(re.findall(r'Iteration: \d forward-backward time: \S+ ms\.', said)) == 2
    for line in ('Performing Forward', 'Initial loss: ', 'Performing Backward',
                 '*** Benchmark begins ***', 'Testing for 2 iterations.', '*** Benchmark ends ***'):
        assert f'] {line}' in said


def test_gpus_that_are_not_there(root, log, monkeypatch):
    monkeypatch.setattr('torch.cuda.device_count', lambda: 0)
    assert 'sees no GPU' in log('device_query')
    refused(['device_query', '--gpu=0'], "GPU '0' is not there: torch sees 0")
    refused([*TRAIN, '--gpu=0'], 'GPU 0 is not there', 'Leave the flag gpu out')
    refused([*TRAIN, '--gpu=0,1'], '2 GPUs (0,1)', 'Give one number')
    refused([*TRAIN, '--gpu=first'], "gpu is 'first'")


def test_what_is_missing(root):
    refused(['train'], 'Need a solver definition')
    refused(['test', f'--model={PATH}/net.prototxt'], 'Need model weights')
    refused(['time'], 'Need a model definition')
    refused(['time', f'--model={PATH}/net.prototxt', '--phase=VAL'], "phase is 'VAL'")
    refused(['time', f'--model={PATH}/net.prototxt', '--iterations=0'], 'iterations is 0')


# The command line

def test_flags_as_gflags_takes_them():
    flags = (Flag('solver', '', ''), Flag('iterations', 50, ''), Flag('gray', False, ''),
             Flag('scale', 1.0, ''))
    found, words = parse(['a', '-solver', 'x', '--iterations=7', 'b', '--gray', '--logtostderr',
                          '--', '-c'], flags)
    assert (found.solver, found.iterations, found.gray) == ('x', 7, True)
    assert words == ['a', 'b', '-c'] and found.logtostderr and found.minloglevel is None
    assert not parse(['--gray', '--nogray'], flags)[0].gray
    assert parse(['--v=1', '-nolog_prefix', '--alsologtoemail', 'me', 'a'], flags)[1] == ['a']
    for given, text in ((['--slover=x'], "unknown command line flag 'slover'. Did you mean 'sol"),
                        (['--iterations=many'], "illegal value 'many'"),
                        (['--iterations=3000000000'], '32 bits'),
                        (['--scale=1e999'], 'Give a finite number'),
                        (['--gray=perhaps'], "illegal value 'perhaps'"),
                        (['--solver'], "flag 'solver' is missing its argument")):
        with pytest.raises(FcnError) as caught:
            parse(given, flags)
        assert text in str(caught.value)


def test_flags_before_the_action(root, log):
    assert 'Optimization Done.' in log('-logtostderr', TRAIN[1], 'train')
    refused(['trian'], "unknown action 'trian'", "Did you mean 'train'?", 'device_query')
    refused([], 'no action is given', 'train')
    refused([*TRAIN, 'word'], '1 arguments for train')


@pytest.mark.parametrize('action', ACTIONS)
def test_each_action_has_help(action, capsys):
    with pytest.raises(SystemExit) as caught:
        main.main(['caffe', action, '--help'])
        sys.exit(0)                     # of those with gflags, which return
    text = capsys.readouterr().out
    assert not caught.value.code and f'caffe {action}' in text
    assert load(action).__doc__.strip().split('\n')[0][:40] in text


def test_the_commands_own_help(capsys):
    with pytest.raises(SystemExit):
        main.main(['caffe', '--help'])
    text = capsys.readouterr().out
    for action, about in ACTIONS.items():
        assert action in text and about in text
