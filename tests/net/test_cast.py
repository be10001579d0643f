"""A classifier cast into a fully convolutional net: Caffe's golden, and the mini classifier."""

from pathlib import Path

import h5py
import pytest
import torch
from goldens import DATA, error

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.cast import cast_classifier
from fcn_repro.net.graph import build
from fcn_repro.proto import TEST
from fcn_repro.proto.prototxt import parse_net

FOLDER = DATA / 'surgery'
DEPLOY = Path(__file__).parents[2] / 'prototxt' / 'mini-classifier' / 'deploy.prototxt'


def test_cast_equals_caffe():
    classifier = Net.read(FOLDER / 'fc.prototxt', TEST)
    classifier.copy_from(FOLDER / 'fc.caffemodel')
    net = Net(cast_classifier(classifier))
    rows = net.copy_from(FOLDER / 'fc.caffemodel')
    assert {row.layer: row.action for row in rows} == {
        'conv1': 'copied', 'fc6': 'cast', 'fc7': 'cast'}
    with h5py.File(FOLDER / 'golden_fc_to_conv.h5') as golden:
        out = classifier.forward(data=golden['data'][...])['fc7']
        assert error(out.detach(), golden['fc/fc7'][...]) <= 1e-5
        out = net.forward(data=golden['data'][...])['fc7']
        assert error(out.detach(), golden['fullconv/fc7-conv'][...]) <= 1e-5
        out = net.forward(data=golden['data_large'][...])['fc7']
        assert error(out.detach(), golden['fullconv/fc7-conv_large'][...]) <= 1e-5


def test_mini_classifier_cast_gives_the_same_and_a_grid(tmp_path):
    classifier = Net.read(DEPLOY, TEST)
    classifier.save_hdf5(tmp_path / 'weights.h5')
    net = Net(cast_classifier(classifier))
    net.copy_from(tmp_path / 'weights.h5')
    size = classifier.blobs['data'].shape[2]
    image = torch.randn(1, 3, size, size) * 50
    with torch.no_grad():
        own = classifier.forward(data=image)['score_cls']
        same = net.forward(data=image)['score_cls']
        grid = net.forward(data=torch.randn(1, 3, size + 64, size + 96) * 50)['score_cls']
    assert error(same[:, :, 0, 0], own) <= 1e-5
    assert grid.shape == (1, own.shape[1], 3, 4)


def test_a_transposed_inner_product_is_refused():
    text = '''layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 transpose: true } }'''
    net = Net(build(parse_net(text, 'net.prototxt'), TEST))
    with pytest.raises(FcnError, match=r"net.prototxt:3: layer 'fc' \(InnerProduct\): only an"):
        cast_classifier(net)


IMAGE = '''layer { name: "data" type: "Input" top: "data"
  input_param { shape { dim: 2 dim: 3 dim: 9 dim: 7 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 2 weight_filler { type: "xavier" } } }
'''
FC = '''layer { name: "%s" type: "InnerProduct" bottom: "%s" top: "%s"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
'''
POOL = '''layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
  pooling_param { pool: AVE global_pooling: true } }
'''
FLATTEN = 'layer { name: "flat" type: "Flatten" bottom: "conv" top: "flat" }\n'


def nets(text, tmp_path):
    """(classifier, its fully convolutional net with its weights)."""
    classifier = Net(build(parse_net(text, 'net.prototxt'), TEST))
    classifier.save(tmp_path / 'net.caffemodel')
    net = Net(cast_classifier(classifier))
    net.copy_from(tmp_path / 'net.caffemodel')
    return classifier, net


@pytest.mark.parametrize('rest, types', [
    (FC % ('fc', 'conv', 'fc'), ['Input', 'Convolution', 'Convolution']),
    (FLATTEN + FC % ('fc', 'flat', 'fc'), ['Input', 'Convolution', 'Convolution']),
    (FLATTEN + FC % ('a', 'flat', 'a') + FC % ('b', 'flat', 'b'),
     ['Input', 'Convolution', 'Split', 'Convolution', 'Convolution']),
    (FLATTEN + 'layer { name: "relu" type: "ReLU" bottom: "flat" top: "flat" }\n'
     + FC % ('fc', 'flat', 'fc') + FC % ('fd', 'fc', 'fd'),
     ['Input', 'Convolution', 'ReLU', 'Convolution', 'Convolution']),
    (POOL + FC % ('fc', 'pool', 'fc'), ['Input', 'Convolution', 'Pooling', 'Convolution'])])
def test_flattened_and_pooled_classifiers(rest, types, tmp_path):
    classifier, net = nets(IMAGE + rest, tmp_path)
    assert [node.type for node in net.graph.nodes] == types
    image = torch.randn(2, 3, 9, 7)
    with torch.no_grad():
        own, cast = classifier.forward(data=image), net.forward(data=image)
        grid = net.forward(data=torch.randn(1, 3, 12, 9))
    for name in classifier.graph.outputs:
        assert error(cast[name][:, :, 0, 0], own[name]) <= 1e-5
        assert grid[name].shape == (1, 5, 4, 3)


def test_behind_a_reshape_is_refused(tmp_path):
    reshape = '''layer { name: "flat" type: "Reshape" bottom: "conv" top: "flat"
  reshape_param { shape { dim: 0 dim: -1 } } }
'''
    net = Net(build(parse_net(IMAGE + reshape + FC % ('fc', 'flat', 'fc'), 'net.prototxt'), TEST))
    with pytest.raises(FcnError, match=r"net.prototxt:7: layer 'fc'.*the Reshape 'flat'"):
        cast_classifier(net)
