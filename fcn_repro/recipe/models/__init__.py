"""The shipped models: the files of each folder under prototxt/.

The VOC nets are the reference release's (voc-fcn32s, 16s, 8s, 8s-atonce); the mini nets have the
same layers with fewer channels; the scratch nets are as wide as VGG16 and need no weights.
"""

from dataclasses import replace

from .m2nist import M2NIST
from .recipe import MEAN, Model, Recipe, summed_rate, voc_data
from .vgg import WIDTHS, classifier, fcn, python_data

PIXELS = 375 * 500      # of a VOC image, about
PAPER_LR = 1e-4         # CVPR 2015 for VGG16: a mean loss, minibatches of 20 images


def voc(stride, base_lr, root, max_iter=100000, **settings):
    """A VOC model of the release: trained on SBD, scored on the part of VOC 2011 val not in it.

    Its solvers: the release's (one image, momentum 0.99); online, the same with momentum 0.9;
    accumulated, the first paper's (20 images, momentum 0.9, mean loss), as many images in all.
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


MINI = {'classes': 11, 'widths': (8, 16, 32, 64, 64), 'fc': 512, 'dropout': 0.1,
        'weight_filler': {'type': 'msra'}, 'input_scale': 0.01}
MINI_PIXELS = 256 * 320


MINI_LR = {32: 5e-3, 16: 3e-3, 8: 3e-3}
MINI_ITER = {32: 2000, 16: 400, 8: 400}


def mini(stride, folder, max_iter=None, controls=True, longer=1, rate=1, **settings):
    """A small FCN on the digit scenes. Its solvers: the paper's momentum and mean loss, one image
    a step; accumulated, 20 of them; heavy and online, the release's summed loss; slow, the rate of
    the paper and the release, a hundredth of the stage before; on, the control of the next stage:
    trained on at its rate for as long. controls: whether to write the last two; longer, rate:
    factors of the iterations and of base_lr."""
    rates = {key: float(f'{rate * value:.3g}') for key, value in MINI_LR.items()}
    base_lr, images = rates[stride], longer * (max_iter or MINI_ITER[stride])
    prefix = f'runs/{folder}/train'
    mean = Recipe(base_lr, momentum=0.9, max_iter=images, snapshot=min(images, 500), normalize=True,
                  prefix=prefix)

    def variant(name, **changes):
        return replace(mean, suffix=f'_{name}', prefix=f'{prefix}_{name}', **changes)
    summed = {'normalize': False, 'pixels': MINI_PIXELS, 'net': '_summed'}
    recipes = [
        mean,
        variant('accumulated', iter_size=20, max_iter=images // 20, snapshot=images // 20),
        variant('online', base_lr=summed_rate(base_lr, 0.9, MINI_PIXELS, 0.9), **summed),
        variant('heavy', base_lr=summed_rate(base_lr, 0.9, MINI_PIXELS), momentum=0.99, **summed)]
    if stride < 32 and controls:
        recipes.append(variant('slow', base_lr=rates[32] / 100 ** {16: 1, 8: 2}[stride]))
    if stride > 8 and controls:
        then = longer * MINI_ITER[stride // 2]
        recipes.append(variant('on', base_lr=rates[stride // 2], max_iter=then,
                               snapshot=min(then, 500)))
    if settings.get('fixed'):
        del recipes[1:]
    return Model(fcn, {'stride': stride, **MINI, **settings}, voc_data('data/digits/VOC', 'train'),
                 voc_data('data/digits/VOC', 'val'), val_images=100, recipes=tuple(recipes))


def scratch(stride, folder, **changes):
    """VGG16's own width from random weights, by the recipe of the mini nets, four times as long. At
    their rate the first steps overshoot: on street scenes the loss goes from 2.4 to 6.7 and is 2.0
    after 20 iterations, at a fifth of it 1.6."""
    return mini(stride, folder, longer=4, rate=0.2, widths=WIDTHS, fc=4096, dropout=0.5, **changes)


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
    'voc-fcn32s-fixed': voc(32, 1e-10, '../data', fixed=True),
    'voc-fcn16s': voc(16, 1e-12, '../../data'),     # the release's paths differ by folder
    'voc-fcn8s': voc(8, 1e-14, '../data'),
    'voc-fcn8s-atonce': voc(8, 1e-10, '../data', max_iter=300000, skip_scales=(0.01, 0.0001)),
    'mini-classifier': mini_classifier(),
    'mini-fcn32s': mini(32, 'mini-fcn32s'),
    'mini-fcn32s-fixed': mini(32, 'mini-fcn32s-fixed', controls=False, fixed=True),
    'mini-fcn16s': mini(16, 'mini-fcn16s'),
    'mini-fcn8s': mini(8, 'mini-fcn8s'),
    'mini-fcn8s-atonce': mini(8, 'mini-fcn8s-atonce', sum(MINI_ITER.values()), controls=False,
                              skip_scales=(1, 1)),
    'scratch-fcn32s': scratch(32, 'scratch-fcn32s'),
    'scratch-fcn16s': scratch(16, 'scratch-fcn16s'),
    'scratch-fcn8s': scratch(8, 'scratch-fcn8s'),
    **M2NIST,
}
