"""What SegNet and ENet share: data, batch normalisation, losses."""

from typing import Any

from ...data.scenes import FOLDER
from ...proto.netspec import L, NetSpec, P
from .parts import python_data

DIALECT = 'enet'
ONE, TWO = {'lr_mult': 1, 'decay_mult': 1}, {'lr_mult': 2, 'decay_mult': 0}
UNDECAYED = {'lr_mult': 1, 'decay_mult': 0}
MSRA = {'type': 'msra'}
RAW = (0., 0., 0.)                  # these nets read pixels from 0 to 255 as they are
SCENES = str(FOLDER)


def begin(data: dict | None, shape: tuple[int, ...], dialect: str = DIALECT) -> NetSpec:
    """A NetSpec with the tops data and label of a Python layer (python_data) or, for a `source`
    among its settings, of a DenseImageData; None: data alone, an Input of `shape`."""
    n = NetSpec(dialect)
    if data is None:
        n.data = L.Input(input_param={'shape': {'dim': list(shape)}})
    elif 'source' in data:
        n.data, n.label = L.DenseImageData(ntop=2, dense_image_data_param=data)
    else:
        n.data, n.label = L.Python(ntop=2, **data)
    return n


def norm(n: NetSpec, bottom, name: str, folded: bool, in_place: bool = False,
         param: bool = True, said: bool = True):
    """n[name]: BN of the two forks. folded: bn_mode: INFERENCE; said: LEARN is written too."""
    given: dict[str, Any] = {'param': [ONE, UNDECAYED]} if param else {}
    mode = {'bn_mode': 'INFERENCE' if folded else 'LEARN'} if folded or said else {}
    n[name] = L.BN(bottom, in_place=in_place, **given, bn_param={
        'scale_filler': {'type': 'constant', 'value': 1},
        'shift_filler': {'type': 'constant', 'value': 0.001}, **mode})
    return n[name]


def pooled(bottom, mask: bool = True):
    """MAX pooling by 2; mask: with the places of the maxima as its second top."""
    return L.Pooling(bottom, ntop=2 if mask else 1, pooling_param={
        'pool': P.Pooling.MAX, 'kernel_size': 2, 'stride': 2})


def scenes(split: str, voc_dir: str = SCENES, batch: int = 4, **params) -> dict[str, str]:
    """Data settings of whole images of a folder laid out as VOC's, without a mean; batch: images a
    pass of the training split."""
    size = {'batch_size': batch} if 'train' in split and batch > 1 else {}
    return python_data('voc_layers', 'VOCSegDataLayer', voc_dir=voc_dir, seed=1337, split=split,
                       mean=RAW, **size, **params)


def whole(voc_dir: str, split: str, size: tuple[int, int] | None = None, *,
          batch: int) -> dict[str, str]:
    """Data settings of training on whole images (Model.train_data)."""
    return scenes(split, voc_dir, batch)
