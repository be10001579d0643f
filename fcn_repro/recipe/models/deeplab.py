"""DeepLab's nets on VGG16 as functions over netspec: version 1 (basic, LargeFOV and both with
multi-scale features, MSc) and version 2's atrous spatial pyramid pooling.

Layers, names and multipliers are those of the authors' files, read into the current form: `hole`
is dilation, and the cut of the basic net's scores, Padding there, is a Crop. Those score a blob
padded to one size; ours end with `score`, cropped to the image. The train nets learn from scores
and labels at an eighth of the size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...proto.netspec import L, NetSpec, P
from .parts import PARAM, filled, start
from .vgg import CONVS, WIDTHS, scaled

DIALECT = 'deeplab-v2'
EXP = 'voc12'                   # ${EXP} of the authors' files, in names too
ZERO = {'type': 'constant', 'value': 0}
TENFOLD = [{'lr_mult': 10, 'decay_mult': 1}, {'lr_mult': 20, 'decay_mult': 0}]
STILL = [{'lr_mult': 0, 'decay_mult': 0}] * 2
DECAYED = [{'lr_mult': 0, 'decay_mult': 1}, {'lr_mult': 0, 'decay_mult': 0}]
TRAIN = [{'phase': 'TRAIN'}]
IGNORED = 255
STRIDES = {'data': 8, 'pool1': 4, 'pool2': 2, 'pool3': 1, 'pool4': 1}   # of MSc's branches
ZOOMS = {'pool1': 2, 'pool2': 4, 'pool3': 8, 'pool4': 8}                # back to full size
RATES = (6, 12, 18, 24)         # of version 2's pyramid, ASPP-L


def gaussian(std: float) -> dict[str, Any]:
    return {'type': 'gaussian', 'std': std}


def conv(bottom, num_output: int, kernel: int, param: list[dict] | None = PARAM, **further):
    """A Convolution with the fields that the authors write; further: of convolution_param."""
    return L.Convolution(bottom, num_output=num_output, kernel_size=kernel,
                         **({'param': param} if param else {}), **further)


def atrous(kernel: int, dilation: int) -> dict[str, int]:
    """Dilation and the pad that keeps the size; none for a kernel of one cell."""
    return {'pad': dilation * (kernel - 1) // 2, 'dilation': dilation} if kernel > 1 else {}


@dataclass(frozen=True)
class Style:
    """How the convolutions of a net are written: param of the trunk's (None: Caffe's defaults),
    their filler, and whether those of the classifier have fillers and multipliers of their own."""
    param: list[dict] | None
    weight_filler: dict | None
    training: bool
    dropout: float

    def conv_relu(self, n: NetSpec, bottom, name: str, relu: str, num_output: int, kernel: int,
                  **further):
        """n[name] and its ReLU in place, n[relu]."""
        n[name] = conv(bottom, num_output, kernel, self.param, **filled(self.weight_filler),
                       **further)
        n[relu] = L.ReLU(n[name], in_place=True)
        return n[relu]

    def drop(self, n: NetSpec, bottom, name: str):
        n[name] = L.Dropout(bottom, dropout_ratio=self.dropout, in_place=True)
        return n[name]


def pooled(bottom, kernel: int, stride: int | None, pad: int | None, how: int = P.Pooling.MAX):
    """A Pooling with the fields that are given."""
    extents = {'kernel_size': kernel, 'stride': stride, 'pad': pad}
    return L.Pooling(bottom, pool=how,
                     **{name: value for name, value in extents.items() if value is not None})


def trunk(n: NetSpec, top, widths: Sequence[int], style: Style, *, pool: int, pool4_pad: int | None,
          branch: Callable[[str], None] | None = None):
    """Add conv1_1 ... pool5 of VGG16 on `top`: pool4 and pool5 of stride 1, conv5 dilated by 2, an
    eighth of the size. pool: kernel of pool1 to pool4. branch: a function of a pooling's name that
    adds what MSc has on it."""
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        for i in range(1, convs + 1):
            name = f'{group}_{i}'
            further = atrous(3, 2) if group == 5 else {'pad': 1}
            top = style.conv_relu(n, top, f'conv{name}', f'relu{name}', width, 3, **further)
        kernel, stride, pad = {4: (pool, 1, pool4_pad), 5: (3, 1, 1)}.get(group, (pool, 2, 1))
        top = n[f'pool{group}'] = pooled(top, kernel, stride, pad)
        if branch is not None and group < 5:
            branch(f'pool{group}')
    return top


def classify(n: NetSpec, top, style: Style, fc: int, kernel: int, dilation: int, suffix: str = ''):
    """Add fc6 and fc7 as convolutions, with their ReLU and Dropout; all names with the suffix."""
    pad = {'pad': 6, 'dilation': dilation} if kernel == 4 else atrous(kernel, dilation)
    for number, size, further in (('6', kernel, pad), ('7', 1, {})):
        name = number + suffix
        top = style.conv_relu(n, top, f'fc{name}', f'relu{name}', fc, size, **further)
        top = style.drop(n, top, f'drop{name}')
    return top


def fcn(data: dict | None = None, *, large: bool = True, msc: bool = False, classes: int = 21,
        widths: Sequence[int] = WIDTHS, fc: int | None = None, branch: int = 128,
        weight_filler: dict | None = None, shape: tuple[int, ...] = (1, 3, 513, 513),
        input_scale: float = 1, dropout: float = 0.5, training: bool = False):
    """DeepLab version 1 with VGG16, a NetParameter.

    large: LargeFOV, fc6 of 3x3 dilated by 12 and 1024 channels in fc6 and fc7, in place of the
    basic net's 4x4 dilated by 4 and 4096. msc: multi-scale features: two convolutions of `branch`
    channels on the image and on pool1 to pool4 each, whose scores are added; the rest is then
    trained already, and still. weight_filler: of the trunk and the branches, None: Caffe's constant
    0 and the authors'. training: the net that learns, whose scores are an eighth of the size; else
    the one that scores. Other settings and blobs as for vgg.fcn.
    """
    name = f'fc8_{EXP}' if large else 'fc8_pascal'
    basic = not (large or msc)
    kept = training or basic                # the authors' test nets but one have no multipliers
    param = (DECAYED if large else STILL) if msc else PARAM
    style = Style(param if kept else None, weight_filler, training, dropout)
    n = start(data, shape, dialect=DIALECT)
    image = scaled(n, n.data, input_scale)
    add = (lambda blob: branches(n, image if blob == 'data' else n[blob], blob, style, branch,
                                 classes)) if msc else None
    if add is not None:
        add('data')
    pad4 = None if basic and training else 1
    top = trunk(n, image, widths, style, pool=2 if basic else 3, pool4_pad=pad4, branch=add)
    if large:
        top = n.pool5a = pooled(top, 3, 1, 1, P.Pooling.AVE)
    top = classify(n, top, style, fc or (1024 if large else 4096), *((3, 12) if large else (4, 4)))
    scored = {'weight_filler': gaussian(0.01), 'bias_filler': ZERO} if kept else {}
    own = (DECAYED if large else PARAM) if msc else TENFOLD
    n[name] = conv(top, classes, 1, own if kept else None, **scored)
    if training:
        scores = n[name]
        if msc:
            scores = n.fc_fusion = fused(n, [n[f'{blob}_ms'] for blob in STRIDES], scores)
        learn(n, scores, -1 if basic else 0)
        return n.to_proto()
    if msc:
        ups = [n.data_ms]
        for blob, zoom in ZOOMS.items():
            n[f'{blob}_interp'] = L.Interp(n[f'{blob}_ms'], zoom_factor=zoom)
            ups.append(n[f'{blob}_interp'])
        n.fc8_interp = L.Interp(n[name], zoom_factor=8)
        scores = n.fc_fusion = fused(n, ups, n.fc8_interp)
    else:
        scores = n.fc8_interp = L.Interp(n[name], zoom_factor=8)
    return finished(n, scores, data, 7 if basic else 0)


def branches(n: NetSpec, bottom, blob: str, style: Style, width: int, classes: int) -> None:
    """Add MSc's branch on a blob: <blob>_conv, <blob>_fc and the scores <blob>_ms. The authors'
    files differ a little from branch to branch."""
    small = style.weight_filler or gaussian(0.001)
    fillers = {'conv': small, 'fc': style.weight_filler or gaussian(0.005 if blob == 'pool4'
                                                                   else 0.001)}
    # in the test net the branches run at the size of their blob, and are resized where needed
    strides = {'conv': STRIDES[blob] if style.training else 1}
    if blob in ('data', 'pool3', 'pool4'):
        strides['fc'] = 1
    top, param = bottom, PARAM if style.training else None
    for part, kernel in (('conv', 3), ('fc', 1)):
        name = f'{blob}_{part}'
        stride = {'stride': strides[part]} if part in strides else {}
        written = style.training or name == 'pool4_fc'
        filler = {'weight_filler': fillers[part], 'bias_filler': ZERO} if written else {}
        n[name] = conv(top, width, kernel, param, **({'pad': 1} if kernel == 3 else {}), **stride,
                       **filler)
        n[f'relu_{name}'] = L.ReLU(n[name], in_place=True)
        top = style.drop(n, n[f'relu_{name}'], f'drop_{name}')
    scored = {'weight_filler': gaussian(0.01), 'bias_filler': ZERO} \
        if style.training and blob != 'pool3' else {}
    n[f'{blob}_ms'] = conv(top, classes, 1, param, **scored)


def fused(n: NetSpec, branches: Sequence, scores, operation: int = P.Eltwise.SUM):
    """The sum of the branches' scores and the net's own."""
    return L.Eltwise(*branches, scores, operation=operation)


def shrunk(n: NetSpec, name: str, factor: int = 8, begin: int = 0):
    """n[name]: the label at a fraction of its size; begin: what is cut off first, negative."""
    if name not in n.tops:
        n[name] = L.Interp(n.label, shrink_factor=factor, pad_beg=begin, pad_end=0)
    return n[name]


def learn(n: NetSpec, scores, begin: int = 0, suffix: str = '', label: str = 'label_shrink',
          factor: int = 8) -> None:
    """Add the loss and the accuracy of scores at a fraction of the size."""
    small = shrunk(n, label, factor, begin)
    n[f'loss{suffix}'] = L.SoftmaxWithLoss(scores, small, include=TRAIN,
                                           loss_param={'ignore_label': IGNORED})
    n[f'accuracy{suffix}'] = L.SegAccuracy(scores, small, ignore_label=IGNORED)


def finished(n: NetSpec, scores, data: dict | None, offset: int = 0):
    """End a net that scores: `score`, the scores of the image's own pixels, and with data their
    loss; returns the NetParameter."""
    n.score = L.Crop(scores, n.data if data is None else n.label,
                     crop_param={'axis': 2, 'offset': offset})
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={'ignore_label': IGNORED})
    return n.to_proto()


def aspp(data: dict | None = None, *, classes: int = 21, widths: Sequence[int] = WIDTHS,
         fc: int = 1024, rates: Sequence[int] = RATES, weight_filler: dict | None = None,
         shape: tuple[int, ...] = (1, 3, 513, 513), input_scale: float = 1, dropout: float = 0.5,
         training: bool = False):
    """DeepLab version 2 with VGG16, a NetParameter: LargeFOV's fc6, fc7 and fc8 once for each of
    the rates (atrous spatial pyramid pooling), their scores added. The authors' file is not public;
    names and the pooling, 3x3, are those of their other nets. Settings as for fcn."""
    n = start(data, shape, dialect=DIALECT)
    style = Style(PARAM if training else None, weight_filler, training, dropout)
    top = trunk(n, scaled(n, n.data, input_scale), widths, style, pool=3, pool4_pad=1)
    scored = {'weight_filler': gaussian(0.01), 'bias_filler': ZERO} if training else {}
    scores = []
    for k, rate in enumerate(rates, 1):
        last = classify(n, top, style, fc, 3, rate, suffix=f'_{k}')
        n[f'fc8_{EXP}_{k}'] = conv(last, classes, 1, TENFOLD if training else None, **scored)
        scores.append(n[f'fc8_{EXP}_{k}'])
    n[f'fc8_{EXP}'] = fused(n, scores[:-1], scores[-1])
    if training:
        learn(n, n[f'fc8_{EXP}'])
        return n.to_proto()
    n.fc8_interp = L.Interp(n[f'fc8_{EXP}'], zoom_factor=8)
    return finished(n, n.fc8_interp, data)

