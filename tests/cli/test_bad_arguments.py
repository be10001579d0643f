"""Every command answers a bad file or number with one line: never a traceback, never a hang."""

import os
import signal
import struct
from pathlib import Path

import pytest

from fcn_repro.cli.main import main

SECONDS = 300       # of a loaded machine; a device or a pipe that is waited for takes for ever

NET = ('layer { name: "in" type: "Input" top: "data" input_param { shape '
       '{ dim: 1 dim: 3 dim: 8 dim: 8 } } }\nlayer { name: "c" type: "Convolution" bottom: "data" '
       'top: "score" convolution_param { num_output: 2 kernel_size: 1 } }')
SOLVER = 'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1'

# Paths that name nothing to read: what a user, a script or another file might give.
PATHS = ('missing', 'a\0b', 'n' * 300, 'half\udc80', '/dev/zero', 'fifo', 'folder', 'empty',
         'binary', 'nested', 'png.png', 'no/such/folder/x', '')
NUMBERS = ('nan', 'inf', '1e999', '-1', 'x', '9' * 30, '9' * 5000, '')

FILES = {           # X is the bad path
    'infer net': 'infer --net X --weights w photo.png',
    'infer weights': 'infer --net net.prototxt --weights X photo.png',
    'infer classes': 'infer --net net.prototxt --weights w.caffemodel --classes X photo.png',
    'infer image': 'infer --net net.prototxt --weights w.caffemodel X',
    'eval net': 'eval --net X --weights w',
    'eval weights': 'eval --net net.prototxt --weights X',
    'eval voc': 'eval --net net.prototxt --weights w.caffemodel --voc X',
    'train voc': 'train voc-fcn32s --voc X --weights none --device cpu',
    'train weights': 'train voc-fcn32s --weights X --device cpu',
    'train solver': 'train voc-fcn32s --solver X --weights w.caffemodel --device cpu',
    'train mnist': 'train mini-classifier --mnist X --device cpu',
    'data check': 'data check X',
    'data convert': 'data convert X --out o',
    'data hha': 'data hha X',
    'data colours': 'data convert pairs --out o --masks rgb --colours X',
    'convert': 'convert X out.h5',
    'convert inspect': 'convert --inspect X',
    'check-parity net': 'check-parity X w.caffemodel g.h5',
    'check-parity weights': 'check-parity net.prototxt X g.h5',
    'check-parity golden': 'check-parity net.prototxt w.caffemodel X',
    'check-goldens': 'check-goldens X',
    'check-goldens known': 'check-goldens --known X folder',
    'make-scenes mnist': 'make-scenes --out scenes --train 1 --val 1 --mnist X',
    'caffe train': 'caffe train --solver=X',
    'caffe train weights': 'caffe train --solver=solver.prototxt --weights=X',
    'caffe train snapshot': 'caffe train --solver=solver.prototxt --snapshot=X',
    'caffe test model': 'caffe test --model=X --weights=w.caffemodel',
    'caffe test weights': 'caffe test --model=net.prototxt --weights=X',
    'caffe time': 'caffe time --model=X',
    'convert_imageset': 'caffe convert_imageset ./ X db',
    'convert_mnist_data': 'caffe convert_mnist_data X X db',
    'convert_cifar_data': 'caffe convert_cifar_data X db lmdb',
    'compute_image_mean': 'caffe compute_image_mean X mean',
    'extract_features': 'caffe extract_features X net.prototxt score f 1 lmdb',
    'extract_features net': 'caffe extract_features w.caffemodel X score f 1 lmdb',
    'upgrade_net_proto_text': 'caffe upgrade_net_proto_text X out',
    'upgrade_net_proto_binary': 'caffe upgrade_net_proto_binary X out',
    'upgrade_solver_proto_text': 'caffe upgrade_solver_proto_text X out',
    'draw_net': 'caffe draw_net X out.png',
    'parse_log': 'caffe parse_log X .',
    'plot_training_log': 'caffe plot_training_log 0 out.png X',
    'pycaffe': 'pycaffe X',
}
VALUES = {          # X is the bad number
    'infer mean': 'infer --net net.prototxt --weights w.caffemodel --mean X 1 1 photo.png',
    'infer threshold': 'infer --net net.prototxt --weights w.caffemodel --threshold X photo.png',
    'infer top': 'infer --net net.prototxt --weights w.caffemodel --heatmap --top X photo.png',
    'infer scale': 'infer --net net.prototxt --weights w.caffemodel --heatmap --scale X photo.png',
    'train iterations': 'train voc-fcn32s --iterations X --device cpu --weights missing',
    'train keep': 'train voc-fcn32s --keep X --device cpu --weights missing',
    'train seed': 'train voc-fcn32s --seed X --weights missing --device cpu',
    'train workers': 'train voc-fcn32s --workers X --device cpu --weights missing',
    'eval images': 'eval --net net.prototxt --weights w.caffemodel --images X',
    'data classes': 'data check pairs --classes X',
    'data split': 'data convert pairs --out o --split X',
    'data longest': 'data convert pairs --out o --longest X',
    'data void': 'data convert pairs --out o --void X',
    'data seed': 'data convert folder --out o --seed X',
    'data hha camera': 'data hha . --camera X 1 1 1',
    'data hha per-metre': 'data hha . --per-metre X',
    'check-parity limit': 'check-parity --limit X net.prototxt w.caffemodel g.h5',
    'make-prototxt classes': 'make-prototxt --out o --model voc-fcn32s --voc-dir . --classes X',
    'make-scenes train': 'make-scenes --out scenes --val 1 --train X',
    'make-scenes size': 'make-scenes --out scenes --train 1 --val 1 --size X 32',
    'make-scenes digits': 'make-scenes --out scenes --train 1 --val 1 --digit-sizes X 9',
    'make-scenes kind': 'make-scenes --kind nyud --out scenes --val 1 --train X',
    'make-scenes seed': 'make-scenes --out scenes --train 0 --val 0 --seed X',
    'caffe time iterations': 'caffe time --model=missing --iterations=X',
    'caffe test iterations': 'caffe test --model=missing --weights=w --iterations=X',
    'caffe gpu': 'caffe device_query --gpu=X',
    'extract_features': 'caffe extract_features w.caffemodel net.prototxt score f X lmdb',
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a net, weights, a photograph, and what the bad paths name."""
    from PIL import Image

    from fcn_repro.net.net import Net

    path = tmp_path_factory.mktemp('bad')
    (path / 'net.prototxt').write_text(NET)
    (path / 'solver.prototxt').write_text(SOLVER)
    Net.read(path / 'net.prototxt', 'TEST').save(path / 'w.caffemodel')
    Image.new('RGB', (8, 8)).save(path / 'photo.png')
    Image.new('L', (8, 8)).save(path / 'png.png')
    for name in 'images', 'masks':
        (path / 'pairs' / name).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(path / 'pairs' / name / 'a.png')
    os.mkfifo(path / 'fifo')
    (path / 'folder').mkdir()
    (path / 'empty').touch()
    (path / 'binary').write_bytes(struct.pack('<200I', *range(1, 201)))
    (path / 'nested').write_text('[' * 100_000)
    return path


def too_long(*_):
    pytest.fail(f'no answer within {SECONDS} s')


def answer(folder, words, monkeypatch, capsys):
    """The one line of a command that has to fail, within SECONDS."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr('sys.stdin', None)
    old = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        with pytest.raises(SystemExit) as ended:
            main(words)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    errors = [line for line in capsys.readouterr().err.splitlines() if 'error: ' in line]
    assert ended.value.code in (1, 2) and len(errors) == 1, (ended.value.code, errors)
    return errors[0]


# What is no fault: an empty path is the working directory, or an option that is not given
ALLOWED = {('infer image', 'png.png'), ('infer image', ''), ('train mnist', ''),
           ('pycaffe', 'empty'), ('infer mean', '-1'), ('infer mean', '9' * 30), ('caffe gpu', ''),
           ('check-goldens', ''),
           # faults in the list of a check, with its status
           ('data check', 'folder'), ('data check', ''), ('data longest', '9' * 30)}


def pairs(commands, bad):
    return [(command, each) for command in commands for each in bad
            if (command, each) not in ALLOWED]


def name_of(value):
    return ascii(value)[:30]


def replaced(command, bad):
    return [word.replace('X', bad) for word in command.split()]


@pytest.mark.parametrize(('command', 'bad'), pairs(FILES, PATHS), ids=name_of)
def test_a_bad_path(folder, command, bad, monkeypatch, capsys):
    answer(folder, replaced(FILES[command], bad), monkeypatch, capsys)


@pytest.mark.parametrize(('command', 'bad'), pairs(VALUES, NUMBERS), ids=name_of)
def test_a_bad_number(folder, command, bad, monkeypatch, capsys):
    answer(folder, replaced(VALUES[command], bad), monkeypatch, capsys)


@pytest.mark.parametrize('command', ['infer mean', 'infer threshold', 'infer scale',
                                     'check-parity limit'])
@pytest.mark.parametrize('bad', ['nan', 'inf', '1e999', '9' * 400])
def test_a_number_has_to_be_finite(folder, command, bad, monkeypatch, capsys):
    """It is refused as it is written, whatever else the command was given."""
    words = [word.replace('w.caffemodel', 'missing') for word in replaced(VALUES[command], bad)]
    line = answer(folder, words, monkeypatch, capsys)
    assert line.endswith('is no finite number') and bad[:9] in line and len(line) < 250


def test_every_option_that_is_a_number_is_finite():
    from fcn_repro import cli
    sources = [path.read_text() for path in Path(cli.__file__).parent.rglob('*.py')]
    assert sum('type=finite' in text for text in sources) >= 3
    assert not [text for text in sources if 'type=float' in text]
