"""Nets on PASCAL VOC and SBD: the reference release's (voc-fcn32s, 16s, 8s, 8s-atonce, alexnet) and
those of the first paper that it lacks."""

from collections.abc import Callable
from dataclasses import replace

from ..stage import Stage
from . import alexnet, googlenet, vgg
from .model import MEAN, Model, Recipe, release_recipes, voc_data
from .parts import python_data

PIXELS = 375 * 500      # of a VOC image, about
VGG16 = 'VGG_ILSVRC_16_layers.caffemodel'


def voc(net: Callable, recipes: tuple[Recipe, ...], root: str = '../data', **settings) -> Model:
    """A model that is trained on SBD, and scored on the part of VOC 2011 val that is not in it.
    root: the data folder, relative to the prototxt folder. settings: of the net."""
    train = python_data('voc_layers', 'SBDDSegDataLayer', sbdd_dir=f'{root}/sbdd/dataset',
                        seed=1337, split='train', mean=MEAN)
    return Model(net, settings, train, voc_data(f'{root}/pascal/VOC2011', 'seg11valid'), 736,
                 recipes)


def vgg16(stride: int, base_lr: float, root: str = '../data', max_iter: int = 100000,
          **settings) -> Model:
    """A model of VGG16 with the release's solvers; settings: of vgg.fcn."""
    recipes = release_recipes(base_lr, max_iter, PIXELS, control=stride > 8)
    return voc(vgg.fcn, recipes[:1] if settings.get('fixed') else recipes, root, stride=stride,
               **settings)


def pool_alone(pool: str) -> Model:
    """A net that learns from one pooling layer alone, by the recipe of the net of its stride; its
    rate is that of FCN-32s, as its scores begin at zero on VGG16's body, too."""
    return voc(vgg.pool_fcn, release_recipes(1e-10, 100000, PIXELS), pool=pool)


# The release's solver of FCN-AlexNet is the first paper's but for its rate
ALEXNET = Recipe(1e-4, momentum=0.9, max_iter=100000, iter_size=20, normalize=True)
# Section 4.3: minibatches of 20 images, 1e-3 for AlexNet and 5e-5 for GoogLeNet
PAPER = replace(ALEXNET, suffix='_accumulated', prefix='snapshot/train_accumulated')

MODELS = {
    'voc-fcn32s': vgg16(32, 1e-10),
    'voc-fcn32s-fixed': vgg16(32, 1e-10, fixed=True),
    'voc-fcn16s': vgg16(16, 1e-12, '../../data'),     # the release's paths differ by folder
    'voc-fcn8s': vgg16(8, 1e-14),
    'voc-fcn8s-atonce': vgg16(8, 1e-10, max_iter=300000, skip_scales=(0.01, 0.0001)),
    'voc-fcn-alexnet': voc(alexnet.fcn, (ALEXNET, replace(PAPER, base_lr=1e-3))),
    # The release promised it and lacks it: see googlenet.fcn
    'voc-fcn-googlenet': voc(googlenet.fcn, (replace(ALEXNET, base_lr=5e-5),)),
    # Section 4.2 compares the fusion of FCN-16s with learning from pool4 alone
    'voc-fcn-pool4': pool_alone('pool4'),
    'voc-fcn-pool3': pool_alone('pool3'),
    # Section 4.2: pool5 at stride 1 needs a fc6 of 14x14, with 411M weights. Its windows reach 16
    # pixels further than those of 7x7 at stride 32, and so does the pad
    'voc-fcn16s-fc6-14x14': vgg16(16, 1e-10, pool5_stride=1, fc6_kernel=14, pad=116),
    # The first paper learned the upsampling in between; the release's README says that learning
    # made no difference
    'voc-fcn32s-learned': vgg16(32, 1e-10, learned_up=('last',)),
    'voc-fcn16s-learned': vgg16(16, 1e-12, learned_up=('middle', 'last')),
    'voc-fcn8s-learned': vgg16(8, 1e-14, learned_up=('middle', 'last')),
}


def stage(net: str, parent: str | None = None, weights: str = VGG16, **further) -> Stage:
    """A stage that starts from its parent, or from a classifier's ImageNet weights."""
    return Stage('voc', net, parent, weights='' if parent else weights,
                 **{'zero_fillers': True, 'score_every': 4000, 'takes': ('voc', 'sbd'), **further})


STAGES = {
    'voc-fcn32s-fixed': stage('fcn32s-fixed'),
    'voc-fcn32s': stage('fcn32s'),
    'voc-fcn16s': stage('fcn16s', 'voc-fcn32s'),
    'voc-fcn8s': stage('fcn8s', 'voc-fcn16s'),
    'voc-fcn8s-atonce': stage('fcn8s-atonce'),
    'voc-fcn-alexnet': stage('fcn-alexnet', weights='bvlc_reference_caffenet.caffemodel',
                             score_every=1000),
    'voc-fcn-googlenet': stage('fcn-googlenet', weights='bvlc_googlenet.caffemodel',
                               zero_fillers=False, score_every=1000),
    'voc-fcn-pool4': stage('fcn-pool4'),
    'voc-fcn-pool3': stage('fcn-pool3'),
    'voc-fcn16s-fc6-14x14': stage('fcn16s-fc6-14x14', rarefied=('fc6',)),
    'voc-fcn32s-learned': stage('fcn32s-learned'),
    'voc-fcn16s-learned': stage('fcn16s-learned', 'voc-fcn32s'),
    'voc-fcn8s-learned': stage('fcn8s-learned', 'voc-fcn16s-learned'),
}
