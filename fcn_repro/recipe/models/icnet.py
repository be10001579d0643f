"""ICNet (Zhao et al. 2017): a narrow PSPNet on the image at half its size, of which all but the
first blocks run at a quarter, joined with two finer branches that are cheap.

The nets that score are the authors' (hszhao/ICNet), layer for layer, with BN and with BN merged
into the convolutions; they take images of one size, for which the kernels of the poolings are made.
The authors published no net that learns: here it has batch normalisation by the batch and the
paper's losses at a sixteenth, an eighth and a quarter of the size (cascade label guidance), with
the weights of hellochick/ICNet-tensorflow.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ...errors import FcnError
from ...proto.netspec import L, NetSpec, P
from ..stage import Entry, Stage
from .deeplabs import crop_data
from .model import Model, Recipe
from .parts import fitted, softmax_loss, start
from .pspnet import BINS, DIALECT, DILATIONS, MSRA, PSP_MEAN, Normed, Sized, window
from .vgg import scaled

FULL = 1025, 2049
STRIDE = 32
PAIRED = {3: 2}                 # the authors' stride of 3 bins is twice that of 6
# (name, stride of its scores, weight of its loss) of the branches' classifiers
GUIDED = (('conv6_sub4', 16, 0.16), ('conv6_sub24', 8, 0.4))


def cells(shape: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of the last map. FcnError for sides that are not 32 k + 1."""
    for side in shape[2:]:
        if side <= STRIDE or side % STRIDE != 1:
            raise FcnError(f'ICNet for sides of {side} pixels',
                           do='Give sides that are a multiple of 32, and 1: 1025, for example.')
    height, width = ((side - 1) // STRIDE + 1 for side in shape[2:])
    return height, width


def low(n: NetSpec, top, normed: Normed, blocks: Sequence[int], widths: Sequence[int],
        stem: Sequence[int]):
    """The ResNet on the image at half its size, halved again after conv3_1; returns (conv3_1, a
    sixteenth of the image's size, the last block, a 32nd)."""
    top, middle = normed.stem(n, top, stem), None
    for group, (count, width) in enumerate(zip(blocks, widths, strict=True), 2):
        for i in range(1, count + 1):
            first_of_3 = (group, i) == (3, 1)
            top = normed.block(n, top, f'conv{group}_{i}', width, 2 if first_of_3 else 1,
                               DILATIONS.get(group, 1), i == 1)
            if first_of_3:
                middle = top
                top = n.conv3_1_sub4 = L.Interp(top, shrink_factor=2)
    return middle, top


def pyramid(n: NetSpec, bottom, name: str, size: tuple[int, int]):
    """The sum of the map and its means in 1, 2x2, 3x3 and 6x6 bins, back at its size."""
    tops: list[Any] = []
    for bins in BINS:
        pool = f'{name}_pool{bins}'
        n[pool] = L.Pooling(bottom, pool=P.Pooling.AVE, **window(size, bins, PAIRED.get(bins, 1)))
        n[f'{pool}_interp'] = L.Interp(n[pool], height=size[0], width=size[1])
        tops.insert(0, n[f'{pool}_interp'])
    n[f'{name}_sum'] = L.Eltwise(bottom, *tops)
    return n[f'{name}_sum']


def high(n: NetSpec, top, normed: Normed, widths: Sequence[int]):
    """Three convolutions on the whole image, to an eighth of its size."""
    for i, width in enumerate(widths, 1):
        top = normed.conv(n, top, f'conv{i}_sub1', width, 3, pad=1, stride=2)
    return top


def fused(n: NetSpec, name: str, fine, coarse):
    """Sum of two maps of one size and its ReLU, as NAME, and that at twice the size."""
    n[name] = L.Eltwise(fine, coarse)
    top = n[f'{name}/relu'] = L.ReLU(n[name], in_place=True)
    n[f'{name}_interp'] = L.Interp(top, zoom_factor=2)
    return n[f'{name}_interp']


def classify(n: NetSpec, bottom, name: str, classes: int):
    """n[name]: a 1x1 convolution to class scores."""
    n[name] = L.Convolution(bottom, num_output=classes, kernel_size=1, stride=1, weight_filler=MSRA,
                            param=[{'lr_mult': rate, 'decay_mult': 1} for rate in (1, 2)])
    return n[name]


def guided(n: NetSpec, scores, stride: int, weight: float):
    """The loss of scores of this stride against every stride-th label of each axis, the places
    which those scores have."""
    label = n[f'label_s{stride}'] = L.Pooling(n.label, pooling_param={
        'pool': P.Pooling.MAX, 'kernel_size': 1, 'stride': stride})
    return L.SoftmaxWithLoss(scores, label, loss_weight=weight, loss_param={
        'normalize': True, 'ignore_label': 255})


def net(data: dict | None = None, *, classes: int, blocks: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (32, 64, 128, 256), stem: Sequence[int] = (32, 32, 64),
        branch: Sequence[int] = (32, 32, 64), head: int = 256, fusion: int = 128,
        shape: tuple[int, ...] = (1, 3, *FULL), crop: tuple[int, int] | None = None,
        input_scale: float = 1, frozen: bool = True, merged: bool = False, training: bool = False):
    """ICNet, a NetParameter: images of `shape` alone, whose sides are a multiple of 32, and 1.

    blocks, widths, stem: of the ResNet. branch: channels of the convolutions on the whole image.
    head: of the convolution on the pyramid; fusion: of what is summed. crop: height and width of
    the images of the net that learns, by default those of shape. frozen: of the BN of a net that
    scores. merged: without BN. Other settings as for pspnet.net.
    """
    if training and crop is not None:
        shape = *shape[:2], *crop
    n, size = start(data, shape, dialect=DIALECT), cells(shape)
    normed = Normed(frozen and not training, reduces=True, merged=merged)
    n.data_sub1 = L.Scale(scaled(n, n.data, input_scale))
    n.data_sub2 = L.Interp(n.data_sub1, shrink_factor=2)
    middle, last = low(n, n.data_sub2, normed, blocks, widths, stem)
    # the last block's name, whatever the number of blocks
    top = pyramid(n, last, f'conv5_{blocks[3]}', size)
    top = normed.conv(n, top, 'conv5_4_k1', head, 1, stride=1, pad=0)
    n.conv5_4_interp = L.Interp(top, zoom_factor=2)
    wide: dict[str, Any] = {'relu': False, 'stride': 1, 'pad': 2, 'dilation': 2}
    narrow: dict[str, Any] = {'relu': False, 'stride': 1, 'pad': 0}
    coarse = normed.conv(n, n.conv5_4_interp, 'conv_sub4', fusion, 3, **wide)
    fine = normed.conv(n, middle, 'conv3_1_sub2_proj', fusion, 1, **narrow)
    second = fused(n, 'sub24_sum', fine, coarse)
    coarse = normed.conv(n, second, 'conv_sub2', fusion, 3, **wide)
    fine = normed.conv(n, high(n, n.data_sub1, normed, branch), 'conv3_sub1_proj', fusion, 1,
                       **narrow)
    top = classify(n, fused(n, 'sub12_sum', fine, coarse), 'conv6_cls', classes)
    if training:
        for (name, stride, weight), bottom in zip(GUIDED, (n.conv5_4_interp, second), strict=True):
            n[f'loss_{name[6:]}'] = guided(n, classify(n, bottom, name, classes), stride, weight)
        n.loss = guided(n, top, 4, 1)
        return n.to_proto()
    n.conv6_interp = L.Interp(top, zoom_factor=4)
    if data is not None:
        n.score = L.Crop(n.conv6_interp, n.label, crop_param={'axis': 2, 'offset': 0})
        n.loss = softmax_loss(n.score, n.label, True, 255)
    return n.to_proto()


ORIGIN = ("the net that scores is the authors' (hszhao/ICNet); the one that learns, which they\n"
          "did not publish, has the paper's three losses and solver (arXiv 1704.08545), and crops\n"
          "of 705x705, the sides that fit nearest to PSPNet's 713")
CROP = 705, 705
SIZED = Sized(STRIDE)


def cityscapes() -> Model:
    """The net at the authors' size; for images of one's own at theirs, with crops of at most
    CROP."""
    train: Callable = partial(crop_data, crop=CROP, batch=16, scale=(0.5, 2.0), mean=PSP_MEAN)
    val: Callable = partial(Sized(STRIDE, FULL).images, mean=PSP_MEAN)
    recipe = Recipe(1e-2, momentum=0.9, max_iter=30000, snapshot=10000, normalize=None,
                    weight_decay=1e-4, policy='poly')
    folder = '../data/cityscapes'
    return Model(net, {'classes': 19, 'crop': CROP}, train(folder, 'train'), val(folder, 'val'),
                 500, (recipe,), train, origin=ORIGIN, phased=True, val_data=val,
                 sized=lambda size: {**SIZED.settings(size), 'crop': fitted(size, CROP)})


MINI: dict[str, Any] = {'blocks': (1, 2, 2, 2), 'widths': (12, 16, 24, 32), 'stem': (12, 12, 24),
                        'branch': (12, 16, 32), 'head': 64, 'fusion': 48}
MODELS = {
    'icnet-cityscapes': cityscapes(),
    'icnet-cityscapes-merged': Model(net, {'classes': 19, 'merged': True}, origin=(
        "the authors' (hszhao/ICNet), icnet_cityscapes.prototxt: BN merged into the convolutions")),
    'icnet-mini': SIZED.mini('icnet-mini', net, 3000, 500, **MINI),
}
STAGES = {
    'icnet-cityscapes': Stage('icnet', 'cityscapes', weights='a ResNet-50 under these names',
                              surgeries=('transplant',), takes=('voc',), score_every=5000,
                              score_layers='conv6_*'),
    'icnet-mini': Stage('icnet', 'mini', surgeries=('transplant',), takes=('voc',), scenes=True,
                        score_layers='conv6_*'),
}
ENTRIES = (Entry('icnet', 'ICNet', 'icnet-mini'),)
