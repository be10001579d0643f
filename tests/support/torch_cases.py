"""Nets that began in PyTorch, in small, each with its twin and how their weights go together."""

from functools import partial

import fast_twins
import torch
import torch_twins as twins

from fcn_repro.data.image import VOID
from fcn_repro.formats import torchnets
from fcn_repro.net import Net
from fcn_repro.proto.netspec import net_text
from fcn_repro.proto.prototxt import parse_net
from fcn_repro.recipe.models import (
    bisenet,
    deeplabv3,
    dfanet,
    dupsampling,
    lednet,
    refinenet,
)

SIZE = 65, 81
IMAGES = 4          # so that the pooled image, one cell, has statistics
SMALL = {'classes': 5, 'width': 12, 'stem': 6, 'widths': (3, 4, 5, 6), 'blocks': (2, 1, 2, 3)}
DRN = (4, 5, 3, 4, 5, 6, 10, 8), (1, 2, 1, 2, 1, 1, 2, 1)
XCEPTION = (6, 10), (12, 14, 16), 2, ((16, 18, 18), (20, 20, 22))
MOBILENET = 6, ((1, 4, 1, 1), (6, 6, 2, 2), (6, 7, 1, 2), (6, 8, 1, 2), (6, 9, 2, 1), (6, 11, 2, 2),
                (6, 13, 1, 1))
SCALES = tuple(refinenet.TWO_SCALES.items())
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
