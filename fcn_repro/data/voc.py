"""PASCAL VOC, and any folder laid out like it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.layer import SegDataLayer, param_path
from fcn_repro.data.margins import check_margins, padded_size, with_margins
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.published import check_seg11valid
from fcn_repro.data.reader import Reader, Sample, read_ids
from fcn_repro.data.sbd import SbdFolder
from fcn_repro.data.scenes import CLASSES, FOLDERS
from fcn_repro.errors import FcnError


class VocFolder(Reader):
    """JPEGImages/*.jpg (or .jpeg, .png), SegmentationClass/*.png and
    ImageSets/Segmentation/<split>.txt.

    voc_dir: the year's folder, e.g. VOC2011. split: train, val, trainval, …; `seg11valid`
    is read when the folder has it, else it is VOC2011 val without the ids of SBD train, in val's
    order (736 images on the real data), for which sbdd_dir (SBD's dataset folder) is needed.
    """

    images = 'JPEGImages/{}.jpg'
    labels = 'SegmentationClass/{}.png'
    splits = 'ImageSets/Segmentation/{}.txt'
    standard = VOC_CLASSES
    layout = ('a folder with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/, such as '
              'VOCdevkit/VOC2011')

    def __init__(self, voc_dir: str | Path, split: str, sbdd_dir: str | Path | None = None,
                 n_classes: int | None = None):
        self.sbdd_dir = sbdd_dir
        super().__init__(voc_dir, split, n_classes)

    def read_split(self) -> list[str]:
        if self.split == 'seg11valid' and not os.path.isfile(self.split_file):
            return self._seg11valid()
        return super().read_split()

    def _seg11valid(self) -> list[str]:
        year = self._year()
        if year not in (None, '2011'):
            raise FcnError(f'seg11valid is a part of VOC2011 val, this folder is VOC{year}',
                           file=self.split_file, do='Use VOC2011, or add the split file.')
        if self.sbdd_dir is None:
            raise FcnError("there is no split file 'seg11valid.txt'", file=self.split_file,
                           do='It is VOC2011 val without SBD train: give sbdd_dir, the dataset '
                              'folder of SBD, and it is computed, or add the file.')
        listed = SbdFolder(self.sbdd_dir, 'train').ids
        train = set(listed)
        val_file = self.split_path('val')
        val = read_ids(val_file, self.layout)
        ids = [i for i in val if i not in train]
        if not ids:
            raise FcnError(f'all {len(val)} images of val are in SBD train too: seg11valid would '
                           'be empty', file=val_file,
                           do=f'Check the split files of {self.sbdd_dir}.')
        check_seg11valid(ids, len(val), len(listed), val_file)
        return ids

    def _year(self) -> str | None:
        match = re.fullmatch(r'VOC(\d{4})', self.folder.absolute().name)
        return match[1] if match else None

    def class_names(self) -> tuple[str, ...] | None:
        return super().class_names() or (VOC_CLASSES if self._year() else None)


class VOCSegDataLayer(SegDataLayer):
    """The release's layer of that name (voc_layers.py), for `type: "Python"` data layers.

    params: voc_dir, and sbdd_dir for a computed seg11valid; the rest as in SegDataLayer. padded (an
    addition): the top of images, not that of labels, is padded with the mean pixel on the right
    and below, to a height and a width, or to the next sides that are a multiple of a number, and
    1. margin (an addition): it has a margin of so many pixels, reflected (margins.py).
    """

    module = 'voc_layers'
    folder_keys, optional = ('voc_dir',), ('sbdd_dir',)
    options: ClassVar = {'voc': 'voc_dir', 'sbd': 'sbdd_dir', 'classes': 'classes'}
    settings: ClassVar[tuple[str, ...]] = (*SegDataLayer.settings, 'padded', 'margin')

    def __init__(self, params: Mapping[str, Any]):
        super().__init__(params)
        self.padded, self.margin = params.get('padded'), params.get('margin', 0)
        check_margins(self.padded, self.margin)

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        shapes = super().assumed_shapes(params, size)
        if size is None or shapes is None:
            return None
        margin = 2 * params.get('margin', 0)
        height, width = padded_size(params.get('padded'), size)
        return [(*shapes[0][:2], height + margin, width + margin), *shapes[1:]]

    def top(self, sample: Sample, name: str) -> np.ndarray:
        top = super().top(sample, name)
        if name != self.top_names[0]:
            return top
        return with_margins(top, self.padded, self.margin)

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Those of classes.txt; of the generated scenes also before they are made."""
        names = super().class_names(params)
        if names or not params.get('voc_dir'):
            return names
        return CLASSES if param_path(params, 'voc_dir') in FOLDERS else None

    def open(self, params: Mapping[str, Any]) -> VocFolder:
        return VocFolder(params['voc_dir'], params['split'], params.get('sbdd_dir'),
                         params.get('classes'))


LAYERS = (VOCSegDataLayer,)
