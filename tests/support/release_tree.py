"""The reference release as tests run it: a copy of a checkout, in Python 3, with the data that its
scripts look for (noise, in the real layouts), narrow nets, and weights for them.

Nothing of the release is part of this project: FCN_RELEASE names the folder of a checkout of
shelhamer/fcn.berkeleyvision.org.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from data_folders import save_jpeg, save_mat, save_palette_png
from google.protobuf import text_format
from PIL import Image
from small_runs import ROOT

import fcn_repro.pycaffe as caffe
from fcn_repro.proto import NetParameter

MODELS = ('voc-fcn32s', 'voc-fcn16s', 'voc-fcn8s', 'voc-fcn8s-atonce', 'voc-fcn-alexnet',
          'nyud-fcn32s-color', 'nyud-fcn32s-color-d', 'nyud-fcn32s-hha', 'nyud-fcn32s-color-hha',
          'siftflow-fcn32s', 'siftflow-fcn16s', 'siftflow-fcn8s',
          'pascalcontext-fcn32s', 'pascalcontext-fcn16s', 'pascalcontext-fcn8s')
WHY = 'set FCN_RELEASE to the folder of a checkout of shelhamer/fcn.berkeleyvision.org'
SIZE, WIDTH = (20, 30), 4
IDS = '1001', '1002', '1003'
SCENES = 'spatial_envelope_256x256_static_8outdoorcategories'


def copy_release(folder):
    """A copy in Python 3: print and xrange, the only words of Python 2 in it, by lib2to3."""
    given = os.environ.get('FCN_RELEASE')
    if not given:
        pytest.skip(WHY)
    assert (Path(given) / 'voc_layers.py').is_file(), f'{given} is not a checkout of the release'
    release = shutil.copytree(given, folder / 'release', ignore=shutil.ignore_patterns('.git'))
    if not all(map(parses, release.rglob('*.py'))):
        pytest.importorskip('lib2to3', reason='the checkout is Python 2, and this Python has no '
                                              'lib2to3: convert it with a Python up to 3.12')
        subprocess.run([sys.executable, '-W', 'ignore', '-m', 'lib2to3', '-n', '-w', '-f', 'print',
                        '-f', 'xrange', release], check=True, capture_output=True)
    (folder / 'data').symlink_to(release / 'data')      # some nets look one folder further up
    return release


def parses(path):
    try:
        compile(path.read_text(), path, 'exec')
    except SyntaxError:
        return False
    return True


def run(release, script, *args, start=('-m', 'fcn_repro.pycaffe')):
    """A script in its folder, with the release's modules on the path."""
    path = os.pathsep.join(map(str, (ROOT, release)))
    return subprocess.run([sys.executable, *start, script.name, *args], cwd=script.parent,
                          env={**os.environ, 'PYTHONPATH': path}, capture_output=True, text=True,
                          timeout=300)


# ---- data ----------------------------------------------------------------------------------------

def make_data(data):
    """Three noise images in the layout of each data set, with labels; every split is short."""
    rng = np.random.default_rng(0)
    for name in IDS:
        image = rng.integers(0, 256, (*SIZE, 3), np.uint8)
        for folder in 'pascal/VOC2011/JPEGImages', 'pascal/VOC2010/JPEGImages', \
                'sbdd/dataset/img', f'sift-flow/Images/{SCENES}':
            save_jpeg(image, at(data / folder, f'{name}.jpg'))
        for folder in 'images', 'hha':
            Image.fromarray(image).save(at(data / 'nyud/data' / folder, f'img_{name}.png'))
        depth = Image.fromarray(image[:, :, 0].astype(np.uint16) + 1000)
        depth.save(at(data / 'nyud/data/depth', f'img_{name}.png'))
        make_labels(data, name, rng)
    for path in 'pascal/VOC2011/ImageSets/Segmentation/seg11valid', \
            'pascal/VOC2010/ImageSets/Main/train', 'pascal/VOC2010/ImageSets/Main/val', \
            'sbdd/dataset/train', 'segvalid11', 'nyud/trainval', 'nyud/test', \
            'sift-flow/trainval', 'sift-flow/test':
        lines(data / f'{path}.txt', IDS)
    classes = (data / 'pascal-context/classes-59.txt').read_text().splitlines()
    lines(data / 'pascal-context/59_labels.txt', classes[1:])       # but the background
    shutil.copy(data / 'pascal-context/classes-400.txt', data / 'pascal-context/labels.txt')


def make_labels(data, name, rng):
    def labels(low, high):
        return rng.integers(low, high, SIZE)
    save_palette_png(labels(0, 21).astype(np.uint8),
                     at(data / 'pascal/VOC2011/SegmentationClass', f'{name}.png'))
    save_mat(labels(0, 21).astype(np.uint8), at(data / 'sbdd/dataset/cls', f'{name}.mat'))
    for path, field, low, high in (
            (f'sift-flow/SemanticLabels/{SCENES}/{name}.mat', 'S', 0, 34),
            (f'sift-flow/GeoLabels/{SCENES}/{name}.mat', 'S', -1, 4),
            (f'nyud/segmentation/img_{name}.mat', 'segmentation', 0, 41),
            (f'pascal-context/trainval/{name}.mat', 'LabelMap', 1, 460)):
        scipy.io.savemat(at((data / path).parent, Path(path).name),
                         {field: labels(low, high).astype(np.int16)})


def at(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    return folder / name


def lines(path, rows):
    at(path.parent, path.name).write_text(''.join(f'{row}\n' for row in rows))


# ---- nets and weights ----------------------------------------------------------------------------

def read(path):
    return text_format.Parse(path.read_text(), NetParameter())


def make_narrow(release):
    """Nets of WIDTH channels in place of up to 4096; their scores keep one for each class."""
    for path in release.glob('*/*.prototxt'):
        if path.name == 'solver.prototxt':
            continue
        net = read(path)
        for layer in net.layer:
            if layer.type == 'Convolution' and not layer.name.startswith('score'):
                layer.convolution_param.num_output = WIDTH
        path.write_text(str(net))


def make_weights(release):
    """Every file of weights, and of nets beside them, that a solve.py or infer.py reads."""
    nets = {name: read(next(release.glob(f'{name}/train*.prototxt'))) for name in MODELS}
    trunk = NetParameter(layer=[layer for layer in nets['voc-fcn32s'].layer
                                if not re.search('score|loss', layer.name)])
    for target, net in (('ilsvrc-nets/vgg16-fcn', trunk), ('vgg16fc', trunk),
                        ('ilsvrc-nets/alexnet-fcn', nets['voc-fcn-alexnet']),
                        ('voc-fcn8s/fcn8s-heavy-pascal', nets['voc-fcn8s']),
                        ('nyud-rgb-32s/nyud-rgb-32s-28k', nets['nyud-fcn32s-color']),
                        ('nyud-hha-32s/nyud-hha-32s-60k', nets['nyud-fcn32s-hha']),
                        *((f'{name}/{name}', net) for name, net in nets.items())):
        save(net, release / f'{target}.caffemodel')
    for new, old in ('nyud-rgb-32s', 'nyud-fcn32s-color'), ('nyud-hha-32s', 'nyud-fcn32s-hha'):
        shutil.copy(release / old / 'trainval.prototxt', release / new)
    (release / 'ilsvrc-nets/vgg16fcn.prototxt').write_text(str(fed(trunk)))


def save(net, path):
    """A caffemodel of random weights."""
    net_file = at(path.parent, f'{path.stem}-random.prototxt')
    net = fed(net)
    for layer in net.layer:
        if layer.type in ('Convolution', 'Deconvolution'):
            layer.convolution_param.weight_filler.type = 'msra'
    net_file.write_text(str(net))
    caffe.Net(str(net_file), caffe.TRAIN).save(str(path))


def fed(net):
    """A net with Input layers in place of its reader, and without losses."""
    out = NetParameter()
    for layer in net.layer:
        if layer.type == 'Python':
            for top in layer.top:
                channels = 1 if top in ('label', 'depth', 'sem', 'geo') else 3
                new = out.layer.add(name=top, type='Input', top=[top])
                new.input_param.shape.add(dim=[1, channels, *SIZE])
        elif not layer.type.endswith('Loss'):
            out.layer.add().CopyFrom(layer)
    return out
