"""LEDNet (Wang et al. 2019): an encoder of split, shuffled and factorised residual blocks, and a
decoder that is a pyramid of attention.

Layers and widths are those of the authors' release (xiaoyufenfei/LEDNet, train/lednet.py), whose
sides are multiples of 32; here they may be any.
"""

from dataclasses import dataclass, replace
from typing import Any

from ...proto.netspec import L, P
from ..stage import Entry, Stage
from .deeplabv3 import mini, mini_stage, random_crops
from .model import Model, Recipe, voc_data
from .normed import FORK, MSRA, Normed, loss
from .parts import start

WIDTHS = 32, 64, 128            # of the maps at a half, a quarter and an eighth of the size
# Dilations of the blocks at each of these
DILATIONS = (1, 1, 1), (1, 1), (1, 2, 5, 9, 2, 5, 9, 17)
DROPPED = 0.03, 0.03, 0.3       # share of maps
HALVES = ('left', ('v', 'h')), ('right', ('h', 'v'))


@dataclass(frozen=True)
class Biased(Normed):
    """Convolutions with a bias in front of the norms."""
    eps: float = 1e-3

    def plain(self, bottom, name: str, width: int, height: int = 1, across: int = 1, *,
              stride: int = 1, dilation: int = 1):
        """A convolution of height x across that keeps sizes but for its stride, as NAME."""
        self.n[name] = L.Convolution(
            bottom, num_output=width, kernel_h=height, kernel_w=across, stride=stride,
            pad_h=dilation * (height // 2), pad_w=dilation * (across // 2), weight_filler=MSRA,
            **({'dilation': [dilation if k > 1 else 1 for k in (height, across)]}
               if dilation > 1 else {}))
        return self.n[name]

    def square(self, bottom, name: str, width: int, kernel: int = 1, stride: int = 1):
        """A convolution, its norm and its ReLU."""
        top = self.plain(bottom, name, width, kernel, kernel, stride=stride)
        return self.active(self.norm(top, name), name)


def halved(to: Biased, bottom, name: str, channels: int, width: int):
    """Half the size: a 3x3 convolution, joined with what max pooling leaves of the `channels` of
    the bottom, `width` in all."""
    n = to.n
    top = to.plain(bottom, f'{name}_conv', width - channels, 3, 3, stride=2)
    n[f'{name}_pool'] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    n[name] = L.Concat(top, n[f'{name}_pool'])
    return to.active(to.norm(n[name], name), name)


def shuffled(to: Biased, bottom, name: str, width: int, groups: int = 2):
    """Channels in the order 0, width / groups, …, 1, …: each group's first, each one's second."""
    n = to.n
    n[f'{name}_groups'] = L.Reshape(bottom, reshape_param={
        'axis': 1, 'num_axes': 1, 'shape': {'dim': [groups, width // groups]}})
    n[f'{name}_swap'] = L.Permute(n[f'{name}_groups'], fcn_repro_param={'order': [0, 2, 1]})
    n[f'{name}_shuffle'] = L.Reshape(n[f'{name}_swap'], reshape_param={
        'axis': 1, 'num_axes': 2, 'shape': {'dim': [width]}})
    return n[f'{name}_shuffle']


def block(to: Biased, bottom, name: str, width: int, dilation: int, dropped: float):
    """A residual block (SS-nbt): each half of the channels passes 3x1 and 1x3 twice, the second
    time dilated, the other half in the other order; joined, plus the bottom, shuffled."""
    n, tops = to.n, []
    n[f'{name}_left'], n[f'{name}_right'] = L.Slice(bottom, ntop=2, slice_param={'axis': 1})
    for half, order in HALVES:
        top = n[f'{name}_{half}']
        for i, by in (1, 1), (2, dilation):
            for axis in order:
                conv = f'{name}_{half}{i}{axis}'
                top = to.plain(top, conv, width // 2, *((3, 1) if axis == 'v' else (1, 3)),
                               dilation=by)
                if axis == order[0]:
                    top = to.active(top, conv)
            top = to.norm(top, conv)
            if i == 1:
                top = to.active(top, conv)
        if dropped:
            top = n[f'{name}_{half}_drop'] = L.Dropout(
                top, in_place=True, dropout_ratio=dropped, fcn_repro_param={'per_channel': True})
        tops.append(top)
    n[f'{name}_concat'] = L.Concat(*tops)
    return shuffled(to, to.plus(name, n[f'{name}_concat'], bottom), name, width)


def encoder(to: Biased, data, widths: tuple[int, ...], dilations: tuple[tuple[int, ...], ...],
            dropped: tuple[float, ...]):
    """The maps at an eighth of the size."""
    top, channels = data, 3
    for k, (width, blocks, share) in enumerate(zip(widths, dilations, dropped, strict=True), 1):
        top = halved(to, top, f'down{k}', channels, width)
        for i, dilation in enumerate(blocks, 1):
            top = block(to, top, f'block{k}_{i}', width, dilation, share)
        channels = width
    return top


def attention(to: Biased, bottom, classes: int):
    """The attention pyramid: scores by a 1x1, times one map of attention that is made at a half, a
    quarter and an eighth of the size and summed on the way up, plus scores of the mean."""
    n = to.n
    n.apn_mean = L.Pooling(bottom, pool=P.Pooling.AVE, global_pooling=True)
    image = to.resized('apn_image_up', to.square(n.apn_mean, 'apn_image', classes), bottom)
    scores = to.square(bottom, 'apn_mid', classes)
    down1 = to.square(bottom, 'apn_down1', 1, 7, 2)
    down2 = to.square(down1, 'apn_down2', 1, 5, 2)
    top = to.square(to.square(down2, 'apn_down3', 1, 3, 2), 'apn_out3', 1, 3)
    for name, kernel, fine in (('apn_out2', 5, down2), ('apn_out1', 7, down1)):
        fine = to.square(fine, name, 1, kernel)
        top = to.plus(f'{name}_sum', to.resized(f'{name}_up', top, fine), fine, active=False)
    n.apn_tile = L.Tile(to.resized('apn_up', top, scores), axis=1, tiles=classes)
    n.apn_attended = L.Eltwise(n.apn_tile, scores, operation=P.Eltwise.PROD)
    return to.plus('apn', n.apn_attended, image, active=False)


def net(data: dict | None = None, *, classes: int = 20, widths: tuple[int, ...] = WIDTHS,
        dilations: tuple[tuple[int, ...], ...] = DILATIONS, dropped: tuple[float, ...] = DROPPED,
        norm: dict | None = None, normalize: bool = True,
        shape: tuple[int, ...] = (1, 3, 512, 1024)):
    """LEDNet, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. widths: even. dilations: of the blocks of each
    width; dropped: share of their maps that is dropped. norm: of Normed.
    """
    n = start(data, shape, dialect=FORK)
    to = Biased(n, **({'fraction': 0.9} | (norm or {})))
    top = encoder(to, n.data, widths, dilations, dropped)
    to.resized('score', attention(to, top, classes), n.data)
    if data is not None:
        loss(n, normalize)
    return n.to_proto()


ORIGIN = ('Wang et al. 2019 (LEDNet), as released: xiaoyufenfei/LEDNet, train/lednet.py; rate and\n'
          'rule are the release\'s (Adam, 5e-4), which resizes images to 512x1024; here they are\n'
          'crops, and classes weigh the same')
RESIZED = random_crops(512, (0.5, 1.0), 5)
WHOLE = random_crops(512, (0.7, 1.4), 5)        # scaled as for the own nets


def crops(voc_dir: str, split: str, size: tuple[int, int] | None = None,
          **further) -> dict[str, str]:
    """Data settings of crops that the image fills at half its size, as one of Cityscapes does; of a
    smaller one as large as it is (Model.train_data)."""
    how = RESIZED if size is None or min(size) >= 1024 else WHOLE
    return how(voc_dir, split, size, **further)


def cityscapes() -> Model:
    """The model on Cityscapes; 19 classes and the background, as the release counts them."""
    recipe = Recipe(5e-4, momentum=0.9, max_iter=178500, snapshot=5950, normalize=True,
                    weight_decay=1e-4, policy='poly', type='Adam')
    root = '../data/cityscapes'
    return Model(net, {}, crops(root, 'train'), voc_data(root, 'val'), 500, (recipe,), crops,
                 origin=ORIGIN)


MINI: dict[str, Any] = {'widths': (16, 24, 48), 'dilations': ((1, 1), (1, 1), (1, 2, 5, 9)),
                        'dropped': (0.01, 0.01, 0.05), 'norm': {'fraction': 0.95}}
MODELS = {'lednet': cityscapes(), 'lednet-mini': mini('lednet-mini', net, **MINI)}
STAGES = {
    'lednet': Stage('lednet', 'full', surgeries=('transplant',), score_every=5950,
                    takes=('voc', 'recolour', 'rotate'), score_layers='apn_*'),
    'lednet-mini': replace(mini_stage('lednet', 'mini'), score_layers='apn_*'),
}
ENTRIES = (Entry('lednet', 'LEDNet', 'lednet-mini'),)
