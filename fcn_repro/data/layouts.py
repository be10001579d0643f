"""Folders of images and masks as people keep them: which files are pairs, and in which split.

Recognised by the words in the names of folders (images/ and masks/, train/ and val/, in any order
and combination) and of files (photo.jpg beside photo.png or photo_mask.png); and where no word
helps, two folders with files of the same names.
"""

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fcn_repro.data.examine import Fault
from fcn_repro.data.reader import read_ids
from fcn_repro.paths import CONTROL, confined

PICTURES = ('.bmp', '.gif', '.jpeg', '.jpg', '.pgm', '.png', '.pnm', '.ppm', '.tif', '.tiff',
            '.webp')
VOC_IMAGES, VOC_MASKS, VOC_LISTS = 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'
DEEPEST = 5             # levels of folders that are searched
MASK_WORDS = frozenset((
    'mask', 'masks', 'label', 'labels', 'labelled', 'annot', 'annotation', 'annotations', 'gt',
    'groundtruth', 'ground', 'truth', 'seg', 'segs', 'segmentation', 'segmentations',
    'segmentationclass', 'target', 'targets', 'matte', 'mattes'))
IMAGE_WORDS = frozenset((
    'image', 'images', 'img', 'imgs', 'photo', 'photos', 'picture', 'pictures', 'jpegimages',
    'jpgs', 'rgb', 'input', 'inputs', 'frames', 'raw', 'original', 'originals', 'pngimages'))
SPLIT_WORDS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val',
               'validation': 'val', 'test': 'test', 'testing': 'test'}
# Words around the stem of a mask that lies beside its image
AFFIX = re.compile(r'^(?:(?:mask|label|gt|seg)[_. -](?P<after>.+)|'
                   r'(?P<before>.+?)[_. -](?:mask|label|labels|gt|seg|segmentation|L|matte|'
                   r'groundtruth|annotation|labelids|manual\d?))$', re.IGNORECASE)
WORDS = re.compile(r'[A-Za-z]+')


@dataclass(frozen=True)
class Pair:
    """An image and its mask. id: a name of its own in the folder; split: as folders tell, or ''."""

    id: str
    split: str
    image: Path
    mask: Path


@dataclass
class Found:
    """The pictures of a folder by key, (split, subfolder, stem). A key with several images, or
    several masks, is a clash."""

    images: dict[tuple[str, str, str], list[Path]] = field(default_factory=dict)
    masks: dict[tuple[str, str, str], list[Path]] = field(default_factory=dict)


def walk(folder: str | Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """The files below a folder with one of the suffixes, in any case, in order of their paths;
    hidden ones and those below DEEPEST levels are left out."""
    root = os.fspath(folder)
    for place, folders, names in os.walk(root, followlinks=False):
        level = 0 if place == root else os.path.relpath(place, root).count(os.sep) + 1
        folders[:] = sorted(name for name in folders if not name.startswith('.')) \
            if level < DEEPEST else []
        for name in sorted(names):
            if os.path.splitext(name)[1].lower() in suffixes and not name.startswith('.'):
                yield Path(place, name)


def pair_up(folder: Path, pictures: list[Path]) -> tuple[list[Pair], list[Fault]]:
    """The pairs among a folder's pictures, by id, and what has no partner or several."""
    found = roles(folder, pictures)
    if not found.masks and len(found.images) > 1:
        found = alike_folders(folder, pictures) or found
    faults = [*clashes(found.images, 'image'), *clashes(found.masks, 'mask')]
    keys = [key for key in found.images if key in found.masks
            and len(found.images[key]) == len(found.masks[key]) == 1]
    names = ids_of(keys)
    pairs = [Pair(names[key], key[0], found.images[key][0], found.masks[key][0])
             for key in sorted(keys, key=names.__getitem__)]
    faults += [bad_name(pair) for pair in pairs if not good_name(pair.id)]
    return [pair for pair in pairs if good_name(pair.id)], faults + lonely(found)


def photographs(folder: Path) -> tuple[list[Path], list[Path]]:
    """(images, masks) among a folder's own pictures; or, where it has none, among those of its
    subfolders that are named for either: images/ beside masks/, VOC's JPEGImages/."""
    own = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES
           and path.is_file() and not path.name.startswith('.')]
    if not own:
        by_role: dict[str | None, list[Path]] = {'image': [], 'mask': []}
        for path in walk(folder, PICTURES):
            by_role.setdefault(folder_role(path.parent.relative_to(folder))[0], []).append(path)
        return by_role['image'], by_role['mask'] if by_role['image'] else []
    beside = Counter((path.parent, path.stem) for path in own)
    stems = {(folder, bare_stem(path.stem)) for path in own} | set(beside)
    masks = [path for path in own if file_role(path, stems, beside)[0] == 'mask']
    return [path for path in own if path not in masks], masks


def is_voc(folder: Path) -> bool:
    """Whether a folder has VOC's lists of ids."""
    return (folder / VOC_LISTS).is_dir()


def voc_pairs(folder: Path) -> tuple[list[Pair], list[Fault]]:
    """The pairs in the train and val lists of a folder in VOC's layout, whatever their suffixes; of
    an id in both the first one."""
    pairs: dict[str, Pair] = {}
    faults: list[Fault] = []
    stems: dict[Path, dict[str, list[Path]]] = {}
    for split in 'train', 'val':
        path = folder / VOC_LISTS / f'{split}.txt'
        for id_ in read_ids(path, 'a folder with lists of ids') if path.is_file() else ():
            files = []
            for top, kind in (VOC_IMAGES, 'no-image'), (VOC_MASKS, 'no-mask'):
                place = confined(folder / top, id_, 'id', file=path)
                if place.parent not in stems:
                    stems[place.parent] = {}
                    for file in walk(place.parent, PICTURES):
                        stems[place.parent].setdefault(file.stem, []).append(file)
                found = stems[place.parent].get(place.name, [])
                files += found
                if len(found) != 1:
                    faults.append(Fault(kind if not found else 'clash', place, 'it is missing'
                                        if not found else f'it is {found[1].name} too',
                                        f'Correct the files, or the list {path.name}.'))
            if len(files) == 2 and id_ not in pairs:
                pairs[id_] = Pair(id_, split, *files)
    return list(pairs.values()), faults


def good_name(id_: str) -> bool:
    """Whether a name can be a line of a split file."""
    return id_ == id_.strip() and not CONTROL.search(id_) and id_.isprintable()


def bad_name(pair: Pair) -> Fault:
    return Fault('name', pair.image, 'a name with a space at an end, a control character, or '
                 'bytes that are no text', 'Rename the files.')


def clashes(files: dict[tuple[str, str, str], list[Path]], kind: str) -> list[Fault]:
    """A fault for each key with several files."""
    return [Fault('clash', several[1], f"the {kind} '{key[2]}' is {several[0].name} as well",
                  'Keep one of them, or give one another name.')
            for key, several in files.items() if len(several) > 1]


def lonely(found: Found) -> list[Fault]:
    """Faults for images without a mask, and masks without an image; none where there is not one
    mask, which is another fault."""
    if not found.masks:
        return []
    return [Fault('no-mask', files[0], 'no mask has this name', 'Add the mask, or remove the '
                  'image.') for key, files in found.images.items() if key not in found.masks] + \
        [Fault('no-image', files[0], 'no image has this name', 'Add the image, or remove the '
               'mask.') for key, files in found.masks.items() if key not in found.images]


def ids_of(keys: list[tuple[str, str, str]]) -> dict[tuple[str, str, str], str]:
    """{key: id}: the stem, with the subfolder and the split before it where stems repeat."""
    for parts in (lambda key: key[2:], lambda key: key[1:], lambda key: key):
        made = {key: '_'.join(filter(None, parts(key))).replace(os.sep, '_') for key in keys}
        if len(set(made.values())) == len(keys):
            return made
    again: Counter[str] = Counter()
    for key, name in made.items():
        again[name] += 1
        made[key] = f'{name}_{again[name]}' if again[name] > 1 else name
    return made


def roles(folder: Path, pictures: list[Path]) -> Found:
    """Images and masks by the words in their paths."""
    found, beside = Found(), Counter((path.parent, path.stem) for path in pictures)
    stems = {(path.parent, bare_stem(path.stem)) for path in pictures} | set(beside)
    for path in pictures:
        role, split, rest = folder_role(path.parent.relative_to(folder))
        stem = path.stem
        if role is None:
            role, stem = file_role(path, stems, beside)
        elif role == 'mask':
            stem = plain_stem(stem)
        (found.masks if role == 'mask' else found.images).setdefault(
            (split, rest, stem), []).append(path)
    return rejoined(found)


def folder_role(relative: Path) -> tuple[str | None, str, str]:
    """('image', 'mask' or None; the split or ''; the other folders) that a path's words tell."""
    role, split, rest = None, '', []
    for part in relative.parts:
        words = {word.lower() for word in WORDS.findall(part)}
        of_split = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS]
        if words & MASK_WORDS:
            role = 'mask'
        elif words & IMAGE_WORDS:
            role = role or 'image'
        elif not of_split:
            rest.append(part)
        split = of_split[0] if of_split else split
    return role, split, os.sep.join(rest)


def file_role(path: Path, stems: set[tuple[Path, str]],
              beside: Counter[tuple[Path, str]]) -> tuple[str, str]:
    """('image' or 'mask', the stem of the image) of a file in a folder that tells nothing."""
    plain = plain_stem(path.stem)
    if plain != path.stem and (path.parent, plain) in stems:
        return 'mask', plain
    two = beside[path.parent, path.stem] == 2       # photo.jpg and photo.png
    return ('mask' if two and path.suffix.lower() == '.png' else 'image'), path.stem


def plain_stem(stem: str) -> str:
    """The stem without the word that marks a mask."""
    match = AFFIX.match(stem)
    return (match['after'] or match['before']) if match else stem


def bare_stem(stem: str) -> str:
    """The stem without the word that marks an image."""
    return re.sub(r'[_. -](?:image|img|rgb|sat|photo)$', '', stem, flags=re.IGNORECASE)


def rejoined(found: Found) -> Found:
    """Masks whose own stem is that of an image (photo_L with photo_L.jpg) and those that have lost
    their word, under the image's key: images may carry a word too (photo_img.jpg, photo_sat.jpg),
    and a folder of masks may hold the stem with its word (`a_mask` for `a`)."""
    masks: dict[tuple[str, str, str], list[Path]] = {}
    for key, files in found.masks.items():
        for path in files:
            whole = (*key[:2], path.stem)
            masks.setdefault(whole if whole in found.images else key, []).append(path)
    images: dict[tuple[str, str, str], list[Path]] = {}
    for key, files in found.images.items():
        other = (*key[:2], bare_stem(key[2]))
        images.setdefault(other if key not in masks and other in masks else key, []).extend(files)
    return Found(images, masks)


def alike_folders(folder: Path, pictures: list[Path]) -> Found | None:
    """Images and masks in two folders whose names tell nothing, but whose files have the same
    stems: the masks are the PNG files, or else those that take fewer bytes. None without such."""
    places: dict[Path, dict[str, Path]] = {}
    for path in pictures:
        places.setdefault(path.parent, {})[path.stem] = path
    best = None
    for one in places:
        for other in places:
            shared = len(places[one].keys() & places[other].keys())
            if one < other and 2 * shared > max(len(places[one]), len(places[other])):
                best = max(best or (0, one, other), (shared, one, other))
    if best is None:
        return None
    masks, images = sorted(best[1:], key=lambda place: weight(places[place]))
    return Found({('', '', stem): [path] for stem, path in places[images].items()},
                 {('', '', stem): [path] for stem, path in places[masks].items()})


def weight(files: dict[str, Path]) -> tuple[bool, float]:
    """What orders a folder of masks before one of images: only PNG files, then few bytes each."""
    png = all(path.suffix.lower() == '.png' for path in files.values())
    some = list(files.values())[:50]
    return not png, sum(path.stat().st_size for path in some) / len(some)
