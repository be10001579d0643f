"""FastFCN and the nets after it: parameters and multiply-adds counted, scores and gradients of
plain PyTorch twins, what each mini has and how it starts."""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import attention_twins as twins
import numpy as np
import pytest
import torch
from torch import nn

from fcn_repro.data.image import VOID
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net, read_net
from fcn_repro.recipe.models import MODELS, acnet, danet, fastfcn, parts
from fcn_repro.recipe.stages import shipped
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

ROOT = Path(__file__).parents[2]
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


def test_the_parameters_of_dual_attention():
    """Its head of 19 classes, with the scores of both modules, counted in the release's module
    (junfu1115/DANet b0a0fa0)."""
    message = as_inputs(danet.net, classes=19)
    assert sum(parameters(message, name) for name in ('pam', 'cam', 'score')) == 23_954_619


def test_the_parameters_of_acnet():
    """With all five scores of 40 classes, counted in the release's module (anheidelonghu/ACNet
    073d6bb, ACNet_models_V1.py)."""
    message = as_inputs(acnet.net, **MODELS['acnet-nyud'].settings)
    assert parameters(message) == 116_628_168


COUNTED = {
    'fastfcn-resnet50': twins.FastFcn(),
    'fastfcn-resnet50-psp': twins.FastFcn(head='psp'),
    'fastfcn-resnet50-deeplab': twins.FastFcn(head='deeplab'),
    'danet-resnet101': twins.Danet(),
    'acnet-nyud': twins.Acnet(classes=40),
}


@pytest.mark.parametrize('name', COUNTED)
def test_parameters_are_the_twin_s(name):
    """Auxiliary heads too."""
    model = MODELS[name]
    message = as_inputs(model.net, **{**model.settings, 'shape': (1, 3, 64, 64)})
    assert parameters(message) == COUNTED[name].count(64)


SIDES = {'acnet-nyud': (480, 640)}          # all others: 512x512


@pytest.mark.parametrize('name', COUNTED)
def test_the_figures_of_the_docs(name):
    model = MODELS[name]
    message = model.net(**{**model.settings, 'shape': (1, 3, *SIDES.get(name, (512, 512)))})
    macs = sum(item.macs for item in described(message).items if item.node.type != 'MatMul')
    row = f'| `{name}` | {parameters(message):,} | {macs / 1e9:.1f} G |'
    assert row in (ROOT / 'docs' / 'torch-nets.md').read_text()


def test_attention_is_11_8_g_of_products():
    items = described(danet.net()).items
    assert round(sum(item.macs for item in items if item.node.type == 'MatMul') / 1e9, 1) == 11.8


# ---- scores and gradients ------------------------------------------------------------------------

SMALL = {'classes': 5, 'width': 12, 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
DEEP_BODY = {'stem': (4, 5, 6), 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
FAST = {'classes': 5, 'width': 12, 'dropouts': (0, 0), 'body_settings': DEEP_BODY}

# {name: (twin, net of this project)}
CASES = {f'FastFCN, {head}': (
    twins.FastFcn(**SMALL, stem=(4, 5, 6), head=head), partial(fastfcn.net, **FAST, head=head))
    for head in fastfcn.HEADS}
CASES['DANet'] = twins.Danet(**{**SMALL, 'width': 16}, stem=6), partial(
    danet.net, classes=5, width=16, dropout=0, body_settings={**DEEP_BODY, 'stem': 6})
CASES['ACNet'] = twins.Acnet(
    classes=5, stem=4, widths=(3, 4, 5, 6), counts=(2, 1, 2, 3), decoder=(3, 1, 2, 1, 2)), partial(
    acnet.net, classes=5, stem=4, widths=(3, 4, 5, 6), counts=(2, 1, 2, 3), decoder=(3, 1, 2, 1, 2))


def as_inputs(make, images=1, size=(64, 64), **settings):
    """The message of a net that learns, its data layer an Input of so many images."""
    message = make(data=DATA, training=True, **{'shape': (images, 3, *size), **settings})
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
    loss = sum(weight * nn.functional.cross_entropy(
        scores, labels[:, 0, ::stride, ::stride].long(), ignore_index=VOID)
        for weight, stride, scores in zip(twin.weights, twin.strides, twin(*images), strict=True))
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
         'fastfcn-deeplab-mini': 'fastfcn-resnet50-deeplab', 'danet-mini': 'danet-resnet101',
         'mini-acnet': 'acnet-nyud'}
PADDED = {('score_padded', 'Interp'), ('score', 'Crop')}        # of images of one size


def blocks_of(name, file):
    """{(name of a layer, its type)} but for repetitions of blocks."""
    layers = read_net(shipped(name) / f'{file}.prototxt').message.layer
    return {(re.sub(r'^(layer\d\w*?|up\d|final)_\d+', r'\1', layer.name), layer.type)
            for layer in layers}


@pytest.mark.parametrize('name', MINIS)
def test_a_mini_has_every_block(name):
    for file in (*MODELS[name].splits, 'deploy'):
        assert blocks_of(name, file) == blocks_of(MINIS[name], file)


@pytest.mark.parametrize('name', MINIS)
def test_auxiliary_heads_are_of_training_alone(name):
    """The val net has no more layers than the deploy net but its data and its loss."""
    train, val, deploy = (blocks_of(name, file) for file in (*MODELS[name].splits, 'deploy'))
    more = {layer for layer in val - deploy if layer[1] != 'Python'}
    assert more <= {('loss', 'SoftmaxWithLoss'), *PADDED}
    assert len(train - val) > 2 and val - train <= PADDED


def test_danet_is_for_images_of_one_height():
    net = Net.of(parse_net(net_text(danet.net(**{
        **danet.SMALL, 'classes': 3, 'shape': (1, 3, 64, 64)})), 'net.prototxt'), 'TEST')
    for width in 64, 90:                                # but of any width
        assert net(['score'], data=torch.zeros(1, 3, 64, width))['score'].shape[3] == width
    with pytest.raises(FcnError, match='made for images of 64x64'):
        net.forward(data=torch.zeros(1, 3, 80, 64))


def test_attention_begins_as_the_identity():
    """gamma is 0: what the modules add is nothing yet. With the statistics of the batch: there are
    no stored ones."""
    net = Net.of(parse_net(net_text(danet.net(**{
        **danet.SMALL, 'classes': 3, 'shape': (1, 3, 64, 64)})), 'net.prototxt'), 'TRAIN')
    tops = net(['pam', 'cam', 'pam_in', 'cam_in'],
               data=torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(tops['pam'], tops['pam_in']) and torch.equal(tops['cam'], tops['cam_in'])
