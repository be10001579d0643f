"""Readers to fuzz: the files of data sets, and data sets that are converted."""

import gzip
import io
import json
import tempfile
from pathlib import Path

import data_folders
import numpy as np
from digit_files import idx
from fuzz_images import encoded, image_seeds
from fuzz_target import FcnErrors, folder_with
from PIL import Image


def read_mat(path):
    from fcn_repro.data.sbd import read_mat
    return read_mat(path)


def mat_seeds():
    made, label = [], np.random.default_rng(2).integers(0, 21, (12, 9)).astype('u1')
    import scipy.io
    inner = {'Boundaries': np.zeros(20), 'Segmentation': label,
             'CategoriesPresent': np.unique(label)}
    for packed in (True, False):
        file = io.BytesIO()
        scipy.io.savemat(file, {'GTcls': inner}, do_compression=packed)
        made.append(file.getvalue())
    return made


def read_label_mats(path):
    """A .mat file as NYUDv2, SIFT Flow (both labels) and PASCAL-Context read it."""
    from fcn_repro.data.labelmat import read_matrix, shifted
    for name, low, high in ('segmentation', 0, 40), ('S', -1, 3), ('LabelMap', 0, 459):
        try:
            shifted(read_matrix(path, name, low=low, high=high, do='x'))
        except FcnErrors():
            continue


def label_mat_seeds():
    import scipy.io
    made, labels = [], np.arange(108).reshape(12, 9)
    for name, array in (('segmentation', (labels % 41).astype('u2')),
                        ('S', (labels % 5 - 1).astype('i2')), ('S', labels % 4.),
                        ('LabelMap', labels.astype('u2'))):
        file = io.BytesIO()
        scipy.io.savemat(file, {'names': np.array(['a', 'b'], object), name: array},
                         do_compression=name != 'S')
        made.append(file.getvalue())
    return made


def read_depth(path):
    from fcn_repro.data.nyud import grey, log_depth, read_depth
    depth = read_depth(path)
    assert np.isfinite(log_depth(depth)).all()
    return grey(depth)


def read_camera(path):
    from fcn_repro.data.hha_files import read_camera
    return read_camera(path)


def encode_depth(path):
    """HHA of a depth image, written as the command `data hha` does."""
    from fcn_repro.data.hha import Camera
    from fcn_repro.data.hha_files import encode_folder
    with folder_with(path, 'data/depth/img_1.png') as folder:
        made = encode_folder(folder, Camera(100, 100, 5, 4))
    if made.faults:
        raise made.faults[0]


def depth_seeds():
    depth = np.random.default_rng(4).integers(0, 4000, (30, 26)).astype('u2')
    file = io.BytesIO()
    Image.fromarray(depth).save(file, 'PNG')
    return [file.getvalue(), *image_seeds()]


def read_context_lists(path):
    """The list of all classes, and that of a task."""
    from fcn_repro.data.context import Task
    for name, count in ('labels.txt', 59), ('2_labels.txt', 2):
        with folder_with(path, name) as folder:
            try:
                Task(folder, count)
            except FcnErrors():
                continue


def read_idx(path):
    from fcn_repro.data.digits import read_idx
    for dims in 3, 1:
        try:
            read_idx(path, dims)
        except FcnErrors():
            continue


def idx_seeds():
    pictures, labels = idx(np.ones((4, 6, 5), 'u1')), idx(np.arange(9, dtype='u1'))
    return [pictures, labels, gzip.compress(pictures), gzip.compress(labels)]


def read_mnist(path):
    """A folder whose image file is the input."""
    from fcn_repro.data.digits import load_mnist
    with folder_with(path, 'train-images-idx3-ubyte') as folder:
        (folder / 'train-labels-idx1-ubyte').write_bytes(idx(np.arange(4, dtype='u1')))
        return load_mnist('train', folder)


def read_m2nist(path):
    """A folder whose combined.npy is the input, or its segmented.npy."""
    from fcn_repro.data.m2nist import PublishedScenes
    names = ['combined.npy', 'segmented.npy']
    first = b'(4, 64, 84, 11)' in path.read_bytes()[:200]
    with folder_with(path, names[first]) as folder:
        other = [np.zeros((4, 64, 84), 'u1'), np.ones((4, 64, 84, 11), 'u1')][not first]
        np.save(folder / names[not first], other)
        scenes = PublishedScenes('val', folder)
        if len(scenes):
            scenes.load(0)


def npy_seeds():
    made = []
    for array in (np.zeros((4, 64, 84), 'u1'), np.zeros((4, 64, 84), 'f4'),
                  np.ones((4, 64, 84, 11), 'u1')):
        file = io.BytesIO()
        np.save(file, array)
        made.append(file.getvalue())
    return made


def read_cifar(path):
    """A batch of 3 rows instead of 10,000: its size is all that is checked of it."""
    from fcn_repro.formats import converters
    converters.CIFAR_BATCH = 3
    for row in converters.read_cifar(path):
        assert 0 <= int(np.int8(row[0])) + 128 < 256


def read_list(path):
    from fcn_repro.data.listed import ImageList
    return ImageList(path, 'key', True)[3]


VOC: list[Path] = []


def voc_folder() -> Path:
    """A small folder in VOC's layout, made once."""
    if not VOC:
        VOC.append(data_folders.make_voc(Path(tempfile.mkdtemp(prefix='fuzz-voc-'))))
        (VOC[0] / 'classes.txt').write_text('background\nperson\n')
    return VOC[0]


def read_split(path):
    """The split file of a folder in VOC's layout, the first samples and where pictures go."""
    from fcn_repro.data.voc import VocFolder
    with folder_with(path, 'VOC/ImageSets/Segmentation/val.txt') as folder:
        for name in 'JPEGImages', 'SegmentationClass':
            (folder / 'VOC' / name).symlink_to(voc_folder() / name)
        found = VocFolder(folder / 'VOC', 'val')
        found.fingerprint()
        for i in range(min(3, len(found))):
            found.load(i)


def read_classes(path):
    from fcn_repro.data.reader import read_class_names
    return read_class_names(path)


def read_mask(path):
    from fcn_repro.data.convert.masks import brightness, values_of
    from fcn_repro.data.examine import image_facts, mask_facts
    for read in image_facts, mask_facts, values_of, lambda file: brightness(file, 'error'):
        try:
            read(path)
        except FcnErrors():
            continue


def read_annotations(kind):
    """A reader of a JSON file beside the image a.png, with all its labels."""
    def read(path):
        from fcn_repro.data.convert.sources import open_source
        with folder_with(path, 'a.json') as folder:
            (folder / 'a.png').write_bytes(encoded('PNG', (16, 12)))
            source = open_source(folder, kind)
            for item in source.items:
                try:
                    source.label(item)
                except FcnErrors():
                    continue
    return read


def coco_seeds():
    rows = [{'image_id': 1, 'category_id': 3, 'area': 9.5, 'iscrowd': 0,
             'segmentation': [[1, 2, 9, 2.5, 9, 8, 1, 8]]},
            {'image_id': 1, 'category_id': 7, 'bbox': [1, 2, 3, 4], 'iscrowd': 1,
             'segmentation': {'size': [12, 16], 'counts': [20, 30, 142]}},
            {'image_id': 1, 'category_id': 7, 'iscrowd': 0,
             'segmentation': {'size': [12, 16], 'counts': 'd0n0^4'}}]
    return [json.dumps({'info': {}, 'images': [{'id': 1, 'file_name': 'a.png', 'height': 12,
                                                'width': 16}], 'annotations': rows,
                        'categories': [{'id': 3, 'name': 'a'}, {'id': 7, 'name': 'b'}]}).encode()]


def labelme_seeds():
    shapes = [{'label': name, 'points': points, 'shape_type': kind} for name, kind, points in (
        ('leaf', 'polygon', [[1, 1], [9, 2], [5, 8]]), ('bug', 'rectangle', [[2, 2], [6, 7]]),
        ('ignore', 'circle', [[8, 5], [8, 8]]), ('leaf', 'linestrip', [[1, 1], [4, 9]]),
        ('bug', 'point', [[3, 3]]))]
    return [json.dumps({'version': '5.0', 'shapes': shapes, 'imagePath': 'a.png',
                        'imageData': None, 'imageHeight': 12, 'imageWidth': 16}).encode()]


def read_colours(path):
    from fcn_repro.data.colours import read_table
    return read_table(path).lines()
