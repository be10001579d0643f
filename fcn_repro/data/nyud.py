"""NYUDv2 (Silberman et al. 2012) with the 40 classes of Gupta et al. (2013), as the release has it:
colour, depth and HHA as PNG files, labels as .mat files."""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from fcn_repro.data.image import VOID, open_image, read_image, to_blob
from fcn_repro.data.labelmat import read_matrix, shifted
from fcn_repro.data.layer import SegDataLayer, param_path
from fcn_repro.data.reader import Reader, Sample, read_class_names, read_ids
from fcn_repro.errors import FcnError, short

COLOR, DEPTH, HHA, LABEL = 'color', 'depth', 'hha', 'label'     # the release's names of tops
TOPS = {COLOR: 'data/images/img_{}.png', DEPTH: 'data/depth/img_{}.png',
        HHA: 'data/hha/img_{}.png', LABEL: 'segmentation/img_{}.mat'}
MAKE_HHA = 'Compute it from depth with fcn_repro.data.hha_files.encode_folder.'
CHANNELS = {COLOR: 3, DEPTH: 1, HHA: 3, LABEL: 1}

# The release's means (nyud_layers.py): BGR; of HHA's channels in their order in the file; of the
# natural logarithm of depth
MEAN_COLOR = (116.190, 97.203, 92.318)
MEAN_HHA = (132.431, 94.076, 118.477)
MEAN_LOG_DEPTH = 7.844

# In the data set's own order and spelling (data/nyud/classes.txt of the release)
NYUD_CLASSES = (
    'wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf',
    'picture', 'counter', 'blinds', 'desk', 'shelves', 'curtain', 'dresser', 'pillow', 'mirror',
    'floor mat', 'clothes', 'ceiling', 'books', 'refridgerator', 'television', 'paper', 'towel',
    'shower curtain', 'box', 'whiteboard', 'person', 'night stand', 'toilet', 'sink', 'lamp',
    'bathtub', 'bag', 'otherstructure', 'otherfurniture', 'otherprop')


def read_depth(path: str | Path) -> np.ndarray:
    """A depth map (H, W) as it is stored, 16 bits, millimetres in NYUDv2; 0 where there is none.
    FcnError for a picture with several channels."""
    image, _ = open_image(path, 'depth map')
    if image.mode not in ('L', 'I', 'I;16', 'I;16B'):
        raise FcnError(f'the depth map has mode {image.mode!r}, not one channel of 8 or 16 bits',
                       file=path, do='Give a 16-bit grey PNG with the depth in millimetres.')
    depth = np.asarray(image)
    if depth.min() < 0 or depth.max() > 65535:
        raise FcnError(f'the depth map holds {depth.min()} to {depth.max()}, not 0 to 65535',
                       file=path, do='Give the depth in millimetres.')
    return depth.astype(np.uint16)


def log_depth(depth: np.ndarray) -> np.ndarray:
    """The blob (1, H, W) float32 of a depth map: its natural logarithm minus the release's mean; 0,
    the mean, where depth is 0, of which the release takes the logarithm, minus infinity."""
    blob = depth.astype(np.float32)
    there = blob > 0
    np.log(blob, out=blob, where=there)
    np.subtract(blob, np.float32(MEAN_LOG_DEPTH), out=blob, where=there)
    return blob[None]


def grey(depth: np.ndarray) -> np.ndarray:
    """A depth map (H, W) as a picture (H, W, 3) uint8, near dark, what has no depth black."""
    top = max(1, int(depth.max()))
    return np.repeat((depth.astype(np.float32) * (255 / top)).astype(np.uint8)[:, :, None], 3, 2)


class NyudFolder(Reader):
    """data/images/img_ID.png, data/depth/img_ID.png, data/hha/img_ID.png, segmentation/img_ID.mat
    and SPLIT.txt: what nyud.tar.gz of the release unpacks to.

    tops: those of TOPS that are read. A sample's image is the first of color, hha and depth that is
    among them; Sample.more has depth, (H, W) uint16 in millimetres, and beside colour HHA,
    (H, W, 3) uint8. The split trainval is train and then val where there is no trainval.txt.
    n_classes: 40 if it is None.
    """

    standard = NYUD_CLASSES
    images, labels, splits = TOPS[COLOR], TOPS[LABEL], '{}.txt'
    layout = 'the folder with data/images/, segmentation/ and train.txt, such as data/nyud'

    def __init__(self, nyud_dir: str | Path, split: str, n_classes: int | None = None,
                 tops: tuple[str, ...] = (COLOR, LABEL)):
        self.shown = next((name for name in (COLOR, HHA, DEPTH) if name in tops), COLOR)
        self.images = TOPS[self.shown]
        self.more = MappingProxyType({name: TOPS[name] for name in (HHA, DEPTH)
                                      if name in tops and (name == DEPTH or name != self.shown)})
        super().__init__(nyud_dir, split, n_classes or len(NYUD_CLASSES))

    def read_split(self) -> list[str]:
        parts = [self.split_path(part) for part in ('train', 'val')]
        if self.split != 'trainval' or os.path.isfile(self.split_file) or \
                not all(map(os.path.isfile, parts)):
            return super().read_split()
        return [id_ for part in parts for id_ in read_ids(part, self.layout)]

    def class_names(self) -> tuple[str, ...] | None:
        return nyud_names(self.folder, self.n_classes)

    def read_image(self, path: Path) -> np.ndarray:
        return grey(read_depth(path)) if self.shown == DEPTH else read_image(path)

    def read_label(self, path: Path) -> np.ndarray:
        """(H, W) uint8: the file's 1 to 40 as 0 to 39, its 0 as void."""
        return shifted(read_matrix(path, 'segmentation', high=self.n_classes or VOID - 1,
                                   do="Take the files of nyud.tar.gz's segmentation/."))

    def read_more(self, name: str, path: Path) -> np.ndarray:
        return read_depth(path) if name == DEPTH else read_image(path)

    def check_all(self, name: str) -> None:
        """FcnError unless there is a file of this top for all images of the split."""
        lost = self.missing(TOPS[name])
        if lost:
            raise FcnError(f'{name} is missing for {len(lost)} of {len(self)} images of the split '
                           f"'{self.split}', such as {lost[0].name}", file=lost[0].parent,
                           code=f'no-{name}', facts={'folder': str(self.folder)},
                           do=MAKE_HHA if name == HHA else
                           "Take the files of nyud.tar.gz's data/depth/.")


def nyud_names(folder: Path, count: int | None) -> tuple[str, ...] | None:
    """Class names by label index: those of classes.txt if there are `count` of them; else those of
    the 40 classes."""
    found = read_class_names(folder / 'classes.txt')
    if found and len(found) == count:
        return found
    return NYUD_CLASSES if count == len(NYUD_CLASSES) else None


class NYUDSegDataLayer(SegDataLayer):
    """The release's layer of that name (nyud_layers.py).

    params: nyud_dir; tops, names of TOPS in the order of the layer's tops; mean (an addition): of
    color; classes (an addition): 40 by default; the rest as in SegDataLayer. color is BGR minus its
    mean, hha its three channels as they are stored minus theirs, depth the logarithm of millimetres
    minus its mean (log_depth), label the classes from 0 and 255 void.
    """

    module = 'nyud_layers'
    folder_keys, needed = ('nyud_dir',), ('tops',)
    options: ClassVar = {'nyud': 'nyud_dir'}
    own_mean = MEAN_COLOR

    def __init__(self, params: Mapping[str, Any]):
        super().__init__(params)
        self.top_names = tuple(params['tops'])
        self.tops = len(self.top_names)

    @classmethod
    def class_names(cls, params: Mapping[str, Any]) -> tuple[str, ...] | None:
        return nyud_names(param_path(params, 'nyud_dir'),
                          params.get('classes') or len(NYUD_CLASSES))

    @classmethod
    def assumed_shapes(cls, params: Mapping[str, Any],
                       size: tuple[int, int] | None) -> list[tuple[int, ...]] | None:
        batch = params.get('batch_size', 1)
        return size and [(batch, CHANNELS[name], *size)
                         for name in checked_tops(params.get('tops'))]

    def open(self, params: Mapping[str, Any]) -> NyudFolder:
        reader = NyudFolder(params['nyud_dir'], params['split'], params.get('classes'),
                            checked_tops(params['tops']))
        for name in {DEPTH, HHA} & set(params['tops']):
            reader.check_all(name)
        return reader

    def fill(self, name: str) -> Any:
        if name == DEPTH:
            return round(math.exp(MEAN_LOG_DEPTH))
        shown = self.reader.shown if name == 'image' else name      # type: ignore[attr-defined]
        means: dict[str, Any] = {COLOR: self.mean[::-1], HHA: MEAN_HHA, DEPTH: (0, 0, 0)}
        return np.rint(means[shown]) if shown in means else VOID

    def top(self, sample: Sample, name: str) -> np.ndarray:
        if name == LABEL:
            return sample.label[None].astype(np.float32)
        if name == DEPTH:
            return log_depth(sample.more[DEPTH])
        if name == COLOR:
            return to_blob(sample.image, self.mean)
        return to_blob(sample.more.get(HHA, sample.image)[:, :, ::-1],
                       np.asarray(MEAN_HHA, np.float32))


def checked_tops(tops: Any) -> tuple[str, ...]:
    """The names of the tops; FcnError unless each is one of TOPS, and none comes twice."""
    good = isinstance(tops, (list, tuple)) and tops and len(set(map(str, tops))) == len(tops) and \
        all(name in TOPS for name in map(str, tops))
    if not good:
        raise FcnError(f"tops is {short(repr(tops), 80)}, not a list of {', '.join(TOPS)}",
                       type='NYUDSegDataLayer', do="Give ['color', 'label'], for example.")
    return tuple(map(str, tops))


LAYERS = (NYUDSegDataLayer,)
