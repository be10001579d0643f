"""Nets of a few layers with weights, pictures of noise, and runs of tools/infer.py on them."""

import numpy as np
from PIL import Image
from small_runs import assert_error, call

from fcn_repro.net import Net
from fcn_repro.proto import TEST

MEAN = 104.00699, 116.66877, 122.67892
INPUT = '''layer { name: "in" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 3 dim: %d dim: %d } } }
'''
CONV = '''layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {
  num_output: 4 kernel_size: 3 stride: 2 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
'''
FC = '''layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.2 } } }
layer { name: "relu2" type: "ReLU" bottom: "fc" top: "fc" }
layer { name: "cls" type: "InnerProduct" bottom: "fc" top: "cls"
  inner_product_param { num_output: 5 weight_filler { type: "gaussian" std: 0.5 } } }
'''
SEGMENT = '''layer { name: "score" type: "Convolution" bottom: "data" top: "score"
  convolution_param { num_output: 21 kernel_size: 3 pad: 1
    weight_filler { type: "gaussian" std: 0.05 } } }
'''
PROB = 'layer { name: "prob" type: "Softmax" bottom: "cls" top: "%s" }\n'
CLASSIFIER = INPUT % (17, 13) + CONV + FC       # 17 -> 8 -> 4 rows, 13 -> 6 -> 3 columns


def write_net(folder, text, name='net'):
    """name.prototxt and name.h5 with the weights of its fillers; returns both paths."""
    net_file, weights = folder / f'{name}.prototxt', folder / f'{name}.h5'
    net_file.write_text(text)
    Net.read(net_file, TEST).save_hdf5(weights)
    return net_file, weights


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, image):
    Image.fromarray(image).save(path)
    return path


def own(folder, text=INPUT % (24, 24) + SEGMENT):
    return ['--net', (files := write_net(folder, text))[0], '--weights', files[1]]


def bad(capsys, tmp_path, *args, parts=(), net=None):
    """The error's line; nothing is written."""
    settings = own(tmp_path, net) if net else own(tmp_path)
    done = call(capsys, 'infer', *args, *settings, '--out', tmp_path / 'out')
    assert_error(done, *parts)
    assert not (tmp_path / 'out').exists()
