#!/usr/bin/env python3
"""Reading VOC and SBD: the time to index 8,498 and 736 images, and images per second.

    python benchmarks/reading.py [--images 64] [--workers 8] [--runs 5] [--json FILE]

Files have the number, the size (500x375) and about the weight of the real ones: JPEGs of 60 to 90
kB, labels of a few regions as SBD's compressed .mat files and VOC's palette PNGs; `images` of each
kind are made, and linked under all ids. To index is what a net does before its first image: to read
the lists and compute seg11valid of them; the headers of all images are what batches
of one size need besides. Decoding is what a net's data layer gives, with `workers` threads, beside
what the release does for the same files: Pillow, scipy and numpy, one image after the other.
"""

import itertools
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image
from timing import OURS, arguments, measure, prepare, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.data.image import MEAN
from fcn_repro.data.palette import palette
from fcn_repro.data.prefetch import Prefetch
from fcn_repro.data.sbd import SBDDSegDataLayer
from fcn_repro.data.voc import VOCSegDataLayer

SIZE, TRAIN, VALID = (375, 500), 8498, 736
VAL = 1112          # one more than VOC2011's, whose seg11valid would be checked by its ids
INDEX_SECONDS, IMAGES_PER_SECOND = 2, 150


def picture(rng):
    """A smooth picture with noise, whose JPEG weighs what a photograph's does."""
    coarse = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(SIZE[::-1], Image.Resampling.BICUBIC), np.float32)
    noise = rng.normal(0, 6, (*SIZE, 3))
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def regions(rng):
    """A label of three ellipses on background, with a void line around them."""
    y, x = np.mgrid[:SIZE[0], :SIZE[1]]
    label = np.zeros(SIZE, np.uint8)
    for _ in range(3):
        top, left = rng.integers(SIZE[0]), rng.integers(SIZE[1])
        far = ((y - top) / rng.integers(40, 140)) ** 2 + ((x - left) / rng.integers(40, 180)) ** 2
        label[far < 1.08] = 255
        label[far < 1] = rng.integers(1, 21)
    return label


def make(root, images):
    """VOC2011 and SBD's dataset in a folder: (voc_dir, sbdd_dir)."""
    rng, voc, sbd = np.random.default_rng(0), root / 'VOC2011', root / 'dataset'
    folders = {voc / 'JPEGImages': 'jpg', voc / 'SegmentationClass': 'png', sbd / 'img': 'jpg',
               sbd / 'cls': 'mat'}
    for folder in (*folders, voc / 'ImageSets/Segmentation'):
        folder.mkdir(parents=True)
    val = [f'2009_{i:06}' for i in range(VAL)]
    train = [f'2010_{i:06}' for i in range(TRAIN - VAL + VALID)] + val[VALID:]
    for k in range(images):
        label = regions(rng)
        picture(rng).save(root / f'{k}.jpg', quality=90)
        indexed = Image.fromarray(label)
        indexed.putpalette(palette().reshape(-1).tolist())
        indexed.save(root / f'{k}.png')
        scipy.io.savemat(root / f'{k}.mat', {'GTcls': {
            'Boundaries': np.zeros(20), 'Segmentation': np.where(label == 255, 0, label),
            'CategoriesPresent': np.unique(label)}}, do_compression=True)
    for folder, suffix in folders.items():
        for i, id_ in enumerate(val if voc in folder.parents else train):
            os.link(root / f'{i % images}.{suffix}', folder / f'{id_}.{suffix}')
    (voc / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(val))
    (sbd / 'train.txt').write_text('\n'.join(train))
    return voc, sbd


def params_of(voc, sbd):
    """{layer: its params}, of training and of seg11valid."""
    shared = {'mean': MEAN, 'seed': 1337}
    return {'SBDDSegDataLayer': {'sbdd_dir': str(sbd), 'split': 'train', **shared},
            'VOCSegDataLayer': {'voc_dir': str(voc), 'sbdd_dir': str(sbd), 'split': 'seg11valid',
                                **shared}}


def index(params, runs):
    """(seconds to index both, seconds with all headers), medians."""
    plain, headers = [], []
    for _ in range(runs):
        start = time.perf_counter()
        layers = (SBDDSegDataLayer(params['SBDDSegDataLayer']),
                  VOCSegDataLayer(params['VOCSegDataLayer']))
        plain.append(time.perf_counter() - start)
        assert [len(layer) for layer in layers] == [TRAIN, VALID]
        for layer in layers:
            assert set(layer.reader.sizes) == {SIZE}
        headers.append(time.perf_counter() - start)
    return statistics.median(plain), statistics.median(headers)


def as_the_release(layer, params):
    """A function that reads the next image as voc_layers.py does."""
    ids = layer(params).ids
    folder = Path(params['sbdd_dir'] if layer is SBDDSegDataLayer else params['voc_dir'])
    k = 0

    def read():
        nonlocal k
        id_, k = ids[k % len(ids)], k + 1
        sbd = layer is SBDDSegDataLayer
        image = Image.open(folder / ('img' if sbd else 'JPEGImages') / f'{id_}.jpg')
        data = np.array(image, np.float32)[:, :, ::-1]
        data -= np.array(MEAN)
        label = scipy.io.loadmat(folder / f'cls/{id_}.mat')['GTcls'][0]['Segmentation'][0] \
            if sbd else np.array(Image.open(folder / f'SegmentationClass/{id_}.png'), np.uint8)
        return data.transpose(2, 0, 1), label[None].astype(np.uint8)
    return read


def ours(layer, params, workers):
    """A function that gives the next blobs of a data layer, read ahead as a net's Python layer
    does."""
    ahead, position = Prefetch(layer(params).batch), itertools.count()
    return lambda: ahead.take(next(position), workers)


def decode(layer, params, args):
    """The rows of one data set."""
    functions = {OURS: ours(layer, params, args.workers),
                 'Pillow, scipy and numpy, as the release': as_the_release(layer, params)}
    rows = []
    for way, function in functions.items():         # not in turns: ours reads ahead

        def several(function=function):
            for _ in range(args.batches):
                function()
        began = time.process_time()
        row, = measure(f'{layer.__name__}, {way}', {'images': args.batches}, {OURS: several}, args,
                       warm=False)
        used = (time.process_time() - began) / (args.batches * (args.runs + 1))
        rows.append({**row, 'group': layer.__name__, 'way': way, 'processor_seconds': used,
                     'images/s': args.batches / row['median']})
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--images', type=int, default=64, help='different ones')
    parser.add_argument('--workers', type=int, default=8)
    parser.add_argument('--batches', type=int, default=200, help='images a round')
    args = parser.parse_args()
    machine = prepare(args)
    with tempfile.TemporaryDirectory() as folder:
        params = params_of(*make(Path(folder), args.images))
        plain, headers = index(params, args.runs)
        rows = [row for layer in (SBDDSegDataLayer, VOCSegDataLayer)
                for row in decode(layer, params[layer.__name__], args)]
    write(args.json, machine, [*rows, {'group': 'index', 'seconds': [plain], 'headers': headers}])
    print(f'{TRAIN} + {VALID} images indexed in {plain:.2f} s, with all headers {headers:.2f} s; '
          f'target {INDEX_SECONDS} s: {"met" if plain < INDEX_SECONDS else "NOT MET"}')
    for row in rows:
        print(f'{row["group"]:18}{row["way"]:42}{row["images/s"]:7.0f} images/s, '
              f'{1000 * row["processor_seconds"]:.1f} ms of a processor each')
    least = min(row['images/s'] for row in rows if row['way'] == OURS)
    print(f'target {IMAGES_PER_SECOND} images/s with {args.workers} workers: '
          f'{"met" if least > IMAGES_PER_SECOND else "NOT MET"}')


if __name__ == '__main__':
    main()
