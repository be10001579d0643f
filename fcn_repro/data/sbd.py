"""The Semantic Boundaries Dataset: more labels for the images of VOC 2011, as .mat files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data import matfile
from fcn_repro.data.image import most_pixels
from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader
from fcn_repro.errors import FcnError


def read_mat(path: str | Path) -> np.ndarray:
    """The field Segmentation of GTcls in a .mat file as (H, W) uint8 class indices."""
    try:
        label = matfile.read(path, 'GTcls', 'Segmentation', most=8 * most_pixels() + 2 ** 20)
    except matfile.NoVariable as error:
        raise error.with_remedy("Take the files of SBD's cls/, not of inst/.") from None
    check_numbers(label, path)
    return label.astype(np.uint8)


def check_numbers(label: Any, path: str | Path) -> None:
    """FcnError for what is no matrix of whole numbers from 0 to 255."""
    numbers = isinstance(label, np.ndarray) and label.ndim == 2 and label.dtype.kind in 'buif'
    if numbers and (label.dtype == np.uint8 or np.isin(label, np.arange(256)).all()):
        return
    found = f'shape {label.shape} and type {label.dtype}' if isinstance(label, np.ndarray) else \
        f'the type {type(label).__name__}'
    raise FcnError(f'GTcls.Segmentation has {found}, not a matrix of whole numbers from 0 to 255',
                   file=path, do='Copy the file again from SBD.')


class SbdFolder(Reader):
    """img/*.jpg, cls/*.mat, train.txt and val.txt: the folder `dataset` of SBD's archive."""

    images, labels, splits = 'img/{}.jpg', 'cls/{}.mat', '{}.txt'
    layout = 'the folder with img/, cls/ and train.txt, such as benchmark_RELEASE/dataset'
    read_label = staticmethod(read_mat)

    def __init__(self, sbdd_dir: str | Path, split: str, n_classes: int | None = None):
        super().__init__(sbdd_dir, split, n_classes)

    def class_names(self) -> tuple[str, ...]:
        return super().class_names() or VOC_CLASSES


class SBDDSegDataLayer(SegDataLayer):
    """The release's layer of that name (voc_layers.py): params sbdd_dir and SegDataLayer's."""

    module = 'voc_layers'
    folder_keys = ('sbdd_dir',)
    options: ClassVar = {'sbd': 'sbdd_dir', 'classes': 'classes'}

    def open(self, params: Mapping[str, Any]) -> SbdFolder:
        return SbdFolder(params['sbdd_dir'], params['split'], params.get('classes'))


LAYERS = (SBDDSegDataLayer,)
