"""Exports in a process that has torch and not this project."""

import subprocess
import sys

import numpy as np
import torch
from exported import export, filled, image, run_net
from PIL import Image
from texts import conv, inputs, layer

from fcn_repro.data.image import MEAN, to_blob
from fcn_repro.proto.prototxt import parse_net

SMALL = inputs(data=(1, 3, 40, 40)) + conv('conv', 'data', num_output=4, kernel=3,
                                           field='pad: 10') + \
    layer('ReLU', 'relu', 'conv', 'conv') + \
    layer('Pooling', 'pool', 'conv', 'pool', 'pooling_param { kernel_size: 2 stride: 2 }') + \
    layer('Deconvolution', 'up', 'pool', 'up', 'convolution_param { num_output: 4 kernel_size: 4 '
          'stride: 2 bias_term: false }') + \
    layer('Crop', 'score', 'up data', 'score', 'crop_param { offset: 9 }')
ALONE = '''
import json, sys
sys.modules['fcn_repro'] = None             # importing it is an ImportError
import torch
sys.path.insert(0, '.')
'''
PYTHON = ALONE + '''
from net import CLASSES, MEAN, PALETTE, load, preprocess
import numpy as np
from PIL import Image
x = preprocess(np.array(Image.open('photo.png')))
with torch.no_grad():
    torch.save([x, load()(x)], 'result')
assert CLASSES == ("it's", 'dürr "\\n') and PALETTE[1] == (128, 0, 0), (CLASSES, PALETTE)
assert MEAN == (104.00699, 116.66877, 122.67892)
'''
PROGRAM = ALONE + '''
files = {'metadata.json': ''}
program = torch.export.load('net.pt2', extra_files=files).module()
x = torch.load('x', weights_only=True)
with torch.no_grad():
    torch.save([x, program(x)], 'result')
facts = json.loads(files['metadata.json'])
assert json.loads(facts['classes']) == ["it's", 'dürr "\\n'] and facts['channel_order'] == 'BGR'
'''
CLASSES = ["it's", 'dürr "\n']


def run_alone(code, folder):
    """What a script saves as 'result', run in a folder without this project's path."""
    done = subprocess.run([sys.executable, '-I', '-c', code], cwd=folder, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / 'result', weights_only=True)


def test_the_module_and_its_preprocessing_need_torch_alone(tmp_path):
    net = filled(parse_net(SMALL, 'net.prototxt'))
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / 'photo.png')
    path, _ = export(net, 'python', tmp_path / 'net.py', classes=CLASSES)
    assert 'fcn_repro' not in path.read_text().split('"""', 2)[2]
    x, scores = run_alone(PYTHON, tmp_path)
    assert torch.equal(x[0], torch.from_numpy(to_blob(pixels, MEAN)))
    assert torch.equal(scores, run_net(net, {'data': x})['score'])


def test_the_program_of_torch_export_needs_torch_alone(tmp_path):
    net = filled(parse_net(SMALL, 'net.prototxt'))
    export(net, 'torch-export', tmp_path / 'net.pt2', classes=CLASSES)
    torch.save(image(37, 53), tmp_path / 'x')
    x, scores = run_alone(PROGRAM, tmp_path)
    assert torch.equal(scores, run_net(net, {'data': x})['score'])
