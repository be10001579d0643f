"""Which Source a folder is: by its layout, and by what its masks hold."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from fcn_repro.data.colours import FILE, Colour, Table
from fcn_repro.data.examine import Fault
from fcn_repro.data.layouts import PICTURES, is_voc, pair_up, voc_pairs, walk
from fcn_repro.data.reader import read_class_names
from fcn_repro.errors import FcnError, nearest

from .cityscapes import cityscapes_source, is_cityscapes
from .coco import coco_source, is_coco
from .colours import table_of
from .labelme import is_labelme, labelme_source
from .masks import OTHER, mask_source
from .source import Source

KINDS = 'rgb', 'binary', 'index', 'coco', 'cityscapes', 'labelme'
PICTURE_KINDS = KINDS[:3]
LAYOUTS = ('images/ and masks/ with files of the same names; photo.jpg beside photo.png or '
           'photo_mask.png; train/ and val/ around or inside either; JSON files of labelme or '
           'COCO; leftImg8bit/ and gtFine/ of Cityscapes')


def open_source(folder: Path, masks: str | None = None,
                colours: str | Path | Mapping[Colour, str] | Table | None = None,
                names: Sequence[str] = (), other: str = 'error',
                void: int | None = None) -> Source:
    """The Source of a folder. The arguments are those of convert(). FcnError for kinds and values
    that there are not, and for a folder with nothing of the kind."""
    check_choice(masks, KINDS, 'masks')
    check_choice(other, OTHER, 'other')
    if void is not None and not 0 <= void <= 255:
        raise FcnError(f'void is {void}', do='Give an id from 0 to 255.')
    kind = masks or kind_of(folder)
    if kind == 'cityscapes':
        return cityscapes_source(folder)
    if kind in ('coco', 'labelme'):
        return json_source(folder, kind)
    if masks is None and (inner := inner_voc(folder)):
        raise FcnError(f"a folder in VOC's layout is {inner}", file=folder,
                       facts={'kind': 'empty'}, do='Give that.')
    pairs, faults = voc_pairs(folder) if is_voc(folder) else \
        pair_up(folder, list(walk(folder, PICTURES)))
    if not pairs:
        raise FcnError(nothing(folder, faults), file=folder, facts={'kind': 'empty'},
                       do=f'Recognised are {LAYOUTS}.')
    found = names or read_class_names(folder / 'classes.txt') or ()
    own = folder / FILE
    return mask_source(folder, pairs, faults, kind if kind in PICTURE_KINDS else None,
                       None if colours is None else table_of(colours),
                       own if own.is_file() else None, found, other, void)


def check_choice(value: str | None, known: Sequence[str], what: str) -> None:
    """FcnError for a value that is none of those known."""
    if value is not None and value not in known:
        raise FcnError(f'{what} is {value!r}', do=nearest(value, known)
                       or f'Give one of {", ".join(known)}.')


def kind_of(folder: Path) -> str:
    """'cityscapes', 'coco', 'labelme', or '' for pictures, whose kind their pixels tell."""
    if is_cityscapes(folder):
        return 'cityscapes'
    for path in walk(folder, ('.json',)):
        if is_coco(path):
            return 'coco'
        if is_labelme(path):
            return 'labelme'
    return ''


def json_source(folder: Path, kind: str) -> Source:
    """The Source of a folder's JSON files of a kind; FcnError where it has none."""
    files = list(walk(folder, ('.json',)))
    if kind == 'labelme':
        mine = [path for path in files if is_labelme(path)]
    else:
        mine = [path for path in files if is_coco(path)]
        mine = next((some for word in ('instances', 'panoptic')
                     if (some := [path for path in mine if word in path.name])), mine)
    if not mine:
        raise FcnError(f'there is no JSON file of {kind} in it', file=folder,
                       do='Put the JSON files into the folder of the images.')
    return labelme_source(folder, mine) if kind == 'labelme' else coco_source(folder, mine)


def inner_voc(folder: Path) -> Path | None:
    """A folder in VOC's layout below one that is none itself, as in VOCdevkit/."""
    lists = () if is_voc(folder) else (*folder.glob('*/ImageSets'), *folder.glob('*/*/ImageSets'))
    return next((path.parent for path in lists if is_voc(path.parent)), None)


def nothing(folder: Path, faults: Sequence[Fault]) -> str:
    """What is missing in a folder without a pair, in words."""
    count = sum(1 for _ in walk(folder, PICTURES))
    if not count:
        return 'there is no image in it'
    return f'there are {count} images and no mask' if not faults else \
        f'{count} images, of which no two are an image and its mask: {faults[0].file.name} for one'
