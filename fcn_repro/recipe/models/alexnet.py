"""AlexNet and CaffeNet, their classifiers and FCN-AlexNet as functions over netspec.

CaffeNet (BVLC's reference) pools before it normalises, AlexNet afterwards; the release's
FCN-AlexNet has CaffeNet's body. Crop offsets are computed by net.coord_map.
"""

from collections.abc import Mapping

from ...proto.netspec import L, NetSpec, P
from .parts import PARAM, classified, cropped, filled, score, softmax_loss, start, upsample
from .vgg import scaled

WIDTHS = (96, 256, 384, 384, 256)                   # of the five convolutions
KERNELS = (11, 5, 3, 3, 3)
PADS = (0, 2, 1, 1, 1)
GROUPS = (1, 2, 1, 2, 2)                            # two GPUs, once; the weights have this shape
POOLED, NORMED = (1, 2, 5), (1, 2)                  # convolutions with a pooling, and with an LRN


def body(n: NetSpec, top, widths: tuple[int, ...], *, pad: int = 0, norm_first: bool = False,
         explicit: bool = False, **settings):
    """Add conv1 ... pool5 on `top`; pad is conv1's. Returns pool5, 1/32 of the size.

    norm_first: LRN before pooling (AlexNet), not after it (CaffeNet). explicit: write the fields
    that have Caffe's default, too, as the release's net does. settings: of each convolution."""
    for i, (width, kernel, own_pad, group) in enumerate(
            zip(widths, KERNELS, PADS, GROUPS, strict=True), 1):
        extents = {'kernel_size': kernel, 'stride': 4 if i == 1 else 1,
                   'pad': pad if i == 1 else own_pad, 'group': group}
        if not explicit:
            extents = without_defaults(extents)
        n[f'conv{i}'] = L.Convolution(top, num_output=width, **extents, **settings)
        top = n[f'relu{i}'] = L.ReLU(n[f'conv{i}'], in_place=True)
        for part in ('norm', 'pool') if norm_first else ('pool', 'norm'):
            if part == 'pool' and i in POOLED:
                top = n[f'pool{i}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=3, stride=2)
            elif part == 'norm' and i in NORMED:
                top = n[f'norm{i}'] = L.LRN(top, local_size=5, alpha=1e-4, beta=0.75)
    return top


def without_defaults(extents: Mapping[str, int]) -> dict[str, int]:
    """The settings of a convolution less those that have Caffe's default."""
    defaults = {'stride': 1, 'pad': 0, 'group': 1}
    return {name: value for name, value in extents.items() if value != defaults.get(name)}


def fcn(data: dict | None = None, *, classes: int = 21, widths: tuple[int, ...] = WIDTHS,
        fc: int = 4096, fc6_kernel: int = 6, normalize: bool = True,
        weight_filler: dict | None = None, ignore_label: int = 255,
        shape: tuple[int, ...] = (1, 3, 500, 500), input_scale: float = 1, dropout: float = 0.5,
        pad: int = 100):
    """FCN-AlexNet, stride 32, a NetParameter; settings and blobs as for vgg.fcn.

    The release leaves the multipliers of the body at Caffe's defaults, 1 for biases too. All of its
    kernels being odd or 6, the offset is whole for an upsampling kernel of 63, not of 64."""
    n, settings = start(data, shape), filled(weight_filler)
    top = body(n, scaled(n, n.data, input_scale), widths, pad=pad, explicit=True, **settings)
    for name, kernel in (('6', fc6_kernel), ('7', 1)):
        n['fc' + name] = L.Convolution(top, kernel_size=kernel, stride=1, num_output=fc, pad=0,
                                       group=1, **settings)
        top = n['relu' + name] = L.ReLU(n['fc' + name], in_place=True)
        if data is not None:
            top = n['drop' + name] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n.score_fr = score(top, classes)
    n.upscore = upsample(n.score_fr, classes, 32, kernel=63)
    scores = cropped(n, 'score', n.upscore, n.data)
    if data is not None:
        n.loss = softmax_loss(scores, n.label, normalize, ignore_label)
    return n.to_proto()


def classifier(data: dict | None = None, *, classes: int = 1000,
               widths: tuple[int, ...] = WIDTHS, fc: int = 4096, size: int = 227,
               weight_filler: dict | None = None, input_scale: float = 1, dropout: float = 0.5,
               norm_first: bool = False, param: list[dict] | None = None, batch: int = 10,
               scores: str = 'fc8'):
    """CaffeNet, or AlexNet (norm_first), a NetParameter.

    data: settings of the data layer with tops data (N,3,size,size) and label (N,); None gives the
    deploy net of BVLC's model zoo: an Input of `batch` images and prob, a Softmax. The scores,
    (N,classes), have the name `scores`. param: multipliers; None: Caffe's defaults."""
    n = start(data, (batch, 3, size, size), input_layer='data')
    settings = filled(weight_filler) | ({'param': param} if param else {})
    top = body(n, scaled(n, n.data, input_scale), widths, norm_first=norm_first, **settings)
    for name in '67':
        n['fc' + name] = L.InnerProduct(top, num_output=fc, **settings)
        n['relu' + name] = L.ReLU(n['fc' + name], in_place=True)
        top = n['drop' + name] = L.Dropout(n['relu' + name], dropout_ratio=dropout, in_place=True)
    n[scores] = L.InnerProduct(top, num_output=classes, **settings)
    return classified(n, scores, data, prob=True)


ALEXNET = {'norm_first': True, 'param': PARAM}      # settings of classifier for BVLC's AlexNet
