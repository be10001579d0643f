"""SegNet-Basic and SegNet (arXiv 1511.00561; SegNet-Tutorial bb68b64, Models/)."""

from dataclasses import replace
from functools import partial

from ...proto.netspec import L
from ..stage import Entry, Stage
from . import encoders
from .encoders import MSRA, ONE, TWO, begin, norm, pooled
from .model import Model, Recipe
from .vgg import CONVS, WIDTHS

# Of the classes of CamVid in the tutorial's order: median frequency / frequency
CAMVID_WEIGHTS = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478,
                  7.3614)
CAMVID_VOID = 11
DIALECT = 'segnet'


def conv(bottom, num_output: int, **window):
    """A Convolution of these nets."""
    return L.Convolution(bottom, num_output=num_output, param=[ONE, TWO], weight_filler=MSRA,
                         bias_filler={'type': 'constant'}, **window)


def unpooled(n, bottom, group: int, pads: dict[int, dict], sized: bool, like, **further):
    """Upsample by the mask of pool<group>. sized: to the size of `like`, what that pooling read;
    else by 2 and the further fields pads[group]. further: fields of the layer."""
    if sized:
        return L.Upsample(bottom, n[f'pool{group}_mask'], like, **further)
    return L.Upsample(bottom, n[f'pool{group}_mask'], **further, upsample_param={
        'scale': 2, **pads.get(group, {})})


def end(n, scores, data: dict | None, weights: tuple[float, ...] = (), void: int = 255,
        accuracy: bool = False):
    """The NetParameter with its loss, or for data None with Softmax `prob`. weights: of the
    classes; accuracy: with the layer of that name too."""
    if data is None:
        n.prob = L.Softmax(scores, softmax_param={'engine': 'CAFFE'})
        return n.to_proto()
    weighted = {'weight_by_label_freqs': True, 'class_weighting': list(weights)} if weights else {}
    n.loss = L.SoftmaxWithLoss(scores, n.label, softmax_param={'engine': 'CAFFE'}, loss_param={
        **weighted, 'ignore_label': void})
    if accuracy:
        n.accuracy, n.per_class_accuracy = L.Accuracy(scores, n.label, ntop=2)
    return n.to_proto()


def basic(data: dict | None = None, *, classes: int, width: int = 64,
          shape: tuple[int, ...] = (1, 3, 360, 480), folded: bool = False,
          pads: dict[int, dict] | None = None, sized: bool = True, blob: str = 'score', **loss):
    """SegNet-Basic, a NetParameter: four 7x7 convolutions down, four up, scores.

    data: settings of the data layer (encoders.begin), None for the deploy net. folded: bn_mode:
    INFERENCE, for weights with statistics (net.bn_statistics). pads: further fields of Upsample by
    group; sized: it has the size of what its pooling read instead, so that any image fits. blob:
    name of the scores. loss: of `end`.
    """
    n = begin(data, shape, DIALECT)
    pads = pads or {}
    n.norm = top = L.LRN(n.data, local_size=5, alpha=0.0001, beta=0.75)
    read = {}
    for group in (1, 2, 3, 4):
        n[f'conv{group}'] = conv(top, width, kernel_size=7, pad=3)
        top = norm(n, n[f'conv{group}'], f'conv{group}_bn', folded, True, False, False)
        n[f'relu{group}'] = read[group] = L.ReLU(top, in_place=True)
        n[f'pool{group}'], n[f'pool{group}_mask'] = pooled(read[group])
        top = n[f'pool{group}']
    for group in (4, 3, 2, 1):
        n[f'upsample{group}'] = unpooled(n, top, group, pads, sized, read[group])
        n[f'conv_decode{group}'] = conv(n[f'upsample{group}'], width, kernel_size=7, pad=3)
        top = norm(n, n[f'conv_decode{group}'], f'conv_decode{group}_bn', folded, True, False,
                   False)
    n[blob] = L.Convolution(top, num_output=classes, kernel_size=1, param=[ONE, TWO],
                            weight_filler=MSRA, bias_filler={'type': 'constant'},
                            name='conv_classifier')
    return end(n, n[blob], data, **loss)


def segnet(data: dict | None = None, *, classes: int, widths: tuple[int, ...] = WIDTHS,
           convs: tuple[int, ...] = CONVS, shape: tuple[int, ...] = (1, 3, 360, 480),
           folded: bool = False, pads: dict[int, dict] | None = None, sized: bool = True,
           blob: str = 'score', **loss):
    """SegNet, a NetParameter: VGG16's convolutions, batch-normalised, and their mirror image, whose
    last convolution makes the scores. Arguments as of `basic`; widths, convs: channels and
    convolutions of each group."""
    n = begin(data, shape, DIALECT)
    pads = pads or {}
    top, read = n.data, {}
    for group, (width, count) in enumerate(zip(widths, convs, strict=True), 1):
        for i in range(1, count + 1):
            top = block(n, top, f'{group}_{i}', width, folded)
        read[group] = top
        n[f'pool{group}'], n[f'pool{group}_mask'] = pooled(top)
        top = n[f'pool{group}']
    for group in range(len(widths), 0, -1):
        n[f'pool{group}_D'] = top = unpooled(n, top, group, pads, sized, read[group],
                                             name=f'upsample{group}')
        for i in range(convs[group - 1], 0, -1):
            name = f'{group}_{i}_D'
            width = widths[group - 1] if i > 1 else widths[max(group - 2, 0)]
            if (group, i) == (1, 1):
                n[blob] = L.Convolution(top, num_output=classes, pad=1, kernel_size=3,
                                        param=[ONE, TWO], weight_filler=MSRA,
                                        bias_filler={'type': 'constant'}, name='conv1_1_D')
            else:
                top = block(n, top, name, width, folded)
    return end(n, n[blob], data, **loss)


def block(n, bottom, name: str, width: int, folded: bool):
    """A 3x3 convolution, its BN and its ReLU, in place."""
    n[f'conv{name}'] = conv(bottom, width, pad=1, kernel_size=3)
    top = norm(n, n[f'conv{name}'], f'conv{name}_bn', folded, True, said=False)
    n[f'relu{name}'] = L.ReLU(top, in_place=True)
    return n[f'relu{name}']


def model(net, recipe: Recipe, batch: int, **settings) -> Model:
    """A net on the digit scenes until a VOC folder is given."""
    return Model(net, {'classes': 11, **settings}, encoders.scenes('train', batch=batch),
                 encoders.scenes('val'), 100, (recipe,), partial(encoders.whole, batch=batch),
                 origin='SegNet-Tutorial, bb68b64')


def recipe(folder: str, base_lr: float, max_iter: int, snapshot: int) -> Recipe:
    """SegNet's solver."""
    return Recipe(base_lr, momentum=0.9, max_iter=max_iter, snapshot=snapshot, normalize=None,
                  prefix=f'runs/{folder}/train')


def mini(net, folder: str, base_lr: float, max_iter: int, **settings) -> Model:
    """A narrow net on the scenes of digits: by Adam and a rate that falls to 0, since SegNet's own
    solver hardly leaves the background in so few iterations."""
    short = replace(recipe(folder, base_lr, max_iter, max_iter), type='Adam', policy='poly',
                    weight_decay=1e-4)
    return model(net, short, 4, shape=(1, 3, 256, 320), **settings)


MODELS = {
    'segnet-basic': model(basic, recipe('segnet-basic', 0.1, 10000, 1000), 4),
    'segnet': model(segnet, recipe('segnet', 0.001, 40000, 1000), 4),
    'mini-segnet-basic': mini(basic, 'mini-segnet-basic', 0.005, 1200, width=12),
    'mini-segnet': mini(segnet, 'mini-segnet', 0.002, 1200, widths=(8, 12, 16, 24, 24)),
}


def stage(net: str, score_every: int, **further) -> Stage:
    """A stage of these nets; scores are those of BN's batch, an image (docs/forks.md)."""
    return Stage('segnet', net, surgeries=('transplant',), score_every=score_every, scenes=True,
                 takes=('voc', 'mnist'), counts_classes=True,
                 score_layers='conv_classifier' if 'basic' in net else 'conv1_1_D', **further)


STAGES = {
    'segnet-basic': stage('basic', 1000), 'segnet': stage('segnet', 1000),
    'mini-segnet-basic': stage('mini-basic', 300), 'mini-segnet': stage('mini', 300),
}
ENTRIES = (Entry('segnet', 'SegNet-Basic', 'mini-segnet-basic'),
           Entry('segnet', 'SegNet', 'mini-segnet'))
