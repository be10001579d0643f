"""PASCAL VOC, and any folder laid out like it."""

import re

from fcn_repro.data.layer import SegDataLayer
from fcn_repro.data.palette import VOC_CLASSES
from fcn_repro.data.reader import Reader, read_ids
from fcn_repro.data.sbd import SbdFolder
from fcn_repro.errors import FcnError


class VocFolder(Reader):
    """JPEGImages/*.jpg, SegmentationClass/*.png and ImageSets/Segmentation/<split>.txt.

    voc_dir: the year's folder, e.g. VOC2011. split: train, val, trainval, …; `seg11valid`
    is read when the folder has it, else it is VOC2011 val without the ids of SBD train, in val's
    order (736 images on the real data), for which sbdd_dir (SBD's dataset folder) is needed.
    """

    images = 'JPEGImages/{}.jpg'
    labels = 'SegmentationClass/{}.png'
    splits = 'ImageSets/Segmentation/{}.txt'
    layout = ('a folder with JPEGImages/, SegmentationClass/ and ImageSets/Segmentation/, such as '
              'VOCdevkit/VOC2011')

    def __init__(self, voc_dir, split, sbdd_dir=None, n_classes=None):
        self.sbdd_dir = sbdd_dir
        super().__init__(voc_dir, split, n_classes)

    def read_split(self):
        if self.split == 'seg11valid' and not self.split_file.is_file():
            return self._seg11valid()
        return super().read_split()

    def _seg11valid(self):
        year = self._year()
        if year not in (None, '2011'):
            raise FcnError(f'seg11valid is a part of VOC2011 val, this folder is VOC{year}',
                           file=self.split_file, do='Use VOC2011, or add the split file.')
        if self.sbdd_dir is None:
            raise FcnError("there is no split file 'seg11valid.txt'", file=self.split_file,
                           do='It is VOC2011 val without SBD train: give sbdd_dir, the dataset '
                              'folder of SBD, and it is computed, or add the file.')
        train = set(SbdFolder(self.sbdd_dir, 'train').ids)
        val = read_ids(self.folder / self.splits.format('val'), self.layout)
        ids = [i for i in val if i not in train]
        if not ids:
            raise FcnError(f'all {len(val)} images of val are in SBD train, none is left',
                           file=self.folder / self.splits.format('val'),
                           do=f'Check the split files of {self.sbdd_dir}.')
        return ids

    def _year(self):
        match = re.fullmatch(r'VOC(\d{4})', self.folder.absolute().name)
        return match and match[1]

    def class_names(self):
        return super().class_names() or (VOC_CLASSES if self._year() else None)


class VOCSegDataLayer(SegDataLayer):
    """The release's layer of that name (voc_layers.py), for `type: "Python"` data layers.

    params: voc_dir, and sbdd_dir for a computed seg11valid; the rest as in SegDataLayer.
    """

    folder_keys, optional = ('voc_dir',), ('sbdd_dir',)

    def open(self, params):
        return VocFolder(params['voc_dir'], params['split'], params.get('sbdd_dir'),
                         params.get('classes'))
