"""The reference release's nets on PASCAL VOC and SBD: voc-fcn32s, 16s, 8s, 8s-atonce, 32s-fixed."""

from dataclasses import replace

from ..stage import Stage
from .model import MEAN, Model, Recipe, summed_rate, voc_data
from .parts import python_data
from .vgg import fcn

PIXELS = 375 * 500      # of a VOC image, about
PAPER_LR = 1e-4         # CVPR 2015 for VGG16: a mean loss, minibatches of 20 images


def voc(stride: int, base_lr: float, root: str, max_iter: int = 100000, **settings) -> Model:
    """A VOC model of the release: trained on SBD, scored on the part of VOC 2011 val not in it.

    Its solvers: the release's (one image, momentum 0.99); online, the same with momentum 0.9;
    accumulated, the first paper's (20 images, momentum 0.9, mean loss), with as many images in all.
    root: the data folder, relative to the prototxt folder. settings: of vgg.fcn.
    """
    train = python_data('voc_layers', 'SBDDSegDataLayer', sbdd_dir=f'{root}/sbdd/dataset',
                        seed=1337, split='train', mean=MEAN)
    heavy = Recipe(base_lr, max_iter=max_iter, pixels=PIXELS)
    online = replace(heavy, base_lr=summed_rate(base_lr, 0.99, 1, 0.9), momentum=0.9,
                     suffix='_online', prefix='snapshot/train_online')
    accumulated = replace(online, base_lr=float(f'{PAPER_LR * base_lr / 1e-10:.3g}'), iter_size=20,
                          max_iter=max_iter // 20, snapshot=200, normalize=True, pixels=0,
                          suffix='_accumulated', net='_mean', prefix='snapshot/train_accumulated')
    recipes = [heavy, online, accumulated]
    if stride > 8:                              # the control of the next stage
        recipes.append(replace(heavy, base_lr=base_lr / 100, suffix='_on',
                               prefix='snapshot/train_on'))
    if settings.get('fixed'):
        del recipes[1:]
    return Model(fcn, {'stride': stride, **settings}, train,
                 voc_data(f'{root}/pascal/VOC2011', 'seg11valid'), 736, tuple(recipes))


MODELS = {
    'voc-fcn32s': voc(32, 1e-10, '../data'),
    'voc-fcn32s-fixed': voc(32, 1e-10, '../data', fixed=True),
    'voc-fcn16s': voc(16, 1e-12, '../../data'),     # the release's paths differ by folder
    'voc-fcn8s': voc(8, 1e-14, '../data'),
    'voc-fcn8s-atonce': voc(8, 1e-10, '../data', max_iter=300000, skip_scales=(0.01, 0.0001)),
}


def stage(net: str, parent: str | None = None) -> Stage:
    """A stage that starts from its parent, or from VGG16's ImageNet weights."""
    return Stage('voc', net, parent, weights='' if parent else 'VGG_ILSVRC_16_layers.caffemodel',
                 zero_fillers=True, score_every=4000, takes=('voc', 'sbd'))


STAGES = {
    'voc-fcn32s-fixed': stage('fcn32s-fixed'),
    'voc-fcn32s': stage('fcn32s'),
    'voc-fcn16s': stage('fcn16s', 'voc-fcn32s'),
    'voc-fcn8s': stage('fcn8s', 'voc-fcn16s'),
    'voc-fcn8s-atonce': stage('fcn8s-atonce'),
}
