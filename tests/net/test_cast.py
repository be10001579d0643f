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
