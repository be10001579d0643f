"""DUpsampling (Tian et al. 2019): scores from the last, coarse map by a linear reconstruction that
the labels give, in the place of bilinear upsampling.

The authors released no code. The body and the decoder are those of unofficial code
(LinZhuoChen/DUpsampling, models/dunet_sybn.py): a ResNet-50 of stride 16, whose stem and third
group are resized to that stride and joined. The reconstruction W is a Deconvolution whose kernel is
its stride: each cell's code of the block of labels at its place becomes the block's scores. It
starts from the principal components of the labels (starting.label_blocks) and learns on.
"""

from dataclasses import replace
from typing import Any

from ...proto.netspec import L
from ..stage import Entry
from .body_resnet import RESNETS, resnet
from .deeplabv3 import mini, mini_stage, random_crops, voc_stage
from .model import Model, Recipe, voc_data
from .normed import FORK, MSRA, WEIGHT, Normed, loss
from .parts import start

STRIDE = 16
CROP = 528
DROPOUTS = 0.5, 0.1             # after the decoder's convolutions


def decoder(to: Normed, maps: list, low: int, width: int, dropouts: tuple[float, float]):
    """The last map, joined with the finer ones, which are resized to it and reduced to `low`
    channels; two 3x3."""
    n = to.n
    stem, middle, last = maps
    n.low = L.Concat(to.resized('stem_down', stem, middle), middle)
    n.decoder = L.Concat(last, to.conv(n.low, 'low_project', low))
    top = n.decoder
    for i, ratio in enumerate(dropouts, 1):
        top = to.conv(top, f'refine{i}', width, 3)
        if ratio:
            top = n[f'refine{i}_drop'] = L.Dropout(top, in_place=True, dropout_ratio=ratio)
    return top


def reconstructed(n, bottom, codes: int, classes: int, like):
    """Codes (N, codes, h, w), and of these by W the scores, cut to the size of `like`. The softmax
    is of scores over T; here the codes are multiplied by 1/T, which is the same and is learned."""
    n.codes = L.Convolution(bottom, num_output=codes, kernel_size=1, weight_filler=MSRA)
    n.temperature = L.Scale(n.codes, param=[{'lr_mult': 1, 'decay_mult': 0}],
                            scale_param={'num_axes': 0})
    n.up = L.Deconvolution(n.temperature, param=WEIGHT, convolution_param={
        'num_output': classes, 'kernel_size': STRIDE, 'stride': STRIDE, 'bias_term': False,
        'weight_filler': MSRA})
    n.score = L.Crop(n.up, like, crop_param={'axis': 2, 'offset': 0})


def net(data: dict | None = None, *, classes: int = 21, body_settings: dict | None = None,
        low: int = 48, width: int = 256, codes: int = 64,
        dropouts: tuple[float, float] = DROPOUTS, norm: dict | None = None, normalize: bool = True,
        shape: tuple[int, ...] = (1, 3, CROP, CROP)):
    """A ResNet with DUpsampling, a NetParameter: data (N,3,H,W) of any H and W to score
    (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. body_settings: of body_resnet.resnet. low: channels
    of the finer maps; width: of the decoder; codes: what a block of labels is made of. dropouts:
    after the decoder's convolutions. norm: of Normed.
    """
    n = start(data, shape, dialect=FORK)
    to = Normed(n, **({'fraction': 0.9} | (norm or {})))
    maps = resnet(to, n.data, **({'blocks': RESNETS['resnet50']} | (body_settings or {})),
                  stride=STRIDE)
    top = decoder(to, [n.conv1_relu, *maps[2:]], low, width, dropouts)
    reconstructed(n, top, codes, classes, n.data)
    if data is not None:
        loss(n, normalize)
    return n.to_proto()


ORIGIN = ('Tian et al. 2019 (DUpsampling), after unofficial code: LinZhuoChen/DUpsampling,\n'
          'models/dunet_sybn.py, without P; its rate and rule; crops of the size that it resizes\n'
          'whole images to')
crops = random_crops(CROP, (0.5, 2.0), 16)
SURGERIES = 'transplant', 'label blocks'


def voc() -> Model:
    """The model on VOC 2012 with the 10582 images of train and SBD as its split trainaug: 300
    epochs."""
    recipe = Recipe(7e-3, momentum=0.9, max_iter=198300, snapshot=6610, normalize=True,
                    weight_decay=1e-4, policy='poly')
    root = '../data/pascal/VOC2012'
    return Model(net, {}, crops(root, 'trainaug'), voc_data(root, 'val'), 1449, (recipe,), crops,
                 origin=ORIGIN)


SMALL: dict[str, Any] = {'low': 12, 'width': 48, 'codes': 32, 'dropouts': (0.1, 0.1),
                         'norm': {'fraction': 0.95},
                         'body_settings': {'blocks': (2, 2, 2, 3), 'stem': 16,
                                           'widths': (8, 16, 24, 32)}}
MODELS = {'dupsampling-resnet50': voc(),
          'dupsampling-mini': mini('dupsampling-mini', net, **SMALL)}
STAGES = {
    'dupsampling-resnet50': replace(
        voc_stage('dupsampling', 'resnet50', 'resnet50.caffemodel'), surgeries=SURGERIES,
        score_layers='codes', up_layers='up'),
    'dupsampling-mini': replace(mini_stage('dupsampling', 'mini'), surgeries=SURGERIES,
                                score_layers='codes', up_layers='up'),
}
ENTRIES = (Entry('dupsampling', 'DUpsampling', 'dupsampling-mini'),)
