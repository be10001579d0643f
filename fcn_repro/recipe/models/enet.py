"""ENet (arXiv 1606.02147; TimoSaemann/ENet bb681cc, scripts/create_enet_prototxt.py): the encoder,
which is trained first, and the whole net."""

from functools import partial
from typing import Any

from ...proto.netspec import L, P
from ..stage import Entry, Stage
from . import encoders
from .encoders import MSRA, begin, norm, pooled
from .model import Model, Recipe

SHRINK = 8          # of the encoder's maps
# Of stages 2 and 3: (kind, dilation or kernel)
SERIES = (('regular', 1), ('dilated', 2), ('asymmetric', 5), ('dilated', 4), ('regular', 1),
          ('dilated', 8), ('asymmetric', 5), ('dilated', 16))
DROPPED = {1: '0.01'}               # share of maps, by stage; else 0.1


class Builder:
    """Adds bottlenecks to a NetSpec n, under the script's names: kind<stage>_<number>_<module>."""

    def __init__(self, n, folded: bool, dropping: str):
        self.n, self.folded, self.dropping = n, folded, dropping

    def conv(self, bottom, name: str, num_output: int, bias: bool = False, **window: Any):
        self.n[name] = L.Convolution(bottom, num_output=num_output, bias_term=bias,
                                     weight_filler=MSRA, **window)
        return self.n[name]

    def active(self, bottom, name: str, relu: bool):
        """PReLU or ReLU, both named prelu<name>."""
        self.n[f'prelu{name}'] = (L.ReLU if relu else L.PReLU)(bottom)
        return self.n[f'prelu{name}']

    def norm(self, bottom, name: str):
        return norm(self.n, bottom, f'bn{name}', self.folded)

    def middle(self, top, name: str, width: int, kind: str, size: int):
        """The second convolution of a bottleneck."""
        if kind == 'asymmetric':
            top = self.conv(top, f'conv{name}_a', width, kernel_h=size, kernel_w=1, stride=1, pad=1)
            return self.conv(top, f'conv{name}', width, True, kernel_h=1, kernel_w=size, stride=1,
                             pad=1)
        if kind == 'up':
            self.n[f'deconv{name}'] = L.Deconvolution(top, convolution_param={
                'num_output': width, 'bias_term': True, 'kernel_size': 2, 'stride': 2})
            return self.n[f'deconv{name}']
        dilated = {'pad': size, 'dilation': size} if kind == 'dilated' else {'pad': 1}
        return self.conv(top, f'conv{name}', width, bias=True, kernel_size=3, stride=1, **dilated)

    def bottleneck(self, bottom, stage: int, number: int, num_output: int, kind: str = 'regular',
                   size: int = 1, relu: bool = False, mask=None):
        """A bottleneck: 1x1 (2x2 with stride 2), `middle`, 1x1, dropout, the sum with the bottom,
        pooled (down) or unpooled by the mask (up). mask: for up, the mask; for down, whether its
        pooling makes one."""
        name, width = f'{stage}_{number}', num_output // 4
        half = 2 if kind == 'down' else 1
        top = self.conv(bottom, f'conv{name}_0', width, kernel_size=half, stride=half)
        top = self.active(self.norm(top, f'{name}_0'), f'{name}_0', relu)
        top = self.norm(self.middle(top, f'{name}_1', width, kind, size), f'{name}_1')
        top = self.conv(self.active(top, f'{name}_1', relu), f'conv{name}_2', num_output,
                        kernel_size=1, stride=1)
        ratio = DROPPED.get(stage, '0.1')
        main = self.n[f'drop{name}_3'] = L.Python(
            self.norm(top, f'{name}_2'), python_param={
                'module': 'spatial_dropout', 'layer': 'SpatialDropoutLayer',
                'param_str': str({'phase': self.dropping, 'p': ratio})})
        other = bottom
        if kind == 'down':
            pool = pooled(bottom, bool(mask))
            if mask:
                pool, self.n[f'pool{name}_4_mask'] = pool
            self.n[f'pool{name}_4'] = other = pool
        if kind in ('down', 'up'):
            other = self.norm(self.conv(other, f'conv{name}_4', num_output, kernel_size=1,
                                        stride=1), f'{name}_4')
        if kind == 'up':
            self.n[f'upsample{name}_4'] = other = L.Upsample(other, mask, scale=2)
        self.n[f'eltwise{name}_4'] = L.Eltwise(main, other)
        return self.active(self.n[f'eltwise{name}_4'], f'{name}_4', relu)


def enet(data: dict | None = None, *, classes: int, encoder: bool = False, width: int = 16,
         shape: tuple[int, ...] = (1, 3, 512, 1024), folded: bool = False,
         blob: str = 'score', void: int = 255, accuracy: bool = False):
    """ENet, a NetParameter, for images whose sides are multiples of 8.

    data: settings of the data layer (encoders.begin), None for the deploy net. encoder: stages 1 to
    3 with scores at 1/8 of the size, whose labels are every eighth of each axis; `blob` then has
    each score 8 x 8 times. width: channels after the first block; 13 of 16 are convolved. folded:
    bn_mode: INFERENCE, for weights with statistics (net.bn_statistics). blob: name of the scores.
    accuracy: with the layer of that name.
    """
    n = begin(data, shape)
    make = Builder(n, folded, 'TEST' if data is None or testing(data) else 'TRAIN')
    n.conv0_1 = L.Convolution(n.data, num_output=width - 3, bias_term=True, pad=1, kernel_size=3,
                              stride=2, weight_filler=MSRA)
    n.pool0_1 = pooled(n.data, False)
    n.concat0_1 = L.Concat(n.conv0_1, n.pool0_1, axis=1)
    top = make.active(make.norm(n.concat0_1, '0_1'), '0_1', False)
    top = make.bottleneck(top, 1, 0, 4 * width, 'down', mask=not encoder)
    for number in range(1, 5):
        top = make.bottleneck(top, 1, number, 4 * width)
    top = make.bottleneck(top, 2, 0, 8 * width, 'down', mask=not encoder)
    for stage in (2, 3):
        for number, (kind, size) in enumerate(SERIES, 1):
            top = make.bottleneck(top, stage, number, 8 * width, kind, size)
    if encoder:
        return encoded(n, top, data, classes, blob, void, accuracy)
    top = make.bottleneck(top, 4, 0, 4 * width, 'up', relu=True, mask=n.pool2_0_4_mask)
    for number in (1, 2):
        top = make.bottleneck(top, 4, number, 4 * width, relu=True)
    top = make.bottleneck(top, 5, 0, width, 'up', relu=True, mask=n.pool1_0_4_mask)
    top = make.bottleneck(top, 5, 1, width, relu=True)
    n[blob or 'deconv6_0_0'] = scores = scored(top, classes, 2, 'deconv6_0_0')
    return ended(n, scores, None if data is None else n.label, void, accuracy)


def testing(data: dict | None) -> bool:
    """Whether data settings are those of a val net."""
    return data is not None and "'split': 'val'" in data.get('param_str', '')


def scored(bottom, classes: int, size: int, name: str):
    """The scores: a Deconvolution of this name, whose kernel and stride are `size`."""
    return L.Deconvolution(bottom, name=name, convolution_param={
        'num_output': classes, 'bias_term': True, 'kernel_size': size, 'stride': size})


def encoded(n, top, data: dict | None, classes: int, blob: str, void: int, accuracy: bool):
    """End an encoder."""
    small = scored(top, classes, 1, 'deconv_encoder6_0_0')
    if not blob:                    # the script's, with labels of the data layer at 1/8
        n.deconv_encoder6_0_0 = small
        return ended(n, small, n.label, void, accuracy)
    n[f'{blob}_s{SHRINK}'] = small
    n[blob] = L.Deconvolution(small, param=[{'lr_mult': 0, 'decay_mult': 0}], convolution_param={
        'num_output': classes, 'group': classes, 'bias_term': False, 'kernel_size': SHRINK,
        'stride': SHRINK, 'weight_filler': {'type': 'constant', 'value': 1}})
    if data is None:
        return n.to_proto()
    n[f'label_s{SHRINK}'] = L.Pooling(n.label, pooling_param={
        'pool': P.Pooling.MAX, 'kernel_size': 1, 'stride': SHRINK, 'round_mode': 'FLOOR'})
    return ended(n, small, n[f'label_s{SHRINK}'], void, accuracy)


def ended(n, scores, label, void: int, accuracy: bool):
    """The NetParameter, with the loss against a label unless that is None."""
    if label is not None:
        n.loss = L.SoftmaxWithLoss(scores, label, loss_param={
            'ignore_label': void, 'weight_by_label_freqs': False})
    if label is not None and accuracy:
        n.accuracy, n.per_class_accuracy = L.Accuracy(scores, label, ntop=2)
    return n.to_proto()


def model(folder: str, max_iter: int, batch: int, short: bool = False, **settings) -> Model:
    """A net on the digit scenes until a VOC folder is given; the solver is ENet's, whose rate falls
    to a tenth after each quarter. short: it falls steadily, as suits few iterations."""
    quarters = tuple(max_iter * quarter // 4 for quarter in (1, 2, 3))
    recipe = Recipe(0.005, momentum=0.9, max_iter=max_iter, snapshot=min(max_iter, 10000),
                    normalize=None, weight_decay=0.0002, type='Adam',
                    policy='poly' if short else 'multistep', steps=() if short else quarters,
                    prefix=f'runs/{folder}/train')
    return Model(enet, {'classes': 11, **settings}, encoders.scenes('train', batch=batch),
                 encoders.scenes('val'), 100, (recipe,), partial(encoders.whole, batch=batch),
                 origin='TimoSaemann/ENet, bb681cc')


MINI = {'width': 8, 'shape': (1, 3, 256, 320)}
MODELS = {
    'enet-encoder': model('enet-encoder', 75000, 4, encoder=True),
    'enet': model('enet', 75000, 4),
    'mini-enet-encoder': model('mini-enet-encoder', 800, 4, True, encoder=True, **MINI),
    'mini-enet': model('mini-enet', 1000, 4, True, **MINI),
}


def stage(net: str, score_every: int, parent: str | None = None) -> Stage:
    """A stage of ENet; scores are those of BN's batch, an image (docs/forks.md)."""
    return Stage('enet', net, parent, trains_parent=net.startswith('mini'), score_every=score_every,
                 surgeries=('transplant',), scenes=True, takes=('voc', 'mnist'),
                 counts_classes=True, score_layers='deconv*6_0_0')


STAGES = {
    'enet-encoder': stage('encoder', 1000), 'enet': stage('decoder', 1000, 'enet-encoder'),
    'mini-enet-encoder': stage('mini-encoder', 400),
    'mini-enet': stage('mini', 400, 'mini-enet-encoder'),
}
ENTRIES = (Entry('enet', 'ENet, encoder alone', 'mini-enet-encoder'),
           Entry('enet', 'ENet', 'mini-enet'))
