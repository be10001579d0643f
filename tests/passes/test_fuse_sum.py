"""fuse_sum: its sites; equal outputs, placed and not, and in 16 bits; where it steps aside."""

from pathlib import Path

import pytest
import torch
from test_fold_norm import RESNETS, difference, random_params
from texts import conv, graph, inputs, layer

from fcn_repro.net import Net
from fcn_repro.net.bn_statistics import is_bn
from fcn_repro.net.graph import build
from fcn_repro.net.placement import place
from fcn_repro.net.plan import bottoms_of
from fcn_repro.passes import DEFAULT, fold_norm, fuse_relu, fuse_sum
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.models import MODELS

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
# a block of ResNet-50, -101 or -152 ends with a sum, as one of ENet; RefineNet's blocks have more,
# and sums of enlarged maps or of three blobs are left alone
BLOCKS = {depth: (count - 5) // 3 for depth, count in RESNETS.items()}
SITES = {
    'enet': 27, 'mini-enet': 27, 'enet-encoder': 22, 'mini-enet-encoder': 22,
    'deeplab-v2-resnet101': 3 * BLOCKS[101], 'deeplab-v2-resnet101-single': BLOCKS[101],
    'deeplab-v2-mini': 3 * 7, 'deeplab-v2-single-mini': 7,
    'pspnet50-ade20k': BLOCKS[50], 'pspnet101-voc': BLOCKS[101],
    'pspnet101-cityscapes': BLOCKS[101], 'pspnet-mini': 9,
    'icnet-cityscapes': BLOCKS[50] + 2, 'icnet-cityscapes-merged': BLOCKS[50] + 2, 'icnet-mini': 9,
    'refinenet-resnet50': BLOCKS[50] + 20, 'refinenet-resnet101': BLOCKS[101] + 20,
    'refinenet-resnet152': BLOCKS[152] + 20, 'refinenet-resnet50-single': BLOCKS[50] + 11,
    'refinenet-resnet50-2cascade': BLOCKS[50] + 14,
    'refinenet-resnet50-2scales': 2 * BLOCKS[50] + 28, 'refinenet-mini': 8 + 20,
    'deeplab-v3-resnet101': BLOCKS[101], 'deeplab-v3plus-resnet101': BLOCKS[101],
    'deeplab-v3plus-xception65': 20, 'deeplab-v3plus-mobilenet': 10, 'deeplab-v3plus-drn54': 16,
    'deeplab-v3-mini': 9, 'deeplab-v3plus-mini': 9, 'deeplab-v3plus-xception-mini': 6,
    **dict.fromkeys(('fastfcn-resnet50', 'fastfcn-resnet50-psp', 'fastfcn-resnet50-deeplab'),
                    BLOCKS[50]),
    **dict.fromkeys(('fastfcn-mini', 'fastfcn-psp-mini', 'fastfcn-deeplab-mini'), 8),
    'danet-resnet101': BLOCKS[101], 'danet-mini': 9,
    'acnet-nyud': 63, 'mini-acnet': 30,
    'dupsampling-resnet50': BLOCKS[50], 'dupsampling-mini': 9, 'dfanet': 36, 'dfanet-mini': 12,
    'bisenet-r18': 8, 'bisenet-r18-mini': 4, 'bisenet-x39': 16, 'bisenet-x39-mini': 6,
}
DATA = inputs(data=(2, 16, 9, 12))
SUM = layer('Eltwise', 'sum', 'side c', 's')
RELU = layer('ReLU', 'relu', 's', 'r')
PRELU = layer('PReLU', 'prelu', 's', 'r')
SIDE = layer('TanH', 'side', 'data', 'side')
NORM = layer('BatchNorm', 'norm', 'c', 'n') + layer('Scale', 'scale', 'n', 'm',
                                                    'scale_param { bias_term: true }')
END = layer('Power', 'end', 'r', 'end', 'power_param { scale: 2 }')


def convolution(kernel=1, more='', name='conv', top='c'):
    return conv(name, 'data', top, num_output=16, kernel=kernel, field=f'pad: {kernel // 2}',
                more=more)


CHAINS = {
    'a sum and a ReLU': SIDE + convolution() + SUM + RELU + END,
    'a sum and a PReLU': SIDE + convolution() + SUM + PRELU + END,
    'a sum alone': SIDE + convolution() + SUM + layer('TanH', 'r', 's', 'r') + END,
    '3x3': SIDE + convolution(3) + SUM + RELU + END,
    'in place': SIDE + convolution() + SUM + layer('ReLU', 'relu', 's', 's') + END.replace(
        '"r"', '"s"'),
    'normalised': SIDE + convolution(3) + NORM + SUM.replace('"c"', '"m"') + PRELU + END,
    'two convolutions': convolution(3, name='side', top='side') + convolution() + SUM + RELU + END,
    'the sum first': convolution() + SIDE + SUM + RELU + END,
    'the bottom itself': convolution() + SUM.replace('"side"', '"data"') + RELU + END,
}


def fused(found, keep=frozenset()):
    nodes = fuse_sum(fuse_relu(fold_norm(found, keep), keep), keep).nodes
    return [node for node in nodes if node.type == 'FoldedConvolution' and len(node.bottoms) == 2]


@pytest.mark.parametrize('name', [name for name in MODELS
                                  if (PROTOTXT / name / 'deploy.prototxt').exists()])
def test_sites_in_each_shipped_net(name):
    text = read_net(PROTOTXT / name / 'deploy.prototxt')
    for each in filter(is_bn, text.message.layer):      # as scale and shift
        each.bn_param.bn_mode = each.bn_param.INFERENCE
    assert len(fused(build(text, 'TEST'))) == SITES.get(name, 0)
    for path in (PROTOTXT / name).glob('train*.prototxt'):
        assert not fused(build(read_net(path), 'TRAIN'))


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
@pytest.mark.parametrize('placed', [False, True])
@pytest.mark.parametrize('chain', CHAINS)
def test_equal_with_and_without(tmp_path, chain, placed, precision):
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS[chain])
    assert len(fused(graph(DATA + CHAINS[chain]))) == 1
    x, got = torch.randn(2, 16, 9, 12, generator=torch.Generator().manual_seed(1)), []
    for passes in (), (fold_norm, fuse_relu, fuse_sum):
        net = Net.read(path, 'TEST', passes=passes, seed=5)
        random_params(net)
        place(net, channels_last=placed, winograd=placed, gemm=placed, precision=precision)
        with torch.no_grad():
            got.append(net(data=x)['end'].clone())
    assert difference(got[1], got[0]) < (1e-5 if precision == 'fp32' else 0.03)


def test_a_sum_keeps_float32_in_16_bits(tmp_path):
    """A large blob that is added is not rounded to 8 bits."""
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + SIDE + convolution() + SUM + RELU + conv(
        'last', 'r', 'end', num_output=4))
    net = Net.read(path, 'TEST', passes=(fuse_sum,), seed=5)
    place(net, precision='bf16')
    with torch.no_grad():
        net.params['conv'][0].data.zero_()
        net.params['conv'][1].data.zero_()
        x = torch.rand(2, 16, 9, 12)
        plan = net.executor.plan(frozenset())
        assert len(plan.steps[2].node.bottoms) == 2     # behind a Split and the TanH
        values = net.executor.prepare(plan, {'data': x})
        kept = {}
        for step in plan.steps[:3]:
            tops = step.layer.forward(bottoms_of(step, values),
                                      net.executor.params_of(step.node))
            values.update(zip(step.node.tops, tops, strict=True))
            kept[step.node.type] = tops[0]
    assert torch.equal(kept['FoldedConvolution'], x.tanh())


@pytest.mark.parametrize('axes', ['', 'dim: 9', 'dim: 4 dim: 5 dim: 6'])
def test_any_number_of_axes(tmp_path, axes):
    path, got = tmp_path / 'net.prototxt', []
    text = (DATA + CHAINS['a sum and a PReLU']).replace('dim: 9 dim: 12', axes)
    path.write_text(text if axes else text.replace('kernel_size: 1', '').replace('pad: 0', ''))
    for passes in (), (fold_norm, fuse_sum):
        net = Net.read(path, 'TEST', passes=passes, seed=5)
        random_params(net)
        with torch.no_grad():
            got.append(net(data=torch.ones(net.blobs['data'].shape))['end'])
    assert torch.equal(*got) or difference(got[1], got[0]) < 1e-5


def test_gradients_are_those_of_the_layers(tmp_path):
    path, got = tmp_path / 'net.prototxt', []
    path.write_text(DATA + CHAINS['normalised'])
    x = torch.randn(2, 16, 9, 12, generator=torch.Generator().manual_seed(1))
    for passes in (), DEFAULT:
        net = Net.read(path, 'TEST', passes=passes, seed=5)
        random_params(net)
        top = net(data=x)['end']
        net.backward(end=torch.ones_like(top))
        got.append([blob.diff.clone() for name in ('conv', 'scale', 'prelu')
                    for blob in net.params[name]])
    for a, b in zip(*got, strict=True):
        torch.testing.assert_close(a, b)


def test_blobs_that_are_asked_for_stay():
    found = graph(DATA + CHAINS['a sum and a ReLU'])
    assert not fused(found, {'c'}) and fused(found, {'side'}) and fused(found, {'r'})
    site, = fused(found, {'s'})
    assert [part.type for part in site.parts] == ['Convolution', 'Eltwise']


@pytest.mark.parametrize('old, new', [
    ('type: "Eltwise"', 'type: "Eltwise" eltwise_param { operation: MAX }'),
    ('type: "Eltwise"', 'type: "Eltwise" eltwise_param { coeff: 1 coeff: -1 }'),
    ('bottom: "side" bottom: "c"', 'bottom: "c" bottom: "c"'),
    ('bottom: "side" bottom: "c"', 'bottom: "side" bottom: "c" bottom: "data"'),
    ('type: "Convolution"', 'type: "Convolution" propagate_down: true'),
    ('layer { name: "end"', layer('TanH', 'more', 'c', 'more') + 'layer { name: "end"')])
def test_other_sums_are_left_alone(old, new):
    text = DATA + CHAINS['a sum and a ReLU']
    assert old in text and not fused(graph(text.replace(old, new)))


def test_a_rectified_convolution_is_left_alone():
    text = DATA + SIDE + convolution() + layer('ReLU', 'first', 'c', 'c') + SUM + RELU + END
    assert not fused(graph(text))
