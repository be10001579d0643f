"""Caffe's small tools as commands, up to training LeNet on what they made."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from digit_files import fields, records, write_idx
from PIL import Image
from small_runs import ROOT
from wire_format import blob, save, v2

from fcn_repro.cli.caffe import run_words
from fcn_repro.data.digits import MNIST_FILES
from fcn_repro.errors import FcnError
from fcn_repro.formats.wire import read_binaryproto

TOOLS = ('convert_imageset', 'convert_mnist_data', 'convert_cifar_data', 'compute_image_mean',
         'extract_features', 'upgrade_net_proto_text', 'upgrade_net_proto_binary',
         'upgrade_solver_proto_text')


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        Image.fromarray(np.full((4, 6, 3), (10, 20, 30 * i), np.uint8)).save(f'{i}.png')
    (tmp_path / 'list.txt').write_text('0.png 0\n1.png 1\n2.png 0\n')
    return tmp_path


def test_images_mean_and_features(pictures, capfd):
    """With flags between the words, as gflags has them."""
    run_words(['convert_imageset', './', '-resize_width=5', 'list.txt', '--resize_height', '3',
               'db', '--check_size'])
    run_words(['compute_image_mean', 'db', 'mean.binaryproto'])
    mean = read_binaryproto('mean.binaryproto')
    assert mean.shape == (1, 3, 3, 5) and mean[0, :, 0, 0].tolist() == [30, 20, 10]
    (pictures / 'net.prototxt').write_text('''
        layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST }
                data_param { source: "db" batch_size: 3 backend: LMDB }
                transform_param { mean_file: "mean.binaryproto" } }
        layer { name: "p" type: "Pooling" bottom: "data" top: "mean"
                pooling_param { pool: AVE global_pooling: true } }
        layer { name: "i" type: "InnerProduct" bottom: "mean" top: "sum"
                inner_product_param { num_output: 1 bias_term: false } }''')
    save(pictures / 'w.caffemodel', v2('i', 'InnerProduct', blob(np.ones((1, 3)))))
    run_words(['extract_features', 'w.caffemodel', 'net.prototxt', 'sum,label', 'm,l', '2',
               'lmdb', 'CPU'])
    assert len(records('m')) == len(records('l')) == 6
    assert [fields(value)[6][0] for _, value in records('m')] == [-30, 0, 30] * 2
    assert [fields(value)[6][0] for _, value in records('l')] == [0, 1, 0] * 2
    err = capfd.readouterr().err
    for text in ('convert_imageset.cpp:89] A total of 3 images.', 'Processed 3 files.',
                 'compute_image_mean.cpp:119] mean_value channel [0]: 30\n',
                 'compute_image_mean.cpp:119] mean_value channel [2]: 10\n',
                 'extract_features.cpp:181] Successfully extracted the features!'):
        assert text in err


def test_upgrades(tmp_path, capfd):
    (tmp_path / 'old').write_text('name: "n" layers { name: "r" type: RELU bottom: "a" '
                                  'top: "b" }')
    run_words(['upgrade_net_proto_text', f'{tmp_path}/old', f'{tmp_path}/new'])
    assert 'type: "ReLU"' in (tmp_path / 'new').read_text()
    (tmp_path / 'solver').write_text('solver_type: ADAM')
    run_words(['upgrade_solver_proto_text', f'{tmp_path}/solver', f'{tmp_path}/new'])
    assert (tmp_path / 'new').read_text() == 'type: "Adam"\n'
    (tmp_path / 'model').write_bytes(v2('r', 'ReLU'))
    run_words(['upgrade_net_proto_binary', f'{tmp_path}/model', f'{tmp_path}/new'])
    err = capfd.readouterr().err
    assert 'Successfully upgraded file specified using deprecated V1LayerParameter\n' in err
    assert f'File already in latest proto format: {tmp_path}/model\n' in err


def test_logs(tmp_path, capsys):
    (tmp_path / 'a.log').write_text(
        'I0101 00:00:00.000000 1 solver.cpp:288] Solving x\n'
        'I0101 00:00:01.000000 1 solver.cpp:239] Iteration 0, loss = 2\n')
    run_words(['parse_log', f'{tmp_path}/a.log', str(tmp_path), '--verbose', '--delimiter', ';'])
    assert capsys.readouterr().out == f'Wrote {tmp_path}/a.log.train\n'
    assert (tmp_path / 'a.log.train').read_text().split() == ['NumIters;Seconds;LearningRate;loss',
                                                              '0.0;1.0;nan;2.0']
    run_words(['plot_training_log', '6', f'{tmp_path}/a.png', f'{tmp_path}/a.log'])
    assert (tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize('tool', TOOLS)
def test_wrong_numbers_of_words(tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in [], ['x'] * 9:
        with pytest.raises(FcnError, match=f'Usage: fcn-repro caffe {tool} '):
            run_words([tool, *words])
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('words, message', [
    (['convert_imageset', './', 'list.txt', 'db', '--backend=leveldb'], 'LevelDB'),
    (['convert_imageset', './', 'list.txt', 'db', '--encode'], "unknown command line flag 'encode'"
     ),
    (['convert_cifar_data', '.', '.', 'leveldb'], 'LevelDB'),
    (['compute_image_mean', 'db', '--backend=x'], "unknown backend 'x'"),
    (['extract_features', 'w', 'net', 'a', 'b', '1', 'lmdb'], 'cannot be read'),
    (['extract_features', 'w', 'net', 'a', 'b', '1', 'leveldb'], 'LevelDB'),
])
def test_wrong_flags_and_files(pictures, words, message):
    with pytest.raises(FcnError, match=message):
        run_words(words)
    assert sorted(os.listdir()) == ['0.png', '1.png', '2.png', 'list.txt']


@pytest.mark.parametrize('words, message', [(['1', 'lmdb', 'cpu'], "the mode is 'cpu'"),
                                            (['1.5', 'lmdb'], "'1.5' is no whole number"),
                                            (['1', 'lmdb', 'GPU', 'x'], "'x' is no whole number")])
def test_wrong_words_of_extract_features(pictures, words, message):
    (pictures / 'net').write_text('layer { name: "i" type: "Input" top: "a" '
                                  'input_param { shape { dim: 1 } } }')
    save(pictures / 'w', v2('p', 'Pooling'))
    with pytest.raises(FcnError, match=message):
        run_words(['extract_features', 'w', 'net', 'a', 'b', *words])


def test_the_documented_stand_ins_for_build(tmp_path):
    """The commands of docs/caffe-tools.md make what BVLC's scripts call below build/."""
    script, = re.findall(r'```sh\n(.*?)```', (ROOT / 'docs/caffe-tools.md').read_text(), re.S)
    command = tmp_path / 'bin/fcn-repro'
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m fcn_repro "$@"\n')
    command.chmod(0o755)
    env = {**os.environ, 'PATH': f"{command.parent}:{os.environ['PATH']}",
           'PYTHONPATH': str(ROOT)}

    def shell(text):
        return subprocess.run(['sh', '-ec', text], cwd=tmp_path, env=env, check=True,
                              capture_output=True, text=True)

    shell(script)
    write_idx(tmp_path)
    shell('build/examples/mnist/convert_mnist_data.bin t10k-images-idx3-ubyte '
          't10k-labels-idx1-ubyte db --backend=lmdb')
    assert '] mean_value channel [0]: ' in shell('build/tools/compute_image_mean -backend=lmdb db '
                                                 'mean.binaryproto').stderr
    assert 'convert_imageset' in shell('build/tools/caffe --help').stdout
    made = {path.read_text().split()[-2] for path in tmp_path.glob('build/**/*') if path.is_file()}
    assert made == {*TOOLS, 'caffe'}


LENET = '''
name: "LeNet"
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.00390625 }
  data_param { source: "examples/mnist/mnist_train_lmdb" batch_size: 64 backend: LMDB } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  transform_param { scale: 0.00390625 }
  data_param { source: "examples/mnist/mnist_test_lmdb" batch_size: 100 backend: LMDB } }
layer { name: "ip1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param { num_output: 64 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
'''
SOLVER = '''
net: "examples/mnist/net.prototxt" test_iter: 3 test_interval: 150 base_lr: 0.05 momentum: 0.9
lr_policy: "fixed" display: 50 max_iter: 150 snapshot_prefix: "examples/mnist/net"
solver_mode: CPU random_seed: 1
'''


def test_from_idx_files_to_a_chart(tmp_path):
    """The steps of examples/mnist from a Caffe root, with the command in its own process."""
    root = write_idx(tmp_path / 'data/mnist').parents[1]
    (root / 'examples/mnist').mkdir(parents=True)
    (root / 'examples/mnist/net.prototxt').write_text(LENET)
    (root / 'examples/mnist/solver.prototxt').write_text(SOLVER)

    def caffe(*words):
        return subprocess.run([sys.executable, '-m', 'fcn_repro', 'caffe', *words], cwd=root,
                              check=True, capture_output=True, text=True).stderr

    for split, name in ('train', 'train'), ('val', 'test'):
        images, labels = (f'data/mnist/{file}' for file in MNIST_FILES[split])
        caffe('convert_mnist_data', images, labels, f'examples/mnist/mnist_{name}_lmdb',
              '--backend=lmdb')
    log = caffe('train', '--solver=examples/mnist/solver.prototxt')
    (root / 'a.log').write_text(log)
    caffe('parse_log', 'a.log', '.')
    rows = (root / 'a.log.test').read_text().split()
    assert rows[0] == 'NumIters,Seconds,LearningRate,accuracy,loss'
    assert rows[-1].startswith('150.0,') and float(rows[-1].split(',')[3]) > 0.9
    caffe('plot_training_log', '0', 'a.png', 'a.log')
    assert (root / 'a.png').exists()
