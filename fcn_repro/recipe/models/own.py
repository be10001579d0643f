"""The own nets, for small data of one's own: FCN-16s with a batch-normalised decoder on a
batch-normalised body of VGG16's shape, at widths for a laptop and for a GPU."""

from ...proto.netspec import L, NetSpec, P
from .vgg import CONVS, PARAM, start

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


def body(n: NetSpec, widths: tuple[int, ...]):
    """Add conv1_1 ... pool5 on n.data, each convolution batch-normalised. Returns pool5, 1/32 of
    the size. The layers that VGG16 has too have its names, so that its weights fit."""
    top = n.data
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        for i in range(1, convs + 1):
            name = f'{group}_{i}'
            top = n[f'conv{name}'] = L.Convolution(top, num_output=width, kernel_size=3, pad=1,
                                                   param=PARAM, weight_filler=MSRA)
            top = n[f'relu{name}'] = L.ReLU(norm(n, top, name), in_place=True)
        top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
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
        normalize: bool = True, shape: tuple[int, ...] = (1, 3, 224, 288)):
    """The FCN-16s, a NetParameter: data (N,3,H,W) of any H and W to score (N,classes,H,W).

    Five times Deconvolution, ReLU, sum with the encoder's map of that stride (but for the last),
    BatchNorm and Scale; then a 1x1 convolution. data: settings of the data layer (python_data) with
    tops data and label (N,1,H,W); None gives the deploy net: an Input of `shape` and no loss.
    widths: channels of the five groups; the decoder has those of the maps that it adds, and `last`
    at full size.
    """
    n = start(data, shape)
    top = body(n, widths)
    for group in (4, 3, 2, 1):
        skip, stride = n[f'pool{group}'], 2 ** group
        top = up(n, top, skip, widths[group - 1], stride)
        top = n[f'fuse_pool{group}'] = L.Eltwise(top, skip, operation=P.Eltwise.SUM)
        top = norm(n, top, f'_up{stride}')
    top = norm(n, up(n, top, n.data, last, 1), '_up1')
    n.score = L.Convolution(top, num_output=classes, kernel_size=1, param=PARAM,
                            weight_filler={'type': 'gaussian', 'std': 0.01})
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={
            'normalize': normalize, 'ignore_label': 255})
    return n.to_proto()
