"""VGG16, its classifiers and its fully convolutional nets as functions over netspec.

The nets are the reference release's, layer for layer; fewer channels make the mini nets. Crop
offsets are computed by net.coord_map.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import FcnError
from ...proto.netspec import L, NetSpec, P
from .parts import (
    FIXED,
    PARAM,
    classified,
    conv_relu,
    cropped,
    filled,
    fused_scores,
    score,
    softmax_loss,
    start,
    upsample,
)

WIDTHS = (64, 128, 256, 512, 512)                   # VGG16's five groups
CONVS = (2, 2, 3, 3, 3)                             # convolutions in each
# Poolings that are scored, and their strides; the release ends at pool3
POOLS = {'pool4': 16, 'pool3': 8, 'pool2': 4, 'pool1': 2}
EARLY, LATE = 'early', 'late'


def vgg16(n: NetSpec, top, widths: tuple[int, ...], weight_filler: dict | None, pad: int,
          param: list[dict] = PARAM, *, suffix: str = '', first: str = 'conv1_1', groups: int = 5,
          pool5_stride: int = 2):
    """Add conv1_1 ... pool5 on `top`, or fewer groups; pad is conv1_1's. Returns the last pooling:
    1/32 of the size, 1/16 with pool5_stride 1.

    suffix: of all layers' names; first: conv1_1's name."""
    for group, (width, convs) in enumerate(zip(widths[:groups], CONVS, strict=False), 1):
        for i in range(1, convs + 1):
            begins = group == i == 1
            name = first if begins else f'conv{group}_{i}'
            n[name + suffix], top = conv_relu(top, width, weight_filler, pad=pad if begins else 1,
                                              param=param)
            n[f'relu{group}_{i}{suffix}'] = top
        stride = pool5_stride if group == 5 else 2
        top = n[f'pool{group}{suffix}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2,
                                                    stride=stride)
    return top


def scaled(n: NetSpec, top, input_scale: float, name: str = 'scaled'):
    """`top` times input_scale: VGG16's own weights expect values up to 150, on which a net with
    random weights diverges; a Power layer in front scales them to about 1."""
    if input_scale == 1:
        return top
    n[name] = L.Power(top, scale=input_scale)
    return n[name]


@dataclass(frozen=True)
class Trunk:
    """conv1_1 ... fc7 as convolutions, with Dropout for training."""
    widths: tuple[int, ...]
    fc: int
    fc6_kernel: int
    weight_filler: dict | None
    dropout: float
    pad: int
    pool5_stride: int
    first: str
    param: list[dict]
    training: bool

    def add(self, n: NetSpec, top, suffix: str):
        """Add the layers on `top`, all names with the suffix; returns fc7's."""
        top = vgg16(n, top, self.widths, self.weight_filler, self.pad, self.param, suffix=suffix,
                    first=self.first, pool5_stride=self.pool5_stride)
        for number, kernel in (('6', self.fc6_kernel), ('7', 1)):
            name = number + suffix
            n['fc' + name], top = conv_relu(top, self.fc, self.weight_filler, kernel, 0, self.param)
            n['relu' + name] = top
            if self.training:
                top = n['drop' + name] = L.Dropout(top, dropout_ratio=self.dropout, in_place=True)
        return top


@dataclass(frozen=True)
class Decoder:
    """Class scores of each stream, fused, upsampled by way of the skips, and cropped.

    coarse: stride of the deepest scores. skip_scales, learned_up: as for fcn."""
    stride: int
    coarse: int
    skip_scales: Mapping[str, float | None]
    learned_up: tuple[str, ...]

    def scores(self, n: NetSpec, tops: Mapping[str, object], name: str, head: str, classes: int):
        """The scores of these tops, {suffix of a stream: top}, fused if there are several."""
        made = []
        for stream, top in tops.items():
            scored = f'score_{name}{stream}{head}'
            if scored not in n.tops:
                n[scored] = score(top, classes)
            made.append(n[scored])
        if len(made) > 1:
            n['score_fused' if name == 'fr' else f'score_{name}_fused'] = fused_scores(made)
            return n['score_fused' if name == 'fr' else f'score_{name}_fused']
        return made[0]

    def fuse(self, n: NetSpec, top, streams: tuple[str, ...], pool: str, head: str, classes: int,
             before: str | None):
        """Upsample the scores `top` by 2 and add the scores of a pooling layer, cropped to them.
        before: the pooling whose scores were added last; None for the first."""
        name = 'upscore2' if before is None else f'upscore_{before}'
        up = n[name + head] = upsample(top, classes, 2, learned='middle' in self.learned_up)
        tops, scale = {}, self.skip_scales.get(pool)
        for stream in streams:
            bottom = n[pool + stream]
            if scale is not None:
                bottom = n[f'scale_{pool}{stream}'] = L.Scale(bottom, param=[{'lr_mult': 0}],
                                                              filler={'type': 'constant',
                                                                      'value': scale})
            tops[stream] = bottom
        scores = self.scores(n, tops, pool, head, classes)
        cut = cropped(n, f'score_{pool}{head}c', scores, up)
        n[f'fuse_{pool}{head}'] = L.Eltwise(up, cut, operation=P.Eltwise.SUM)
        return n[f'fuse_{pool}{head}']

    def add(self, n: NetSpec, tops: Mapping[str, object], head: str, classes: int, reference):
        """Add the layers of one head on the streams' last tops; returns its scores, of the size of
        the reference."""
        top = self.scores(n, tops, 'fr', head, classes)
        before = None
        for pool, stride in POOLS.items():
            if self.stride <= stride < self.coarse:
                top = self.fuse(n, top, tuple(tops), pool, head, classes, before)
                before = pool
        return self.full_size(n, top, head, classes, reference)

    def full_size(self, n: NetSpec, top, head: str, classes: int, reference):
        """The scores `top` upsampled by the stride and cropped to the reference."""
        last = {32: '', 2: '_pool1'}        # upscore2 is the first skip's
        name = f'upscore{last.get(self.stride, self.stride)}{head}'
        n[name] = upsample(top, classes, self.stride, learned='last' in self.learned_up)
        return cropped(n, f'score{head}', n[name], reference)


def fcn(stride: int, data: dict | None = None, *, classes: int = 21,
        heads: Mapping[str, int] | None = None, inputs: Mapping[str, int] | None = None,
        fusion: str = '', widths: tuple[int, ...] = WIDTHS, fc: int = 4096, fc6_kernel: int = 7,
        pool5_stride: int = 2, pad: int = 100, normalize: bool = False,
        weight_filler: dict | None = None, ignore_label: int = 255,
        shape: tuple[int, ...] = (1, 3, 500, 500),
        input_scale: float | Mapping[str, float] = 1, dropout: float = 0.5, fixed: bool = False,
        learned_up: tuple[str, ...] = (),
        skip_scales: tuple[float | None, ...] = ()):
    """The fully convolutional VGG16 with stride 32, 16, 8, 4 or 2, a NetParameter.

    data: settings of the data layer (python_data) with tops data (N,3,H,W) and label (N,1,H,W);
    None gives the deploy net: an Input of `shape`, without Dropout and loss. The score is
    (N,classes,H,W).

    heads: {name of a label: its classes} instead of `classes`, for several tasks on one trunk
    (section 5 of the paper, SIFT Flow): the data layer has a top for each, layers get the name as
    suffix, scores are score_<name>, and the losses loss and loss_<name>.
    inputs: {name of an image: its channels} instead of data. fusion: of several inputs; 'early'
    joins their channels under conv1_1_bgrd, 'late' gives each a trunk of its own, whose layers have
    its name as suffix, and takes the mean of their scores (section 5, NYUDv2).

    widths: channels of the five groups, fc: of fc6 and fc7. fc6_kernel is 1/32 of the size of the
    classifier whose weights it takes. pool5_stride 1: the finest scores that need no skip, of
    stride 16 (section 4.2; with fc6_kernel 14). pad: conv1_1's.
    weight_filler: of the trunk; None: Caffe's constant 0. input_scale: factor of the input, or
    {name: factor} of each. fixed: only scores are learned (FCN-32s-fixed of Table 2). learned_up:
    'middle' and 'last' for the upsampling layers that are learned (none in the release, 'middle' in
    the first paper). skip_scales: fixed factors of pool4, pool3, … before they are scored (the
    release's at-once net); none for those that it does not reach. FcnError for another stride or
    fusion.
    """
    coarse = 16 * pool5_stride
    if stride not in (32, *POOLS.values()) or stride > coarse:
        raise FcnError(f'stride {stride}', do='Use 32, 16, 8, 4 or 2; 16 with pool5_stride 1.')
    n = start(data, shape, list(heads or ['label']), inputs)
    images = joined(n, inputs, fusion, input_scale)
    trunk = Trunk(widths, fc, fc6_kernel, weight_filler, dropout, pad, pool5_stride,
                  'conv1_1_bgrd' if fusion == EARLY else 'conv1_1', FIXED if fixed else PARAM,
                  data is not None)
    decoder = Decoder(stride, coarse, dict(zip(POOLS, skip_scales, strict=False)), learned_up)
    tops, tasks = {}, {f'_{name}': count for name, count in (heads or {}).items()} or {'': classes}
    for stream, image in images.items():
        tops[stream] = trunk.add(n, image, stream)
        decoder.scores(n, {stream: tops[stream]}, 'fr', *next(iter(tasks.items())))
    for head, count in tasks.items():
        scores = decoder.add(n, tops, head, count, reference(n, inputs, fusion))
        if data is not None:
            n['loss' if head == next(iter(tasks)) else f'loss{head}'] = softmax_loss(
                scores, n[head[1:] or 'label'], normalize, ignore_label)
    return n.to_proto()


def joined(n: NetSpec, inputs: Mapping[str, int] | None, fusion: str,
           input_scale: float | Mapping[str, float]) -> dict[str, object]:
    """{suffix of a stream: the image that it sees}, scaled. FcnError for an unknown fusion."""
    names = list(inputs or ['data'])
    if fusion not in ((EARLY, LATE) if len(names) > 1 else ('',)):
        raise FcnError(f"fusion '{fusion}' of {len(names)} inputs",
                       do="Use 'early' or 'late' for several inputs, none for one.")
    if isinstance(input_scale, Mapping):
        seen = {name: scaled(n, n[name], input_scale[name], f'scaled_{name}') for name in names}
    else:
        seen = {name: n[name] for name in names}
    if fusion == EARLY:
        n.data = L.Concat(*seen.values())
    elif fusion == LATE:
        return seen
    image = n.data if fusion == EARLY else seen[names[0]]
    whole = 1 if isinstance(input_scale, Mapping) else input_scale
    return {'': scaled(n, image, whole)}


def reference(n: NetSpec, inputs: Mapping[str, int] | None, fusion: str):
    """The blob to whose size scores are cropped: the image, or what images were joined to."""
    return n.data if fusion == EARLY or inputs is None else n[next(iter(inputs))]


def pool_fcn(pool: str, data: dict | None = None, *, classes: int = 21,
             widths: tuple[int, ...] = WIDTHS, pad: int = 100, normalize: bool = False,
             weight_filler: dict | None = None, ignore_label: int = 255,
             shape: tuple[int, ...] = (1, 3, 500, 500), input_scale: float = 1):
    """VGG16 up to pool4 or pool3, scored there and upsampled by its stride, a NetParameter.

    Section 4.2 compares fusion with learning from pool4 alone. What lies above the pooling has no
    part in the scores and is left out. Settings and blobs as for fcn. FcnError for another pool.
    """
    if pool not in POOLS:
        raise FcnError(f"pool '{pool}'", do=f'Use {" or ".join(POOLS)}.')
    n, stride = start(data, shape), POOLS[pool]
    vgg16(n, scaled(n, n.data, input_scale), widths, weight_filler, pad, groups=int(pool[-1]))
    decoder = Decoder(stride, stride, {}, ())
    top = decoder.scores(n, {'': n[pool]}, pool, '', classes)
    scores = decoder.full_size(n, top, '', classes, n.data)
    if data is not None:
        n.loss = softmax_loss(scores, n.label, normalize, ignore_label)
    return n.to_proto()


def classifier(data: dict | None = None, *, classes: int, widths: tuple[int, ...] = WIDTHS,
               fc: int = 4096, size: int = 224, weight_filler: dict | None = None,
               input_scale: float = 1, dropout: float = 0.5):
    """The VGG16 classifier under the FCN's layer names, a NetParameter.

    data: as for fcn, with label (N,); None gives the deploy net, an Input (1,3,size,size). The
    scores are score_cls (N,classes). fc6 sees size / 32 cells a side.
    """
    n = start(data, (1, 3, size, size))
    top = vgg16(n, scaled(n, n.data, input_scale), widths, weight_filler, 1)
    for name in '67':
        n['fc' + name] = L.InnerProduct(top, num_output=fc, param=PARAM, **filled(weight_filler))
        top = n['relu' + name] = L.ReLU(n['fc' + name], in_place=True)
        if data is not None:
            top = n['drop' + name] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    n.score_cls = L.InnerProduct(top, num_output=classes, param=PARAM,
                                 weight_filler={'type': 'gaussian', 'std': 0.01})
    return classified(n, 'score_cls', data)


def ilsvrc(*, classes: int = 1000, widths: tuple[int, ...] = WIDTHS, fc: int = 4096,
           size: int = 224, batch: int = 10):
    """VGG16 as its authors' deploy net (VGG_ILSVRC_16_layers) has it: an Input of `batch` images,
    Dropout, which does nothing there, and prob, a Softmax of fc8 (N,classes); a NetParameter."""
    n = start(None, (batch, 3, size, size), input_layer='data')
    top = n.data
    for group, (width, convs) in enumerate(zip(widths, CONVS, strict=True), 1):
        for name in (f'{group}_{i}' for i in range(1, convs + 1)):
            n[f'conv{name}'] = L.Convolution(top, num_output=width, pad=1, kernel_size=3)
            top = n[f'relu{name}'] = L.ReLU(n[f'conv{name}'], in_place=True)
        top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    for name in '67':
        n[f'fc{name}'] = L.InnerProduct(top, num_output=fc)
        n[f'relu{name}'] = L.ReLU(n[f'fc{name}'], in_place=True)
        top = n[f'drop{name}'] = L.Dropout(n[f'relu{name}'], dropout_ratio=0.5, in_place=True)
    n.fc8 = L.InnerProduct(top, num_output=classes)
    n.prob = L.Softmax(n.fc8)
    return n.to_proto()
