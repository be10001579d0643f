"""FastFCN and the nets after it: parameters and multiply-adds counted, scores and gradients of
plain PyTorch twins, what each mini has and how it starts."""

import re
from dataclasses import replace
from functools import partial

import attention_twins as twins
import numpy as np
import pytest
import torch
from torch import nn

from fcn_repro.data.image import VOID
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net, read_net
from fcn_repro.recipe.models import MODELS, fastfcn, parts
from fcn_repro.recipe.stages import shipped
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

IMAGES = 4          # so that a pooled image, one cell, has statistics
SIZE = 65, 81
DATA = parts.python_data('voc_layers', 'VOCSegDataLayer', voc_dir='.', split='train')


# ---- parameters ----------------------------------------------------------------------------------

def described(message):
    return describe(parse_source(net_text(message), 'net'), 'TEST')


def parameters(message, begins=''):
    """What is learned in PyTorch's sense, all but running statistics, of layers whose names begin
    so."""
    return sum(int(np.prod(parameter.shape)) for item in described(message).items
               for parameter in item.params if item.node.type != 'BatchNorm'
               and parameter.owner is None and item.node.name.startswith(begins))


def test_the_parameters_of_jpu():
    """Counted in the release's module (wuhuikai/FastFCN 126661b)."""
    assert parameters(fastfcn.net(), 'jpu') == 19_735_552


# The release's figures, ResNet-50, 59 classes, 512x512: millions of parameters with the auxiliary
# head and the fc layer of the ResNet, thousands of millions of multiply-adds with that head
@pytest.mark.parametrize('head, millions, billions', [
    ('fcn', 57.26, 99.7), ('psp', 70.90, 138.4), ('deeplab', 63.93, 124.8)])
def test_fastfcn_is_as_large_as_its_release(head, millions, billions):
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 59 + 59
    message = fastfcn.net(head=head, classes=59, shape=(1, 3, 512, 512))
    assert abs((parameters(message) + auxiliary + 2049_000) / 1e6 - millions) <= 0.006
    macs = described(message).macs + (9 * 1024 + 59) * 256 * 32 * 32
    assert abs(macs / 1e9 - billions) <= 0.06


COUNTED = {
    'fastfcn-resnet50': twins.FastFcn(),
    'fastfcn-resnet50-psp': twins.FastFcn(head='psp'),
    'fastfcn-resnet50-deeplab': twins.FastFcn(head='deeplab'),
}


@pytest.mark.parametrize('name', COUNTED)
def test_parameters_are_the_twin_s(name):
    """Auxiliary heads too."""
    model = MODELS[name]
    assert parameters(as_inputs(model.net, **model.settings)) == COUNTED[name].count(64)


# ---- scores and gradients ------------------------------------------------------------------------

SMALL = {'classes': 5, 'width': 12, 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
DEEP_BODY = {'stem': (4, 5, 6), 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
FAST = {'classes': 5, 'width': 12, 'dropouts': (0, 0), 'body_settings': DEEP_BODY}

# {name: (twin, net of this project)}
CASES = {f'FastFCN, {head}': (
    twins.FastFcn(**SMALL, stem=(4, 5, 6), head=head), partial(fastfcn.net, **FAST, head=head))
    for head in fastfcn.HEADS}


def as_inputs(make, images=1, size=(64, 64), **settings):
    """The message of a net that learns, its data layer an Input of so many images."""
    message = make(data=DATA, training=True, **settings)
    layer = message.layer[0]
    tops = list(layer.top)
    layer.Clear()
    layer.name, layer.type = 'data', 'Input'
    layer.top.extend(tops)
    for top in tops:
        channels = 3 if top in ('data', 'color') else 1
        layer.input_param.shape.add(dim=[images, channels, *size])
    return message


def made(make, phase='TEST', frozen=True):
    message = as_inputs(make, IMAGES, SIZE, norm={'frozen': frozen})
    return Net.of(parse_net(net_text(message), 'net.prototxt'), phase)


def pairs(net, twin):
    """[(parameter here, parameter there)] of all that is learned, and copies the twin's weights."""
    found = []
    for name, module in twin.modules.items():
        layer = name
        if isinstance(module, nn.BatchNorm2d):
            mean, variance, factor = net.params[name]
            mean.data.copy_(module.running_mean)
            variance.data.copy_(module.running_var)
            factor.data.fill_(1)
            layer = f"{name.removesuffix('_bn')}_scale"
        found += zip(net.params[layer], module.parameters(), strict=True)
    for blob, there in found:
        blob.data.copy_(there.detach().reshape(blob.data.shape))
    return found


def picture(twin, seed):
    generator = torch.Generator().manual_seed(seed)
    images = [torch.randn(IMAGES, channels, *SIZE, generator=generator) for channels in twin.inputs]
    labels = torch.randint(0, 5, (IMAGES, 1, *SIZE), generator=generator).float()
    labels[:, :, :2] = VOID
    return images, labels


def fed(net, images, labels):
    """{input: its tensor}."""
    return dict(zip(net.graph.nodes[0].param.top, [*images, labels], strict=True))


@pytest.mark.parametrize('name', CASES)
def test_scores_are_the_twin_s(name):
    twin, make = CASES[name]
    twin = replace(twin, modules={}).filled(SIZE)
    net = made(make)
    learned = {id(blob) for blob, _ in pairs(net, twin)}
    assert learned == {id(blob) for layer, blobs in net.params.items() for blob in blobs
                       if not layer.endswith('_bn')}
    images, labels = picture(twin, 0)
    with torch.no_grad():
        wanted = twin(*images)[0]
        found = net(['score'], **fed(net, images, labels))['score']
    assert found.std() > 0.01
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize('frozen', [True, False])
@pytest.mark.parametrize('name', CASES)
def test_gradients_are_the_twin_s(name, frozen):
    """Of the sum of all losses, with stored statistics and with those of the batch; in float64,
    where rounding changes no maximum and no ReLU."""
    twin, make = CASES[name]
    twin = replace(twin, modules={}).filled(SIZE, 1)
    twin.frozen = frozen
    net = made(make, 'TRAIN', frozen).double()
    found = pairs(net, twin.double())
    images, labels = picture(twin, 1)
    images, labels = [image.double() for image in images], labels.double()
    loss = sum(weight * nn.functional.cross_entropy(scores, labels[:, 0].long(), ignore_index=VOID)
               for weight, scores in zip(twin.weights, twin(*images), strict=True))
    loss.backward()
    net.forward(**fed(net, images, labels))
    assert abs(net.total_loss.item() - loss.item()) <= 1e-9 * loss.item()
    net.backward()
    checked = 0
    for blob, there in found:
        if blob.parameter.requires_grad:
            wanted = there.grad.reshape(blob.data.shape)
            checked += 1
            assert (blob.diff - wanted).abs().max() <= 1e-6 * max(wanted.abs().max(), 1e-3)
    assert checked > len(found) / 3


# ---- minis ---------------------------------------------------------------------------------------

MINIS = {'fastfcn-mini': 'fastfcn-resnet50', 'fastfcn-psp-mini': 'fastfcn-resnet50-psp',
         'fastfcn-deeplab-mini': 'fastfcn-resnet50-deeplab'}


def blocks_of(name, file):
    """{(name of a layer, its type)} but for repetitions of bottlenecks."""
    layers = read_net(shipped(name) / f'{file}.prototxt').message.layer
    return {(re.sub(r'^(layer\d\w*?)_\d+', r'\1', layer.name), layer.type) for layer in layers}


@pytest.mark.parametrize('name', MINIS)
def test_a_mini_has_every_block(name):
    for file in 'train', 'val', 'deploy':
        assert blocks_of(name, file) == blocks_of(MINIS[name], file)


@pytest.mark.parametrize('name', MINIS)
def test_auxiliary_heads_are_of_training_alone(name):
    """The val net has no more layers than the deploy net but its data and its loss."""
    train, val, deploy = (blocks_of(name, file) for file in ('train', 'val', 'deploy'))
    assert val - deploy <= {('data', 'Python'), ('loss', 'SoftmaxWithLoss')}
    assert len(train - val) > 2 and not val - train
