"""RefineNet, DeepLab v3 and v3+, BiSeNet, LEDNet, DUpsampling, DFANet: parameters counted, scores
and gradients of plain PyTorch twins."""

from dataclasses import replace

import fast_twins
import numpy as np
import pytest
import torch
import torch_twins as twins
from torch_cases import CASES, IMAGES, SCALES, SIZE, made, pairs, picture

from fcn_repro.data.image import VOID
from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.recipe.models import (
    MODELS,
    bisenet,
    deeplabv3,
    dfanet,
    dupsampling,
    lednet,
    refinenet,
)
from fcn_repro.recipe.models.parts import python_data
from fcn_repro.viewer import NetFacts, facts_of_net
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

# ---- parameters ----------------------------------------------------------------------------------

def parameters(message):
    """What is learned in PyTorch's sense: all but running statistics."""
    drawn = describe(parse_source(net_text(message), 'net'), 'TEST')
    return sum(int(np.prod(parameter.shape)) for item in drawn.items for parameter in item.params
               if item.node.type != 'BatchNorm' and parameter.owner is None)


def resnet(name):
    return refinenet.RESNETS[name]


R50 = {'blocks': resnet('resnet50')}
TORCHVISION = {'body_settings': {'late': True, 'grid': ()}, 'refinements': 1}


# Counted in the releases' own modules: refinenet-pytorch 65541db, DeepLabV3Plus-Pytorch (VainF),
# pytorch-deeplab-xception (jfzhang95), TorchSeg 62eeb15 with its auxiliary heads, LEDNet 5d900d9;
# and in unofficial ones: LinZhuoChen/DUpsampling 754f184, huaifeng1993/DFANet 3444e2f.
@pytest.mark.parametrize('message, count', [
    (refinenet.net(**refinenet.NETS['refinenet-resnet50']), 99_060_309),
    (refinenet.net(**refinenet.NETS['refinenet-resnet101']), 118_052_437),
    (refinenet.net(**refinenet.NETS['refinenet-resnet152']), 133_696_085),
    (deeplabv3.net(**TORCHVISION), 58_630_997),
    (deeplabv3.net(body_settings={'blocks': resnet('resnet50')}, refinements=1), 39_638_869),
    (deeplabv3.net(decoder={}, refinements=1), 58_753_973),
    (deeplabv3.net(decoder={}, refinements=1, body_settings={'blocks': resnet('resnet50')}),
     39_761_845),
    (deeplabv3.net(**deeplabv3.NETS['deeplab-v3plus-resnet101']), 59_344_309),
    (bisenet.net(**bisenet.NETS['bisenet-r18'], training=True), 13_494_777),
    (bisenet.net(**bisenet.NETS['bisenet-x39'], training=True), 1_842_289),
    # 128 x 20 + 20 of the release's module are its encoder's own scores, which its net never uses
    (lednet.net(), 925_663 - 2_580),
    # 64 x 21 x 16 x 16 of the module dunet_sybn are P, which its net never uses
    (dupsampling.net(), 29_684_961 - 344_064),
    (dfanet.net(), 2_187_216),
])
def test_parameters_are_those_that_are_known(message, count):
    assert parameters(message) == count


# Multiply-adds of convolutions, in thousands of millions, counted in the same modules; Xception's
# as published by its authors (model zoo of research/deeplab) to within half a percent
@pytest.mark.parametrize('message, billions, within', [
    *((refinenet.net(**refinenet.NETS[f'refinenet-resnet{depth}'], shape=(1, 3, 512, 512)), count,
       0.05) for depth, count in ((50, 243.5), (101, 262.9), (152, 282.3))),
    (deeplabv3.net(**TORCHVISION), 71.70, 0.005),
    (deeplabv3.net(body_settings=R50, refinements=1), 51.08, 0.005),
    (deeplabv3.net(decoder={}, refinements=1), 83.01, 0.005),
    (deeplabv3.net(decoder={}, refinements=1, body_settings=R50), 62.38, 0.005),
    (deeplabv3.net(**deeplabv3.NETS['deeplab-v3plus-resnet101']), 92.82, 0.005),
    (deeplabv3.net(**deeplabv3.NETS['deeplab-v3plus-xception65']), 54.17, 0.27),
    (bisenet.net(**bisenet.NETS['bisenet-r18'], shape=(1, 3, 360, 640)), 11.58, 0.005),
    (bisenet.net(**bisenet.NETS['bisenet-x39'], shape=(1, 3, 360, 640)), 3.07, 0.005),
    (lednet.net(), 11.21, 0.005),
    (dupsampling.net(shape=(1, 3, 512, 512)), 38.40, 0.005),
    (dfanet.net(), 7.57, 0.005),
])
def test_multiply_adds_are_those_that_are_known(message, billions, within):
    drawn = describe(parse_source(net_text(message), 'net'), 'TEST')
    assert abs(drawn.macs / 1e9 - billions) <= within


X39 = {'stem': 8, 'widths': (16, 32, 64), 'blocks': (4, 8, 4)}
COUNTED = {
    'refinenet-resnet50': twins.Refinenet(**R50),
    'refinenet-resnet101': twins.Refinenet(),
    'refinenet-resnet152': twins.Refinenet(blocks=resnet('resnet152')),
    'refinenet-resnet50-single': twins.Cascade(**R50),
    'refinenet-resnet50-2cascade': twins.Cascade(**R50, blocks_of=((4, 3), (2, 1))),
    'refinenet-resnet50-2scales': twins.Cascade(**R50, blocks_of=((4,), (3,), (2,), (1,)),
                                                scales=SCALES),
    'deeplab-v3-resnet101': twins.Paper(),
    'deeplab-v3plus-resnet101': twins.Jfzhang95(),
    'deeplab-v3plus-drn54': twins.Jfzhang95(drn=(
        (16, 32, 64, 128, 256, 512, 512, 512), (1, 1, 3, 4, 6, 3, 1, 1))),
    'deeplab-v3plus-xception65': twins.Paper(body='xception', settings=(
        (32, 64), (128, 256, 728), 16, ((728, 1024, 1024), (1536, 1536, 2048)))),
    'deeplab-v3plus-mobilenet': twins.Paper(body='mobilenet', settings=(
        32, ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
             (6, 160, 3, 2), (6, 320, 1, 1)))),
    'bisenet-r18': fast_twins.Bisenet(classes=19),
    'bisenet-x39': fast_twins.Bisenet(classes=19, **X39, xception=True),
    'lednet': fast_twins.Lednet(classes=20),
    'dupsampling-resnet50': fast_twins.Dupsampling(),
    'dfanet': fast_twins.Dfanet(classes=19),
}


@pytest.mark.parametrize('name', COUNTED)
def test_parameters_are_the_twin_s(name):
    model = MODELS[name]
    assert parameters(model.net(**model.settings)) == COUNTED[name].count()


def test_all_nets_have_a_twin():
    assert COUNTED.keys() == {*refinenet.NETS, *deeplabv3.NETS, *bisenet.NETS, 'lednet',
                              'dupsampling-resnet50', 'dfanet'}


# ---- scores and gradients ------------------------------------------------------------------------

@pytest.mark.parametrize('name', CASES)
def test_scores_are_the_twin_s(name):
    twin, make, table = CASES[name]
    twin = replace(twin, modules={}).filled(SIZE)
    net = made(make)
    learned = {id(blob) for blob, _ in pairs(net, twin, table)}
    assert learned == {id(blob) for layer, blobs in net.params.items() for blob in blobs
                       if not layer.endswith('_bn')}
    image, labels = picture()
    with torch.no_grad():
        wanted = twin(image)
        found = net(['score'], data=image, label=labels)['score']
    assert found.std() > 0.01
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize('frozen', [True, False])
@pytest.mark.parametrize('name', CASES)
def test_gradients_are_the_twin_s(name, frozen):
    """With stored statistics, and with those of the batch; in float64, where rounding changes no
    maximum and no ReLU."""
    twin, make, table = CASES[name]
    twin = replace(twin, modules={}).filled(SIZE, 1)
    twin.frozen = frozen
    net = made(make, 'TRAIN' if not frozen or 'RefineNet' in name else 'TEST', frozen).double()
    found = pairs(net, twin.double(), table)
    image, labels = (tensor.double() for tensor in picture(1))
    loss = torch.nn.functional.cross_entropy(twin(image), labels[:, 0].long(), ignore_index=VOID)
    loss.backward()
    net.forward(data=image, label=labels)
    net.backward()
    there = twin.parameters()
    checked = 0
    for blob, other in found:
        if blob.parameter.requires_grad:
            wanted = there[other].grad
            checked += 1
            assert (blob.diff - wanted).abs().max() <= 1e-6 * max(wanted.abs().max(), 1e-3), other
    assert checked > len(found) / 3


def mean_loss(scores, labels, mined):
    """Over all that is not void; mined: (threshold, share), over the pixels whose own class has at
    most the probability of the threshold, at least over the least probable share of all."""
    terms = torch.nn.functional.cross_entropy(scores, labels, ignore_index=VOID, reduction='none')
    terms = terms[labels != VOID]
    if not mined:
        return terms.mean()
    ordered = terms.sort(descending=True).values
    least = int(mined[1] * labels.numel())
    count = max(least, int((ordered >= -np.log(mined[0])).sum()))
    assert least < count < len(ordered) or count == least
    return ordered[:count].mean()


# of the second, fewer pixels than the share are below the threshold
@pytest.mark.parametrize('mined', [None, (0.25, 1 / 32), (0.05, 0.5)])
@pytest.mark.parametrize('name', ['BiSeNet R18', 'BiSeNet X39'])
def test_auxiliary_losses_are_the_twin_s(name, mined):
    """Of the net that learns, whose three losses weigh the same."""
    twin, make, _ = CASES[name]
    twin = replace(twin, modules={}, heads=True).filled(SIZE, 1)
    twin.frozen = False
    text = net_text(make(python_data('voc_layers', 'VOCSegDataLayer'), training=True, mined=mined))
    inputs = f'''layer {{ name: "data" type: "Input" top: "data" top: "label" input_param {{
        shape {{ dim: {IMAGES} dim: 3 dim: {SIZE[0]} dim: {SIZE[1]} }}
        shape {{ dim: {IMAGES} dim: 1 dim: {SIZE[0]} dim: {SIZE[1]} }} }} }}'''
    text = inputs + text[text.index('layer {', text.index('layer {') + 1):]
    net = Net.of(parse_net(text, 'net.prototxt'), 'TRAIN').double()
    found = pairs(net, twin.double(), None)
    assert {id(blob) for blob, _ in found} == {
        id(blob) for layer, blobs in net.params.items() for blob in blobs
        if not layer.endswith('_bn')}
    image, labels = (tensor.double() for tensor in picture(1))
    wanted = sum(mean_loss(scores, labels[:, 0].long(), mined) for scores in twin(image))
    wanted.backward()
    net.forward(data=image, label=labels)
    assert net.total_loss.item() == pytest.approx(wanted.item(), rel=1e-9)
    net.backward()
    there = twin.parameters()
    for blob, other in found:
        gradient = there[other].grad
        assert (blob.diff - gradient).abs().max() <= 1e-6 * max(gradient.abs().max(), 1e-3), other


@pytest.mark.parametrize('name', bisenet.NETS)
def test_losses_are_mined_where_the_net_learns(name):
    """As in the release: 0.7, and of its 16 crops of 1024x1024 a sixteenth of the pixels."""
    files = MODELS[name].files()
    data = parse_net(files['train.prototxt'], 'train.prototxt').message.layer[0].python_param
    assert "'crop': (1024, 1024)" in data.param_str and "'batch_size': 16" in data.param_str
    for file, mined in (('train.prototxt', 3), ('val.prototxt', 0)):
        losses = [layer for layer in parse_net(files[file], file).message.layer
                  if layer.type == 'SoftmaxWithLoss']
        own = [layer.fcn_repro_param for layer in losses if layer.HasField('fcn_repro_param')]
        assert len(own) == mined and len(losses) == max(mined, 1)
        assert all(each.ohem_thresh == np.float32(0.7) and each.ohem_min_ratio == 1 / 16
                   for each in own)


# ---- facts ---------------------------------------------------------------------------------------

def test_all_of_an_image_is_seen():
    """By the pooled image. The body has a field: 11 of the stem, then 24, 8 + 48, 16 + 160, 32 +
    128 of the 3x3 convolutions; and its 53120 scales and biases are frozen."""
    found = facts_of_net(refinenet.net(**refinenet.NETS['refinenet-resnet50']), 'layer4_2')
    assert found == NetFacts('layer4_2', 427, 32, 49, 99_060_309 - 53_120)
    with pytest.raises(FcnError, match='receptive field'):
        facts_of_net(deeplabv3.net(), 'score')
