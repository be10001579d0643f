"""What the nets of all families share: data layers, convolutions, scores, upsampling, loss."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...net.coord_map import crop
from ...proto.dialects import BVLC, Dialect
from ...proto.netspec import L, NetSpec, P

PARAM = [{'lr_mult': 1, 'decay_mult': 1}, {'lr_mult': 2, 'decay_mult': 0}]     # weight, bias
FIXED = [{'lr_mult': 0}, {'lr_mult': 0}]


def python_data(module: str, layer: str, **params) -> dict[str, str]:
    """Settings of a Python data layer; params become its param_str in the order given."""
    return {'module': module, 'layer': layer, 'param_str': str(params)}


def fitted(size: tuple[int, int] | None, largest: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of crops of images of this size: `largest`, each side less as many times 32
    pixels as leave room for the image, since what lies beyond it is void. So a side that is a
    multiple of 8, and 1, stays one. size: (height, width); None for images that `largest` suits."""
    if size is None:
        return largest
    height, width = (most - 32 * max(0, (most - side) // 32)
                     for side, most in zip(size, largest, strict=True))
    return height, width


def start(data: dict | None, shape: tuple[int, ...], labels: Sequence[str] = ('label',),
          inputs: Mapping[str, int] | None = None, input_layer: str = 'input',
          dialect: Dialect | str = BVLC) -> NetSpec:
    """A NetSpec whose tops are the images and labels of a Python layer (python_data), or the images
    alone of an Input of shape (N, C, H, W).

    inputs: {name of an image: its channels}, in the order of the tops; None: 'data' alone, with the
    channels of shape. input_layer: the Input's name. dialect: of the net."""
    n, inputs = NetSpec(dialect), inputs or {'data': shape[1]}
    if data is None:
        shapes = [{'dim': [shape[0], channels, *shape[2:]]} for channels in inputs.values()]
        names, tops = list(inputs), L.Input(name=input_layer, ntop=len(shapes), shape=shapes)
    else:
        names = [*inputs, *labels]
        tops = L.Python(ntop=len(names), **data)
    for name, top in zip(names, tops if isinstance(tops, tuple) else [tops], strict=True):
        n[name] = top
    return n


def conv_relu(bottom, num_output: int, weight_filler: dict | None, kernel_size: int = 3,
              pad: int = 1, param: list[dict] = PARAM) -> tuple:
    """(convolution, ReLU in place); without weight_filler Caffe's constant 0."""
    conv = L.Convolution(bottom, num_output=num_output, kernel_size=kernel_size, stride=1, pad=pad,
                         param=param, **filled(weight_filler))
    return conv, L.ReLU(conv, in_place=True)


def filled(weight_filler: dict | None) -> dict[str, Any]:
    """The setting weight_filler of a layer; none for None."""
    return {'weight_filler': weight_filler} if weight_filler else {}


def score(bottom, classes: int):
    """A 1x1 convolution to class scores, initially zero."""
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=PARAM)


def upsample(bottom, classes: int, factor: int, kernel: int | None = None, learned: bool = False):
    """A Deconvolution by `factor` with a dense weight, fixed unless `learned`; surgery.interp makes
    it bilinear. kernel: by default 2 * factor, which a net whose kernels are even needs for a whole
    crop offset; one whose kernels are odd needs an odd one, 2 * factor - 1."""
    return L.Deconvolution(bottom, param=[{'lr_mult': int(learned)}], convolution_param={
        'num_output': classes, 'kernel_size': kernel or 2 * factor, 'stride': factor,
        'bias_term': False})


def fused_scores(scores: Sequence):
    """The mean of several streams' scores, as the release fuses color and HHA; of one, itself."""
    if len(scores) == 1:
        return scores[0]
    return L.Eltwise(*scores, operation=P.Eltwise.SUM, coeff=[1 / len(scores)] * len(scores))


def cropped(n: NetSpec, name: str, bottom, reference):
    """n[name]: `bottom` cut to the reference."""
    n[name] = crop(bottom, reference)
    return n[name]


def softmax_loss(scores, label, normalize: bool, ignore_label: int, **further):
    """The loss over all pixels whose label is not ignore_label; further: fields of loss_param."""
    return L.SoftmaxWithLoss(scores, label, loss_param={
        'normalize': normalize, 'ignore_label': ignore_label, **further})


def classified(n: NetSpec, scores: str, data: dict | None, prob: bool = False):
    """End a classifier: with data `loss` and `accuracy` of the blob of scores; without, nothing, or
    `prob`."""
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n[scores], n.label)
        n.accuracy = L.Accuracy(n[scores], n.label)
    elif prob:
        n.prob = L.Softmax(n[scores])
    return n.to_proto()
