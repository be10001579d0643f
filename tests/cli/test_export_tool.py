"""fcn-repro export: what it writes where, for a run and for a net of one's own."""

import os

import pytest
import torch
from exported import imported
from small_runs import assert_error
from small_runs import call as call_main
from tiny_nets import INPUT, SEGMENT, write_net

from fcn_repro.cli.main import run_command
from fcn_repro.export import SUFFIXES
from fcn_repro.net import Net
from fcn_repro.proto import TEST

FORMS = ['--python', '--safetensors', '--caffemodel']


def call(capsys, name, *args):
    return call_main(capsys, name, *args, main=lambda: run_command(name))


@pytest.fixture
def run(tmp_path):
    """The folder of a run with its net, weights and class names."""
    folder = tmp_path / 'runs' / 'own-net'
    (folder / 'net').mkdir(parents=True)
    net, _ = write_net(folder / 'net', INPUT % (24, 20) + SEGMENT, 'deploy')
    Net.read(net, TEST).save(folder / 'train_iter_3.caffemodel')
    (folder / 'classes.txt').write_text('\n'.join(f'class {i}' for i in range(21)) + '\n')
    return folder


def test_a_run_in_several_forms(run, capsys, monkeypatch):
    monkeypatch.chdir(run.parents[1])
    done = call(capsys, 'export', run.name, *FORMS)
    assert done.status == 0, done
    files = sorted(path.name for path in (run / 'export').iterdir())
    assert files == ['own_net' + suffix for suffix in
                     sorted(s for form in FORMS for s in SUFFIXES[form[2:]])]
    assert all(f'own_net{suffix}' in done.out for suffix in ('.py', '.pt', '.prototxt'))
    module = imported(run / 'export' / 'own_net.py')
    assert tuple(f'class {i}' for i in range(21)) == module.CLASSES and len(module.PALETTE) == 21
    assert module.load()(torch.zeros(1, 3, 9, 7)).shape == (1, 21, 9, 7)
    assert_error(call(capsys, 'export', run, '--python'), 'export/own_net.py', '--force')
    assert call(capsys, 'export', run, '--python', '--force').status == 0


def test_a_net_of_ones_own_and_a_file(tmp_path, capsys):
    net, weights = write_net(tmp_path, INPUT % (24, 24) + SEGMENT)
    out = tmp_path / 'out' / 'scores.py'
    out.parent.mkdir()
    done = call(capsys, 'export', '--net', net, '--weights', weights, '--python', '-o', out,
                '--size', '30x40', '--mean', 1, 2, 3)
    assert done.status == 0 and sorted(os.listdir(out.parent)) == ['scores.pt', 'scores.py']
    module = imported(out)
    assert module.MEAN == (1.0, 2.0, 3.0) and '1x21x30x40' in out.read_text()


def test_a_form_that_fails_does_not_keep_the_others_back(tmp_path, capsys):
    patches = 'layer { name: "patches" type: "Im2col" bottom: "data" top: "patches" ' \
              'convolution_param { kernel_size: 1 } }\n'
    net, weights = write_net(tmp_path, INPUT % (24, 24) + patches + SEGMENT)
    done = call(capsys, 'export', '--net', net, '--weights', weights, '--python', '--caffemodel',
                '--out', tmp_path / 'out')
    assert done.status == 1 and "layer 'patches' (Im2col)" in done.err
    assert sorted(os.listdir(tmp_path / 'out')) == ['net.caffemodel', 'net.prototxt']


def test_wrong_words(run, tmp_path, capsys):
    net, weights = write_net(tmp_path, INPUT % (24, 24) + SEGMENT)
    own = ['--net', net, '--weights', weights]
    for words, *parts in [
            ([run], '--onnx', '--python'),
            (['--python'], '--net', '--weights'),
            (['--net', net, '--python'], '--weights'),
            ([run, '--net', net, '--python'], '--net'),
            ([tmp_path / 'none', '--python'], 'none'),
            ([*own, '--python', '--size', '30'], "'30'", '500x400'),
            ([*own, '--python', '--size', '0x4'], "'0x4'"),
            ([*own, '--python', '--classes', net], 'net.prototxt', '21'),
            ([*own, '--python', '--out', tmp_path / 'net.pt'], 'net.pt', '.py')]:
        assert_error(call(capsys, 'export', *words), *parts)
