"""Dilation (arXiv 1511.07122) as functions over netspec: VGG16 as a dense front end, without pads,
and context modules of dilated convolutions that begin as the identity; the authors' four nets, and
miniatures on the scenes of digits.

The nets that score are the authors' deploy nets (fyu/dilation), the ones that learn those of their
network.py with --up. Every output sees 186 pixels further to each side, which the data layers make
by reflection.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from ...data.scenes import FOLDER
from ...proto.netspec import L, NetSpec, P
from ..stage import Entry, Stage
from .model import MEAN, Model, Recipe
from .parts import FIXED, PARAM, python_data, start
from .vgg import CONVS, WIDTHS, scaled

DIALECT = 'dilation'
MARGIN = 186
MSRA = {'type': 'msra'}
ZERO = {'type': 'constant', 'value': 0}
SMALL = {'weight_filler': {'type': 'gaussian', 'std': 0.001}, 'bias_filler': ZERO}
DILATION_MEAN = (102.93, 111.36, 116.52)        # BGR, of PASCAL as the authors have it
LARGE = (2, 2, 4, 8, 16, 32, 32)                # factors of the classes in the large module
DECAYED = [{'lr_mult': 1, 'decay_mult': 1}, {'lr_mult': 2, 'decay_mult': 1}]


def given(name: str, value) -> dict:
    """{name: value}, or nothing for None."""
    return {} if value is None else {name: value}


def front(n: NetSpec, top, classes: int, widths: Sequence[int], fc: int, name: str,
          param: list[dict] | None, weight_filler: dict | None, training: bool, dropout: float):
    """Add conv1_1 ... fc7 and the scores n[name]: without pads and without pool4 and pool5, conv5
    dilated by 2 and fc6 by 4."""
    written = given('param', param) | given('weight_filler', weight_filler)

    def conv_relu(top, name, relu, width, kernel, dilation=1):
        n[name] = L.Convolution(top, num_output=width, kernel_size=kernel, **written,
                                **given('dilation', None if dilation == 1 else dilation))
        n[relu] = L.ReLU(n[name], in_place=True)
        return n[relu]
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        for i in range(1, convs + 1):
            top = conv_relu(top, f'conv{group}_{i}', f'relu{group}_{i}', width, 3,
                            2 if group == 5 else 1)
        if group < 4:
            top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for number, kernel, dilation in (('6', 7, 4), ('7', 1, 1)):
        top = conv_relu(top, f'fc{number}', f'relu{number}', fc, kernel, dilation)
        top = n[f'drop{number}'] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n[name] = L.Convolution(top, num_output=classes, kernel_size=1, **given('param', param),
                            **(SMALL if training else {}))
    return n[name]


def context(n: NetSpec, top, classes: int, layers: int, *, factors: Sequence[int] = (),
            prefix: str = 'ctx', padded_first: bool = False, training: bool = False):
    """Add a context module on scores: two 3x3 convolutions, layers - 4 ones whose dilation doubles,
    <prefix>_fc1 of 3x3 and <prefix>_final of 1x1.

    factors: of the classes, the channels of the layers before the last; (): one each, the basic
    module. padded_first: all pads in the first layer, and the multipliers of its first two alone,
    as the authors' net on VOC has it. training: with the fillers that make the module the identity
    on its class channels."""
    names = ['conv1_1', 'conv1_2', *(f'conv{i}_1' for i in range(2, layers - 2)), 'fc1', 'final']
    dilations = [1, 1, *(2 ** (i - 1) for i in range(2, layers - 2)), 1]
    factors = (*(factors or (1,) * (len(names) - 1)), 1)
    for k, (name, factor) in enumerate(zip(names, factors, strict=True)):
        kernel, dilation = (1, 1) if name == 'final' else (3, dilations[k])
        pad: int | None = dilation if kernel == 3 else None
        param: list[dict] | None = PARAM
        if padded_first:
            pad = {0: sum(dilations), 1: 0}.get(k)
            param = PARAM if training else DECAYED if k < 2 else None
        identity = {'weight_filler': {'type': 'identity', 'num_groups': classes,
                                      'std': 0.01 / factor}, 'bias_filler': ZERO}
        n[f'{prefix}_{name}'] = L.Convolution(
            top, num_output=classes * factor, kernel_size=kernel, **given('pad', pad),
            **given('dilation', None if dilation == 1 else dilation), **given('param', param),
            **(identity if training else {}))
        top = n[f'{prefix}_{name}']
        if name != 'final':
            relu = f'{prefix}_fc1_relu' if name == 'fc1' else f'{prefix}_relu{name[4:]}'
            top = n[relu] = L.ReLU(top, in_place=True)
    return top


def upsample(bottom, classes: int, filled: bool):
    """By 8, bilinear and fixed, channel by channel."""
    return L.Deconvolution(bottom, param=[{'lr_mult': 0, 'decay_mult': 0}], convolution_param={
        'num_output': classes, 'bias_term': False, 'pad': 4, 'kernel_size': 16, 'group': classes,
        'stride': 8, **({'weight_filler': {'type': 'bilinear'}} if filled else {})})


def net(data: dict | None = None, *, classes: int = 21, layers: int = 0, large: bool = False,
        widths: Sequence[int] = WIDTHS, fc: int = 4096, name: str = 'final', prefix: str = 'ctx',
        padded_first: bool = False, up: bool = False, still: bool = False,
        weight_filler: dict | None = None, shape: tuple[int, ...] = (1, 3, 900, 900),
        input_scale: float = 1, dropout: float = 0.5, training: bool = False):
    """The front end, and a context module of `layers` layers (0: none), a NetParameter.

    data: with a margin of 186 pixels, as for vgg.fcn; None gives the authors' deploy net, which
    ends with prob at an eighth of the size (up: at full size). large: the large module; name: of
    the front end's scores; prefix, padded_first: as for context. still: the front end is trained
    already and does not learn. training: with fillers. Other settings as for vgg.fcn.
    """
    n = start(data, shape, dialect=DIALECT)
    whole = padded_first and data is None           # that file leaves out the multipliers
    top = front(n, scaled(n, n.data, input_scale), classes, widths, fc, name,
                None if whole else FIXED if still and training else PARAM,
                weight_filler if training else None, training, dropout)
    if layers:
        top = context(n, top, classes, layers, factors=LARGE if large else (), prefix=prefix,
                      padded_first=padded_first, training=training)
    if data is None:
        if up:
            top = n[f'{prefix}_upsample'] = upsample(top, classes, False)
        n.prob = L.Softmax(top)
        return n.to_proto()
    n[f'{prefix}_upsample'] = upsample(top, classes, True)
    n.score = L.Crop(n[f'{prefix}_upsample'], n.label, crop_param={'axis': 2, 'offset': 0})
    n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={'ignore_label': 255})
    return n.to_proto()


AUTHORS = ("the authors' deploy net (fyu/dilation) and the net of their train.py --up, on whole\n"
           'images with a reflected margin; an iteration has 14 of them, as their batches')


def margin_data(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
                mean: tuple[float, float, float] = MEAN, **further) -> dict[str, str]:
    """Data settings of whole images with a reflected margin, from a folder laid out as VOC's."""
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=mean, margin=MARGIN, **further)


def full(folder: str, val_images: int, recipe: Recipe, **settings) -> Model:
    """A net at the authors' size; folder: of the data, laid out as VOC's."""
    data = partial(margin_data, mean=DILATION_MEAN)
    train = partial(data, mirror=True)
    return Model(net, settings, train(folder, 'train'), data(folder, 'val'), val_images, (recipe,),
                 train, origin=AUTHORS, phased=True, val_data=data)


# As train.py writes them: for the front end, the context module, and both
FRONT = Recipe(1e-4, momentum=0.9, max_iter=400000, snapshot=2000, iter_size=14, normalize=None,
               policy='step', stepsize=100000)
CONTEXT, JOINT = replace(FRONT, base_lr=1e-3), replace(FRONT, base_lr=1e-5)
VOC = '../data/pascal/VOC2012'
NARROW = {'classes': 11, 'widths': (8, 16, 32, 64, 64), 'fc': 512, 'weight_filler': MSRA,
          'dropout': 0.1, 'input_scale': 0.01, 'shape': (1, 3, 256 + 2 * MARGIN,
                                                         320 + 2 * MARGIN)}


def mini(folder: str, base_lr: float, max_iter: int, net: Callable = net, **settings) -> Model:
    """A narrow net on the scenes of digits, by a rate that falls to 0 (poly)."""
    recipe = Recipe(base_lr, momentum=0.9, max_iter=max_iter, snapshot=500, normalize=None,
                    policy='poly', prefix=f'runs/{folder}/train')
    train = partial(margin_data, mirror=False)
    return Model(net, {**NARROW, **settings}, train(str(FOLDER), 'train'),
                 margin_data(str(FOLDER), 'val'), 100, (recipe,), train, phased=True,
                 val_data=margin_data)


MODELS = {
    'dilation-front-voc': full(VOC, 1449, FRONT),
    'dilation8-voc': full(VOC, 1449, CONTEXT, layers=8, large=True, name='fc-final', prefix='ct',
                          padded_first=True, still=True),
    'dilation8-camvid': full('../data/camvid', 101, JOINT, classes=11, layers=8,
                             shape=(1, 3, 900, 1100)),
    'dilation7-kitti': full('../data/kitti', 46, JOINT, classes=11, layers=7,
                            shape=(1, 3, 852, 1640)),
    'dilation10-cityscapes': full('../data/cityscapes', 500, CONTEXT, classes=19, layers=10,
                                  up=True, still=True, shape=(1, 3, 1396, 1396)),

    'dilation-front-mini': mini('dilation-front-mini', 3e-3, 1000),
    'dilation-mini': mini('dilation-mini', 1e-3, 300, layers=8, still=True),
    'dilation-large-mini': mini('dilation-large-mini', 1e-3, 300, layers=8, large=True, still=True),
}
VGG = 'vgg_conv.caffemodel'     # the authors': VGG16's convolutions, fc6 and fc7 among them


def stage(name: str, parent: str | None = None, weights: str = '') -> Stage:
    """A stage of the nets at the authors' size."""
    return Stage('dilation', name, parent, weights=weights, surgeries=('transplant',),
                 takes=('voc',), zero_fillers=True, score_every=10000, score_layers='*final')


def small(name: str, parent: str) -> Stage:
    """A stage of the miniatures."""
    return Stage('dilation', name, parent, trains_parent=True, surgeries=('transplant',),
                 takes=('voc',), scenes=True, score_layers='*final')


STAGES = {
    'dilation-front-voc': stage('front-voc', weights=VGG),
    'dilation8-voc': stage('8-voc', 'dilation-front-voc'),
    'dilation8-camvid': stage('8-camvid', weights=VGG),
    'dilation7-kitti': stage('7-kitti', weights=VGG),
    'dilation10-cityscapes': stage('10-cityscapes', weights=VGG),
    'dilation-front-mini': small('front-mini', 'mini-classifier'),
    'dilation-mini': small('mini', 'dilation-front-mini'),
    'dilation-large-mini': small('large-mini', 'dilation-front-mini'),
}
ENTRIES = (
    Entry('dilation', 'Dilation, front end', 'dilation-front-mini'),
    Entry('dilation', 'Dilation, basic context', 'dilation-mini'),
    Entry('dilation', 'Dilation, large context', 'dilation-large-mini'),
)
