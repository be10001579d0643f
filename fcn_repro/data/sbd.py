"""The Semantic Boundaries Dataset: more labels for the images of VOC 2011, as .mat files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader
from fcn_repro.errors import FcnError


def read_mat(path: str | Path) -> np.ndarray:
    """The field Segmentation of GTcls in a .mat file as (H, W) uint8 class indices."""
    import scipy.io  # slow to import, and only SBD's labels need it
    try:
        mat = scipy.io.loadmat(path)
    except Exception as error:      # a damaged .mat raises nearly anything from scipy's reader
        raise FcnError(f'the label cannot be read: {type(error).__name__}: {error}', file=path,
                       do='The file is damaged, or not a MATLAB 5 file; copy it again.'
                       ) from error
    try:
        label = np.asarray(mat['GTcls'][0]['Segmentation'][0])
    except (KeyError, IndexError, ValueError):
        names = ', '.join(k for k in mat if not k.startswith('__')) or 'nothing'
        raise FcnError(f'the label has no GTcls.Segmentation; it holds {names}',
                       file=path, do="Take the files of SBD's cls/, not of inst/.") from None
    if label.ndim != 2 or not np.isin(label, np.arange(256)).all():
        raise FcnError(f'GTcls.Segmentation has shape {label.shape} and type {label.dtype}, '
                       'not a matrix of whole numbers from 0 to 255', file=path,
                       do='Copy the file again from SBD.')
    return label.astype(np.uint8)


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
