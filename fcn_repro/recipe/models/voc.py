"""Nets on PASCAL VOC and SBD: the reference release's (voc-fcn32s, 16s, 8s, 8s-atonce, alexnet) and
those of the first paper that it lacks."""

from collections.abc import Callable
from dataclasses import replace

from ..stage import Stage
from . import alexnet, googlenet, vgg
from .model import MEAN, Model, Recipe, release_recipes, voc_data
from .parts import python_data

PIXELS = 375 * 500      # of a VOC image, about
POOL_ALONE = ('not in the release: CVPR 2015, section 4.2, compares the fusion of FCN-16s with\n'
              "learning from pool4 alone; the solvers are FCN-32s's, as these scores begin at\n"
              "zero on VGG16's body, too")
FURTHER = ('not in the release: CVPR 2015, section 4.2, stops at FCN-8s, where gains diminish;\n'
           'one more skip by its rule, and its rate falls by a hundred once more')
VGG16 = 'VGG_ILSVRC_16_layers.caffemodel'


def voc(net: Callable, recipes: tuple[Recipe, ...], root: str = '../data', origin: str = '',
        **settings) -> Model:
    """A model that is trained on SBD, and scored on the part of VOC 2011 val that is not in it.
    root: the data folder, relative to the prototxt folder. settings: of the net."""
    train = python_data('voc_layers', 'SBDDSegDataLayer', sbdd_dir=f'{root}/sbdd/dataset',
                        seed=1337, split='train', mean=MEAN)
    return Model(net, settings, train, voc_data(f'{root}/pascal/VOC2011', 'seg11valid'), 736,
                 recipes, origin=origin)


def vgg16(stride: int, base_lr: float, root: str = '../data', max_iter: int = 100000,
          origin: str = '', **settings) -> Model:
    """A model of VGG16 with the release's solvers; settings: of vgg.fcn."""
    recipes = release_recipes(base_lr, max_iter, PIXELS, control=stride > 8)
    return voc(vgg.fcn, recipes[:1] if settings.get('fixed') else recipes, root, origin,
               stride=stride, **settings)


def pool_alone(pool: str) -> Model:
    """A net that learns from one pooling layer alone."""
    return voc(vgg.pool_fcn, release_recipes(1e-10, 100000, PIXELS), origin=POOL_ALONE, pool=pool)


# The release's solver of FCN-AlexNet is the first paper's but for its rate
ALEXNET = Recipe(1e-4, momentum=0.9, max_iter=100000, iter_size=20, normalize=True)
# Section 4.3: minibatches of 20 images, 1e-3 for AlexNet and 5e-5 for GoogLeNet
PAPER = replace(ALEXNET, suffix='_accumulated', prefix='snapshot/train_accumulated')

MODELS = {
    'voc-fcn32s': vgg16(32, 1e-10),
    'voc-fcn32s-fixed': vgg16(32, 1e-10, fixed=True),
    'voc-fcn16s': vgg16(16, 1e-12, '../../data'),     # the release's paths differ by folder
    'voc-fcn8s': vgg16(8, 1e-14),
    **{f'voc-fcn{stride}s': vgg16(stride, base_lr, origin=FURTHER)
       for stride, base_lr in ((4, 1e-16), (2, 1e-18))},
    'voc-fcn8s-atonce': vgg16(8, 1e-10, max_iter=300000, skip_scales=(0.01, 0.0001)),
    'voc-fcn-alexnet': voc(alexnet.fcn, (ALEXNET, replace(PAPER, base_lr=1e-3)), origin=(
        "the release's net and solver; solver_accumulated: CVPR 2015, section 4.3")),
    'voc-fcn-googlenet': voc(googlenet.fcn, (replace(ALEXNET, base_lr=5e-5),), origin=(
        'promised by the release, and not in it: CVPR 2015, section 4.1 (the final loss alone,\n'
        'no average pooling) and 4.3 (20 images, momentum 0.9, 5e-5); what is ours:\n'
        'fcn_repro/recipe/models/googlenet.py')),
    'voc-fcn-pool4': pool_alone('pool4'),
    'voc-fcn-pool3': pool_alone('pool3'),
    # The 14x14 windows at stride 16 reach 16 pixels further than 7x7 at stride 32: so does the pad
    'voc-fcn16s-fc6-14x14': vgg16(
        16, 1e-10, pool5_stride=1, fc6_kernel=14, pad=116, origin=(
            'not in the release: CVPR 2015, section 4.2, tried pool5 at stride 1, for which fc6\n'
            "needs 14x14, 411 million weights; the solvers are FCN-32s's")),
    **{f'voc-fcn{stride}s-learned': vgg16(stride, base_lr, learned_up=learned, origin=(
        'not in the release, whose README says that learning the upsampling made no difference:\n'
        "CVPR 2015, section 3.3; the last one is learned, too; the solvers are the release's"))
       for stride, base_lr, learned in ((32, 1e-10, ('last',)), (16, 1e-12, ('middle', 'last')),
                                        (8, 1e-14, ('middle', 'last')))},
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
    'voc-fcn4s': stage('fcn4s', 'voc-fcn8s'),
    'voc-fcn2s': stage('fcn2s', 'voc-fcn4s'),
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
