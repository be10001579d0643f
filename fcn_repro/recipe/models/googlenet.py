"""GoogLeNet, BVLC's classifier, and FCN-GoogLeNet as functions over netspec.

FCN-GoogLeNet is described in section 4.1 of the first paper and was never released: the final loss
alone, without the two auxiliary classifiers, and without the 7x7 average pooling.
"""

from ...layers.common.coordinates import IDENTITY
from ...net.coord_map import coord_map, crop_offset
from ...proto.netspec import L, NetSpec, P
from .parts import PARAM, classified, score, softmax_loss, start, upsample
from .vgg import scaled

# Channels of a module: 1x1; 3x3 after its reduction; 5x5 after its reduction; after the pooling
INCEPTIONS = {
    '3a': (64, 96, 128, 16, 32, 32), '3b': (128, 128, 192, 32, 96, 64),
    '4a': (192, 96, 208, 16, 48, 64), '4b': (160, 112, 224, 24, 64, 64),
    '4c': (128, 128, 256, 24, 64, 64), '4d': (112, 144, 288, 32, 64, 64),
    '4e': (256, 160, 320, 32, 128, 128),
    '5a': (256, 160, 320, 32, 128, 128), '5b': (384, 192, 384, 48, 128, 128),
}
STEM = (64, 64, 192)                    # conv1, and conv2 with its reduction before it
# An auxiliary classifier: channels of its convolution and its hidden layer; the module it reads;
# its part of the loss
AUXILIARY = (128, 1024)
READS = {'loss1': '4a', 'loss2': '4d'}
AUXILIARY_LOSS = 0.3
STDS = (0.03, 0.09, 0.03, 0.2, 0.03, 0.1)       # of the fillers, as in INCEPTIONS


def fillers(std: float | None, weight_filler: dict | None) -> dict:
    """BVLC's, or weight_filler and biases of 0. Xavier's does not read its std, which BVLC's deploy
    net has all the same."""
    xavier = {'type': 'xavier'} if std is None else {'type': 'xavier', 'std': std}
    return {'weight_filler': weight_filler or xavier,
            'bias_filler': {'type': 'constant', 'value': 0 if weight_filler else 0.2}}


def conv_relu(n: NetSpec, bottom, name: str, num_output: int, kernel: int, std: float | None, *,
              prefix: str, weight_filler: dict | None = None, **extents):
    """n[prefix/name]: a convolution whose padding keeps the size unless `extents` says otherwise,
    and its ReLU in place, prefix/relu_name."""
    pad = {'pad': kernel // 2} if kernel > 1 else {}
    n[f'{prefix}/{name}'] = L.Convolution(
        bottom, num_output=num_output, kernel_size=kernel, param=PARAM, **(pad | extents),
        **fillers(std, weight_filler))
    n[f'{prefix}/relu_{name.removesuffix("_s2")}'] = L.ReLU(n[f'{prefix}/{name}'], in_place=True)
    return n[f'{prefix}/{name}']


def inception(n: NetSpec, bottom, name: str, widths: tuple[int, ...],
              weight_filler: dict | None = None):
    """Add the module inception_<name>; returns its output, the four branches' channels joined."""
    prefix, (one, reduce3, three, reduce5, five, pool) = f'inception_{name}', widths

    def conv(bottom, name, width, kernel, std):
        return conv_relu(n, bottom, name, width, kernel, std, prefix=prefix,
                         weight_filler=weight_filler)
    branches = [conv(bottom, '1x1', one, 1, STDS[0])]
    top = conv(bottom, '3x3_reduce', reduce3, 1, STDS[1])
    branches.append(conv(top, '3x3', three, 3, STDS[2]))
    top = conv(bottom, '5x5_reduce', reduce5, 1, STDS[3])
    branches.append(conv(top, '5x5', five, 5, STDS[4]))
    n[f'{prefix}/pool'] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=1, pad=1)
    branches.append(conv(n[f'{prefix}/pool'], 'pool_proj', pool, 1, STDS[5]))
    n[f'{prefix}/output'] = L.Concat(*branches)
    return n[f'{prefix}/output']


def halved(n: NetSpec, bottom, name: str):
    """n[name]: the maximum of 3x3 at stride 2."""
    n[name] = L.Pooling(bottom, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return n[name]


def normed(n: NetSpec, bottom, name: str):
    n[name] = L.LRN(bottom, local_size=5, alpha=1e-4, beta=0.75)
    return n[name]


def body(n: NetSpec, top, width: float = 1, pad: int = 3, weight_filler: dict | None = None):
    """Add conv1/7x7_s2 ... inception_5b on `top`; pad is conv1's. Returns 1/32 of the size.

    width: factor of all channels, in whole multiples of 4. weight_filler: of all convolutions,
    whose biases are 0 then; None: BVLC's fillers. Those want inputs up to 255: of smaller ones
    little is left beside the biases after 22 layers."""
    def wide(channels):
        return channels if width == 1 else max(4, 4 * round(channels * width / 4))
    one, reduce2, two = map(wide, STEM)
    filler = {'weight_filler': weight_filler}
    top = conv_relu(n, top, '7x7_s2', one, 7, 0.1, prefix='conv1', stride=2, pad=pad, **filler)
    top = normed(n, halved(n, top, 'pool1/3x3_s2'), 'pool1/norm1')
    top = conv_relu(n, top, '3x3_reduce', reduce2, 1, 0.1, prefix='conv2', **filler)
    top = conv_relu(n, top, '3x3', two, 3, 0.03, prefix='conv2', **filler)
    top = halved(n, normed(n, top, 'conv2/norm2'), 'pool2/3x3_s2')
    for name, widths in INCEPTIONS.items():
        if name in ('4a', '5a'):
            top = halved(n, top, f'pool{int(name[0]) - 1}/3x3_s2')
        top = inception(n, top, name, tuple(map(wide, widths)), weight_filler)
    return top


def auxiliary(n: NetSpec, name: str, classes: int, width: float, weight_filler: dict | None):
    """Add the auxiliary classifier `name` of READS, and its loss, to a classifier with data."""
    channels, hidden = (max(16, round(each * width)) for each in AUXILIARY)
    n[f'{name}/ave_pool'] = L.Pooling(n[f'inception_{READS[name]}/output'],
                                      pool=P.Pooling.AVE, kernel_size=5, stride=3)
    top = conv_relu(n, n[f'{name}/ave_pool'], 'conv', channels, 1, None, prefix=name,
                    weight_filler=weight_filler)
    n[f'{name}/fc'] = L.InnerProduct(top, num_output=hidden, param=PARAM,
                                     **fillers(None, weight_filler))
    n[f'{name}/relu_fc'] = L.ReLU(n[f'{name}/fc'], in_place=True)
    n[f'{name}/drop_fc'] = L.Dropout(n[f'{name}/fc'], dropout_ratio=0.7, in_place=True)
    n[f'{name}/classifier'] = L.InnerProduct(
        n[f'{name}/fc'], num_output=classes, param=PARAM,
        weight_filler={'type': 'xavier'}, bias_filler={'type': 'constant', 'value': 0})
    n[f'{name}/loss'] = L.SoftmaxWithLoss(n[f'{name}/classifier'], n.label,
                                          loss_weight=AUXILIARY_LOSS)


def through_concat(fn):
    """The coordinate map of a Function; that of Concat, which pycaffe has none for, keeps
    coordinates, as the branches of a module all do."""
    return IDENTITY if fn.type_name == 'Concat' else coord_map(fn)


def fcn(data: dict | None = None, *, classes: int = 21, width: float = 1, pad: int = 3,
        normalize: bool = True, ignore_label: int = 255,
        shape: tuple[int, ...] = (1, 3, 500, 500), input_scale: float = 1, dropout: float = 0.4,
        weight_filler: dict | None = None):
    """FCN-GoogLeNet, stride 32, a NetParameter; settings and blobs as for vgg.fcn, width and
    weight_filler as for body.

    Our choices, where the paper says nothing: conv1 keeps the classifier's pad, since no layer
    shrinks the map and every pixel is under a cell; Dropout stays in front of the scores; as all
    kernels are odd, the upsampling kernel is 63."""
    n = start(data, shape)
    top = body(n, scaled(n, n.data, input_scale), width, pad, weight_filler)
    if data is not None:
        n['pool5/drop_7x7_s1'] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
        top = n['pool5/drop_7x7_s1']
    n.score_fr = score(top, classes)
    n.upscore = upsample(n.score_fr, classes, 32, kernel=63)
    axis, offset = crop_offset(n.upscore, n.data, through_concat)
    n.score = L.Crop(n.upscore, n.data, crop_param={'axis': axis, 'offset': offset})
    if data is not None:
        n.loss = softmax_loss(n.score, n.label, normalize, ignore_label)
    return n.to_proto()


def classifier(data: dict | None = None, *, classes: int = 1000, width: float = 1,
               size: int = 224, input_scale: float = 1, dropout: float = 0.4, batch: int = 10,
               scores: str = 'loss3/classifier', weight_filler: dict | None = None):
    """GoogLeNet, a NetParameter; settings and blobs as for alexnet.classifier, width and
    weight_filler as for body.
    With data it has the two auxiliary classifiers of BVLC's train_val, without which the first
    modules are too far from a loss to learn; a deploy net has none."""
    n = start(data, (batch, 3, size, size), input_layer='data')
    top = body(n, scaled(n, n.data, input_scale), width, weight_filler=weight_filler)
    for name in READS if data is not None else ():
        auxiliary(n, name, classes, width, weight_filler)
    cells = size // 32
    n[f'pool5/{cells}x{cells}_s1'] = L.Pooling(top, pool=P.Pooling.AVE, kernel_size=cells, stride=1)
    n['pool5/drop_7x7_s1'] = L.Dropout(n[f'pool5/{cells}x{cells}_s1'], dropout_ratio=dropout,
                                       in_place=True)
    n[scores] = L.InnerProduct(n['pool5/drop_7x7_s1'], num_output=classes, param=PARAM,
                               weight_filler={'type': 'xavier'},
                               bias_filler={'type': 'constant', 'value': 0})
    return classified(n, scores, data, prob=True)
