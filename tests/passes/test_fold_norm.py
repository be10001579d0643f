"""fold_norm: its sites; equal outputs; refolded when anything is written; where it steps aside."""

from pathlib import Path

import pytest
import torch
from layer_evidence import reference_for
from texts import conv, graph, inputs, layer

from fcn_repro.layers.segnet.bn import BN as BatchBN
from fcn_repro.net import Net
from fcn_repro.net.bn_statistics import is_bn, learns
from fcn_repro.net.graph import build
from fcn_repro.net.placement import place
from fcn_repro.passes import DEFAULT, fold_norm, fuse_norm
from fcn_repro.proto.prototxt import read_net
from fcn_repro.recipe.models import MODELS

PROTOTXT = Path(__file__).parents[2] / 'prototxt'
RESNETS = {50: 53, 101: 104, 152: 155}       # their convolutions
# all others: 0; the other five of own-fcn16s normalise sums
SITES = {
    **dict.fromkeys(('own-fcn16s', 'own-full-fcn16s', 'own-distilled', 'own-scribbles',
                     'own-convcrf', 'own-classifier'), 13),
    'own-tags': 17, 'own-fickle': 14,               # four branches, one
    # three scales
    'deeplab-v2-resnet101': 3 * RESNETS[101], 'deeplab-v2-resnet101-single': RESNETS[101],
    'deeplab-v2-mini': 3 * 26, 'deeplab-v2-single-mini': 26,
    # a stem of three convolutions, four levels of the pyramid, and conv5_4
    'pspnet50-ade20k': RESNETS[50] + 7, 'pspnet101-voc': RESNETS[101] + 7,
    'pspnet101-cityscapes': RESNETS[101] + 7, 'pspnet-mini': 39,
    # narrower: the same ResNet with a stem of three, and eight convolutions of the branches
    'icnet-cityscapes': RESNETS[50] + 10, 'icnet-mini': 36,
    # RefineNet's own convolutions have no norm
    'refinenet-resnet50': RESNETS[50], 'refinenet-resnet101': RESNETS[101],
    'refinenet-resnet152': RESNETS[152], 'refinenet-resnet50-single': RESNETS[50],
    'refinenet-resnet50-2cascade': RESNETS[50], 'refinenet-resnet50-2scales': 2 * RESNETS[50],
    'refinenet-mini': 29,
    # five branches and their projection; v3+ has three in its decoder, too
    'deeplab-v3-resnet101': RESNETS[101] + 6, 'deeplab-v3plus-resnet101': RESNETS[101] + 9,
    'deeplab-v3plus-xception65': 146, 'deeplab-v3plus-mobilenet': 65, 'deeplab-v3plus-drn54': 66,
    'deeplab-v3-mini': 38, 'deeplab-v3plus-mini': 41, 'deeplab-v3plus-xception-mini': 62,
    # a stem of three convolutions; JPU's three and four separable ones; the head's
    'fastfcn-resnet50': RESNETS[50] + 2 + 11 + 1, 'fastfcn-resnet50-psp': RESNETS[50] + 2 + 11 + 5,
    'fastfcn-resnet50-deeplab': RESNETS[50] + 2 + 11 + 7,
    'fastfcn-mini': 43, 'fastfcn-psp-mini': 47, 'fastfcn-deeplab-mini': 49,
    # two convolutions of each module of attention
    'danet-resnet101': RESNETS[101] + 4, 'danet-mini': 36,
    # three ResNets, one without a stem; skips; the decoder's, of which eight are transposed
    'acnet-nyud': 3 * RESNETS[50] - 1 + 5 + 34, 'mini-acnet': 3 * 29 - 1 + 5 + 16,
    # a body of 20 or 52, and 13 of the paths, the fusion and the head
    'bisenet-r18': 20 + 13, 'bisenet-r18-mini': 12 + 13, 'bisenet-x39': 52 + 13,
    'bisenet-x39-mini': 22 + 13,
    # four a block and eight of the pyramid; three more are behind a Concat
    'lednet': 13 * 4 + 8, 'lednet-mini': 8 * 4 + 8,
    # three of the decoder
    'dupsampling-resnet50': RESNETS[50] + 3, 'dupsampling-mini': 32 + 3,
    # three a block of each branch; the stem and seven of the decoder
    'dfanet': 3 * 12 * 3 + 8, 'dfanet-mini': 3 * 4 * 3 + 8,
}
# SegNet's and ENet's, once the statistics are folded into their BNs; ENet has one behind a Concat,
# and its decoder two behind Deconvolutions
INFERENCE = {'segnet': 25, 'segnet-basic': 8, 'mini-segnet': 25, 'mini-segnet-basic': 8,
             **dict.fromkeys(('enet', 'mini-enet'), 86 - 3),
             **dict.fromkeys(('enet-encoder', 'mini-enet-encoder'), 69 - 1)}

DATA = inputs(data=(2, 16, 9, 12))
NORM = layer('BatchNorm', 'norm', 'c', 'n')
SCALE = layer('Scale', 'scale', 'n', 's', 'scale_param { bias_term: true }')
RELU = layer('ReLU', 'relu', 's', 'r')
BN = layer('BN', 'bn', 'c', 'b', 'bn_param { slope_filler { value: 1 } bias_filler { value: 0 } }')
SEGNET = layer('BN', 'bn', 'c', 'b', 'bn_param { bn_mode: INFERENCE }')
END = layer('Power', 'end', 'r', 'end', 'power_param { scale: 2 }')


def convolution(field='pad: 1', more=''):
    return conv('conv', 'data', 'c', num_output=16, kernel=3, field=field, more=more)


def in_place(text):
    """The same layers, each written over its bottom."""
    for name in 'nsrb':
        text = text.replace(f'"{name}"', '"c"')
    return text


CHAINS = {
    'BatchNorm + Scale + ReLU': convolution() + NORM + SCALE + RELU + END,
    'without a bias': convolution('pad: 1 bias_term: false') + NORM + SCALE + RELU + END,
    'in place': in_place(convolution() + NORM + SCALE + RELU + END),
    'BatchNorm alone': convolution() + NORM + layer('Power', 'end', 'n', 'end'),
    'Scale alone': convolution() + layer('Scale', 'scale', 'c', 'end'),
    'BatchNorm + ReLU': convolution() + NORM + layer('ReLU', 'relu', 'n', 'r') + END,
    'groups, dilation and stride': convolution('pad: 2 group: 4 dilation: 2 stride: 2')
    + NORM + SCALE + RELU + END,
    "PSPNet's BN": convolution() + BN + layer('ReLU', 'relu', 'b', 'r') + END,
    "PSPNet's BN, frozen, in place": in_place(convolution() + BN.replace(
        'bn_param {', 'bn_param { frozen: true ') + layer('ReLU', 'relu', 'b', 'r')) + layer(
            'Power', 'end', 'c', 'end'),
    'BatchNorm + Power + PReLU': convolution() + layer('BatchNorm', 'norm', 'c', 'n')
    + layer('Power', 'power', 'n', 's', 'power_param { scale: 1.25 shift: -0.5 }')
    + layer('PReLU', 'prelu', 's', 'r') + END,
    'Power alone': convolution() + layer('Power', 'end', 'c', 'end', 'power_param { shift: 3 }'),
    "SegNet's BN": convolution() + SEGNET + layer('ReLU', 'relu', 'b', 'r') + END,
    "SegNet's BN, in place": in_place(convolution() + SEGNET + layer('ReLU', 'relu', 'b', 'r'))
    + layer('Power', 'end', 'c', 'end'),
}


def folded(graph, keep=frozenset()):
    return [node for node in fold_norm(graph, keep).nodes if node.type == 'FoldedConvolution']


@pytest.mark.parametrize('name', [name for name in MODELS
                                  if (PROTOTXT / name / 'deploy.prototxt').exists()])
def test_sites_in_each_shipped_net(name):
    text = read_net(PROTOTXT / name / 'deploy.prototxt')
    deploy = build(text, 'TEST')
    learn = any(is_bn(each) and learns(each) for each in text.message.layer)
    assert len(folded(deploy)) == SITES.get(name, 0) == (0 if learn else normed(text.message))
    for path in (PROTOTXT / name).glob('train*.prototxt'):
        assert not folded(build(read_net(path), 'TRAIN'))


def normed(net):
    """How many Convolutions of a message have one reader, which is a norm: a Scale by one number is
    none."""
    writers, readers = {}, {}
    for i, each in enumerate(net.layer):
        for blob in each.bottom:
            number = each.type == 'Scale' and each.scale_param.num_axes == 0
            readers.setdefault(writers.get(blob), []).append('number' if number else each.type)
        writers |= dict.fromkeys(each.top, i)
    return sum(each.type == 'Convolution' and readers.get(i) in (['BatchNorm'], ['Scale'], ['BN'])
               for i, each in enumerate(net.layer))


@pytest.mark.parametrize('name', INFERENCE)
def test_sites_in_each_net_with_folded_statistics(name):
    text = read_net(PROTOTXT / name / 'deploy.prototxt')
    for each in filter(is_bn, text.message.layer):
        each.bn_param.bn_mode = each.bn_param.INFERENCE
    assert len(folded(build(text, 'TEST'))) == INFERENCE[name] == normed(text.message)


def random_params(net, seed=3):
    """Values of each kind of parameter, variances above 0."""
    generator = torch.Generator().manual_seed(seed)
    for name, blobs in net.params.items():
        for i, blob in enumerate(blobs):
            value = torch.randn(blob.data.shape, generator=generator)
            positive = i in {'norm': (1, 2), 'bn': (3,)}.get(name, ())
            with torch.no_grad():
                blob.data.copy_(value.abs() + 0.5 if positive else value)


def difference(found, reference):
    return float((found - reference).abs().max() / reference.abs().max())


def dialect(path):
    return 'segnet' if 'bn_mode' in path.read_text() else 'pspnet'


@reference_for('FoldedConvolution')
def check_equal(path, placed, precision='fp32'):
    got = []
    x = torch.randn(2, 16, 9, 12, generator=torch.Generator().manual_seed(1))
    for passes in (), (fold_norm,):
        net = Net.read(path, 'TEST', passes=passes, seed=5, dialect=dialect(path))
        random_params(net)
        place(net, channels_last=placed, winograd=placed, gemm=placed, precision=precision)
        with torch.no_grad():
            got.append(net(data=x)['end'].clone())
    assert difference(got[1], got[0]) < (1e-5 if precision == 'fp32' else 0.03)
    return got


@pytest.mark.parametrize('placed', [False, True])
@pytest.mark.parametrize('chain', CHAINS)
def test_equal_with_and_without(tmp_path, chain, placed):
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS[chain])
    assert len(folded(graph(DATA + CHAINS[chain]))) == 1
    check_equal(path, placed)


def test_in_16_bits_the_statistics_keep_theirs(tmp_path):
    """A mean that is large against the deviation would be lost in 8 bits."""
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS['BatchNorm + Scale + ReLU'])
    check_equal(path, True, 'bf16')


@pytest.mark.parametrize('axes', ['', 'dim: 9', 'dim: 4 dim: 5 dim: 6'])
def test_any_number_of_axes(tmp_path, axes):
    path = tmp_path / 'net.prototxt'
    text = DATA.replace('dim: 9 dim: 12', axes) + CHAINS['BatchNorm + Scale + ReLU']
    path.write_text(text if axes else text.replace('kernel_size: 3', '').replace('pad: 1', ''))
    got = []
    for passes in (), (fold_norm,):
        net = Net.read(path, 'TEST', passes=passes, seed=5)
        random_params(net)
        with torch.no_grad():
            got.append(net(data=torch.ones(net.blobs['data'].shape))['end'])
    assert difference(got[1], got[0]) < 1e-5


@pytest.mark.parametrize('layer_name, i', [('conv', 0), ('conv', 1), ('norm', 0), ('norm', 1),
                                           ('norm', 2), ('scale', 0), ('scale', 1)])
def test_a_changed_parameter_is_folded_anew(tmp_path, layer_name, i):
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS['BatchNorm + Scale + ReLU'])
    x = torch.randn(2, 16, 9, 12)
    nets = [Net.read(path, 'TEST', passes=passes, seed=5) for passes in ((), (fold_norm,))]
    with torch.no_grad():
        before = []
        for net in nets:
            random_params(net)
            before.append(net(data=x)['end'].clone())
            net.params[layer_name][i].data.mul_(1.5).add_(0.25)
        after = [net(data=x)['end'] for net in nets]
    assert difference(after[1], after[0]) < 1e-5 < difference(after[1], before[1])


def test_weights_are_folded_once(tmp_path, monkeypatch):
    from fcn_repro.layers.internal.foldedconvolution import FoldedConvolution
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS['BatchNorm + Scale + ReLU'])
    net = Net.read(path, 'TEST', passes=(fold_norm,), seed=5)
    random_params(net)
    calls, original = [], FoldedConvolution.folded
    monkeypatch.setattr(FoldedConvolution, 'folded', lambda self, *args: (
        calls.append(1), original(self, *args))[1])
    with torch.inference_mode():
        for _ in range(3):
            net(data=torch.randn(2, 16, 9, 12))
    assert len(calls) == 1


@pytest.mark.parametrize('chain', ['BatchNorm + Scale + ReLU', "PSPNet's BN", "SegNet's BN",
                                   "SegNet's BN, in place"])
def test_gradients_are_those_of_the_layers(tmp_path, chain):
    """Where one is wanted, the layers run in turn."""
    path = tmp_path / 'net.prototxt'
    path.write_text('force_backward: true ' + DATA + CHAINS[chain])
    got, x = [], torch.randn(2, 16, 9, 12)
    for passes in (), (fold_norm,):
        net = Net.read(path, 'TEST', passes=passes, seed=5, dialect=dialect(path))
        random_params(net)
        top = net(['data', 'end'], data=x)['end']
        net.backward(end=torch.ones_like(top))
        got.append([top, net.blobs['data'].diff,
                    *(blob.diff for blobs in net.params.values() for blob in blobs
                      if blob.parameter.requires_grad)])
    assert all(map(torch.equal, *got))


def test_statistics_of_the_batch_are_not_folded(tmp_path):
    text = DATA + CHAINS['BatchNorm + Scale + ReLU'].replace(
        'bottom: "c" top: "n"', 'bottom: "c" top: "n" batch_norm_param { use_global_stats: false }')
    assert 'use_global' in text and not folded(graph(text))
    path = tmp_path / 'net.prototxt'        # this layer alone is in TRAIN: seen when it runs
    path.write_text(DATA + CHAINS['BatchNorm + Scale + ReLU'].replace(
        'name: "norm"', 'name: "norm" phase: TRAIN'))
    got, x = [], torch.randn(2, 16, 9, 12)
    for passes in (), (fold_norm,):
        net = Net.read(path, 'TEST', passes=passes, seed=5)
        random_params(net)
        with torch.no_grad():
            got.append([net(data=x)['end'], *(blob.data for blob in net.params['norm'])])
    assert all(map(torch.equal, *got))


@pytest.mark.parametrize('old, new', [('INFERENCE', 'LEARN'), ('top: "b"', 'top: "b" top: "m"')])
def test_a_segnet_bn_of_the_batch_is_not_folded(old, new):
    text = DATA + CHAINS["SegNet's BN"]
    changed = graph(text.replace(old, new))
    assert old in text and folded(graph(text)) and not folded(changed)
    assert not any(BatchBN.folds(node.param) for node in changed.nodes if node.type == 'BN')


def test_a_segnet_with_and_without():
    """The scores of the whole net, its statistics folded."""
    got, x = [], torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    for passes in (), (fold_norm,):
        text = read_net(PROTOTXT / 'mini-segnet/deploy.prototxt')
        for each in filter(is_bn, text.message.layer):
            each.bn_param.bn_mode = each.bn_param.INFERENCE
        net = Net.of(text, 'TEST', passes=passes, seed=5)
        generator = torch.Generator().manual_seed(3)
        for each in filter(is_bn, text.message.layer):
            for blob in net.params[each.name]:
                blob.data.add_(torch.randn(blob.shape, generator=generator), alpha=0.1)
        with torch.inference_mode():
            got.append(net.forward(['score'], data=x)['score'].clone())
    assert difference(*got) < 1e-5 and got[0].std() > 1e-3


def test_blobs_that_are_asked_for_stay(tmp_path):
    path = tmp_path / 'net.prototxt'
    path.write_text(DATA + CHAINS['BatchNorm + Scale + ReLU'])
    net = Net.read(path, 'TEST', passes=(fold_norm,), seed=5)
    random_params(net)
    tops, plain = (each(['c', 'n', 's', 'r'], data=torch.ones(2, 16, 9, 12)) for each in (
        net, Net.read(path, 'TEST', passes=(), seed=5)))
    random_params(net)
    assert set(tops) == set(plain) == {'c', 'n', 's', 'r', 'end'}
    found = graph(DATA + CHAINS['BatchNorm + Scale + ReLU'])
    assert not folded(found, {'c'})
    assert [len(node.parts) for keep in ({'n'}, {'s'}, {'r'}) for node in folded(found, keep)] == \
        [2, 3, 4]


@pytest.mark.parametrize('old, new, parts', [
    ('type: "Convolution"', 'type: "Convolution" propagate_down: true', 0),
    ('type: "Convolution"', 'type: "Convolution" loss_weight: 1', 0),
    ('type: "BatchNorm"', 'type: "BatchNorm" propagate_down: false', 0),
    ('type: "BatchNorm"', 'type: "MVN"', 0),
    ('convolution_param {', 'convolution_param { axis: 2 ', 0),
    ('scale_param {', 'scale_param { axis: 2 ', 2),
    ('scale_param {', 'scale_param { num_axes: 2', 2),
    ('type: "Scale" bottom: "n"', 'type: "Scale" bottom: "n" bottom: "n"', 2),
    ('type: "ReLU"', 'type: "ReLU" relu_param { negative_slope: 0.1 }', 3),
    ('type: "ReLU"', 'type: "TanH"', 3)])
def test_other_layers_are_left_alone(old, new, parts):
    text = CHAINS['BatchNorm + Scale + ReLU']
    assert old in text
    assert [len(node.parts) for node in folded(graph(DATA + text.replace(old, new)))] == \
        [parts] * (parts > 0)


def test_a_second_reader_is_seen():
    second = layer('Power', 'more', 'c', 'more')
    assert not folded(graph(DATA + CHAINS['BatchNorm + Scale + ReLU'] + second))


def test_folds_before_the_other_passes_fuse():
    names = [run.__name__ for run in DEFAULT]
    assert names.index('collapse_border') < names.index('fold_norm') < names.index('fuse_norm')
    found = fold_norm(graph(DATA + CHAINS['BatchNorm + Scale + ReLU']))
    assert fuse_norm(found) is found
