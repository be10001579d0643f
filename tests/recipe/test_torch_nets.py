"""RefineNet, DeepLab v3 and v3+, BiSeNet, LEDNet, DUpsampling, DFANet: parameters counted, scores
and gradients of plain PyTorch twins, state dicts of their releases converted."""

import re
from dataclasses import replace
from functools import partial

import fast_twins
import numpy as np
import pytest
import torch
import torch_twins as twins
from safetensors.torch import save_file

from fcn_repro.cli.main import main
from fcn_repro.data.image import VOID
from fcn_repro.errors import FcnError
from fcn_repro.formats import torchnets, torchvision
from fcn_repro.formats.safetensors import is_safetensors, read_safetensors
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
from fcn_repro.recipe.models.converted import net_of
from fcn_repro.recipe.models.parts import python_data
from fcn_repro.viewer import NetFacts, facts_of_net
from fcn_repro.viewer.describe import describe
from fcn_repro.viewer.reading import parse_source

SIZE = 65, 81
IMAGES = 4          # so that the pooled image, one cell, has statistics
SMALL = {'classes': 5, 'width': 12, 'stem': 6, 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
DRN = (4, 5, 3, 4, 5, 6, 10, 8), (1, 2, 1, 2, 1, 1, 2, 1)
XCEPTION = (6, 10), (12, 14, 16), 2, ((16, 18, 18), (20, 20, 22))
MOBILENET = 6, ((1, 4, 1, 1), (6, 6, 2, 2), (6, 7, 1, 2), (6, 8, 1, 2), (6, 9, 2, 1), (6, 11, 2, 2),
                (6, 13, 1, 1))
SCALES = tuple(refinenet.TWO_SCALES.items())


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

BODY = {'stem': 6, 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
PLAIN = {'classes': 5, 'width': 12, 'dropout': 0}
BRANCHES = {'classes': 5, 'stem': 3, 'widths': (8, 12, 16), 'blocks': (2, 1, 2), 'hidden': 9,
            'width': 7}
CODED = {'classes': 5, 'width': 12, 'low': 4, 'codes': 6}
FACTORED = {'classes': 5, 'widths': (8, 10, 12), 'dilations': ((1, 2), (1,), (1, 2, 5))}
PATHS = {'classes': 5, 'paths': (4, 5, 6, 7), 'width': 8, 'last': 6, 'auxiliary': 9}
V3 = {**PLAIN, 'body_settings': BODY}


def unlike(form):
    return {**V3, **form, 'body_settings': {**form.get('body_settings', {}), **BODY}}


# {name: (twin, net of this project, table of names; None: this project's own)}
CASES = {
    'torchvision v3': (twins.TorchvisionV3(**SMALL), partial(
        deeplabv3.net, **unlike(torchnets.TORCHVISION), stride=8), torchnets.torchvision_v3),
    'VainF v3': (twins.TorchvisionV3(**SMALL, head='classifier.classifier.', stride=16,
                                     rates=(6, 12, 18)), partial(
        deeplabv3.net, **unlike(torchnets.TORCHVISION)), torchnets.vainf_v3),
    'VainF v3+': (twins.VainfPlus(**SMALL, low=7), partial(
        deeplabv3.net, **unlike(torchnets.TORCHVISION),
        decoder={'low_first': True, 'low_width': 7}), torchnets.vainf_plus),
    'jfzhang95': (twins.Jfzhang95(**SMALL, low=7), partial(
        deeplabv3.net, **V3, decoder={'low_width': 7}, refinements=2), torchnets.jfzhang95),
    'jfzhang95, DRN': (twins.Jfzhang95(**SMALL, low=7, drn=DRN, dropouts=True), partial(
        deeplabv3.net, **PLAIN, decoder={'low_width': 7}, refinements=2, body='drn', stride=8,
        body_settings=dict(zip(('widths', 'blocks'), DRN, strict=True))), torchnets.jfzhang95),
    'v3': (twins.Paper(**SMALL), partial(deeplabv3.net, **V3), torchnets.resnet),
    'v3+ Xception': (twins.Paper(**SMALL, body='xception', settings=XCEPTION, low=7), partial(
        deeplabv3.net, **PLAIN, body='xception', separable=True, refinements=2,
        decoder={'low_width': 7}, body_settings=dict(zip(
            ('stem', 'entry', 'middle', 'exit'), XCEPTION, strict=True))), None),
    'v3+ MobileNet': (twins.Paper(**SMALL, body='mobilenet', settings=MOBILENET, low=7), partial(
        deeplabv3.net, **PLAIN, body='mobilenet', separable=True, refinements=2,
        norm={'activation': 'relu6'}, decoder={'low_width': 7},
        body_settings=dict(zip(('stem', 'groups'), MOBILENET, strict=True))), None),
    'RefineNet': (twins.Refinenet(**SMALL), partial(refinenet.net, **V3), torchnets.refinenet),
    'RefineNet, single': (twins.Cascade(**SMALL), partial(
        refinenet.net, **V3, cascade=1), torchnets.resnet),
    'RefineNet, 2-cascade': (twins.Cascade(**SMALL, blocks_of=((4, 3), (2, 1))), partial(
        refinenet.net, **V3, cascade=2), torchnets.resnet),
    'RefineNet, 2 scales': (twins.Cascade(**SMALL, blocks_of=((4,), (3,), (2,), (1,)),
                                          scales=SCALES), partial(
        refinenet.net, **V3, scales=refinenet.TWO_SCALES), None),
    'LEDNet': (fast_twins.Lednet(**FACTORED), partial(lednet.net, **FACTORED, dropped=(0, 0, 0)),
               None),
    'DUpsampling': (fast_twins.Dupsampling(**SMALL | CODED), partial(
        dupsampling.net, **CODED, dropouts=(0, 0), body_settings=BODY), None),
    'DFANet': (fast_twins.Dfanet(**BRANCHES), partial(dfanet.net, **BRANCHES), None),
    **{name: (fast_twins.Bisenet(**PATHS, **body, xception=xception), partial(
        bisenet.net, **PATHS, body_settings=body, body='xception39' if xception else 'resnet18'),
        None) for name, body, xception in (
            ('BiSeNet R18', {**BODY, 'stem': 3}, False),
            ('BiSeNet X39', {'stem': 5, 'widths': (3, 4, 5), 'blocks': (2, 1, 2)}, True))},
}


def parts(state, table):
    """The Parts of a twin's state dict by a table, and those under this project's own names."""
    found = list(table(state)) if table else []
    known = {name for part in found for name in (part.conv, part.norm)}
    for name, value in state.items():
        name = name.removesuffix('.weight')
        if name != f'{name}.weight' and value.dim() == 4 and name not in known:
            there = name.partition('_')
            if there[2].startswith(('conv1', 'layer')):         # a ResNet of a scale
                found += [part._replace(layer=f'{there[0]}_{part.layer}') for part in
                          torchnets.resnet(state, f'{there[0]}_')]
                known |= {n for part in found for n in (part.conv, part.norm)}
            else:
                norm = f'{name}_bn' if f'{name}_bn.weight' in state else ''
                found.append(torchnets.Part(name, name, norm))
    return found


def made(make, phase='TEST', frozen=True):
    """The Net of a builder, with a loss."""
    message = make(shape=(IMAGES, 3, *SIZE), **({} if frozen else {'norm': {
        **make.keywords.get('norm', {}), 'frozen': False}}))
    message.layer.add(name='label', type='Input', top=['label']).input_param.shape.add(
        dim=[IMAGES, 1, *SIZE])
    message.layer.add(name='loss', type='SoftmaxWithLoss', bottom=['score', 'label'], top=['loss']
                      ).loss_param.ignore_label = VOID
    return Net.of(parse_net(net_text(message), 'net.prototxt'), phase)


def pairs(net, twin, table):
    """[(parameter here, name there)] of all that is learned, and copies the twin's weights."""
    state, found = twin.state(), []
    known = parts(state, table)
    normed = {part.norm for part in known}
    joined = [torchnets.Part(name.removesuffix('_bn'), '', name) for name in (
        key.removesuffix('.running_var') for key in state if key.endswith('_bn.running_var'))
        if name not in normed]                  # norms behind what is no convolution
    for part in [*known, *joined]:
        if part.conv:
            found += zip(net.params[part.layer], [f'{part.conv}.weight', f'{part.conv}.bias'],
                         strict=False)
        if part.norm:
            found += zip(net.params[f'{part.layer}_scale'],
                         [f'{part.norm}.weight', f'{part.norm}.bias'], strict=True)
            mean, variance, factor = net.params[f'{part.layer}_bn']
            mean.data.copy_(state[f'{part.norm}.running_mean'])
            variance.data.copy_(state[f'{part.norm}.running_var'])
            factor.data.fill_(1)
    for blob, name in found:
        blob.data.copy_(state[name].reshape(blob.shape))
    return found


def picture(seed=0):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(IMAGES, 3, *SIZE, generator=generator)
    labels = torch.randint(0, 5, (IMAGES, 1, *SIZE), generator=generator).float()
    labels[:, :, :2] = VOID
    return image, labels


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
    """Over all that is not void; mined: (threshold, least), over the pixels whose own class has at
    most the probability of the threshold, at least over so many of the least probable."""
    terms = torch.nn.functional.cross_entropy(scores, labels, ignore_index=VOID, reduction='none')
    terms = terms[labels != VOID]
    if not mined:
        return terms.mean()
    ordered = terms.sort(descending=True).values
    count = max(mined[1], int((ordered >= -np.log(mined[0])).sum()))
    assert mined[1] < count < len(ordered) or count == mined[1]
    return ordered[:count].mean()


# of the second, fewer pixels than the least are below the threshold
@pytest.mark.parametrize('mined', [None, (0.25, 500), (0.05, 9000)])
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
        assert all(each.ohem_thresh == np.float32(0.7) and each.ohem_min_kept == 1024 ** 2
                   for each in own)


# ---- state dicts ---------------------------------------------------------------------------------

FILES = {name: CASES[name] for name in (
    'torchvision v3', 'VainF v3', 'VainF v3+', 'jfzhang95', 'jfzhang95, DRN', 'RefineNet')}
WRAPPED = {'VainF v3+': lambda state: {'model_state': state, 'best_score': 0.5, 'cur_itrs': 3},
           'jfzhang95': lambda state: {'state_dict': {f'module.{name}': value for name, value in
                                                      state.items()}, 'epoch': 7}}


def state_of(name):
    twin = replace(FILES[name][0], modules={}).filled(SIZE, 2)
    return twin, twin.state()


def shown(seed=0):
    """A picture (3, H, W), RGB of 0 to 255."""
    return np.random.default_rng(seed).integers(0, 256, (3, *SIZE)).astype(np.float64)


def as_torchvision(picture):
    mean, std = (np.float64(v)[:, None, None] for v in (
        (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return torch.from_numpy(((picture / 255 - mean) / std)[None]).float()


def as_caffe(picture):
    return torch.from_numpy(
        (picture[::-1] - np.float64(torchvision.MEAN)[:, None, None])[None]).float()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('name', FILES)
def test_a_converted_file_has_the_scores_of_its_net(name, suffix, tmp_path, capsys):
    """The prototxt that is written beside the weights takes all of them, and no more."""
    twin, state = state_of(name)
    file = tmp_path / f'net{suffix}'
    if suffix == '.pth':
        torch.save(WRAPPED.get(name, dict)(state), file)
    else:
        save_file({key: value.clone() for key, value in state.items()}, file)
    main(['convert', str(file), str(tmp_path / 'out.caffemodel')])
    said = capsys.readouterr().out
    assert 'out.prototxt' in said and str(torchvision.MEAN) in said
    net = Net.read(tmp_path / 'out.prototxt', 'TEST')
    rows = net.copy_from(tmp_path / 'out.caffemodel')
    assert {row.action for row in rows if net.params.get(row.layer)} == {'copied'}
    picture = shown()
    with torch.no_grad():
        wanted = twin(as_torchvision(picture))
        found = net(['score'], data=as_caffe(picture))['score']
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_an_auxiliary_head_is_left_out(tmp_path, capsys):
    _, state = state_of('torchvision v3')
    state['aux_classifier.0.weight'] = torch.ones(2, 5, 3, 3)
    torch.save(state, tmp_path / 'net.pth')
    main(['convert', str(tmp_path / 'net.pth'), str(tmp_path / 'out.caffemodel.h5')])
    assert 'left out: 1 tensors, such as aux_classifier.0.weight' in capsys.readouterr().out


def test_a_classifier_starts_a_net(tmp_path, capsys):
    """torchvision's ResNet: the body of a net, and its fc; no prototxt."""
    state = {name.removeprefix('backbone.'): value for name, value in
             state_of('VainF v3')[1].items() if name.startswith('backbone.')}
    state |= {'fc.weight': torch.ones(7, 24), 'fc.bias': torch.ones(7)}
    torch.save(state, tmp_path / 'resnet.pth')
    main(['convert', str(tmp_path / 'resnet.pth'), str(tmp_path / 'resnet.caffemodel')])
    assert 'fc' in capsys.readouterr().out and not (tmp_path / 'resnet.prototxt').exists()
    net = made(CASES['RefineNet'][1])
    rows = net.copy_from(tmp_path / 'resnet.caffemodel')
    copied = {row.layer for row in rows if row.action == 'copied'}
    assert copied == {layer for layer in net.params if layer.startswith(('conv1', 'layer'))}


def test_a_resnet18_starts_bisenet(tmp_path, capsys):
    """torchvision's names; the maps of the body on a picture are those of its twin."""
    twin = fast_twins.Bisenet(**PATHS, stem=3, widths=BODY['widths'], blocks=BODY['blocks'])
    with torch.no_grad():
        fast_twins.resnet18(twin, torch.zeros(1, 3, *SIZE))
    twin.filled(SIZE, 3)
    body = ('conv1', 'layer')
    twin.modules = {name: module for name, module in twin.modules.items() if name.startswith(body)}
    state = {in_torchvision(name): value for name, value in twin.state().items()}
    state |= {'fc.weight': torch.ones(7, 6), 'fc.bias': torch.ones(7)}
    assert {'bn1.running_mean', 'layer2.0.downsample.1.bias', 'layer4.2.bn2.weight',
            'layer1.1.conv2.weight'} <= state.keys()
    torch.save(state, tmp_path / 'resnet18.pth')
    main(['convert', str(tmp_path / 'resnet18.pth'), str(tmp_path / 'resnet18.caffemodel')])
    assert 'basic blocks' in capsys.readouterr().out
    net = made(CASES['BiSeNet R18'][1])
    rows = net.copy_from(tmp_path / 'resnet18.caffemodel')
    assert {row.layer for row in rows if row.action == 'copied'} == {
        layer for layer in net.params if layer.startswith(body)}
    picture = shown()
    tops = [f'layer{k}_{count - 1}' for k, count in enumerate(BODY['blocks'], 1)]
    with torch.no_grad():
        wanted = fast_twins.resnet18(twin, as_torchvision(picture))
        found = net(tops, data=as_caffe(picture), label=torch.zeros(1, 1, *SIZE))
    for name, value in zip(tops, wanted, strict=True):
        assert (found[name] - value).abs().max() <= 1e-5 * value.abs().max()


def in_torchvision(name):
    """What torchvision calls a tensor of a ResNet of this project."""
    name = re.sub(r'^(layer\d)_(\d+)_', r'\1.\2.', name)
    name = re.sub(r'down_bn\.', 'downsample.1.', name)
    return re.sub(r'conv(\d)_bn\.', r'bn\1.', re.sub(r'down\.', 'downsample.0.', name))


@pytest.mark.parametrize('stride, rates', [(None, [6, 12, 18]), (16, [6, 12, 18]),
                                           (8, [12, 24, 36])])
def test_the_stride_of_a_file(stride, rates):
    found = torchnets.read_net(state_of('VainF v3')[1], 'net.pth')
    layers = {layer.name: layer for layer in net_of(found, stride).layer}
    assert [layers[f'aspp{i}'].convolution_param.dilation[:] for i in (1, 2, 3)] == [
        [rate] for rate in rates]


@pytest.mark.parametrize('name', ['jfzhang95, DRN', 'RefineNet'])
def test_a_stride_that_a_form_lacks(name):
    found = torchnets.read_net(state_of(name)[1], 'net.pth')
    with pytest.raises(FcnError, match='stride 16'):
        net_of(found, 16)


@pytest.mark.parametrize('change, parts', [
    (lambda s: s.pop('classifier.4.weight'), ("no tensor 'classifier.4.weight'",)),
    (lambda s: s.pop('backbone.layer2.0.conv1.weight'), ('backbone.layer2.0.conv1.weight',)),
    (lambda s: s.pop('backbone.bn1.running_var'), ("'backbone.bn1.running_var'",)),
    (lambda s: s.update({'backbone.bn1.weight': torch.ones(9)}), ("'backbone.bn1.weight' is 9",
                                                                  'not 6')),
    (lambda s: s.update({'backbone.conv1.weight': torch.ones(6, 4, 7, 7)}),
     ("'backbone.conv1.weight' is 6x4x7x7", 'nx3xnxn')),
    (lambda s: s.update(more=torch.ones(1)), ("holds 'more'", '1 such')),
    (lambda s: s.update({'classifier.0.convs.0.0.weight': 7}),
     ("a int as 'classifier.0.convs.0.0.weight'",)),
    (lambda s: s.update({'backbone.bn1.bias': torch.ones(6, dtype=torch.int64)}), ('int64',)),
])
def test_what_a_file_may_not_hold(change, parts, tmp_path):
    state = state_of('torchvision v3')[1]
    change(state)
    with pytest.raises(FcnError) as caught:
        torchnets.read_net(state, 'net.pth')
    assert all(part in str(caught.value) for part in ('net.pth', *parts)), str(caught.value)
    assert 'docs/torch-nets.md' in caught.value.do


def test_options_for_other_files(tmp_path, capsys):
    for name, state in (('vgg', {'features.0.weight': torch.ones(1)}), ('none', {})):
        torch.save(state, tmp_path / f'{name}.pth')
        with pytest.raises(SystemExit):
            main(['convert', str(tmp_path / f'{name}.pth'), 'x', '--stride', '8'])
        assert '--stride is for DeepLab nets' in capsys.readouterr().err
    torch.save(state_of('RefineNet')[1], tmp_path / 'net.pth')
    with pytest.raises(SystemExit):
        main(['convert', str(tmp_path / 'net.pth'), 'x', '--stride', '8'])
    assert 'net.pth' in capsys.readouterr().err


# ---- safetensors ---------------------------------------------------------------------------------

def test_safetensors_of_every_type(tmp_path):
    tensors = {str(type): torch.arange(6).reshape(2, 3).to(type) for type in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
        torch.int16, torch.int8, torch.uint8, torch.bool)}
    tensors |= {'scalar': torch.tensor(3.), 'none': torch.zeros(0, 4)}
    save_file(tensors, tmp_path / 'a.safetensors', metadata={'format': 'pt'})
    assert is_safetensors(tmp_path / 'a.safetensors')
    found = read_safetensors(tmp_path / 'a.safetensors')
    assert found.keys() == tensors.keys()
    for name, value in tensors.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value)


def packed(header, values=b'', length=None):
    header = header if isinstance(header, bytes) else str(header).replace("'", '"').encode()
    return (len(header) if length is None else length).to_bytes(8, 'little') + header + values


F32 = {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 8]}


@pytest.mark.parametrize('data, part', [
    (packed({'a': F32}, b'1234567'), "'a' lies at 0 to 8 of 7"),
    (packed({'a': F32}, b'12345678', 900), 'a header of 900 bytes'),
    (packed(b'{"a"', b'12345678'), 'no JSON'),
    (packed(b'{"a": "\xff"}'), 'no JSON'),
    (packed(b'[' * 20000), 'no JSON'),
    (packed(b'[]'), 'no object'),
    (packed({'a': {**F32, 'dtype': 'F8'}}, b'12345678'), "type 'F8'"),
    (packed({'a': {**F32, 'shape': [3]}}, b'12345678'), "'a' lies"),
    (packed({'a': {**F32, 'shape': [-2]}}, b'12345678'), "entry of 'a'"),
    (packed({'a': {**F32, 'shape': [2 ** 40, 2 ** 40]}}, b'12345678'), "'a' lies"),
    (packed({'a': {**F32, 'shape': [1] * 40}}, b'12345678'), "entry of 'a'"),
    (packed({'a': {**F32, 'data_offsets': [8, 0]}}, b'12345678'), "'a' lies"),
    (packed({'a': 3}), "entry of 'a'"),
    (b'123', 'a header of 0 bytes'),
])
def test_damaged_safetensors(data, part, tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(data)
    with pytest.raises(FcnError, match=r'a\.safetensors') as caught:
        read_safetensors(tmp_path / 'a.safetensors')
    assert part in str(caught.value)


# ---- facts ---------------------------------------------------------------------------------------

def test_all_of_an_image_is_seen():
    """By the pooled image. The body has a field: 11 of the stem, then 24, 8 + 48, 16 + 160, 32 +
    128 of the 3x3 convolutions; and its 53120 scales and biases are frozen."""
    found = facts_of_net(refinenet.net(**refinenet.NETS['refinenet-resnet50']), 'layer4_2')
    assert found == NetFacts('layer4_2', 427, 32, 49, 99_060_309 - 53_120)
    with pytest.raises(FcnError, match='receptive field'):
        facts_of_net(deeplabv3.net(), 'score')
