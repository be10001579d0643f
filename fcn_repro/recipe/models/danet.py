"""DANet (Fu et al. 2018): on a dilated ResNet two modules of attention, of each position to all
others (PAM) and of each channel to all others (CAM), whose maps are summed.

As released (junfu1115/DANet): a stem of 7x7, stride 8, multi-grid 4, 8, 16, a loss on the maps of
either module, too. The modules see a map as a matrix, and only a net that knows the map's height
can make a map of it again: a net is for images of one height.
"""

from dataclasses import replace
from typing import Any

from ...data.scenes import FOLDER
from ...proto.netspec import L
from ..stage import Entry
from .body_resnet import RESNETS, resnet
from .deeplabs import padded_data
from .deeplabv3 import mini, mini_stage, random_crops, scene_crops, voc_stage
from .mini import SCENE
from .model import Model, Recipe
from .normed import FORK, SCRATCH, Normed, dropped, loss
from .parts import fitted, start

WIDTH = 512
REDUCTION = 8           # of channels in queries and keys
STRIDE = 8
GRID = (1, 2, 4)        # times the dilation 4 of the last group
SIDE = 512


def rows_of(side: int) -> int:
    """Rows, or columns, of the map of an image with a side of so many pixels."""
    return -(-side // STRIDE)


def flat(n, bottom, name: str):
    """(N, C, H, W) as matrices (N, C, H W), as NAME."""
    n[name] = L.Reshape(bottom, reshape_param={'shape': {'dim': [0, 0, -1]}})
    return n[name]


def added(n, seen, bottom, name: str, rows: int):
    """bottom + gamma times the matrices `seen` as maps of so many rows; gamma, a learned number,
    begins as 0."""
    n[f'{name}_seen_map'] = L.Reshape(seen, reshape_param={'shape': {'dim': [0, 0, rows, -1]}})
    n[f'{name}_gamma'] = L.Scale(n[f'{name}_seen_map'], scale_param={
        'num_axes': 0, 'filler': {'type': 'constant', 'value': 0}})
    n[name] = L.Eltwise(n[f'{name}_gamma'], bottom)
    return n[name]


def projected(n, bottom, name: str, width: int):
    """A 1x1 convolution with a bias, as matrices."""
    n[name] = L.Convolution(bottom, num_output=width, kernel_size=1,
                            weight_filler={'type': 'xavier'})
    return flat(n, n[name], f'{name}_flat')


def pam(n, bottom, name: str, width: int, rows: int):
    """Position attention: each position gets the mean of the values of all positions, weighed by
    the softmax of the products of its query with their keys."""
    query = projected(n, bottom, f'{name}_query', width // REDUCTION)
    key = projected(n, bottom, f'{name}_key', width // REDUCTION)
    n[f'{name}_energy'] = L.MatMul(query, key, fcn_repro_param={'transpose_a': True})
    n[f'{name}_attention'] = L.Softmax(n[f'{name}_energy'], axis=2)
    value = projected(n, bottom, f'{name}_value', width)
    n[f'{name}_seen'] = L.MatMul(value, n[f'{name}_attention'],
                                 fcn_repro_param={'transpose_b': True})
    return added(n, n[f'{name}_seen'], bottom, name, rows)


def cam(n, bottom, name: str, rows: int):
    """Channel attention: each channel gets the mean of all, weighed by the softmax of minus its
    products with them. (The release takes the products from their largest first, which shifts
    what the softmax does not depend on.)"""
    maps = flat(n, bottom, f'{name}_flat')
    n[f'{name}_energy'] = L.MatMul(maps, maps, fcn_repro_param={'transpose_b': True})
    n[f'{name}_less'] = L.Power(n[f'{name}_energy'], scale=-1)
    n[f'{name}_attention'] = L.Softmax(n[f'{name}_less'], axis=2)
    n[f'{name}_seen'] = L.MatMul(n[f'{name}_attention'], maps)
    return added(n, n[f'{name}_seen'], bottom, name, rows)


def net(data: dict | None = None, *, classes: int = 21, body_settings: dict | None = None,
        width: int = WIDTH, dropout: float = 0.1, norm: dict | None = None,
        normalize: bool = True, training: bool = False,
        shape: tuple[int, ...] = (1, 3, SIDE, SIDE), crop: tuple[int, int] | None = None):
    """DANet, a NetParameter: data (N,3,H,W) of the height of `shape` and any width to score
    (N,classes,H,W).

    data: settings of the data layer (python_data), tops data and label (N,1,H,W); None gives the
    deploy net, an Input of `shape` and no loss. body_settings: of body_resnet.resnet. width: of the
    maps of both modules. dropout: share of channels, before scores. norm: of Normed. training: with
    the scores of either module and their losses. crop: height and width of the images of the net
    that learns, by default those of shape.
    """
    if training and crop is not None:
        shape = *shape[:2], *crop
    n, rows = start(data, shape, dialect=FORK), rows_of(shape[2])
    to = Normed(n, **(norm or {}))
    top = resnet(to, n.data, stride=STRIDE, late=True, **{
        'blocks': RESNETS['resnet101'], 'grid': GRID, **(body_settings or {})})[-1]
    position = pam(n, to.conv(top, 'pam_in', width, 3), 'pam', width, rows)
    position = to.conv(position, 'pam_out', width, 3)
    channel = cam(n, to.conv(top, 'cam_in', width, 3), 'cam', rows)
    channel = to.conv(channel, 'cam_out', width, 3)
    n.attended = L.Eltwise(position, channel)
    ends = {'': n.attended, **({'pam_': position, 'cam_': channel} if training else {})}
    for name, top in ends.items():
        top = dropped(n, top, f'{name}drop', dropout, in_place=False)
        coarse = n[f'{name}score_coarse'] = to.classifier(top, classes)
        if data is not None and not training:
            padded = to.resized('score_padded', coarse, n.data)
            n.score = L.Crop(padded, n.label, crop_param={'axis': 2, 'offset': 0})
        else:
            to.resized(f'{name}score', coarse, n.data)
        if data is not None:
            loss(n, normalize, f'{name}score', f'{name}loss')
    return n.to_proto()


ORIGIN = ('Fu et al. 2018 (DANet), as released: junfu1115/DANet; here on VOC, not Cityscapes:\n'
          'crops of 512x512, 16 an iteration, 0.003, poly')
crops = random_crops(SIDE, (0.5, 2.0), 16)


def whole(size: tuple[int, int] | None) -> tuple[int, int]:
    """The sides of images of this size, by default of a scene, up to the next cell of the map."""
    height, width = (STRIDE * rows_of(side) for side in size or SCENE)
    return height, width


def for_size(size: tuple[int, int]) -> dict[str, Any]:
    """The settings of a net for images of this size (Model.sized)."""
    return {'shape': (1, 3, *whole(size))}


def whole_crops(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
                recolour: float | None = None, rotate: float = 0) -> dict[str, str]:
    """Data settings of crops as large as the net's images (Model.train_data)."""
    return scene_crops(voc_dir, split, whole(size), recolour, rotate)


def whole_images(voc_dir: str, split: str, size: tuple[int, int] | None = None) -> dict[str, str]:
    """Data settings of whole images, padded to the size of the net's (Model.val_data)."""
    return padded_data(voc_dir, split, padded=whole(size))


def voc() -> Model:
    """The model on VOC 2012 with the 10582 images of train and SBD as its split trainaug; for
    images of one's own at their size, with crops of at most SIDE."""
    recipe = Recipe(3e-3, momentum=0.9, max_iter=30000, snapshot=2000, normalize=True,
                    weight_decay=1e-4, policy='poly')
    root = '../data/pascal/VOC2012'
    return Model(net, {}, crops(root, 'trainaug'), padded_data(root, 'val', padded=(SIDE, SIDE)),
                 1449, (recipe,), crops, origin=ORIGIN, phased=True, val_data=whole_images,
                 sized=lambda size: {**for_size(size), 'crop': fitted(size, (SIDE, SIDE))})


SMALL = {'width': 32, 'norm': SCRATCH, **for_size(SCENE),
         'body_settings': {'blocks': (2, 2, 2, 3), 'stem': 16, 'widths': (8, 16, 24, 32)}}
MODELS = {
    'danet-resnet101': voc(),
    'danet-mini': replace(mini('danet-mini', net, **SMALL), phased=True, sized=for_size,
                          train=whole_crops(str(FOLDER), 'train'), train_data=whole_crops,
                          val=whole_images(str(FOLDER), 'val'), val_data=whole_images),
}
STAGES = {'danet-resnet101': voc_stage('danet', 'resnet101', 'resnet101.caffemodel'),
          'danet-mini': mini_stage('danet', 'mini')}
ENTRIES = (Entry('danet', 'DANet', 'danet-mini'),)
