"""The shipped nets as functions over netspec, and the files of each folder under prototxt/.

The VOC nets are the reference release's (voc-fcn32s, voc-fcn16s, voc-fcn8s), layer for layer; the
mini nets have the same layers with fewer channels. Crop offsets come from coords, never by hand.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from .coords import crop
from .errors import FcnError
from .netspec import L, NetSpec, P, net_text

MEAN = (104.00699, 116.66877, 122.67892)            # BGR
WIDTHS = (64, 128, 256, 512, 512)                   # VGG16's five groups
CONVS = (2, 2, 3, 3, 3)                             # convolutions in each
PARAM = [{'lr_mult': 1, 'decay_mult': 1}, {'lr_mult': 2, 'decay_mult': 0}]     # weight, bias


def python_data(module, layer, **params):
    """Settings of a Python data layer; params become its param_str, in the order given."""
    return {'module': module, 'layer': layer, 'param_str': str(params)}


def start(data, shape):
    """A NetSpec with tops data and label from a Python layer's settings, or an Input of shape."""
    n = NetSpec()
    if data is None:
        n.data = L.Input(name='input', shape={'dim': list(shape)})
    else:
        n.data, n.label = L.Python(ntop=2, **data)
    return n


def conv_relu(bottom, num_output, weight_filler, kernel_size=3, pad=1):
    """(convolution, ReLU in place); no filler leaves Caffe's constant 0."""
    filler = {'weight_filler': weight_filler} if weight_filler else {}
    conv = L.Convolution(bottom, num_output=num_output, kernel_size=kernel_size, stride=1, pad=pad,
                         param=PARAM, **filler)
    return conv, L.ReLU(conv, in_place=True)


def vgg16(n, widths, weight_filler, pad, input_scale=1):
    """conv1_1 ... pool5 onto n.data; pad is conv1_1's. Returns pool5, 1/32 of the size.

    input_scale: VGG16's own weights take values up to 150; a net that learns from random ones
    diverges on those, and a Power layer in front brings them to about 1."""
    top = n.data
    if input_scale != 1:
        top = n.scaled = L.Power(top, scale=input_scale)
    for group, (width, convs) in enumerate(zip(widths, CONVS), 1):
        for i in range(1, convs + 1):
            n[f'conv{group}_{i}'], top = conv_relu(
                top, width, weight_filler, pad=pad if group == i == 1 else 1)
            n[f'relu{group}_{i}'] = top
        top = n[f'pool{group}'] = L.Pooling(top, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    return top


def score(bottom, classes):
    """A 1x1 convolution to class scores, zero at the start."""
    return L.Convolution(bottom, num_output=classes, kernel_size=1, pad=0, param=PARAM)


def upsample(bottom, classes, factor):
    """A fixed Deconvolution by factor with a dense weight; surgery.interp makes it bilinear."""
    return L.Deconvolution(bottom, param=[{'lr_mult': 0}], convolution_param={
        'num_output': classes, 'kernel_size': 2 * factor, 'stride': factor, 'bias_term': False})


def fuse(n, top, up, pool, classes):
    """Twice the size of the scores so far, plus the scores of a pooling layer, cropped to them."""
    n[up] = upsample(top, classes, 2)
    n[f'score_{pool}'] = score(n[pool], classes)
    n[f'score_{pool}c'] = crop(n[f'score_{pool}'], n[up])
    n[f'fuse_{pool}'] = L.Eltwise(n[up], n[f'score_{pool}c'], operation=P.Eltwise.SUM)
    return n[f'fuse_{pool}']


def fcn(stride, data=None, *, classes=21, widths=WIDTHS, fc=4096, fc6_kernel=7, normalize=False,
        weight_filler=None, ignore_label=255, shape=(1, 3, 500, 500), input_scale=1, dropout=0.5):
    """The fully convolutional VGG16 with stride 32, 16 or 8, a NetParameter.

    data: settings of the data layer (python_data) with tops data (N,3,H,W) and label (N,1,H,W);
    None gives the deploy net: an Input of `shape`, and neither Dropout nor loss. The score is
    (N,classes,H,W). fc6_kernel is 1/32 of the size of the classifier whose weights it takes.
    FcnError for another stride.
    """
    if stride not in (32, 16, 8):
        raise FcnError(f'there is no FCN with stride {stride}', do='Use 32, 16 or 8.')
    n = start(data, shape)
    top = vgg16(n, widths, weight_filler, 100, input_scale)
    for name, kernel in (('6', fc6_kernel), ('7', 1)):
        n['fc' + name], top = conv_relu(top, fc, weight_filler, kernel, pad=0)
        n['relu' + name] = top
        if data is not None:
            top = n['drop' + name] = L.Dropout(top, dropout_ratio=dropout, in_place=True)
    top = n.score_fr = score(top, classes)
    if stride <= 16:
        top = fuse(n, top, 'upscore2', 'pool4', classes)
    if stride <= 8:
        top = fuse(n, top, 'upscore_pool4', 'pool3', classes)
    up = 'upscore' if stride == 32 else f'upscore{stride}'
    n[up] = upsample(top, classes, stride)
    n.score = crop(n[up], n.data)
    if data is not None:
        n.loss = L.SoftmaxWithLoss(n.score, n.label, loss_param={
            'normalize': normalize, 'ignore_label': ignore_label})
    return n.to_proto()


def classifier(data=None, *, classes, widths=WIDTHS, fc=4096, size=224, weight_filler=None,
               input_scale=1, dropout=0.5):
    """The VGG16 classifier under the FCN's layer names, a NetParameter.

    data: as in fcn, label (N,); None gives the deploy net, an Input (1,3,size,size). The scores
    are score_cls (N,classes). fc6 sees size / 32 cells a side.
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


def summed_rate(base_lr, momentum, pixels, summed_momentum=0.99):
    """The base_lr for a loss summed over `pixels` in place of one averaged over them, at another
    momentum: base_lr * pixels / (1 - momentum) stays, where a mean counts as one pixel."""
    return float(f'{base_lr / (1 - momentum) * (1 - summed_momentum) / pixels:.3g}')


HEADER = 'written by tools/make_prototxt.py'
SOLVER = f'# {HEADER}\n' '''\
train_net: "train{suffix}.prototxt"
test_net: "val.prototxt"
test_iter: {val_images}
# far beyond max_iter: whoever runs the solver scores the val net between steps
test_interval: 999999999
test_initialization: false
display: 20
average_loss: 20
# for a {loss}
base_lr: {base_lr:g}
lr_policy: "fixed"
momentum: {momentum:g}
weight_decay: 0.0005
# one update per batch
iter_size: 1
max_iter: {max_iter}
snapshot: {snapshot}
snapshot_prefix: "{prefix}"
'''


@dataclass(frozen=True)
class Recipe:
    """One way to train a model: train{suffix}.prototxt and solver{suffix}.prototxt.

    normalize: of the loss; None leaves the net's default. pixels: the pixels per image that
    base_lr was chosen for, where the loss is their sum; 0 where it is a mean.
    """
    base_lr: float
    momentum: float = 0.99
    max_iter: int = 100000
    snapshot: int = 4000
    normalize: bool | None = False
    pixels: int = 0
    prefix: str = 'snapshot/train'
    suffix: str = ''

    def solver_text(self, val_images):
        """The solver's prototxt."""
        loss = f'loss summed over {self.pixels} pixels' if self.pixels else 'mean loss'
        return SOLVER.format(val_images=val_images, loss=loss, **vars(self))

    def for_pixels(self, pixels):
        """The same step for images of another size."""
        if not self.pixels:
            return self
        base_lr = float(f'{self.base_lr * self.pixels / pixels:.3g}')
        return replace(self, base_lr=base_lr, pixels=pixels)


@dataclass(frozen=True)
class Model:
    """One folder of prototxt/: net, a function of data settings (None for deploy) and `settings`
    to a NetParameter; the data settings of train and val; val_images, the size of val."""
    net: Callable
    settings: dict
    train: dict
    val: dict
    val_images: int
    recipes: tuple[Recipe, ...]

    def files(self):
        """{file name: text} of the folder."""
        files = {'deploy.prototxt': self.net_text(None, self.recipes[0]),
                 'val.prototxt': self.net_text(self.val, self.recipes[0])}
        for recipe in self.recipes:
            files[f'train{recipe.suffix}.prototxt'] = self.net_text(self.train, recipe)
            files[f'solver{recipe.suffix}.prototxt'] = recipe.solver_text(self.val_images)
        return files

    def net_text(self, data, recipe):
        """The prototxt of the net on this data."""
        loss = {} if recipe.normalize is None else {'normalize': recipe.normalize}
        return net_text(self.net(data=data, **self.settings, **loss), HEADER)

    def on_data(self, classes=None, voc_dir=None, splits=('train', 'val'), val_images=None,
                pixels=None):
        """This model for another data set: folders as VOC's under voc_dir, this many classes,
        val images, and pixels per image (on which the rate of a summed loss depends)."""
        model = self
        if classes is not None and not 1 <= classes <= 255:
            raise FcnError(f'{classes} classes', do='Give --classes 1 to 255.')
        if classes is not None:
            model = replace(model, settings={**model.settings, 'classes': classes})
        if voc_dir is not None and self.net is not fcn:
            raise FcnError('a classifier takes no VOC folder', do='Leave out the folder.')
        if voc_dir is not None:
            train, val = (voc_data(voc_dir, split) for split in splits)
            model = replace(model, train=train, val=val)
        if val_images is not None:
            model = replace(model, val_images=val_images)
        if pixels is not None:
            model = replace(model, recipes=tuple(r.for_pixels(pixels) for r in model.recipes))
        return model


def voc_data(voc_dir, split):
    """Data settings for a folder laid out like VOC's."""
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN)


def voc(stride, base_lr, root):
    """A VOC model of the release: trained on SBD, scored on the part of VOC 2011 val not in it."""
    train = python_data('voc_layers', 'SBDDSegDataLayer', sbdd_dir=f'{root}/sbdd/dataset',
                        seed=1337, split='train', mean=MEAN)
    return Model(fcn, {'stride': stride}, train, voc_data(f'{root}/pascal/VOC2011', 'seg11valid'),
                 val_images=736, recipes=(Recipe(base_lr, pixels=375 * 500),))


MINI = {'classes': 11, 'widths': (8, 16, 32, 64, 64), 'fc': 512, 'dropout': 0.1,
        'weight_filler': {'type': 'msra'}, 'input_scale': 0.01}
MINI_PIXELS = 256 * 320


def mini(stride, base_lr, max_iter):
    """A small FCN on the digit scenes: the paper's recipe (mean loss, momentum 0.9) and, as
    train_heavy and solver_heavy, the release's."""
    settings = {'stride': stride, **MINI}
    prefix = f'runs/mini-fcn{stride}s/train'
    mean = Recipe(base_lr, momentum=0.9, max_iter=max_iter, snapshot=1000, normalize=True,
                  prefix=prefix)
    heavy = Recipe(summed_rate(base_lr, mean.momentum, MINI_PIXELS), max_iter=max_iter,
                   snapshot=1000, pixels=MINI_PIXELS, prefix=f'{prefix}_heavy', suffix='_heavy')
    return Model(fcn, settings, voc_data('data/digits/VOC', 'train'),
                 voc_data('data/digits/VOC', 'val'), val_images=100, recipes=(mean, heavy))


def mini_classifier():
    """The small classifier whose weights mini-fcn32s starts from. 200 pixels give 7x7 cells under
    fc6, as VGG16's 224 do, at four fifths of the work."""
    data = {'seed': 1337, 'mean': MEAN, 'size': 200, 'batch_size': 16}
    train = python_data('digit_layers', 'DigitDataLayer', split='train', curriculum=300, **data)
    val = python_data('digit_layers', 'DigitDataLayer', split='val', **data)
    recipe = Recipe(3e-3, momentum=0.9, max_iter=900, snapshot=450, normalize=None,
                    prefix='runs/mini-classifier/train')
    return Model(classifier, {**MINI, 'classes': 10, 'size': 200}, train, val, val_images=23,
                 recipes=(recipe,))


MODELS = {                                          # folder -> how its files are made
    'voc-fcn32s': voc(32, 1e-10, '../data'),
    'voc-fcn16s': voc(16, 1e-12, '../../data'),     # the release's paths differ by folder
    'voc-fcn8s': voc(8, 1e-14, '../data'),
    'mini-classifier': mini_classifier(),
    'mini-fcn32s': mini(32, 5e-3, max_iter=2000),
    'mini-fcn16s': mini(16, 3e-3, max_iter=400),
    'mini-fcn8s': mini(8, 3e-3, max_iter=400),
}
