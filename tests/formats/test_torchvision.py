"""torchvision's VGG16 state dicts as Caffe's weights: equal scores, and files that are none."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch_pictures import as_caffe, as_torchvision

from fcn_repro.cli.main import main
from fcn_repro.errors import FcnError
from fcn_repro.formats import torchvision
from fcn_repro.net import Net
from fcn_repro.proto.netspec import L, NetSpec, net_text
from fcn_repro.recipe.models.own import body
from fcn_repro.recipe.models.vgg import classifier

WIDTHS, HIDDEN, CLASSES = (4, 6, 8, 8, 8), 12, 5


def vgg(normalised):
    """A small nn.Module with torchvision's layers in torchvision's places (vgg16, vgg16_bn)."""
    layers, channels = [], 3
    for width, count in zip(WIDTHS, (2, 2, 3, 3, 3), strict=True):
        for _ in range(count):
            layers.append(nn.Conv2d(channels, width, 3, padding=1))
            layers += [nn.BatchNorm2d(width)] if normalised else []
            layers.append(nn.ReLU())
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    net = nn.Module()
    net.features = nn.Sequential(*layers)
    net.classifier = nn.Sequential(
        nn.Linear(49 * channels, HIDDEN), nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, HIDDEN),
        nn.ReLU(), nn.Dropout(), nn.Linear(HIDDEN, CLASSES))
    torch.manual_seed(3)
    for name, value in net.state_dict().items():
        if name.endswith('running_var'):
            value.uniform_(0.5, 2)
        elif value.is_floating_point():
            value.normal_(0, 0.5 if name.endswith('bias') else 0.3)
    return net.eval()


def saved(tmp_path, net, **options):
    path = tmp_path / 'vgg.pth'
    torch.save(net.state_dict(), path, **options)
    return path


def caffe_net(tmp_path, message):
    path = tmp_path / 'deploy.prototxt'
    path.write_text(net_text(message, 'test'))
    return Net.read(path, 'TEST')


def plain_net(tmp_path):
    """VGG16's classifier with the layer names of its caffemodel."""
    message = classifier(None, classes=CLASSES, widths=WIDTHS, fc=HIDDEN, size=224)
    message.layer[-1].name = 'fc8'
    return caffe_net(tmp_path, message)


def normalised_net(tmp_path):
    """The own nets' body down to pool5."""
    n = NetSpec()
    n.data = L.Input(shape={'dim': [1, 3, 96, 64]})
    body(n, WIDTHS)
    return caffe_net(tmp_path, n.to_proto())


@pytest.mark.parametrize('suffix', ['caffemodel', 'caffemodel.h5'])
@pytest.mark.parametrize('zipped', [True, False])
def test_plain_scores_are_equal(tmp_path, suffix, zipped):
    """Both of torch's file formats, both of Caffe's; the border is compared with the rest."""
    module = vgg(False)
    path = saved(tmp_path, module, _use_new_zipfile_serialization=zipped)
    main(['convert', str(path), str(tmp_path / f'vgg16.{suffix}')])
    net = plain_net(tmp_path)
    net.copy_from(tmp_path / f'vgg16.{suffix}')
    picture = np.random.default_rng(0).integers(0, 256, (3, 224, 224)).astype(np.float64)
    with torch.no_grad():
        features = module.features(as_torchvision(picture))
        want = module.classifier(features.flatten(1))
        tops = net(['pool5'], data=as_caffe(picture))
    for got, value in ((tops['pool5'], features), (tops['score_cls'], want)):
        assert (got - value).abs().max() <= 1e-5 * value.abs().max()


def test_batch_normalised_features_are_equal(tmp_path):
    module = vgg(True)
    main(['convert', str(saved(tmp_path, module)), str(tmp_path / 'vgg16.caffemodel')])
    net = normalised_net(tmp_path)
    rows = net.copy_from(tmp_path / 'vgg16.caffemodel')
    assert {row.action for row in rows if row.layer.startswith(('conv', 'bn', 'scale'))} == \
        {'copied'}
    picture = np.random.default_rng(0).integers(0, 256, (3, 96, 64)).astype(np.float64)
    with torch.no_grad():
        want = module.features(as_torchvision(picture))
        got = net(data=as_caffe(picture))['pool5']
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_the_mean_is_said(tmp_path, capsys):
    main(['convert', str(saved(tmp_path, vgg(False))), str(tmp_path / 'vgg16.caffemodel')])
    text = capsys.readouterr().out
    assert '(103.53, 116.28, 123.675)' in text and 'data layers' in text and 'conv1_1' in text


def changed(state, name, value):
    state = dict(state)
    if value is None:
        del state[name]
    else:
        state[name] = value
    return state


BAD = {
    'a missing tensor': ('features.0.bias', None, 'features.0.bias'),
    'a wrong kernel': ('features.0.weight', torch.zeros(4, 3, 5, 5), '4x3x5x5'),
    'other channels': ('features.2.weight', torch.zeros(4, 3, 3, 3), '4x3x3x3'),
    'integers': ('features.0.bias', torch.zeros(4, dtype=torch.int64), 'int64'),
    'no tensor': ('features.0.bias', 7, 'int'),
    'a layer too many': ('features.99.weight', torch.zeros(1), 'features.99.weight'),
    'other cells under fc6': ('classifier.0.weight', torch.zeros(12, 8), '12x8'),
}


@pytest.mark.parametrize('name', BAD)
def test_other_state_dicts_are_refused(tmp_path, name):
    key, value, said = BAD[name]
    path = tmp_path / 'vgg.pth'
    torch.save(changed(vgg(False).state_dict(), key, value), path)
    with pytest.raises(FcnError, match=said) as caught:
        torchvision.read_vgg16(path)
    assert caught.value.file == str(path) and caught.value.do


class Code:
    def __reduce__(self):
        return Path.write_text, (Path('ran'), 'x')


@pytest.mark.parametrize('content', ['a net', 'code', 'a list', 'a damaged file', 'half a file'])
def test_other_files_are_refused(tmp_path, content, monkeypatch):
    """Nothing in a file is run."""
    monkeypatch.chdir(tmp_path)
    path, file = tmp_path / 'vgg.pth', io.BytesIO()
    torch.save({'a net': nn.Linear(2, 2), 'code': Code(), 'a list': [1, 2]}.get(
        content, vgg(False).state_dict()), file)
    data = file.getvalue()
    data = data[:len(data) // 2] if content == 'half a file' else data
    path.write_bytes(b'PK\x03\x04' + data[:99] if content == 'a damaged file' else data)
    with pytest.raises(FcnError) as caught:
        torchvision.read_vgg16(path)
    assert caught.value.file == str(path) and caught.value.do
    assert not Path('ran').exists()
