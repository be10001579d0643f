"""The Semantic Boundaries Dataset: more labels for the images of VOC 2011, as .mat files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.labelmat import read_matrix
from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader


def read_mat(path: str | Path) -> np.ndarray:
    """The field Segmentation of GTcls in a .mat file as (H, W) uint8 class indices."""
    return read_matrix(path, 'GTcls', 'Segmentation', high=255,
                       do="Take the files of SBD's cls/, not of inst/.").astype(np.uint8)


class SbdFolder(Reader):
    """img/*.jpg, cls/*.mat, train.txt and val.txt: the folder `dataset` of SBD's archive."""

    images, labels, splits = 'img/{}.jpg', 'cls/{}.mat', '{}.txt'
    standard = VOC_CLASSES
    layout = 'the folder with img/, cls/ and train.txt, such as benchmark_RELEASE/dataset'

    def __init__(self, sbdd_dir: str | Path, split: str, n_classes: int | None = None):
        super().__init__(sbdd_dir, split, n_classes)

    def read_label(self, path: Path) -> np.ndarray:
        return read_mat(path)

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
