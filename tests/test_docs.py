"""The documents: their Python runs as it stands, commands and links in them exist."""

import argparse
import os
import re
import sys
from collections import Counter
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import ROOT, call, start, wait
from tiny_nets import MEAN

import fcn_repro.pycaffe
from fcn_repro.cli import caffe
from fcn_repro.cli.caffe.gflags import GLOG
from fcn_repro.cli.main import COMMANDS, load
from fcn_repro.data.image import to_blob
from fcn_repro.net import Net
from fcn_repro.proto import TEST

README = (ROOT / 'README.md').read_text()
PAGES = [*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')]
PAGE = (ROOT / 'docs/bringing-a-net.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', PAGE, re.S)
NET = '''layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: 9 dim: 7 } } }
layer { name: "pool5" type: "Pooling" bottom: "data" top: "pool5" pooling_param { kernel_size: 2 } }
layer { name: "fc6" type: "Convolution" bottom: "pool5" top: "fc6" convolution_param {
  num_output: 4 kernel_size: 1 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "score" type: "ReLU" bottom: "fc6" top: "score" }
'''
SOLVER = '''net: "train.prototxt" base_lr: 0.01 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "s"
snapshot_format: HDF5
'''
SEGMENTER = NET[:NET.index('layer { name: "pool5"')] + '''layer { name: "score" type: "Convolution"
  bottom: "data" top: "score" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
'''
TRAIN = NET + '''layer { name: "loss" type: "EuclideanLoss" top: "loss"
  bottom: "score" bottom: "fc6" }
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in ('deploy', NET), ('train', TRAIN), ('solver', SOLVER):
        (tmp_path / f'{name}.prototxt').write_text(text)
    fcn_repro.pycaffe.Net('deploy.prototxt', TEST).save('net.caffemodel')
    (tmp_path / 'pretrained.caffemodel').write_bytes((tmp_path / 'net.caffemodel').read_bytes())
    pixels = np.random.default_rng(0).integers(0, 256, (11, 8, 3), np.uint8)
    Image.fromarray(pixels).save('photo.jpg')
    return tmp_path


def run(word, blocks=BLOCKS, **names):
    """Run the page's only block with this word in it; returns its names."""
    block, = (block for block in blocks if word in block)
    exec(compile(block, 'document', 'exec'), names)
    return names


def test_readme(folder):
    data = np.random.default_rng(0).standard_normal((1, 3, 20, 30)).astype(np.float32)
    (folder / 'deploy.prototxt').write_text(SEGMENTER)
    fcn_repro.pycaffe.Net('deploy.prototxt', TEST).save('net.caffemodel')
    blocks = re.findall(r'```python\n(.*?)```', README, re.S)
    names = run('import', blocks, data=data)
    assert names['labels'].shape == (11, 8) and names['score'].shape == (1, 4, 20, 30)
    like = SimpleNamespace(load=lambda run: fcn_repro.load('deploy.prototxt', 'net.caffemodel'))
    assert (run('runs/own', blocks, fcn_repro=like)['labels'] == names['labels']).all()
    assert os.path.exists('net.onnx')


def test_running_a_net(folder):
    names = run('format_rows')
    like = to_blob(np.array(Image.open('photo.jpg')), MEAN)[None]
    np.testing.assert_allclose(names['data'], like, atol=1e-5)
    assert names['out']['score'].shape == (1, 4, 10, 7)
    assert names['net'].blobs['pool5'].data.shape == (1, 3, 10, 7)


def test_proving_it(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'caffe', fcn_repro.pycaffe)
    run('import caffe')
    with h5py.File('golden.h5') as golden:
        assert set(golden) == {'inputs', 'blobs'} and set(golden['blobs']) == {
            'pool5', 'fc6', 'score'}
    done = call(capsys, 'check_parity', 'deploy.prototxt', 'net.caffemodel', 'golden.h5')
    assert done.status == 0, done


def test_coming_from_opencv(folder):
    blob_from_image = run('blob_from_image')['blob_from_image']
    bgr = np.asarray(Image.open('photo.jpg'), np.float32)[:, :, ::-1]
    blob = blob_from_image('photo.jpg', 0.5, None, (1, 2, 3))
    np.testing.assert_array_equal(blob[0], ((bgr - (1, 2, 3)) * 0.5).transpose(2, 0, 1))
    swapped = blob_from_image('photo.jpg', size=(6, 4), swap_rb=True)
    assert swapped.shape == (1, 3, 4, 6)
    np.testing.assert_array_equal(swapped[0, ::-1], blob_from_image('photo.jpg', size=(6, 4))[0])


def test_the_names_of_the_table_for_opencv(folder):
    net = Net.read('deploy.prototxt', TEST)
    assert [layer.name for layer in net.graph.nodes][-2:] == ['fc6', 'score']
    assert net.params['fc6'][0].data.shape == (4, 3, 1, 1) and list(net.graph.outputs) == ['score']


def test_coming_from_tensorrt(folder):
    pytest.importorskip('onnx', reason='the page writes ONNX, and onnx is not installed')
    (folder / 'deploy.prototxt').write_text(SEGMENTER)
    fcn_repro.pycaffe.Net('deploy.prototxt', TEST).save('net.caffemodel')
    names = run('model.export')
    assert names['labels'].shape == (11, 8) and (folder / 'net.onnx').exists()


def test_exporting_it(folder):
    names = run('torch.export.export')
    x = torch.rand(1, 3, 500, 500)
    net = Net.read('deploy.prototxt', TEST)
    net.copy_from('net.caffemodel')
    torch.testing.assert_close(names['program'].module()(x), net.forward(data=x)['score'])


def test_training_it(folder):
    assert run('Solver')['solver'].iter == 2
    assert (folder / 's_iter_2.caffemodel.h5').exists()


def test_every_link_leads_somewhere():
    missing, found = [], 0
    for page in PAGES:
        for link in re.findall(r'\]\(([^)#:]+)(?:#[^)]*)?\)', page.read_text()):
            found += 1
            if not (page.parent / link).exists():
                missing.append((page.name, link))
    assert found > 50 and not missing


def anchors(page):
    """What GitHub makes of a page's headings; those that are equal are numbered."""
    seen = Counter()
    for title in re.findall(r'^#+ (.+)$', page.read_text(), re.M):
        anchor = re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')
        yield f'{anchor}-{seen[anchor]}' if seen[anchor] else anchor
        seen[anchor] += 1


def test_every_anchor_exists():
    for page in PAGES:
        for link, anchor in re.findall(r'\]\(([^)#:]*)#([^)]+)\)', page.read_text()):
            assert anchor in anchors(page.parent / link if link else page), (page.name, anchor)


def usage_of(name, words):
    """The usage line of a command; of `caffe` that of the action in its words, or its flags."""
    module = load(name)
    if name == 'caffe' and words and words[0] in caffe.ACTIONS:
        module = caffe.load(words[0])
        if hasattr(module, 'FLAGS'):
            return ' '.join(f'--{flag.name}' for flag in (*module.FLAGS, *GLOG))
    made = argparse.ArgumentParser(prog=name)
    module.add_arguments(made)
    return made.format_usage()


def test_commands_and_options_of_the_documents_exist():
    found = 0
    for page in PAGES:
        for line in re.findall(r'\bfcn-repro ([a-z-]+[^`#\n]*)', page.read_text()):
            name, *words = line.split()
            assert name in COMMANDS, (page.name, line)
            usage = usage_of(name, words)
            for option in re.findall(r'(?<![\w-])--[a-z_-]+', ' '.join(words)):
                assert option in usage, (page.name, line)
            found += 1
    assert found > 20


def test_make_targets_of_the_documents_exist():
    makefile = (ROOT / 'Makefile').read_text()
    targets = set(re.findall(r'^([a-z-]+):', makefile, re.M))
    for page in PAGES:
        for target in re.findall(r'(?:^|`|&& )make ([a-z0-9-]+)', page.read_text(), re.M):
            known = target in targets or re.fullmatch('train-[a-z0-9-]+', target)
            assert known, (page.name, target)


def test_every_page_is_reached_from_the_index():
    index = ROOT / 'docs/index.md'
    listed = re.findall(r'\]\(([^)#:]+\.md)(?:#[^)]*)?\)', index.read_text())
    reached = {(index.parent / link).resolve() for link in listed} | {index}
    assert not {page.name for page in (ROOT / 'docs').glob('*.md') if page not in reached}


def test_reference_of_the_python_interface_is_current():
    done = wait(start('make_api', '--check', cwd=ROOT))
    assert done.status == 0 and not done.err, done.err
