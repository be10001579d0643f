"""What tools/fuzz.py feeds: for each kind of file that comes from outside, how it is read, the real
files whose mutations it gets, and the mutations that know its format.

A target reads as a user would: all of the file, values too. It raises FcnError, or returns.
"""

import gzip
import io
import json
import math
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import data_folders
import fuzz_mutations as mutations
import h5py
import lmdb_pages
import numpy as np
from digit_files import idx
from PIL import Image

DATA = Path(__file__).parents[1] / 'data'
DOCS = DATA.parents[1] / 'docs'
LARGEST = 200_000                       # bytes of a seed
MOST_NUMBERS = 1 << 19                  # of a net that is run


class Target(NamedTuple):
    """read: takes the path of an input. seeds: returns the bytes of real files. change: mutations
    that know the format. seconds: processor time that one input may take; memory: bytes by which
    the process may grow; batch: inputs in a turn."""
    read: Callable[[Path], object]
    seeds: Callable[[], list[bytes]]
    change: tuple[Callable, ...] = ()
    seconds: float = 1.0
    memory: int = 400 << 20
    batch: int = 200


def files(*patterns: str) -> Callable[[], list[bytes]]:
    """Seeds from tests/data."""
    def seeds():
        found = [path.read_bytes() for pattern in patterns for path in sorted(DATA.glob(pattern))]
        return [data for data in found if len(data) < LARGEST]
    return seeds


@contextmanager
def folder_with(path: Path, name: str) -> Iterator[Path]:
    """A folder in which the input has this name; it is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=path.parent))
    try:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, folder / name)
        yield folder
    finally:
        shutil.rmtree(folder)


# ---- nets and solvers ------------------------------------------------------------------------


def phase_of(path: Path) -> str:
    return ('TEST', 'TRAIN')[path.stat().st_size % 2]


def read_net(path):
    from fcn_repro.net import Net
    return Net.read(path, phase_of(path))


def run_net(path):
    """Forward with passes and without, which must agree, and backward from the loss, of nets that
    are small enough."""
    import torch

    from fcn_repro.net import Net
    from fcn_repro.passes import PASSES
    phase = phase_of(path)
    net = Net.read(path, phase)
    shapes = [*net.shapes.values(), *(shape for each in net.declared.values() for shape, _ in each)]
    if sum(math.prod(shape) for shape in shapes) > MOST_NUMBERS:
        return
    draws = torch.Generator().manual_seed(0)
    inputs = {name: torch.rand(net.shapes[net.graph.first(name)], generator=draws)
              for name in net.graph.inputs}
    plain = net.forward(**inputs)
    fast = Net.read(path, phase, passes=PASSES.values()).forward(**inputs)
    for name, expected in plain.items():
        torch.testing.assert_close(fast[name], expected, rtol=1e-3, atol=1e-4, equal_nan=True,
                                   msg=lambda text, name=name: f'passes change {name}: {text}')
    if net.total_loss is not None and net.total_loss.requires_grad:
        net.backward()


def read_solver(path):
    from fcn_repro.proto.prototxt import read_solver
    from fcn_repro.solver.nets import train_net
    solver = read_solver(path)
    from fcn_repro.search import SearchPath
    return train_net(solver, SearchPath.of(solver.file))


def draw_net(path):
    from fcn_repro.proto.prototxt import read_net
    from fcn_repro.pycaffe.draw import get_pydot_graph
    return get_pydot_graph(read_net(path).message, 'LR').to_string()


def view_net(path):
    from fcn_repro import viewer
    drawn = viewer.drawn(path, size=(64, 48))
    return viewer.page_of(drawn), viewer.svg_of(drawn), viewer.text_of(drawn)


def read_params(path):
    from fcn_repro.data import parse_params, python_layers
    text = path.read_bytes().decode('utf-8', 'replace')
    params = parse_params(text)
    for name in ('VOCSegDataLayer', 'NYUDSegDataLayer', 'PASCALContextSegDataLayer',
                 'M2nistDataLayer', 'DigitDataLayer'):
        layer, = (cls for (_, each), cls in python_layers.items() if each == name)
        try:
            made = layer(params)
        except FcnErrors():
            continue
        if len(made):
            made.batch(0)


def FcnErrors():
    from fcn_repro.errors import FcnError
    return FcnError


def params_seeds():
    voc = voc_folder()
    mean = '(104.00699, 116.66877, 122.67892)'
    return [text.encode() for text in (
        f"{{'voc_dir': '{voc}', 'seed': 1337, 'split': 'train', 'mean': {mean}}}",
        f"{{'voc_dir': '{voc}', 'seed': 1, 'split': 'val', 'mean': {mean}, 'randomize': False}}",
        "{'split': 'train', 'batch_size': 2, 'seed': 3, 'order_seed': 4}",
        "{'split': 'val', 'batch_size': 2}")]


# ---- weights and states ----------------------------------------------------------------------


def read_weights(path):
    from fcn_repro.formats.weights import kind_of, read_extra, read_weights
    weights = read_weights(path)
    sums = [float(np.asarray(blob, np.float64).sum()) for blobs in weights.values()
            for blob in blobs if blob is not None]
    return kind_of(path), read_extra(path), sums


def convert_weights(path):
    """To HDF5 and back, as the command `convert` does."""
    from fcn_repro.formats.weights import modern, read_weights, write_hdf5
    with folder_with(path, 'in') as folder:
        write_hdf5(folder / 'out.h5', modern(read_weights(folder / 'in')))
        read_weights(folder / 'out.h5')


def copy_weights(path):
    from fcn_repro.net import Net
    return Net.read(DATA / 'weights/load/net.prototxt', 'TEST').copy_from(path)


def read_state(path):
    from fcn_repro.formats.weights import read_solverstate
    state = read_solverstate(path)
    return [float(np.asarray(blob, np.float64).sum()) for blob in state.history]


def read_mean(path):
    from fcn_repro.formats.weights import read_binaryproto
    return read_binaryproto(path)


def state_seeds():
    """Caffe's binary state, and one with this project's own fields."""
    from fcn_repro.formats.solverstate import write_binary
    with tempfile.TemporaryDirectory() as folder:
        write_binary(f'{folder}/s', 7, 'a_iter_7.caffemodel', 2, [np.ones((2, 3), 'f4')],
                     {'seed': 1, 'losses': [1.0, 2.0], 'stage': 'x'}, {'net': 'name: "a"'})
        own = Path(folder, 's').read_bytes()
    return [*files('weights/*.solverstate')(), own]


def hdf5_seeds(kind: str) -> Callable[[], list[bytes]]:
    """Caffe's own file, and one that this project writes now."""
    def seeds():
        from fcn_repro.formats.weights import write_hdf5, write_solverstate
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, 'a.h5')
            if kind == 'caffemodel':
                write_hdf5(path, {'conv': [np.ones((2, 3, 3, 3), 'f4'), np.ones(2, 'f4')],
                                  'a/b': [np.ones(3, 'f4')]}, {'stage': 'x', 'seed': 1})
            else:
                write_solverstate(path, 7, 'a_iter_7.caffemodel.h5', 2, [np.ones((2, 3), 'f4')],
                                  {'seed': 1, 'stage': 'x'}, {'net': 'name: "a"'})
            own = path.read_bytes()
        return [*files(f'weights/*.{kind}.h5')(), own]
    return seeds


def read_golden(path):
    from fcn_repro.parity.golden import read_golden

    def walk(group):
        for item in group.values():
            if isinstance(item, dict):
                walk(item)
    return walk(read_golden(path))


def check_goldens(path):
    """A folder of goldens: what Caffe made of a text is the input."""
    from fcn_repro.parity.fixtures import KINDS as own
    from fcn_repro.parity.folder import KINDS, check_folder
    with folder_with(path, 'v1_net.upgraded.prototxt') as folder:
        shutil.copy(DATA / 'formats/v1_net.prototxt', folder)
        os.link(path, folder / 'golden.h5')
        os.link(path, folder / 'random_stats.json')
        return list(check_folder(folder, kinds=(*KINDS, *own)))


def golden_seeds():
    return [*files('formats/v1_net.upgraded.prototxt', 'fillers/random_stats.json')(),
            *files('layers/a*.h5')()[:3]]


def read_hdf5_data(path):
    """As HDF5Data reads what its list names."""
    from fcn_repro.layers.common.rows import listed_files, read_files
    with folder_with(path, 'd.h5') as folder:
        (folder / 'list').write_text('d.h5\n')
        return read_files([folder / name for name in listed_files(folder / 'list')],
                          ['data', 'label'])


def hdf5_data_seeds():
    made = []
    for options in ({}, {'chunks': True}, {'compression': 'gzip'}, {'dtype': 'f8'}):
        with h5py.File(io.BytesIO(), 'w') as file:
            file.create_dataset('data', data=np.ones((4, 3, 2, 2), 'f4'), **options)
            file.create_dataset('label', data=np.arange(4), **(
                options if 'dtype' not in options else {}))
            file.flush()
            made.append(file.id.get_file_image())
    return made


def read_hdf5_list(path):
    from fcn_repro.layers.common.rows import listed_files
    return listed_files(path)


# ---- databases -------------------------------------------------------------------------------


def read_database(path):
    from fcn_repro.formats import datum
    from fcn_repro.formats.database import open_database
    with folder_with(path, 'db/data.mdb') as folder:
        reader = open_database(folder / 'db')
        for _, value in reader.records(0, min(len(reader), 300)):
            datum.decode(value)


DATA_LAYER = '''layer { name: "d" type: "Data" top: "data" top: "label"
  transform_param { force_color: true }
  data_param { source: "db" backend: LMDB batch_size: 3 } }'''


def read_data_layer(path):
    from fcn_repro.net import Net
    with folder_with(path, 'db/data.mdb') as folder:
        (folder / 'net.prototxt').write_text(DATA_LAYER)
        Net.read(folder / 'net.prototxt', 'TEST').forward()


def datum_values():
    from fcn_repro.formats import datum
    pixels = np.arange(3 * 5 * 4, dtype='u1').reshape(3, 5, 4)
    return [datum.encode(pixels, 3), datum.encode(pixels.astype('f4'), 1),
            datum.encode_file(encoded('PNG'), 2), datum.encode_file(encoded('JPEG'), 2)]


def database_seeds():
    small, (raw, floats, png, _) = [], datum_values()
    for records in ({b'%08d' % i: raw for i in range(200)}, {b'a': png, b'b': raw * 30},
                    {b'%d' % i: floats for i in range(3)}):
        with tempfile.TemporaryDirectory() as folder:
            lmdb_pages.database(Path(folder, 'db'), records)
            small.append(Path(folder, 'db/data.mdb').read_bytes())
    return small


def read_datum(path):
    from fcn_repro.formats import datum
    value = path.read_bytes()
    for colour, grey in (False, False), (True, False), (False, True):
        datum.decode(value, colour, grey)


def read_messages(path):
    """pycaffe's io: bytes of a BlobProtoVector and of a Datum."""
    from google.protobuf.message import DecodeError

    from fcn_repro.pycaffe import io
    value = path.read_bytes()
    try:
        io.datum_to_array(io.Datum.FromString(value))
    except DecodeError:                     # protobuf's own call, not ours
        pass
    except FcnErrors():
        pass
    io.blobprotovector_str_to_arraylist(value)


def message_seeds():
    from fcn_repro.pycaffe import io
    return [io.arraylist_to_blobprotovector_str([np.ones((2, 3)), np.ones((1, 2, 2, 2))]),
            io.array_to_datum(np.ones((3, 2, 2), 'u1'), 3).SerializeToString()]


# ---- images and labels -----------------------------------------------------------------------


def encoded(kind, size=(9, 7), mode='RGB', **options):
    """The bytes of a small image file."""
    file = io.BytesIO()
    rows = np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(rows[..., 0].astype('u2') * 257) if mode == 'I;16' else \
        Image.fromarray(rows).convert(mode)
    image.save(file, kind, **options)
    return file.getvalue()


def image_seeds():
    exif = Image.Exif()
    exif[0x0112] = 6
    return [encoded('JPEG'), encoded('JPEG', (40, 30), progressive=True), encoded('PNG'),
            encoded('JPEG', exif=exif), encoded('JPEG', mode='CMYK'), encoded('JPEG', mode='L'),
            encoded('PNG', mode='RGBA'), encoded('PNG', mode='P'), encoded('PNG', mode='I;16'),
            encoded('BMP'), encoded('GIF', mode='P'), encoded('PPM'), encoded('WEBP'),
            encoded('TIFF'), encoded('TIFF', compression='tiff_lzw'), encoded('TIFF', mode='F')]


def label_seeds():
    made = []
    for size in (9, 7), (64, 40):
        with tempfile.TemporaryDirectory() as folder:
            rows = np.random.default_rng(1).integers(0, 21, size, np.uint8)
            data_folders.save_palette_png(rows, f'{folder}/l.png')
            made.append(Path(folder, 'l.png').read_bytes())
    return [*made, encoded('PNG', mode='L'), encoded('PNG', mode='P', bits=4)]


def read_image(path):
    from fcn_repro.data.image import read_image
    return read_image(path)


def read_label(path):
    from fcn_repro.data.image import check_label, read_label
    check_label(read_label(path), 21, path)


def read_photo(path):
    from fcn_repro.predict.photos import read_photo
    return read_photo(path)


def read_listed_image(path):
    from fcn_repro.data.listed import load_image
    return load_image(path), load_image(path, False, (5, 6))


def read_io_image(path):
    from fcn_repro.pycaffe.io import load_image
    return load_image(path), load_image(path, False)


def convert_images(path):
    """A list of images into a database, raw and encoded."""
    from fcn_repro.formats.converters import convert_imageset
    with folder_with(path, 'a.png') as folder:
        (folder / 'list').write_text('a.png 3\n')
        convert_imageset(f'{folder}/', folder / 'list', folder / 'raw')
        convert_imageset(f'{folder}/', folder / 'list', folder / 'file', encoded=True)


# ---- labels, digits and lists of the data sets -----------------------------------------------


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


def read_state_dict(path):
    from fcn_repro.formats.torchvision import is_state_dict, read_vgg16
    if is_state_dict(path):
        read_vgg16(path)


def state_dict_seeds():
    """The narrowest VGG16s that there are, in both formats of torch.save."""
    import torch
    found = []
    for normalised, zipped in (True, True), (False, True), (False, False):
        state, index, channels = {}, 0, 3
        for count in (2, 2, 3, 3, 3):
            for _ in range(count):
                state[f'features.{index}.weight'] = torch.ones(1, channels, 3, 3)
                state[f'features.{index}.bias'] = torch.ones(1)
                channels, index = 1, index + 1
                for name in ('weight', 'bias', 'running_mean', 'running_var') * normalised:
                    state[f'features.{index}.{name}'] = torch.ones(1)
                index += 1 + normalised
            index += 1
        file = io.BytesIO()
        torch.save(state, file, _use_new_zipfile_serialization=zipped)
        found.append(file.getvalue())
    return found


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


# ---- data sets that are converted ------------------------------------------------------------


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
    from fcn_repro.data.convert.colours import read_table
    return read_table(path).lines()


# ---- texts and this project's own files ------------------------------------------------------


def read_log(path):
    from fcn_repro.report.caffelog import read_log, save_tables
    log = read_log(path)
    with folder_with(path, 'log') as folder:
        save_tables(log, 'log', folder / 'tables')


LOG = b'''Log file created at: 2015/11/26 20:05:11
I1126 20:05:11.123456  4242 solver.cpp:279] Solving net
I1126 20:05:12.123456  4242 solver.cpp:337] Iteration 0, Testing net (#0)
I1126 20:05:12.223456  4242 solver.cpp:404]     Test net output #0: accuracy = 0.125
I1126 20:05:12.323456  4242 solver.cpp:404]     Test net output #1: loss = 2.30 (* 1 = 2.30 loss)
I1126 20:05:13.123456  4242 solver.cpp:228] Iteration 0, loss = 2.31
I1126 20:05:13.223456  4242 solver.cpp:244]     Train net output #0: loss = 2.31 (* 1 = 2.31 loss)
I1126 20:05:13.323456  4242 sgd_solver.cpp:106] Iteration 0, lr = 0.01
I0101 00:00:13.123456  4242 solver.cpp:239] Iteration 100 (50.1 iter/s, 2s/100 iters), loss = 1e-3
I20260229 00:00:14.123456  4242 sgd_solver.cpp:106] Iteration 100, lr = 0.001
'''


def read_json(path):
    from fcn_repro.parity.folder import read_known
    return read_known(path)


def json_seeds():
    return [json.dumps({'a': 'why', 'b': {'reason': 'x', 'arrays': ['outputs/*']}}).encode(),
            *files('formats/*.json', 'nets/shapes.json')()]


def read_stamp(path):
    from fcn_repro.data.scenes import read_stamp
    with folder_with(path, 'scenes.json') as folder:
        return read_stamp(folder)


def stamp_seeds():
    return [json.dumps({'version': 1, 'seed': 1337, 'train': 600, 'val': 100, 'size': [256, 320],
                        'digits': [2, 3], 'digit_sizes': [130, 190], 'mnist': None}).encode()]


def read_build(path):
    from fcn_repro.ops import extension
    check = getattr(extension, 'check_built', None) or extension.check_torch
    with folder_with(path, '_built.json') as folder:
        return check(folder)


def build_seeds():
    return [(DATA.parents[1] / 'fcn_repro/_built.json').read_bytes()]


def read_metrics(path):
    from fcn_repro.recipe.comparison import METRICS, figure_iu, read_metrics
    found = read_metrics(path)
    return figure_iu(found['confusion']), [100 * found[name] for name in METRICS]


def metrics_seeds():
    return [json.dumps({
        'pixel_accuracy': 0.5, 'mean_iu': 0.25, 'mean_accuracy': 0.5, 'fw_iu': 0.5, 'rule': 'paper',
        'class_iu': {'background': 0.5, 'person': None}, 'bound': None, 'of_bound': None,
        'images': 3, 'data': 'x', 'median_seconds': 0.1, 'confusion': [[3, 1], [2, 4]]}).encode()]


KEY = {'weights': 'x'}


def read_partial(path):
    from fcn_repro.predict.partial import Partial
    from fcn_repro.predict.scoring import Totals, image_metrics
    with folder_with(path, 'partial.jsonl') as folder:
        found = [score for _, score in Partial(folder, KEY, 3).begin().values()]
    Totals(3).add(found)
    return [image_metrics(score, 3) for score in found]


def read_archive(path):
    """An archive that was fetched: hashed, and unpacked."""
    from fcn_repro.fetch.download import verify
    from fcn_repro.fetch.unpack import unpack
    verify(path, {})
    with folder_with(path, 'in/archive') as folder:
        (folder / 'out').mkdir()
        return unpack(folder / 'in/archive', folder / 'out')


def archive_seeds():
    """Small archives of each kind: a folder, a file, an empty one, a link."""
    made = []
    for mode in 'w', 'w:gz', 'w:bz2', 'w:xz':
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode=mode, format=tarfile.PAX_FORMAT) as tar:
            for name, kind, data in (('top', tarfile.DIRTYPE, b''), ('top/ä' * 20, tarfile.REGTYPE,
                                                                     b'abc' * 300),
                                     ('top/b', tarfile.REGTYPE, b''), ('c', tarfile.SYMTYPE, b'')):
                info = tarfile.TarInfo(name)
                info.type, info.size, info.linkname = kind, len(data), '../top'
                tar.addfile(info, io.BytesIO(data))
        made.append(file.getvalue())
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('top/', '')
        archive.writestr('top/a', 'abc' * 300)
    return [*made, file.getvalue()]


def read_fetched(path):
    """What fetch keeps of a source and of a file that has come in part."""
    from fcn_repro.fetch.download import read_state
    from fcn_repro.fetch.fetching import RECORD, read_record, state_of
    from fcn_repro.fetch.sources import source
    read_state(path)
    with folder_with(path, f'voc2011{RECORD}') as folder:
        state_of(source('voc2011'), folder)
    return read_record(path)


def fetched_seeds():
    files = {'a.tar': {'url': 'http://x/a.tar', 'sha256': 'ab' * 32, 'bytes': 7,
                       'hash': 'recorded at first use', 'at': '2026-01-01 00:00:00'}}
    return [json.dumps(each).encode() for each in (
        {'files': files, 'unpacked': 'TrainVal/VOC2011'}, {'files': {}},
        {'url': 'http://x/a.tar', 'length': 9, 'validator': '"v1"'})]


def partial_seeds():
    from fcn_repro.predict.partial import Partial
    from fcn_repro.predict.scoring import Seconds, score_image
    with tempfile.TemporaryDirectory() as folder:
        partial = Partial(Path(folder), KEY, 3)
        for k in range(2):
            label = np.random.default_rng(k).integers(0, 3, (9, 7)).astype(np.uint8)
            partial.append(k, '7 7', score_image(f'im{k}', label, label.T.reshape(9, 7), 3, 2,
                                                 Seconds(0.1, 0.1, 0.)))
        partial.close()
        return [Path(folder, 'partial.jsonl').read_bytes()]


def read_curves(path):
    from fcn_repro.report.curves import read_curves, write_curves
    points = read_curves(path)
    with folder_with(path, 'curves.csv') as folder:
        write_curves(points, folder / 'other.csv')


CURVES = b'''iteration,seconds,loss,lr,pixel_accuracy,mean_accuracy,mean_iu,fw_iu
1,0.5,2.31,0.01,,,,
2,1,1.9,0.01,0.5,0.4,0.3,0.2
'''
NETS = 'formats/*.prototxt', 'layers/*.prototxt', 'nets/*/*.prototxt'
SLOW = 50                       # HDF5 in a process that starts again after a damaged file
AS_ASKED = 5.0, 1 << 40         # a net may ask for as much as the machine has
TEXT, LINES, WIRE = (mutations.text,), (mutations.lines,), (mutations.wire,)
TARGETS = {
    'net': Target(read_net, files(*NETS), TEXT, *AS_ASKED),
    'net-run': Target(run_net, files('layers/*.prototxt', 'nets/*/*.prototxt'), TEXT, *AS_ASKED),
    'net-drawn': Target(draw_net, files(*NETS), TEXT),
    'net-viewed': Target(view_net, files(*NETS), TEXT),
    'solver': Target(read_solver, files('formats/solver_*.prototxt', 'solvers/*/solver.prototxt'),
                     TEXT),
    'param-str': Target(read_params, params_seeds, TEXT),
    'weights': Target(read_weights, files('weights/*.caffemodel'), WIRE),
    'weights-hdf5': Target(read_weights, hdf5_seeds('caffemodel'), (mutations.hdf5,),
                           batch=SLOW),
    'weights-converted': Target(convert_weights, files('weights/*.caffemodel'), WIRE),
    'weights-copied': Target(copy_weights, files('weights/load/*.caffemodel'), WIRE),
    'state': Target(read_state, state_seeds, WIRE),
    'state-hdf5': Target(read_state, hdf5_seeds('solverstate'), (mutations.hdf5,), batch=SLOW),
    'mean': Target(read_mean, files('weights/*.binaryproto'), WIRE),
    'golden': Target(read_golden, files('layers/*.h5'), (mutations.hdf5,), batch=SLOW),
    'goldens': Target(check_goldens, golden_seeds, (mutations.text, mutations.hdf5), batch=SLOW),
    'hdf5-data': Target(read_hdf5_data, hdf5_data_seeds, (mutations.hdf5,), batch=SLOW),
    'hdf5-list': Target(read_hdf5_list, lambda: [b'a.h5\nb/c.h5\n', b'/x.h5\n'], LINES),
    'lmdb': Target(read_database, database_seeds, (mutations.lmdb,)),
    'data-layer': Target(read_data_layer, database_seeds, (mutations.lmdb,)),
    'datum': Target(read_datum, datum_values, WIRE),
    'blobproto': Target(read_messages, message_seeds, WIRE),
    'image': Target(read_image, image_seeds, (mutations.picture,)),
    'photo': Target(read_photo, image_seeds, (mutations.picture,)),
    'image-data': Target(read_listed_image, image_seeds, (mutations.picture,)),
    'image-io': Target(read_io_image, image_seeds, (mutations.picture,)),
    'imageset': Target(convert_images, image_seeds, (mutations.picture,)),
    'label': Target(read_label, label_seeds, (mutations.png,)),
    'state-dict': Target(read_state_dict, state_dict_seeds, (mutations.packed,)),
    'mat': Target(read_mat, mat_seeds, (mutations.mat,)),
    'mat-labels': Target(read_label_mats, label_mat_seeds, (mutations.mat,)),
    'depth': Target(read_depth, image_seeds, (mutations.picture,)),
    'camera': Target(read_camera, lambda: [b'518.8 519.4 325.5 253.7\n', b'1 2\n3 4'], LINES),
    'hha': Target(encode_depth, depth_seeds, (mutations.picture,)),
    'context-classes': Target(read_context_lists, lambda: [
        b'1: sky\n2: pole\n', b'1: accordion\n2: air conditioner\n\n3: sky\n'], LINES),
    'idx': Target(read_idx, idx_seeds, (mutations.packed,)),
    'mnist': Target(read_mnist, idx_seeds, (mutations.packed,)),
    'npy': Target(read_m2nist, npy_seeds, (mutations.npy,)),
    'cifar': Target(read_cifar, lambda: [bytes(3 * 3073)], ()),
    'image-list': Target(read_list, lambda: [b'a.jpg 0\nb c.png 3\n/d.jpg -1\n' * 3], LINES),
    'split': Target(read_split, lambda: ['\n'.join(data_folders.SIZES).encode()], LINES),
    'classes': Target(read_classes, lambda: [b'background\nperson\n\nx\n'], LINES),
    'mask': Target(read_mask, lambda: [*image_seeds(), *label_seeds()], (mutations.picture,)),
    'coco': Target(read_annotations('coco'), coco_seeds, TEXT),
    'labelme': Target(read_annotations('labelme'), labelme_seeds, TEXT),
    'colours': Target(read_colours, lambda: [b'0 0 0 sky\n# x\n255, 0, 9 a b\n1 1 1 void\n'],
                      LINES),
    'caffe-log': Target(read_log, lambda: [LOG], LINES),
    'known-json': Target(read_json, json_seeds, TEXT),
    'scenes-json': Target(read_stamp, stamp_seeds, TEXT),
    'metrics-json': Target(read_metrics, metrics_seeds, TEXT),
    'build-json': Target(read_build, build_seeds, TEXT),
    'archive': Target(read_archive, archive_seeds, (mutations.packed,)),
    'fetched': Target(read_fetched, fetched_seeds, TEXT),
    'partial-scores': Target(read_partial, partial_seeds, TEXT),
    'curves': Target(read_curves, lambda: [CURVES], LINES),
}
