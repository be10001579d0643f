"""The mini nets: the release's layers with fewer channels, on generated scenes of digits."""

from dataclasses import replace

from ...data.scenes import FOLDER
from ..stage import Entry, Stage
from .model import MEAN, Model, Recipe, summed_rate, voc_data
from .parts import python_data
from .vgg import classifier, fcn

SETTINGS = {'classes': 11, 'widths': (8, 16, 32, 64, 64), 'fc': 512, 'dropout': 0.1,
            'weight_filler': {'type': 'msra'}, 'input_scale': 0.01}
SCENE = 256, 320        # height and width of a scene
PIXELS = SCENE[0] * SCENE[1]
LR = {32: 5e-3, 16: 3e-3, 8: 3e-3, 4: 3e-3, 2: 3e-3}    # by stride
ITERATIONS = {32: 2000, 16: 400, 8: 400, 4: 400, 2: 400}


def mini(stride: int, folder: str, max_iter: int | None = None, controls: bool = True,
         longer: int = 1, rate: float = 1, **settings) -> Model:
    """A small FCN on the digit scenes.

    Its solvers: the default with the paper's momentum and mean loss, one image per step;
    accumulated, 20 of them; heavy and online, the release's summed loss; slow, the rate of the
    paper and the release, a hundredth of the stage before; on, the control of the next stage:
    trained on at its rate for as long.
    controls: whether to write the last two; below stride 8 the default is all that there is.
    longer, rate: factors of the iterations and of base_lr.
    settings: of vgg.fcn, in place of SETTINGS.
    """
    rates = {key: float(f'{rate * value:.3g}') for key, value in LR.items()}
    base_lr, images = rates[stride], longer * (max_iter or ITERATIONS[stride])
    prefix = f'runs/{folder}/train'
    mean = Recipe(base_lr, momentum=0.9, max_iter=images, snapshot=min(images, 500), normalize=True,
                  prefix=prefix)

    def variant(name, **changes):
        return replace(mean, suffix=f'_{name}', prefix=f'{prefix}_{name}', **changes)
    summed = {'normalize': False, 'pixels': PIXELS, 'net': '_summed'}
    recipes = [
        mean,
        variant('accumulated', iter_size=20, max_iter=images // 20, snapshot=images // 20),
        variant('online', base_lr=summed_rate(base_lr, 0.9, PIXELS, 0.9), **summed),
        variant('heavy', base_lr=summed_rate(base_lr, 0.9, PIXELS), momentum=0.99, **summed)]
    if stride < 32 and controls:
        recipes.append(variant('slow', base_lr=rates[32] / 100 ** {16: 1, 8: 2}[stride]))
    if stride > 8 and controls:
        then = longer * ITERATIONS[stride // 2]
        recipes.append(variant('on', base_lr=rates[stride // 2], max_iter=then,
                               snapshot=min(then, 500)))
    if settings.get('fixed') or stride < 8:
        del recipes[1:]
    return Model(fcn, {'stride': stride, **SETTINGS, **settings}, voc_data(str(FOLDER), 'train'),
                 voc_data(str(FOLDER), 'val'), val_images=100, recipes=tuple(recipes))


def mini_classifier() -> Model:
    """The small classifier whose weights mini-fcn32s starts from. 200 pixels give 7x7 cells under
    fc6, as VGG16's 224 do, at four fifths of the work."""
    data = {'seed': 1337, 'mean': MEAN, 'size': 200, 'batch_size': 16}
    train = python_data('digit_layers', 'DigitDataLayer', split='train', curriculum=300, **data)
    val = python_data('digit_layers', 'DigitDataLayer', split='val', **data)
    recipe = Recipe(3e-3, momentum=0.9, max_iter=900, snapshot=450, normalize=None,
                    prefix='runs/mini-classifier/train')
    return Model(classifier, {**SETTINGS, 'classes': 10, 'size': 200}, train, val, val_images=23,
                 recipes=(recipe,))


MODELS = {
    'mini-classifier': mini_classifier(),
    'mini-fcn32s': mini(32, 'mini-fcn32s'),
    'mini-fcn32s-fixed': mini(32, 'mini-fcn32s-fixed', controls=False, fixed=True),
    'mini-fcn16s': mini(16, 'mini-fcn16s'),
    'mini-fcn8s': mini(8, 'mini-fcn8s'),
    'mini-fcn4s': mini(4, 'mini-fcn4s', controls=False),
    'mini-fcn2s': mini(2, 'mini-fcn2s', controls=False),
    'mini-fcn8s-atonce': mini(8, 'mini-fcn8s-atonce', controls=False, skip_scales=(1, 1),
                              max_iter=sum(ITERATIONS[stride] for stride in (32, 16, 8))),
}


def stage(net: str, parent: str, score_every: int, trains_parent: bool = False) -> Stage:
    """A stage of the mini FCNs."""
    return Stage('mini', net, parent, trains_parent, score_every=score_every,
                 takes=('voc', 'mnist'), scenes=True)


STAGES = {
    'mini-classifier': Stage('mini', 'classifier', surgeries=(), accuracy=0.90, takes=('mnist',)),
    'mini-fcn32s-fixed': stage('fcn32s-fixed', 'mini-classifier', 500, trains_parent=True),
    'mini-fcn32s': stage('fcn32s', 'mini-classifier', 500, trains_parent=True),
    'mini-fcn16s': stage('fcn16s', 'mini-fcn32s', 200),
    'mini-fcn8s': stage('fcn8s', 'mini-fcn16s', 200),
    'mini-fcn4s': stage('fcn4s', 'mini-fcn8s', 200),
    'mini-fcn2s': stage('fcn2s', 'mini-fcn4s', 200),
    'mini-fcn8s-atonce': stage('fcn8s-atonce', 'mini-classifier', 500, trains_parent=True),
}
ENTRIES = tuple(Entry('fcn', f'FCN-{stride}s', f'mini-fcn{stride}s') for stride in ITERATIONS)
