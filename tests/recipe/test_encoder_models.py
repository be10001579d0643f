"""SegNet and ENet by the builder: the originals' messages and counts, any size, a training step."""

import hashlib

import pytest
import torch
from google.protobuf import text_format
from texts import FILE

from fcn_repro.errors import FcnError
from fcn_repro.net import Net
from fcn_repro.net.bn_statistics import absorb
from fcn_repro.net.net import build
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import filter_net, parse_net
from fcn_repro.recipe.models import MODELS, enet, segnet
from fcn_repro.recipe.stages import STAGES

TRAIN = {'source': 'train.txt', 'batch_size': 4, 'shuffle': True}
TEST = {'source': 'test.txt', 'batch_size': 1}
BASIC = {'classes': 11, 'sized': False, 'blob': 'conv_classifier',
         'pads': {4: {'pad_out_h': True}}}
FULL = {'classes': 11, 'sized': False, 'blob': 'conv1_1_D', 'pads': {
    5: {'upsample_w': 30, 'upsample_h': 23}, 4: {'upsample_w': 60, 'upsample_h': 45}}}
LOSS = {'weights': segnet.CAMVID_WEIGHTS, 'void': segnet.CAMVID_VOID, 'accuracy': True}
ENET = {'classes': 19, 'blob': '', 'accuracy': True}
# The first 16 digits of the SHA-256 of each original's layers but for data and `loss` or `prob`,
# from SegNet-Tutorial bb68b64 and ENet bb681cc, read as the dialect enet
ORIGINALS = {
    'segnet_basic_train': (lambda: segnet.basic(TRAIN, **BASIC, **LOSS), 'd7cd828ffb744d53'),
    'segnet_basic_inference': (lambda: segnet.basic(None, folded=True, **BASIC),
                               'd66ff5ef8435fae8'),
    'segnet_train': (lambda: segnet.segnet(TRAIN, **FULL, **LOSS), '72340805223cc08c'),
    'segnet_inference': (lambda: segnet.segnet(None, folded=True, **FULL), '87aa375bcca88071'),
    'enet_train_encoder': (lambda: enet.enet(TRAIN, encoder=True, **ENET), '4a8091a6e6f64e03'),
    'enet_train_encoder_decoder': (lambda: enet.enet(TRAIN, **ENET), 'aac22068da310748'),
    'enet_deploy': (lambda: enet.enet(None, folded=True, **ENET), '97c0ec7123e707e2'),
}


def message_of(net):
    return parse_net(net_text(net), FILE, 'enet').message


def digest(message, input_layers):
    """Of the layers without data; input_layers: with an Input."""
    kept = [layer for layer in message.layer if layer.type != 'DenseImageData'
            and (input_layers or layer.type != 'Input')]
    rest = type(message)(layer=kept)
    return hashlib.sha256(text_format.MessageToString(rest).encode()).hexdigest()[:16]


@pytest.mark.parametrize('name', ORIGINALS)
def test_the_builder_writes_the_original(name):
    build_net, wanted = ORIGINALS[name]
    assert digest(message_of(build_net()), name.startswith('enet')) == wanted


@pytest.mark.parametrize('net, settings, count', [
    (segnet.basic, {'classes': 11}, 1_416_587), (segnet.segnet, {'classes': 11}, 29_449_355),
    (enet.enet, {'classes': 19}, 372_551), (enet.enet, {'classes': 19, 'encoder': True}, None)])
def test_parameters_of_the_originals(net, settings, count):
    """All of facts' figures; the encoder's has our 8 x 8 copies of its scores beside it."""
    made = Net.of(parse_net(net_text(net(**settings, shape=(1, 3, 64, 64))), FILE), 'TEST')
    found = sum(blob.data.numel() for blobs in made.params.values() for blob in blobs)
    assert found == (count or 350_207 + 19 * 64)


def test_the_absorbed_enet():
    """What ENet's deploy_final has, but for four biases of zeros behind its asymmetric
    convolutions' first halves."""
    text = parse_net(net_text(enet.enet(None, classes=19, folded=True, shape=(1, 3, 64, 64))), FILE)
    made = absorb(text, Net.of(text, 'TEST'))
    assert made.left == ['bn0_1', 'bn4_0_1', 'bn5_0_1'] and len(made.text.message.layer) == 210
    assert sum(blob.size for blobs in made.blobs.values() for blob in blobs) == 367_687 - 4 * 32


@pytest.mark.parametrize('name', ['mini-segnet-basic', 'mini-segnet'])
def test_segnet_takes_any_size(name):
    """By the third bottom of its Upsample layers."""
    model = MODELS[name]
    net = Net.of(parse_net(model.net_text(None, model.recipes[0]), FILE), 'TEST')
    for size in (37, 50), (64, 33):
        assert net.forward(data=torch.rand(1, 3, *size))['prob'].shape == (1, 11, *size)


def test_enet_takes_multiples_of_8():
    model = MODELS['mini-enet']
    net = Net.of(parse_net(model.net_text(None, model.recipes[0]), FILE), 'TEST')
    assert net.forward(data=torch.rand(1, 3, 24, 40))['score'].shape == (1, 11, 24, 40)
    with pytest.raises(FcnError) as caught:
        net.forward(data=torch.rand(1, 3, 30, 40))
    assert caught.value.layer and caught.value.do


@pytest.mark.parametrize('name', [name for name in STAGES if name.startswith('mini-')
                                  and STAGES[name].family in ('segnet', 'enet')])
def test_the_train_and_val_nets(name):
    """Gradients reach every parameter that learns; dropout drops in the train net alone; the val
    net scores each pixel."""
    model, (recipe,) = MODELS[name], MODELS[name].recipes
    for data, phase in (model.train, 'TRAIN'), (model.val, 'TEST'):
        text = filter_net(parse_net(model.net_text(data, recipe), FILE), phase)
        layers = list(text.message.layer)
        assert sum(layer.fcn_repro_param.per_channel for layer in layers) == (
            sum(layer.name.startswith('drop') for layer in layers) if phase == 'TRAIN' else 0)
        reader = text.message.layer[0]
        assert reader.type == 'Python'
        reader.Clear()
        reader.name, reader.type = 'data', 'Input'
        reader.top.extend(['data', 'label'])
        for channels in 3, 1:
            reader.input_param.shape.add(dim=[2, channels, 32, 48])
        auto = {'SoftmaxWithLoss': 1}
        net = Net(build(text, phase, auto_tops=auto))
        draws = torch.Generator().manual_seed(0)
        for layer in (name for name in net.params if name.startswith('deconv')):
            net.params[layer][0].data.add_(0.1)         # ENet's own start at 0
        labels = torch.randint(0, 11, (2, 1, 32, 48), generator=draws).float()
        out = net.forward(data=torch.rand(2, 3, 32, 48, generator=draws) * 255, label=labels,
                          blobs=['score'])
        assert out['score'].shape == (2, 11, 32, 48) and out['loss'].isfinite()
        if phase == 'TRAIN':
            net.backward()
            still = [blob.name for blob in net.learnable_params if not blob.diff.abs().sum() > 0]
            assert set(still) <= {'score/0'}, still         # the copies of an encoder's scores


def test_the_encoder_reads_every_eighth_label():
    """As ENet's data layer resizes them, to the nearest."""
    model = MODELS['mini-enet-encoder']
    text = parse_net(model.net_text(model.train, model.recipes[0]), FILE)
    kept = [layer for layer in text.message.layer if layer.name == 'label_s8']
    small = Net.of(parse_net(
        'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 1 dim: 1 '
        'dim: 24 dim: 40 } } }' + net_text(type(text.message)(layer=kept)), FILE), 'TEST')
    labels = torch.arange(24 * 40.).reshape(1, 1, 24, 40)
    assert torch.equal(small.forward(label=labels)['label_s8'], labels[:, :, ::8, ::8])
