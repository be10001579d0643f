"""The own nets, for small data of one's own: FCN-16s with a batch-normalised decoder on a
batch-normalised body of VGG16's shape, at widths for a laptop and for a GPU, and at half of the
laptop's for a student of such a net (recipe/teacher.py); the same net learning from scribbles by
the Gated CRF loss, and learning through a ConvCRF."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ...data.image import MEAN
from ...data.scenes import FOLDER
from ...data.scribbles import SCENES
from ...proto.netspec import L, NetSpec, P
from ..stage import Stage
from .model import Model, Recipe, voc_data
from .parts import PARAM, classified, python_data, start
from .vgg import CONVS, WIDTHS

RECOLOUR = 0.7                      # measured in docs/own-nets.md
SMALLEST = 96                       # pixels of a crop's side
DIGIT = 96                          # pixels of a side of the classifier's images
# The Gated CRF loss (Obukhov et al. 2019, arXiv 1906.04651; toshas/GatedCRFLoss 9b57667,
# utils/config.py and its README): on a map of a quarter of the image's sides, as DeepLab v3+'s are,
# weight 0.1 beside the cross entropy's 1, radius 5. Its deviation of colours, 0.1 of images that
# were divided by ImageNet's deviation, 57.1 to 58.4, is 5.8 in grey levels.
CRF_STRIDE, CRF_WEIGHT = 4, 0.1
CRF = {'kernel': [{'weight': 1, 'place': 6, 'colour': 5.8}], 'radius': 5}
MSRA = {'type': 'msra'}
FIXED = {'lr_mult': 0, 'decay_mult': 0}
UNDECAYED = [{'lr_mult': 1, 'decay_mult': 0}] * 2       # scale, bias
# Running statistics of about the last 20 passes. Caffe's default, 0.999, remembers 1000: more than
# a short run has, so that the val net would see the statistics of a net long gone.
NORM = {'moving_average_fraction': 0.95}


def norm(n: NetSpec, top, name: str):
    """BatchNorm and its learned Scale, in place, as bn<name> and scale<name>."""
    top = n[f'bn{name}'] = L.BatchNorm(top, in_place=True, param=[FIXED] * 3,
                                       batch_norm_param=NORM)
    top = n[f'scale{name}'] = L.Scale(top, in_place=True, param=UNDECAYED,
                                      scale_param={'bias_term': True})
    return top


def body(n: NetSpec, widths: tuple[int, ...], poolings: int = 5):
    """Add conv1_1 ... pool5 on n.data, each convolution batch-normalised. Returns the last map,
    with all five poolings 1/32 of the size; without the last ones the convolutions behind a pooling
    that is left out are dilated, as DeepLab's are. The layers that VGG16 has too have its names, so
    that its weights fit."""
    top, dilation = n.data, 1
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        dilated = {'dilation': dilation} if dilation > 1 else {}
        for i in range(1, convs + 1):
            name = f'{group}_{i}'
            top = n[f'conv{name}'] = L.Convolution(top, num_output=width, kernel_size=3,
                                                   pad=dilation, param=PARAM, weight_filler=MSRA,
                                                   **dilated)
            top = n[f'relu{name}'] = L.ReLU(norm(n, top, name), in_place=True)
        if group <= poolings:
            top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
        else:
            dilation *= 2
    return top


def up(n: NetSpec, bottom, like, width: int, stride: int):
    """Upsample by 2 to the size of `like`: a learned Deconvolution, the Crop and the ReLU.

    Kernel 3 and no pad make 2 n + 1 cells of n; the Crop at offset 1 leaves the 2 n that padding 1
    and output padding 1 leave elsewhere, or 2 n - 1 where pooling rounded up."""
    name = f'up{stride}'
    n[name] = L.Deconvolution(bottom, param=PARAM, convolution_param={
        'num_output': width, 'kernel_size': 3, 'stride': 2, 'weight_filler': MSRA})
    n[f'{name}c'] = L.Crop(n[name], like, axis=2, offset=1)
    n[f'relu_{name}'] = L.ReLU(n[f'{name}c'], in_place=True)
    return n[f'relu_{name}']


def fcn(data: dict | None = None, *, classes: int, widths: tuple[int, ...], last: int,
        normalize: bool = True, shape: tuple[int, ...] = (1, 3, 224, 288),
        class_weights: str = '', crf: Mapping[str, Any] | None = None, convcrf: bool = False,
        training: bool = False):
    """The FCN-16s, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    Five times Deconvolution, ReLU, sum with the encoder's map of that stride (but for the last),
    BatchNorm and Scale; then a 1x1 convolution. data: settings of the data layer (python_data) with
    tops data and label (N,1,H,W); None gives the deploy net: an Input of `shape` and no loss.
    widths: channels of the five groups; the decoder has those of the maps that it adds, and `last`
    at full size. class_weights: a binaryproto file of a diagonal matrix, the weight of each class;
    the loss is then Caffe's InfogainLoss, its one loss that weighs classes. crf: of the net that
    learns (training), fields of a GatedCRFLoss beside the loss; the data layer then has a third
    top, mask (N,1,H,W). convcrf: the score is that of a LocalMeanField, as its authors set it, on
    the convolution's, which is `unary`; in all phases.
    """
    gated = crf is not None and training
    n = start(data, shape, ('label', 'mask') if gated else ('label',))
    top = body(n, widths)
    for group in (4, 3, 2, 1):
        skip, stride = n[f'pool{group}'], 2 ** group
        top = up(n, top, skip, widths[group - 1], stride)
        top = n[f'fuse_pool{group}'] = L.Eltwise(top, skip, operation=P.Eltwise.SUM)
        top = norm(n, top, f'_up{stride}')
    top = norm(n, up(n, top, n.data, last, 1), '_up1')
    unary = L.Convolution(top, name='score', num_output=classes, kernel_size=1, param=PARAM,
                          weight_filler={'type': 'gaussian', 'std': 0.01})
    if convcrf:
        n.unary = unary
        n.score = L.LocalMeanField(n.unary, n.data, name='convcrf')
    else:
        n.score = unary
    if data is not None and class_weights:
        n.loss = L.InfogainLoss(n.score, n.label, infogain_loss_param={'source': class_weights},
                                loss_param={'normalization': 'VALID', 'ignore_label': 255})
    elif data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={
            'normalize': normalize, 'ignore_label': 255})
    if gated:
        n.coarse = L.Pooling(n.score, pool=P.Pooling.AVE, kernel_size=CRF_STRIDE, stride=CRF_STRIDE)
        n.prob = L.Softmax(n.coarse)
        n.crf = L.GatedCRFLoss(n.prob, n.data, n.mask, loss_weight=CRF_WEIGHT, fcn_repro_param=crf)
    return n.to_proto()


def classifier(data: dict | None = None, *, classes: int, widths: tuple[int, ...],
               size: int = DIGIT):
    """The classifier on the same body, a NetParameter: the mean of pool5 over all cells, and an
    InnerProduct to score_cls (N,classes). Its body is what an FCN of these widths starts from."""
    n = start(data, (1, 3, size, size))
    n.pool6 = L.Pooling(body(n, widths), pool=P.Pooling.AVE, global_pooling=True)
    n.score_cls = L.InnerProduct(n.pool6, num_output=classes, param=PARAM,
                                 weight_filler={'type': 'gaussian', 'std': 0.01})
    return classified(n, 'score_cls', data)


STUDENT: dict[str, Any] = {'widths': (8, 16, 32, 64, 96), 'last': 8}    # half of LAPTOP's
LAPTOP: dict[str, Any] = {'widths': (16, 32, 64, 128, 192), 'last': 16}
FULL: dict[str, Any] = {'widths': WIDTHS, 'last': 32}


def crop_of(size: tuple[int, int], largest: tuple[int, int]) -> tuple[int, int]:
    """The size of crops from images of this size: 0.7 of each side in whole cells of pool4, at
    least SMALLEST (or the whole side) and at most `largest`. Crops and not whole images, so that a
    pass has many images, whose statistics batch normalisation takes for those of all."""
    height, width = (min(most, side, max(SMALLEST, 16 * round(0.7 * side / 16)))
                     for side, most in zip(size, largest, strict=True))
    return height, width


def own_data(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
             largest: tuple[int, int], crops: int, recolour: float | None = None,
             rotate: float = 0, mask: bool = False) -> dict[str, str]:
    """Data settings of random crops, mirrored, scaled, recoloured and turned, from a folder
    laid out as VOC's. size: (height, width) of its images; crops: how many of the largest size a
    pass takes; of smaller ones it takes up to twice as many. mask: with the third top."""
    crop = largest if size is None else crop_of(size, largest)
    batch_size = min(2 * crops, crops * largest[0] * largest[1] // (crop[0] * crop[1]))
    return python_data('own_layers', 'OwnDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN, crop=crop, scale=(0.7, 1.4), mirror=True,
                       recolour=RECOLOUR if recolour is None else recolour, batch_size=batch_size,
                       **({'rotate': rotate} if rotate else {}), **({'mask': True} if mask else {}))


def own(largest: tuple[int, int], crops: int, recipe: Recipe, scribbles: bool = False,
        **settings) -> Model:
    """An own net, on the digit scenes, or scribbles of them, until a VOC folder is given."""
    train_data = partial(own_data, largest=largest, crops=crops, mask=scribbles)
    folder, gated = (SCENES, {'crf': CRF}) if scribbles else (FOLDER, {})
    return Model(fcn, {'classes': 11, **settings, **gated}, train_data(str(folder), 'train'),
                 voc_data(str(FOLDER), 'val'), 100, (recipe,), train_data, phased=scribbles)


def laptop(name: str, **settings) -> Model:
    """An own net as it is trained on a laptop."""
    return own((224, 288), 6, Recipe(
        2e-3, momentum=0.9, max_iter=700, snapshot=350, normalize=True, weight_decay=1e-4,
        policy='poly', type='Adam', prefix=f'runs/{name}/train'), **settings)


def digits(split: str, **params) -> dict[str, str]:
    """Data settings of the classifier: digits of a third to nine tenths of its image."""
    return python_data('digit_layers', 'DigitDataLayer', split=split, seed=1337, mean=MEAN,
                       size=DIGIT, batch_size=32, digit_sizes=(32, 86), **params)


MODELS = {
    'own-classifier': Model(
        classifier, {'classes': 10, 'widths': LAPTOP['widths']},
        digits('train', curriculum=150), digits('val'), 12, (Recipe(
            2e-3, momentum=0.9, max_iter=450, snapshot=450, normalize=None, weight_decay=1e-4,
            policy='poly', type='Adam', prefix='runs/own-classifier/train'),)),
    'own-fcn16s': laptop('own-fcn16s', **LAPTOP),
    'own-distilled': laptop('own-distilled', **STUDENT),
    'own-scribbles': laptop('own-scribbles', scribbles=True, **LAPTOP),
    'own-convcrf': laptop('own-convcrf', convcrf=True, **LAPTOP),
    'own-full-fcn16s': own((320, 320), 8, Recipe(
        1e-3, momentum=0.9, max_iter=20000, snapshot=2000, normalize=True, weight_decay=1e-4,
        policy='poly', type='Adam', prefix='runs/own-full-fcn16s/train'), **FULL),
}


TAKES = 'voc', 'mnist', 'class_weights', 'recolour', 'rotate'


def stage(net: str, score_every: int, **further) -> Stage:
    """A stage of the own nets."""
    return Stage('own', net, surgeries=('transplant',), score_every=score_every, **{
        'takes': TAKES, 'scenes': True, 'counts_classes': True, **further})


STAGES = {
    'own-classifier': Stage('own', 'classifier', surgeries=(), accuracy=0.90, takes=('mnist',)),
    'own-fcn16s': stage('fcn16s', 0),
    'own-distilled': stage('distilled', 0, distilled=True),
    'own-scribbles': stage('scribbles', 0, scribbles=True,
                           takes=tuple(name for name in TAKES if name != 'mnist')),
    'own-convcrf': stage('convcrf', 0),
    'own-full-fcn16s': stage('full-fcn16s', 2000),
}
