"""VGG16, its classifier and its fully convolutional nets as functions over netspec.

The nets are the reference release's, layer for layer; fewer channels make the mini nets. Crop
offsets are computed by net.coord_map.
"""

from ...errors import FcnError
from ...net.coord_map import crop
from ...proto.netspec import L, NetSpec, P

WIDTHS = (64, 128, 256, 512, 512)                   # VGG16's five groups
CONVS = (2, 2, 3, 3, 3)                             # convolutions in each
PARAM = [{'lr_mult': 1, 'decay_mult': 1}, {'lr_mult': 2, 'decay_mult': 0}]     # weight, bias
FIXED = [{'lr_mult': 0}, {'lr_mult': 0}]


def python_data(module: str, layer: str, **params) -> dict[str, str]:
    """Settings of a Python data layer; params become its param_str in the order given."""
    return {'module': module, 'layer': layer, 'param_str': str(params)}


def start(data: dict | None, shape: tuple[int, ...]) -> NetSpec:
    """A NetSpec with tops data and label of a Python layer (python_data), or an Input of shape."""
    n = NetSpec()
    if data is None:
        n.data = L.Input(name='input', shape={'dim': list(shape)})
    else:
        n.data, n.label = L.Python(ntop=2, **data)
    return n


def conv_relu(bottom, num_output: int, weight_filler: dict | None, kernel_size: int = 3,
              pad: int = 1, param: list[dict] = PARAM) -> tuple:
    """(convolution, ReLU in place); without weight_filler Caffe's constant 0."""
    filler = {'weight_filler': weight_filler} if weight_filler else {}
    conv = L.Convolution(bottom, num_output=num_output, kernel_size=kernel_size, stride=1, pad=pad,
                         param=param, **filler)
    return conv, L.ReLU(conv, in_place=True)


def vgg16(n: NetSpec, widths: tuple[int, ...], weight_filler: dict | None, pad: int,
          input_scale: float = 1, param: list[dict] = PARAM):
    """Add conv1_1 ... pool5 on n.data; pad is conv1_1's. Returns pool5, 1/32 of the size.

    input_scale: VGG16's own weights expect values up to 150, on which a net with random weights
    diverges; a Power layer in front scales them to about 1."""
    top = n.data
    if input_scale != 1:
        top = n.scaled = L.Power(top, scale=input_scale)
    for group, (width, convs) in enumerate(zip(widths, CONVS), 1):
        for i in range(1, convs + 1):
            n[f'conv{group}_{i}'], top = conv_relu(
                top, width, weight_filler, pad=pad if group == i == 1 else 1, param=param)
            n[f'relu{group}_{i}'] = top
        top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return top


def score(bottom, classes: int):
    """A 1x1 convolution to class scores, initially zero."""
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=PARAM)


def upsample(bottom, classes: int, factor: int):
    """A fixed Deconvolution by `factor` with a dense weight; surgery.interp makes it bilinear."""
    return L.Deconvolution(bottom, param=[{'lr_mult': 0}], convolution_param={
        'num_output': classes, 'kernel_size': 2 * factor, 'stride': factor, 'bias_term': False})


def fuse(n: NetSpec, top, up: str, pool: str, classes: int, scale: float | None = None):
    """Upsample the scores `top` by 2 and add the scores of a pooling layer, cropped to them.

    scale: a fixed factor applied to the pooling layer before it is scored; None for none."""
    n[up] = upsample(top, classes, 2)
    bottom = n[pool]
    if scale is not None:
        bottom = n[f'scale_{pool}'] = L.Scale(bottom, param=[{'lr_mult': 0}], filler={
            'type': 'constant', 'value': scale})
    n[f'score_{pool}'] = score(bottom, classes)
    n[f'score_{pool}c'] = crop(n[f'score_{pool}'], n[up])
    n[f'fuse_{pool}'] = L.Eltwise(n[up], n[f'score_{pool}c'], operation=P.Eltwise.SUM)
    return n[f'fuse_{pool}']


def fcn(stride: int, data: dict | None = None, *, classes: int = 21,
        widths: tuple[int, ...] = WIDTHS, fc: int = 4096, fc6_kernel: int = 7,
        normalize: bool = False, weight_filler: dict | None = None, ignore_label: int = 255,
        shape: tuple[int, ...] = (1, 3, 500, 500), input_scale: float = 1, dropout: float = 0.5,
        fixed: bool = False, skip_scales: tuple[float | None, float | None] = (None, None)):
    """The fully convolutional VGG16 with stride 32, 16 or 8, a NetParameter.

    data: settings of the data layer (python_data) with tops data (N,3,H,W) and label (N,1,H,W);
    None gives the deploy net: an Input of `shape`, without Dropout and loss. The score is
    (N,classes,H,W). fc6_kernel is 1/32 of the size of the classifier whose weights it takes.
    fixed: only scores are learned (FCN-32s-fixed of Table 2). skip_scales: fixed factors of pool4
    and pool3 before they are scored (the release's at-once net). FcnError for another stride.
    """
    if stride not in (32, 16, 8):
        raise FcnError(f'stride {stride}', do='Use 32, 16 or 8.')
    n, param = start(data, shape), FIXED if fixed else PARAM
    top = vgg16(n, widths, weight_filler, 100, input_scale, param)
    for name, kernel in (('6', fc6_kernel), ('7', 1)):
        n['fc' + name], top = conv_relu(top, fc, weight_filler, kernel, 0, param)
        n['relu' + name] = top
        if data is not None:
            top = n['drop' + name] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    top = n.score_fr = score(top, classes)
    if stride <= 16:
        top = fuse(n, top, 'upscore2', 'pool4', classes, skip_scales[0])
    if stride <= 8:
        top = fuse(n, top, 'upscore_pool4', 'pool3', classes, skip_scales[1])
    up = 'upscore' if stride == 32 else f'upscore{stride}'
    n[up] = upsample(top, classes, stride)
    n.score = crop(n[up], n.data)
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={
            'normalize': normalize, 'ignore_label': ignore_label})
    return n.to_proto()


def classifier(data: dict | None = None, *, classes: int, widths: tuple[int, ...] = WIDTHS,
               fc: int = 4096, size: int = 224, weight_filler: dict | None = None,
               input_scale: float = 1, dropout: float = 0.5):
    """The VGG16 classifier under the FCN's layer names, a NetParameter.

    data: as for fcn, with label (N,); None gives the deploy net, an Input (1,3,size,size). The
    scores are score_cls (N,classes). fc6 sees size / 32 cells a side.
    """
    n = start(data, (1, 3, size, size))
    top = vgg16(n, widths, weight_filler, 1, input_scale)
    filler = {'weight_filler': weight_filler} if weight_filler else {}
    for name in '67':
        n['fc' + name] = L.InnerProduct(top, num_output=fc, param=PARAM, **filler)
        top = n['relu' + name] = L.ReLU(n['fc' + name], in_place=True)
        if data is not None:
            top = n['drop' + name] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n.score_cls = L.InnerProduct(top, num_output=classes, param=PARAM,
                                 weight_filler={'type': 'gaussian', 'std': 0.01})
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score_cls, n.label)
        n.accuracy = L.Accuracy(n.score_cls, n.label)
    return n.to_proto()
