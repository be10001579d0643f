"""Miniatures of the paper's other nets, for `fcn-repro paper --mini`: AlexNet and GoogLeNet, the
nets on NYUDv2, SIFT Flow and PASCAL-Context, and variants of section 4.2.

The builders are those of the full nets, with few channels and mini.py's recipe; the data are
data.miniatures', in the layouts of the originals.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...data.miniatures import KINDS, folder_of
from ...data.scenes import FOLDER
from ..stage import Stage
from . import alexnet, googlenet, vgg
from .mini import LR, SETTINGS, mini
from .model import MEAN, Model, Recipe, voc_data
from .parts import python_data

# By stride. Rooms take longer than the scenes of digits: after 1000 iterations mean IU was 9
ITERATIONS = {32: 3000, 16: 600, 8: 600}
MSRA = {'type': 'msra'}
ALEXNET: dict[str, Any] = {'widths': (16, 32, 48, 48, 32), 'fc': 256, 'weight_filler': MSRA,
                           'dropout': 0.1, 'input_scale': 0.01}
GOOGLENET: dict[str, Any] = {'width': 0.125, 'dropout': 0.1, 'input_scale': 0.01,
                             'weight_filler': MSRA}
SEMANTIC, GEOMETRIC = len(KINDS['siftflow'].classes), 3
HEADS = {'sem': SEMANTIC, 'geo': GEOMETRIC}
SCALES = {'color': 0.01, 'hha': 0.01, 'depth': 1.}      # of the inputs; depth is in units of 1


def recipes(folder: str, stride: int, control: bool = False) -> tuple[Recipe, ...]:
    """The paper's momentum and mean loss, one image per step, by a stride's rate and length;
    control: also trained on, by those of the next stage."""
    own = Recipe(LR[stride], momentum=0.9, max_iter=ITERATIONS[stride], snapshot=600,
                 normalize=True, prefix=f'runs/{folder}/train')
    on = replace(own, base_lr=LR[16], max_iter=ITERATIONS[16], suffix='_on',
                 prefix=f'runs/{folder}/train_on')
    return (own, on) if control else (own,)


def model(net: Callable, data: Callable[[str], dict], recipes: tuple[Recipe, ...],
          splits: tuple[str, str], **settings) -> Model:
    """A model; data: a split's data settings (python_data); settings: of the net."""
    return Model(net, settings, data(splits[0]), data(splits[1]), 100, recipes, splits=splits)


# ---- classifiers of Table 1 ----------------------------------------------------------------------

def digit_classifier(folder: str, net: Callable, size: int, base_lr: float,
                     solver: str = 'SGD', **settings) -> Model:
    """A classifier of single digits; size: of its input. solver: its type."""
    data = {'seed': 1337, 'mean': MEAN, 'size': size, 'batch_size': 16}
    train = python_data('digit_layers', 'DigitDataLayer', split='train', curriculum=300, **data)
    val = python_data('digit_layers', 'DigitDataLayer', split='val', **data)
    recipe = Recipe(base_lr, momentum=0.9, max_iter=900, snapshot=450, normalize=None,
                    type=solver, prefix=f'runs/{folder}/train')
    return Model(net, {'classes': 10, 'size': size, 'scores': 'score_cls', **settings}, train, val,
                 val_images=23, recipes=(recipe,))


def digits(split: str) -> dict[str, str]:
    """The scenes of digits."""
    return voc_data(str(FOLDER), split)


def table1(folder: str, net: Callable, **settings) -> Model:
    """An FCN on the scenes of digits, by the recipe of mini-fcn32s."""
    return model(net, digits, mini(32, folder).recipes[:1], ('train', 'val'), classes=11,
                 **settings)


# ---- NYUDv2, SIFT Flow, PASCAL-Context -----------------------------------------------------------

def nyud(folder: str, *images: str, stride: int = 32, control: bool = False, **settings) -> Model:
    """A net on the rooms in NYUDv2's layout, with these images. Late fusion starts from nets that
    are trained, and so has the rate and length of a later stage."""
    def data(split):
        return python_data('nyud_layers', 'NYUDSegDataLayer', tops=[*images, 'label'], seed=1337,
                           nyud_dir=str(folder_of('nyud')), split=split,
                           classes=len(KINDS['nyud'].classes))
    scale = {name: SCALES[name] for name in images} if len(images) > 1 else SCALES[images[0]]
    later = 16 if settings.get('fusion') == vgg.LATE else stride
    return model(vgg.fcn, data, recipes(folder, later, control), ('trainval', 'test'), **{
        **SETTINGS, 'classes': len(KINDS['nyud'].classes), 'input_scale': scale, 'stride': stride,
        **settings})


def siftflow(folder: str, stride: int, *heads: str) -> Model:
    """A net on the rooms in SIFT Flow's layout, with these heads."""
    def data(split):
        return python_data('siftflow_layers', 'SIFTFlowSegDataLayer', seed=1337,
                           siftflow_dir=str(folder_of('siftflow')), split=split,
                           classes=SEMANTIC)
    settings = {name: value for name, value in SETTINGS.items() if name != 'classes'}
    return model(siftflow_net, data, recipes(folder, stride), ('trainval', 'test'), stride=stride,
                 only=heads, **settings)


def siftflow_net(stride: int, data: dict | None = None, only: tuple[str, ...] = (), **settings):
    """vgg.fcn with HEADS, or with those of them that `only` names: the others' layers are left out,
    and their labels are read and silenced."""
    net = vgg.fcn(stride, data, heads=HEADS, **settings)
    for head in HEADS:
        if head not in only:
            kept = [layer for layer in net.layer if not of_head(layer.name, head)]
            del net.layer[:]
            net.layer.extend(kept)
            if data is not None:
                net.layer.add(name=f'silence_{head}', type='Silence', bottom=[head])
    return net


def of_head(layer: str, head: str) -> bool:
    """Whether a layer of this name belongs to a head."""
    first = next(iter(HEADS))
    return layer.endswith((f'_{head}', f'_{head}c')) or (layer == 'loss' and head == first)


def context(folder: str, stride: int, task: int) -> Model:
    """A net on the rooms in PASCAL-Context's layout, for the task of so many classes."""
    def data(split):
        where = str(folder_of('context'))
        return python_data('pascalcontext_layers', 'PASCALContextSegDataLayer', voc_dir=where,
                           context_dir=where, seed=1337, split=split, task=task)
    return model(vgg.fcn, data, recipes(folder, stride), ('train', 'val'),
                 **{**SETTINGS, 'stride': stride, 'classes': task + 1})


TASKS = tuple(len(task) for task in KINDS['context'].tasks)     # more classes, and fewer
STRIDES = {32: 'fcn32s', 16: 'fcn16s', 8: 'fcn8s'}
BEFORE = {16: 32, 8: 16}
ONE_HEAD = {'sem': ('sem',), 'geo': ('geo',), 'both': ('sem', 'geo')}
LATE: dict[str, Any] = {'inputs': {'color': 3, 'hha': 3}, 'fusion': vgg.LATE}

MODELS = {
    'mini-alexnet': digit_classifier('mini-alexnet', alexnet.classifier, 227, 3e-3,
                                     param=vgg.PARAM, **ALEXNET),
    'mini-fcn-alexnet': table1('mini-fcn-alexnet', alexnet.fcn, **ALEXNET),
    # 22 layers without normalisation: by SGD the loss has not moved after 400 iterations
    'mini-googlenet': digit_classifier('mini-googlenet', googlenet.classifier, 192, 1e-3, 'Adam',
                                       **GOOGLENET),
    'mini-fcn-googlenet': table1('mini-fcn-googlenet', googlenet.fcn, **GOOGLENET),

    'mini-nyud-fcn32s-color': nyud('mini-nyud-fcn32s-color', 'color', control=True),
    'mini-nyud-fcn32s-hha': nyud('mini-nyud-fcn32s-hha', 'hha'),
    'mini-nyud-fcn32s-color-d': nyud('mini-nyud-fcn32s-color-d', 'color', 'depth', control=True,
                                     inputs={'color': 3, 'depth': 1}, fusion=vgg.EARLY),
    'mini-nyud-fcn32s-color-hha': nyud('mini-nyud-fcn32s-color-hha', 'color', 'hha', **LATE),
    'mini-nyud-fcn16s-color-hha': nyud('mini-nyud-fcn16s-color-hha', 'color', 'hha', stride=16,
                                       **LATE),
    **{f'mini-siftflow-{net}-{name}': siftflow(f'mini-siftflow-{net}-{name}', stride, *heads)
       for stride, net in STRIDES.items() if stride > 8 for name, heads in ONE_HEAD.items()},
    **{f'mini-context{task}-{net}': context(f'mini-context{task}-{net}', stride, task)
       for task in TASKS for stride, net in STRIDES.items()},

    'mini-fcn-pool4': table1('mini-fcn-pool4', vgg.pool_fcn, pool='pool4', **{
        name: SETTINGS[name] for name in ('widths', 'weight_filler', 'input_scale')}),
    'mini-fcn8s-learned': mini(8, 'mini-fcn8s-learned', controls=False,
                               learned_up=('middle', 'last')),
}


def stage(net: str, parent: str = 'mini-classifier', kind: str = '', **further) -> Stage:
    """A stage of the miniatures; parent: '' for one with streams. kind: of data.miniatures."""
    return Stage('minis', net, parent or None, trains_parent=True,
                 score_every=1000 if kind else 500, scenes=not kind,
                 miniature=kind, **further)


STAGES = {
    'mini-alexnet': Stage('minis', 'alexnet', surgeries=(), accuracy=0.85),
    'mini-googlenet': Stage('minis', 'googlenet', surgeries=(), accuracy=0.85),
    'mini-fcn-alexnet': stage('fcn-alexnet', 'mini-alexnet'),
    'mini-fcn-googlenet': stage('fcn-googlenet', 'mini-googlenet'),
    'mini-fcn-pool4': stage('fcn-pool4'),
    'mini-fcn8s-learned': stage('fcn8s-learned', 'mini-fcn16s'),
    'mini-nyud-fcn32s-color': stage('nyud-fcn32s-color', kind='nyud'),
    'mini-nyud-fcn32s-hha': stage('nyud-fcn32s-hha', kind='nyud'),
    'mini-nyud-fcn32s-color-d': stage('nyud-fcn32s-color-d', kind='nyud',
                                      expanded=(('conv1_1_bgrd', 'conv1_1'),)),
    'mini-nyud-fcn32s-color-hha': stage(
        'nyud-fcn32s-color-hha', '', 'nyud', streams=(
            ('mini-nyud-fcn32s-color', 'color'), ('mini-nyud-fcn32s-hha', 'hha'))),
    'mini-nyud-fcn16s-color-hha': stage('nyud-fcn16s-color-hha', 'mini-nyud-fcn32s-color-hha',
                                        'nyud'),
    **{f'mini-siftflow-{net}-{name}': stage(
        f'siftflow-{net}-{name}', f'mini-siftflow-{STRIDES[BEFORE[stride]]}-{name}'
        if stride in BEFORE else 'mini-classifier', 'siftflow')
       for stride, net in STRIDES.items() if stride > 8 for name in ONE_HEAD},
    **{f'mini-context{task}-{net}': stage(
        f'context{task}-{net}', f'mini-context{task}-{STRIDES[BEFORE[stride]]}'
        if stride in BEFORE else 'mini-classifier', 'context')
       for task in TASKS for stride, net in STRIDES.items()},
}
