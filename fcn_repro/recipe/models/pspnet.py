"""PSPNet as functions over netspec, its nets on ADE20K, VOC and Cityscapes, and a miniature on the
scenes of digits.

The nets that score are the authors' (hszhao/PSPNet), layer for layer; they take images of one size,
for which the kernels of the pyramid's poolings are made. The authors published no net that learns:
here it has batch normalisation by the batch and the paper's auxiliary loss, 0.4, on conv4's last
block (arXiv 1612.01105).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ...data.scenes import FOLDER
from ...errors import FcnError
from ...proto.netspec import L, NetSpec, P
from ..stage import Entry, Stage
from .deeplabs import crop_data, padded_data
from .mini import SCENE
from .model import MEAN, Model, Recipe
from .parts import softmax_loss, start
from .vgg import scaled

DIALECT = 'pspnet'
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)    # of the bottlenecks; the blocks' outputs are four times as wide
BINS = (1, 2, 3, 6)             # a side, of the pyramid
DILATIONS = {4: 2, 5: 4}        # of the groups that keep the size
MSRA = {'type': 'msra'}
TENFOLD = 10                    # the rate of the layers on top of the ResNet
PSP_MEAN = (103.939, 116.779, 123.68)           # BGR, of the authors' evaluation scripts


@dataclass(frozen=True)
class Normed:
    """Convolutions with BN. frozen: by stored statistics that nothing changes. reduces: a block
    that halves the size does so in its first convolution, as in the authors' net of 50 layers, not
    in its second. merged: biases stand for BN, for weights that have it merged."""
    frozen: bool
    reduces: bool
    merged: bool = False

    def conv(self, n: NetSpec, bottom, name: str, num_output: int, kernel: int, rate: float = 1,
             relu: bool = True, statistics_decay: float = 0, **further):
        """n[name], its BN and its ReLU. rate: factor of the learning rate."""
        n[name] = L.Convolution(bottom, param=[{'lr_mult': rate, 'decay_mult': 1}],
                                num_output=num_output, kernel_size=kernel, weight_filler=MSRA,
                                **({} if self.merged else {'bias_term': False}), **further)
        top = n[name] if self.merged else self.norm(n, name, rate, statistics_decay)
        if relu:
            top = n[f'{name}/relu'] = L.ReLU(top, in_place=True)
        return top

    def norm(self, n: NetSpec, name: str, rate: float, statistics_decay: float):
        """The BN of n[name], in place."""
        param = [{'lr_mult': rate, 'decay_mult': 0}] * 2 + [
            {'lr_mult': 0, 'decay_mult': statistics_decay}, {'lr_mult': 0, 'decay_mult': 0}]
        bn: dict[str, Any] = {'slope_filler': {'type': 'constant', 'value': 1},
                              'bias_filler': {'type': 'constant', 'value': 0}, 'momentum': 0.95}
        top = n[f'{name}/bn'] = L.BN(n[name], in_place=True, param=param,
                                     bn_param=bn | ({'frozen': True} if self.frozen else {}))
        return top

    def block(self, n: NetSpec, bottom, name: str, width: int, stride: int, dilation: int,
              first: bool):
        """A bottleneck block; the first of a group has a projection."""
        first_stride, second = (stride, 1) if self.reduces else (1, stride)
        extents: dict[str, Any] = {'pad': dilation, 'stride': second}
        extents |= {'dilation': dilation} if dilation > 1 else {}
        top = self.conv(n, bottom, f'{name}_1x1_reduce', width, 1, pad=0, stride=first_stride)
        top = self.conv(n, top, f'{name}_3x3', width, 3, **extents)
        top = self.conv(n, top, f'{name}_1x1_increase', 4 * width, 1, relu=False, pad=0, stride=1)
        short = self.conv(n, bottom, f'{name}_1x1_proj', 4 * width, 1, relu=False, pad=0,
                          stride=stride) if first else bottom
        n[name] = L.Eltwise(short, top, operation=P.Eltwise.SUM)
        n[f'{name}/relu'] = L.ReLU(n[name], in_place=True)
        return n[f'{name}/relu']

    def stem(self, n: NetSpec, top, widths: Sequence[int]):
        """conv1_1 to conv1_3 and their pooling, a quarter of the size."""
        for name, width, stride in zip(('1_1_3x3_s2', '1_2_3x3', '1_3_3x3'), widths, (2, 1, 1),
                                       strict=True):
            top = self.conv(n, top, f'conv{name}', width, 3, pad=1, stride=stride)
        n.pool1_3x3_s2 = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2, pad=1)
        return n.pool1_3x3_s2

    def resnet(self, n: NetSpec, top, blocks: Sequence[int], widths: Sequence[int],
               stem: Sequence[int]):
        """Add conv1_1 ... conv5_3 on `top`, an eighth of the size; returns the last blocks of
        conv4 and conv5."""
        top, ends = self.stem(n, top, stem), {}
        for group, (count, width) in enumerate(zip(blocks, widths, strict=True), 2):
            for i in range(1, count + 1):
                top = self.block(n, top, f'conv{group}_{i}', width,
                                 2 if (group, i) == (3, 1) else 1, DILATIONS.get(group, 1), i == 1)
            ends[group] = top
        return ends[4], ends[5]


def cells(side: int) -> int:
    """Cells along a side of an eighth of the size. FcnError for a side that is not 8 k + 1."""
    if side < 9 or side % 8 != 1:
        raise FcnError(f'PSPNet for sides of {side} pixels',
                       do='Give sides that are a multiple of 8, and 1: 473, for example.')
    return (side - 1) // 8 + 1


def window(size: tuple[int, int], bins: int, of: int = 1) -> dict[str, int]:
    """Kernel and stride of a pooling that makes bins x bins of a map (H, W). of: the stride is so
    many times that of `of` times as many bins."""
    strides = [of * (side // (of * bins)) for side in size]
    kernels = [side - (bins - 1) * stride for side, stride in zip(size, strides, strict=True)]
    if 0 in strides:
        raise FcnError(f'{of * bins} bins a side of a map of {size[0]}x{size[1]}',
                       do='Give a larger image.')
    if kernels[0] == kernels[1] and strides[0] == strides[1]:
        return {'kernel_size': kernels[0], 'stride': strides[0]}
    return {'kernel_h': kernels[0], 'kernel_w': kernels[1], 'stride_h': strides[0],
            'stride_w': strides[1]}


def pyramid(n: NetSpec, bottom, name: str, size: tuple[int, int], width: int, normed: Normed):
    """Pyramid pooling: the map and its means in 1, 2x2, 3x3 and 6x6 bins, reduced, back at its
    size and joined."""
    joined = [bottom]
    for bins in BINS:
        pool = f'{name}_pool{bins}'
        n[pool] = L.Pooling(bottom, pool=P.Pooling.AVE, **window(size, bins))
        top = normed.conv(n, n[pool], f'{pool}_conv', width, 1, TENFOLD, stride=1)
        n[f'{pool}_interp'] = L.Interp(top, height=size[0], width=size[1])
        joined.insert(1, n[f'{pool}_interp'])
    n[f'{name}_concat'] = L.Concat(*joined)
    return n[f'{name}_concat']


def classify(n: NetSpec, bottom, name: str, classes: int):
    """n[name]: a 1x1 convolution to class scores."""
    n[name] = L.Convolution(bottom, num_output=classes, kernel_size=1, stride=1, weight_filler=MSRA,
                            param=[{'lr_mult': TENFOLD, 'decay_mult': 1},
                                   {'lr_mult': 2 * TENFOLD, 'decay_mult': 1}])
    return n[name]


def net(data: dict | None = None, *, classes: int, blocks: Sequence[int] = BLOCKS[50],
        widths: Sequence[int] = WIDTHS, stem: Sequence[int] = (64, 64, 128), head: int = 512,
        auxiliary: int = 256, shape: tuple[int, ...] = (1, 3, 473, 473), input_scale: float = 1,
        dropout: float = 0.1, frozen: bool = True, reduces: bool = False,
        statistics_decay: float = 0, training: bool = False):
    """PSPNet, a NetParameter: images of `shape` alone, whose sides are a multiple of 8, and 1.

    blocks, widths, stem: of the ResNet. head, auxiliary: channels of the pyramid's reductions and
    conv5_4, and of the auxiliary classifier, which the net that learns has. frozen: of the BN of a
    net that scores. reduces: as for Normed. statistics_decay: decay_mult of conv5_4's moving mean,
    which changes nothing (in one of the authors' files it is 1). Other settings as for deeplab.fcn.
    """
    n, size = start(data, shape, dialect=DIALECT), (cells(shape[2]), cells(shape[3]))
    normed = Normed(frozen and not training, reduces)
    middle, last = normed.resnet(n, scaled(n, n.data, input_scale), blocks, widths, stem)
    # the last block's name, whatever the number of blocks
    top = pyramid(n, last, f'conv5_{blocks[3]}', size, head, normed)
    top = normed.conv(n, top, 'conv5_4', head, 3, TENFOLD, statistics_decay=statistics_decay,
                      pad=1, stride=1)
    top = n['conv5_4/dropout'] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n.conv6_interp = L.Interp(classify(n, top, 'conv6', classes), zoom_factor=8)
    if not training:
        if data is not None:
            n.score = L.Crop(n.conv6_interp, n.label, crop_param={'axis': 2, 'offset': 0})
            n.loss = softmax_loss(n.score, n.label, True, 255)
        return n.to_proto()
    n.loss = softmax_loss(n.conv6_interp, n.label, True, 255)
    top = normed.conv(n, middle, 'conv_aux', auxiliary, 3, TENFOLD, pad=1, stride=1)
    top = n['conv_aux/dropout'] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n.conv_aux_interp = L.Interp(classify(n, top, 'conv_aux_cls', classes), zoom_factor=8)
    n.loss_aux = L.SoftmaxWithLoss(n.conv_aux_interp, n.label, loss_weight=0.4,
                                   loss_param={'normalize': True, 'ignore_label': 255})
    return n.to_proto()


AUTHORS = ("the net that scores is the authors' (hszhao/PSPNet); the one that learns, which they\n"
           'did not publish, has the auxiliary loss and the solver of the paper (arXiv 1612.01105)')


@dataclass(frozen=True)
class Sized:
    """Data and settings of nets that take images of one size, whose sides are a multiple of `step`,
    and 1. usual: (height, width) of the images, where no others are given. bounded: larger ones
    than these get no larger net."""
    step: int
    usual: tuple[int, int] = SCENE
    bounded: bool = False

    def sides(self, size: tuple[int, int] | None = None) -> tuple[int, int]:
        """The next sides that such a net takes."""
        height, width = (-(-(side - 1) // self.step) * self.step + 1 for side in size or self.usual)
        return self.usual if self.bounded and max(height, width) > max(self.usual) else \
            (height, width)

    def settings(self, size: tuple[int, int] | None = None) -> dict[str, Any]:
        """The settings of a net for images of this size."""
        return {'shape': (1, 3, *self.sides(size))}

    def crops(self, voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
              batch: int = 4, scale: tuple[float, float] = (0.8, 1.25), mirror: bool = False,
              mean: tuple[float, float, float] = MEAN) -> dict[str, str]:
        """Data settings of crops as large as the net's images (Model.train_data)."""
        return crop_data(voc_dir, split, crop=self.sides(size), batch=batch, scale=scale,
                         mean=mean, mirror=mirror)

    def images(self, voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
               mean: tuple[float, float, float] = MEAN) -> dict[str, str]:
        """Data settings of whole images, padded to the size of the net's (Model.val_data)."""
        return padded_data(voc_dir, split, padded=self.sides(size), mean=mean)

    def mini(self, name: str, net: Callable, max_iter: int, snapshot: int, **settings) -> Model:
        """A narrow net on the scenes of digits."""
        recipe = Recipe(1e-3, momentum=0.9, max_iter=max_iter, snapshot=snapshot, normalize=None,
                        weight_decay=1e-4, policy='poly', type='Adam', prefix=f'runs/{name}/train')
        return Model(net, {'classes': 11, **self.settings(), 'input_scale': 0.01,
                           'frozen': False, **settings}, self.crops(str(FOLDER), 'train'),
                     self.images(str(FOLDER), 'val'), 100, (recipe,), self.crops, phased=True,
                     val_data=self.images, sized=self.settings)


def full(layers: int, folder: str, side: int, val_images: int, max_iter: int, **settings) -> Model:
    """A net at the authors' size. folder: of the data, laid out as VOC's."""
    sized = Sized(8, (side, side), bounded=True)
    train = partial(sized.crops, batch=16, scale=(0.5, 2.0), mirror=True, mean=PSP_MEAN)
    val = partial(sized.images, mean=PSP_MEAN)
    recipe = Recipe(1e-2, momentum=0.9, max_iter=max_iter, snapshot=10000, normalize=None,
                    weight_decay=1e-4, policy='poly')
    return Model(net, {'blocks': BLOCKS[layers], **sized.settings(), **settings},
                 train(folder, 'train'), val(folder, 'val'), val_images, (recipe,), train,
                 origin=AUTHORS, phased=True, val_data=val, sized=sized.settings)


SIZED = Sized(8)
MINI: dict[str, Any] = {'blocks': (1, 2, 3, 3), 'widths': (8, 16, 24, 32), 'stem': (16, 16, 16),
                        'head': 32, 'auxiliary': 32}
MODELS = {
    'pspnet50-ade20k': full(50, '../data/ade20k', 473, 2000, 150000, classes=150,
                            reduces=True, statistics_decay=1),
    'pspnet101-voc': full(101, '../data/pascal/VOC2012', 473, 1449, 30000, classes=21),
    'pspnet101-cityscapes': full(101, '../data/cityscapes', 713, 500, 90000, classes=19),
    'pspnet-mini': SIZED.mini('pspnet-mini', net, 800, 400, **MINI),
}


def stage(name: str, **further) -> Stage:
    """A stage of the full nets: its ResNet starts from ImageNet weights, under these names."""
    return Stage('pspnet', name, surgeries=('transplant',), takes=('voc',), score_every=5000,
                 score_layers='conv*6*', **further)


STAGES = {
    'pspnet50-ade20k': stage('50-ade20k', weights='ResNet-50 under these names'),
    'pspnet101-voc': stage('101-voc', weights='ResNet-101 under these names'),
    'pspnet101-cityscapes': stage('101-cityscapes', weights='ResNet-101 under these names'),
    'pspnet-mini': Stage('pspnet', 'mini', surgeries=('transplant',), takes=('voc',), scenes=True,
                         score_layers='conv*6*'),
}
ENTRIES = (Entry('pspnet', 'PSPNet', 'pspnet-mini'),)
