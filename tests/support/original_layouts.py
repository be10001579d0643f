"""Small data sets in the original layouts: the folders, names and types that the archives of VOC,
SBD, NYUDv2, SIFT Flow and PASCAL-Context unpack to, and that the release's nets name.

    data = make_all(tmp_path)          # as the release's data/: pascal, sbdd, nyud, sift-flow, …

Images are noise; labels hold all classes, and void where the data set has it. Each make_* takes the
ids of its splits, and returns the folder to give as a param.
"""

from pathlib import Path

import numpy as np
import scipy.io
from data_folders import save_jpeg, save_mat, save_palette_png
from PIL import Image

from fcn_repro.data.context import IDS_59
from fcn_repro.data.siftflow import SCENES

SIZE = 40, 56           # (height, width) of the images, unless another is given
CONTEXT = 459           # classes


def noise(id_, size=SIZE):
    """(image (H, W, 3) uint8, a generator for its labels), by the id alone."""
    rng = np.random.default_rng(list(str(id_).encode()))
    return rng.integers(0, 256, (*size, 3), np.uint8), rng


def at(path: Path) -> Path:
    """The path, when its folder is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_lists(folder: Path, splits) -> None:
    """SPLIT.txt with the ids of each split."""
    for split, ids in splits.items():
        at(folder / f'{split}.txt').write_text(''.join(f'{id_}\n' for id_ in ids))


def all_ids(splits):
    return dict.fromkeys(id_ for ids in splits.values() for id_ in ids)


def make_voc(root, splits, year=2011, size=SIZE):
    """VOC20XX with its lists; labels 0 to 20 and 255 as palette PNGs."""
    voc = Path(root) / f'VOC{year}'
    write_lists(voc / 'ImageSets/Segmentation', splits)
    for id_ in all_ids(splits):
        image, rng = noise(id_, size)
        label = rng.integers(0, 21, size).astype(np.uint8)
        label[0] = 255
        save_jpeg(image, at(voc / f'JPEGImages/{id_}.jpg'))
        save_palette_png(label, at(voc / f'SegmentationClass/{id_}.png'))
    return voc


def make_sbd(root, splits, size=SIZE):
    """dataset/ of SBD's archive; labels 0 to 20 in the struct GTcls."""
    sbd = Path(root) / 'dataset'
    write_lists(sbd, splits)
    for id_ in all_ids(splits):
        image, rng = noise(id_, size)
        save_jpeg(image, at(sbd / f'img/{id_}.jpg'))
        save_mat(rng.integers(0, 21, size).astype(np.uint8), at(sbd / f'cls/{id_}.mat'))
    return sbd


def make_nyud(root, splits, size=SIZE, classes=40):
    """nyud/: colour, depth in millimetres (16 bits, none of it 0) and HHA as PNG files, labels 0
    (void) to `classes` as uint16 in `segmentation`."""
    nyud = Path(root) / 'nyud'
    write_lists(nyud, splits)
    for id_ in all_ids(splits):
        image, rng = noise(id_, size)
        Image.fromarray(image).save(at(nyud / f'data/images/img_{id_}.png'))
        Image.fromarray(image[::-1]).save(at(nyud / f'data/hha/img_{id_}.png'))
        depth = rng.integers(700, 9000, size).astype(np.uint16)
        Image.fromarray(depth).save(at(nyud / f'data/depth/img_{id_}.png'))
        label = rng.integers(0, classes + 1, size).astype(np.uint16)
        scipy.io.savemat(at(nyud / f'segmentation/img_{id_}.mat'), {'segmentation': label},
                         do_compression=True)
    return nyud


def make_siftflow(root, splits, size=(256, 256), classes=33):
    """sift-flow/: JPEGs, semantic labels 0 to `classes` as uint8 and geometric ones -1 to 3 as
    int16 in `S`, beside the class names."""
    sift = Path(root) / 'sift-flow'
    write_lists(sift, splits)
    for id_ in all_ids(splits):
        image, rng = noise(id_, size)
        save_jpeg(image, at(sift / f'Images/{SCENES}/{id_}.jpg'))
        semantic = rng.integers(0, classes + 1, size).astype(np.uint8)
        geometric = rng.integers(-1, 4, size).astype(np.int16)
        for folder, label in ('SemanticLabels', semantic), ('GeoLabels', geometric):
            names = np.array([f'class {i}' for i in range(1, label.max() + 1)], object)
            scipy.io.savemat(at(sift / f'{folder}/{SCENES}/{id_}.mat'),
                             {'S': label, 'names': names[:, None]}, do_compression=True)
    return sift


def make_context(root, splits, size=SIZE):
    """(pascal/, with VOC2010 in it; pascal-context/, with LabelMap 1 to 459 as uint16, and both
    lists of classes)."""
    pascal, context = Path(root) / 'pascal', Path(root) / 'pascal-context'
    write_lists(pascal / 'VOC2010/ImageSets/Main', splits)
    for id_ in all_ids(splits):
        image, rng = noise(id_, size)
        save_jpeg(image, at(pascal / f'VOC2010/JPEGImages/{id_}.jpg'))
        label = rng.integers(1, CONTEXT + 1, size).astype(np.uint16)
        label[1, :59] = list(IDS_59.values())[:size[1]]
        scipy.io.savemat(at(context / f'trainval/{id_}.mat'), {'LabelMap': label},
                         do_compression=True)
    write_context_lists(context)
    return pascal, context


def write_context_lists(context):
    """labels.txt and 59_labels.txt as the data set has them; what is not one of the 59 has a name
    without meaning."""
    renamed = {397: 'table', 80: 'cloth', 19: 'bedclothes'}
    names = {id_: name for name, id_ in IDS_59.items()} | renamed
    at(context / 'labels.txt').write_text(''.join(
        f"{i}: {names.get(i, f'other thing {i}')}\n" for i in range(1, CONTEXT + 1)))
    (context / '59_labels.txt').write_text(''.join(
        f'{i}: {name}\n' for i, name in enumerate(IDS_59, 1)))


def make_all(root, count=3):
    """All of them as the release's data/ folder has them, `count` images each; returns it."""
    data = Path(root) / 'data'
    voc = [f'2008_{i:06}' for i in range(count)]
    make_voc(data / 'pascal', {'train': voc, 'val': voc, 'seg11valid': voc})
    make_sbd(data / 'sbdd', {'train': voc, 'val': voc})
    scenes = [f'coast_art{i}' for i in range(count)]
    make_siftflow(data, {'trainval': scenes, 'test': scenes})
    rooms = [f'{5001 + i}' for i in range(count)]
    make_nyud(data, {'train': rooms[:-1], 'val': rooms[-1:], 'trainval': rooms, 'test': rooms})
    make_context(data, {'train': voc, 'val': voc})
    return data
