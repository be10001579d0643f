"""Small folders in the real layouts of VOC and SBD, and the check of an error's text."""

import numpy as np
import pytest
import scipy.io
from PIL import Image

from fcn_repro.data.palette import palette
from fcn_repro.errors import FcnError

SIZES = {'2007_000001': (12, 17), '2008_000002': (20, 9), '2009_000003': (5, 30),
         '2010_000004': (16, 16)}


def sample_arrays(i, size):
    rng = np.random.default_rng(i)
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    label = rng.integers(0, 21, size).astype(np.uint8)
    label[0] = 255
    return image, label


def save_jpeg(image, path):
    Image.fromarray(image).save(path, quality=95)


def save_palette_png(label, path):
    image = Image.fromarray(label)
    image.putpalette(palette().reshape(-1).tolist())
    image.save(path)


def make_voc(root, name='VOC2011'):
    voc = root / name
    for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (voc / folder).mkdir(parents=True)
    for i, (id_, size) in enumerate(SIZES.items()):
        image, label = sample_arrays(i, size)
        save_jpeg(image, voc / f'JPEGImages/{id_}.jpg')
        save_palette_png(label, voc / f'SegmentationClass/{id_}.png')
    ids = list(SIZES)
    write_split(voc, 'train', ids[:2])
    write_split(voc, 'val', ids[::-1])
    return voc


def write_split(voc, split, ids):
    (voc / f'ImageSets/Segmentation/{split}.txt').write_text(''.join(f'{i}\n' for i in ids))


def make_sbd(root, train, val=('2010_000004',)):
    sbd = root / 'benchmark_RELEASE/dataset'
    for folder in ('img', 'cls'):
        (sbd / folder).mkdir(parents=True)
    for i, (id_, size) in enumerate(SIZES.items()):
        image, label = sample_arrays(i, size)
        save_jpeg(image, sbd / f'img/{id_}.jpg')
        save_mat(label, sbd / f'cls/{id_}.mat')
    (sbd / 'train.txt').write_text('\n'.join(train) + '\n')
    (sbd / 'val.txt').write_text('\n'.join(val))
    return sbd


def save_mat(label, path):
    """The struct of SBD: GTcls with Boundaries, Segmentation and CategoriesPresent."""
    scipy.io.savemat(path, {'GTcls': {'Boundaries': np.zeros(20), 'Segmentation': label,
                                      'CategoriesPresent': np.unique(label)}},
                     do_compression=True)


def message(function, *args, **kwargs):
    with pytest.raises(FcnError) as error:
        function(*args, **kwargs)
    text = str(error.value)
    assert error.value.do and '\n' not in text
    return text
