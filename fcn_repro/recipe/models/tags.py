"""Own nets that learn from image tags, which classes an image has, and whose class maps tell where
they are: MDC's dilated branches (Wei et al. 2018, arXiv 1805.04574), and FickleNet's dropout within
windows (Lee et al. 2019, arXiv 1902.10421). `fcn-repro data localise` makes seeds of the maps."""

import math
from functools import partial

from ...data.image import MEAN
from ...data.scenes import FOLDER
from ...predict.localise import MAPS
from ...proto.netspec import L, NetSpec, P
from ..stage import Stage
from .model import Model, Recipe
from .own import LAPTOP, MSRA, RECOLOUR, body, norm
from .parts import PARAM, python_data, start

DILATIONS = 1, 3, 6, 9      # MDC's, in cells of the map
POOLINGS = 3                # of the body: maps of an eighth of the sides
WIDTH = 96                  # channels of a branch
WINDOW, RATIO = 3, 0.5      # FickleNet's dropout; measured in docs/own-nets.md
LARGEST = 112, 144          # pixels of a crop, which holds a whole image
CROPS = 12


def branch(n: NetSpec, bottom, classes: int, mark: str, **window):
    """Add a branch: a convolution, normalised, and a map for each class but the background,
    maps<mark> (N,classes-1,h,w)."""
    n[f'conv6{mark}'] = L.Convolution(bottom, num_output=WIDTH, param=PARAM, weight_filler=MSRA,
                                      **window)
    top = norm(n, n[f'conv6{mark}'], f'6{mark}')
    n[f'relu6{mark}'] = L.ReLU(top, in_place=True)
    n[MAPS + mark] = L.Convolution(n[f'relu6{mark}'], num_output=classes - 1, kernel_size=1,
                                   param=PARAM, weight_filler={'type': 'gaussian', 'std': 0.01})
    return n[MAPS + mark]


def dilated(n: NetSpec, bottom, classes: int) -> dict:
    """The maps of MDC's branches by the mark of their names, one a dilation, the plain convolution
    first."""
    return {f'_d{d}': branch(n, bottom, classes, f'_d{d}', kernel_size=3, pad=d, dilation=d)
            for d in DILATIONS}


def fickle(n: NetSpec, bottom, classes: int) -> dict:
    """The map of FickleNet: in each window of the last map values are dropped at random, all but
    those in its middle, and then convolved."""
    n.patches = L.Im2col(bottom, convolution_param={'kernel_size': WINDOW, 'pad': WINDOW // 2})
    n.drop = L.Dropout(n.patches, dropout_ratio=RATIO, fcn_repro_param={'window': [WINDOW]})
    return {'': branch(n, n.drop, classes, '', kernel_size=1)}


HEADS = {'dilated': dilated, 'fickle': fickle}


def tagger(data: dict | None = None, *, classes: int, widths: tuple[int, ...], head: str,
           shape: tuple[int, ...] = (1, 3, *LARGEST), training: bool = False):
    """A classifier of tags, a NetParameter: data (N,3,H,W) to score (N,classes-1), above 0 for the
    classes that are there.

    The score is the mean of `maps` (N,classes-1,h,w) over their cells: pooling before the classes'
    weights, as in a class activation map, or behind them is the same. head: of HEADS. maps is the
    first branch's plus the mean of the others'. data: settings of a data layer with tops data and
    tags (N,classes-1). The net that learns (training) has no maps and no score, but a
    SigmoidCrossEntropyLoss of each branch.
    """
    n = start(data, shape, ('tags',))
    maps = HEADS[head](n, body(n, widths, POOLINGS), classes)
    if training:
        for mark, each in maps.items():
            score = mean(n, each, mark)
            n[f'loss{mark}'] = L.SigmoidCrossEntropyLoss(score, n.tags)
        return n.to_proto()
    if others := len(maps) - 1:
        n[MAPS] = L.Eltwise(*maps.values(), operation=P.Eltwise.SUM, coeff=[
            1, *[1 / others] * others])
    mean(n, n[MAPS], '')
    return n.to_proto()


def mean(n: NetSpec, maps, mark: str):
    """Add score<mark> (N,C), the mean of maps (N,C,h,w) over their cells."""
    n[f'pool6{mark}'] = L.Pooling(maps, pool=P.Pooling.AVE, global_pooling=True)
    n[f'score{mark}'] = L.Flatten(n[f'pool6{mark}'])
    return n[f'score{mark}']


def tag_data(voc_dir: str, split: str, size: tuple[int, int] | None = None, *, tags: int,
             train: bool = False, recolour: float | None = None) -> dict[str, str]:
    """Data settings of whole images of a folder laid out as VOC's, and their tags. size: (height,
    width) of its images; train: scaled, recoloured and mirrored, several a pass."""
    crop = LARGEST if size is None else crop_of(size)
    changed: dict = {}
    if train:
        most = CROPS * math.prod(LARGEST) // math.prod(crop)
        changed = {'scale': (0.7, 1), 'mirror': True, 'recolour': RECOLOUR if recolour is None else
                   recolour, 'batch_size': min(2 * CROPS, most)}
    return python_data('own_layers', 'OwnDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=MEAN, crop=crop, tags=tags, **changed)


def crop_of(size: tuple[int, int]) -> tuple[int, int]:
    """The size of crops that hold whole images of this size: its sides, scaled to at most as many
    pixels as LARGEST has, to the nearest multiples of 16."""
    factor = min(1., math.sqrt(math.prod(LARGEST) / math.prod(size)))
    height, width = (max(16, 16 * round(factor * side / 16)) for side in size)
    return height, width


def tag_model(name: str, head: str) -> Model:
    """A tagger, on the digit scenes until a VOC folder is given."""
    train_data = partial(tag_data, train=True)
    return Model(tagger, {'classes': 11, 'widths': LAPTOP['widths'], 'head': head},
                 train_data(str(FOLDER), 'train', tags=10), tag_data(str(FOLDER), 'val', tags=10),
                 100, (Recipe(
                     2e-3, momentum=0.9, max_iter=700, snapshot=350, normalize=None,
                     weight_decay=1e-4, policy='poly', type='Adam', prefix=f'runs/{name}/train'),),
                 train_data, phased=True, val_data=tag_data, tagged=True)


MODELS = {
    'own-tags': tag_model('own-tags', 'dilated'),
    'own-fickle': tag_model('own-fickle', 'fickle'),
}
STAGES = {name: Stage('tags', model.settings['head'], surgeries=('transplant',), tags=True,
                      takes=('voc', 'mnist', 'recolour'), scenes=True, counts_classes=True)
          for name, model in MODELS.items()}
