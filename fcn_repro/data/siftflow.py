"""SIFT Flow (Liu et al. 2011) with its two labels of each image, semantic and geometric (Tighe and
Lazebnik 2010), as .mat files."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.labelmat import read_matrix, shifted
from fcn_repro.data.layer import SegDataLayer, param_path
from fcn_repro.data.reader import Reader, read_class_names

SCENES = 'spatial_envelope_256x256_static_8outdoorcategories'   # the folder in each folder
SEMANTIC, GEOMETRIC = 'semantic', 'geometric'

# From data/sift-flow/classes.txt of the release, which is prose; cow, desert and moon have no
# pixel in the test split
SEMANTIC_CLASSES = (
    'awning', 'balcony', 'bird', 'boat', 'bridge', 'building', 'bus', 'car', 'cow', 'crosswalk',
    'desert', 'door', 'fence', 'field', 'grass', 'moon', 'mountain', 'person', 'plant', 'pole',
    'river', 'road', 'rock', 'sand', 'sea', 'sidewalk', 'sign', 'sky', 'staircase', 'streetlight',
    'sun', 'tree', 'window')
GEOMETRIC_CLASSES = 'sky', 'horizontal', 'vertical'


class SiftFlowFolder(Reader):
    """Images/SCENES/ID.jpg, SemanticLabels/SCENES/ID.mat, GeoLabels/SCENES/ID.mat and SPLIT.txt:
    what SiftFlowDataset.zip unpacks to, and the lists of the release.

    A sample's label is the semantic one; the geometric one is in Sample.more. In the files 0 is
    void, and -1 as well in the geometric ones. n_classes: semantic ones, 33 if it is None.
    """

    images = f'Images/{SCENES}/{{}}.jpg'
    labels = f'SemanticLabels/{SCENES}/{{}}.mat'
    more = MappingProxyType({GEOMETRIC: f'GeoLabels/{SCENES}/{{}}.mat'})
    more_labels = GEOMETRIC,
    splits = '{}.txt'
    standard = SEMANTIC_CLASSES
    layout = ('the folder with Images/, SemanticLabels/, GeoLabels/ and trainval.txt, such as '
              'data/sift-flow')

    def __init__(self, siftflow_dir: str | Path, split: str, n_classes: int | None = None):
        super().__init__(siftflow_dir, split, n_classes or len(SEMANTIC_CLASSES))

    def class_names(self) -> tuple[str, ...] | None:
        return siftflow_names(self.folder, self.n_classes)

    def read_label(self, path: Path) -> np.ndarray:
        return shifted(read_matrix(path, 'S', high=self.n_classes or 254,
                                   do='Take the files of SemanticLabels/.'))

    def read_more(self, name: str, path: Path) -> np.ndarray:
        """(H, W) uint8: the geometric label, 0 to 2, or void."""
        return shifted(read_matrix(path, 'S', low=-1, high=len(GEOMETRIC_CLASSES),
                                   do='Take the files of GeoLabels/.'))


def siftflow_names(folder: Path, count: int | None) -> tuple[str, ...] | None:
    """Semantic class names by label index: those of classes.txt if there are `count` of them; else
    those of the 33 classes."""
    found = read_class_names(folder / 'classes.txt')
    if found and len(found) == count:
        return found
    return SEMANTIC_CLASSES if count == len(SEMANTIC_CLASSES) else None


class SIFTFlowSegDataLayer(SegDataLayer):
    """The release's layer of that name (siftflow_layers.py), with three tops: data, semantic and
    geometric label.

    params: siftflow_dir; mean (an addition); classes (an addition): semantic ones, 33 by default;
    the rest as in SegDataLayer.
    """

    module = 'siftflow_layers'
    tops = 3
    top_names = 'data', SEMANTIC, GEOMETRIC
    folder_keys = ('siftflow_dir',)
    options: ClassVar = {'siftflow': 'siftflow_dir'}
    own_mean = (114.578, 115.294, 108.353)

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        return siftflow_names(param_path(params, 'siftflow_dir'),
                              params.get('classes') or len(SEMANTIC_CLASSES))

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        batch = params.get('batch_size', 1)
        return size and [(batch, 3, *size), (batch, 1, *size), (batch, 1, *size)]

    def open(self, params: Mapping[str, Any]) -> SiftFlowFolder:
        return SiftFlowFolder(params['siftflow_dir'], params['split'], params.get('classes'))

    def classes_of(self, name: str) -> tuple[str, ...] | None:
        return GEOMETRIC_CLASSES if name == GEOMETRIC else self.classes


LAYERS = (SIFTFlowSegDataLayer,)
