"""Small FCNs of every stage on coloured shapes, healthy ones, and how to break them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from data_folders import save_jpeg, save_palette_png, write_split

from fcn_repro import doctor
from fcn_repro.net.net import Net
from fcn_repro.recipe.models.model import Model, Recipe, summed_rate, voc_data
from fcn_repro.recipe.models.vgg import fcn
from fcn_repro.recipe.starting import prepare
from fcn_repro.solver import Solver

SIZE = 48, 64
CLASSES = 3
SETTINGS = {'classes': CLASSES, 'widths': (6, 8, 8, 12, 12), 'fc': 24, 'dropout': 0.1,
            'weight_filler': {'type': 'msra'}, 'input_scale': 0.01}
MEAN_LOSS = Recipe(5e-3, momentum=0.9, max_iter=1000, normalize=True, prefix='run/train')
RATE = summed_rate(5e-3, 0.9, SIZE[0] * SIZE[1], 0.9)
SURGERIES = 'transplant', 'zero scores', 'interp'


def shapes(folder, count=12, scale=1, shift=0, only=None):
    """`count` noisy images, each with a reddish and a bluish square, in VOC's layout: a third are
    val. Labels are 0, 1 (red), 2 (blue), a rim of 255; times `scale`, plus `shift`."""
    for part in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (folder / part).mkdir(parents=True)
    ids = [f'im{i}' for i in range(count)]
    for i, id_ in enumerate(ids):
        rng = np.random.default_rng(i)
        image = rng.integers(90, 140, (*SIZE, 3)).astype(np.uint8)
        label = np.zeros(SIZE, np.int64)
        for k, colour in ((1, (230, 60, 60)), (2, (60, 60, 230))):
            y, x = rng.integers(0, 16), rng.integers(0, 20) + 22 * (k - 1)
            image[y:y + 28, x:x + 22] = colour
            label[y:y + 28, x:x + 22] = k
        if only is not None:
            label[:] = only
        label = label * scale + shift
        label[:2] = 255 if scale == 1 else 0
        save_jpeg(image, folder / f'JPEGImages/{id_}.jpg')
        save_palette_png(label.astype(np.uint8), folder / f'SegmentationClass/{id_}.png')
    write_split(folder, 'val', ids[:count // 3])
    write_split(folder, 'train', ids[count // 3:])
    return folder


def stage(folder, voc, stride=32, recipe=MEAN_LOSS, **settings):
    """Write a stage's files; returns the folder."""
    model = Model(fcn, {'stride': stride, **SETTINGS, **settings}, voc_data(str(voc), 'train'),
                  voc_data(str(voc), 'val'), val_images=4, recipes=(recipe,))
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in model.files().items():
        (folder / name).write_text(text)
    return folder


def with_recipe(**changes):
    return replace(MEAN_LOSS, **changes)


def edit(path, *pairs):
    """Replace (old, new) in a file; each old one is there."""
    text = Path(path).read_text()
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    Path(path).write_text(text)


def layer_edit(path, name, old, new):
    """Replace in the text of one layer."""
    before, mark, rest = Path(path).read_text().partition(f'  name: "{name}"\n')
    assert mark, name
    end = rest.index('\nlayer {') if '\nlayer {' in rest else len(rest)
    assert old in rest[:end], (old, rest[:end])
    Path(path).write_text(before + mark + rest[:end].replace(old, new) + rest[end:])


def classifier(folder):
    """Weights of a classifier for these stages: all layers but the scores and the upsampling. fc6
    and fc7 are InnerProducts."""
    net = Net.read(folder / 'train.prototxt', 0, seed=7)
    layers = {name: [blob.data.numpy().copy() for blob in blobs] for name, blobs in
              net.params.items() if 'score' not in name}
    for name in 'fc6', 'fc7':
        layers[name][0] = layers[name][0].reshape(len(layers[name][0]), -1)
    return save(folder / 'classifier.caffemodel.h5', layers)


def save(path, layers, **extra):
    """Write {layer: [array]} as weights; the path."""
    from fcn_repro.formats.weights import write_hdf5
    write_hdf5(path, layers, extra or None)
    return path


def arrays(path):
    """{layer: [array]} of a file of weights, to be changed."""
    from fcn_repro.formats.weights import read_weights
    found = read_weights(path)
    return {name: [np.array(blob) for blob in found[name]] for name in found if found[name]}


def trained(folder, source, iterations=20, out='trained.caffemodel'):
    """Weights of a stage, trained for a few iterations."""
    solver = Solver(folder / 'solver.prototxt', prefix=folder / 'train')
    prepare(solver.net, SURGERIES, source)
    solver.step(iterations)
    solver.net.save(folder / out)
    return folder / out


def codes(subject, iterations=0):
    """The codes of what is found."""
    return [finding.code for finding in doctor.examine(subject, iterations).findings]




# ---- a net of five layers, for what depends on no stage ------------------------------------------

DATA = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "voc_layers" layer: "VOCSegDataLayer"
  param_str: "{'voc_dir': '%s', 'split': 'train', 'mean': (104.0, 116.7, 122.7)}" } }
'''
NET = '''layer { name: "scaled" type: "Power" bottom: "data" top: "scaled"
  power_param { scale: 0.01 } }
layer { name: "conv1" type: "Convolution" bottom: "scaled" top: "conv1"
  convolution_param { num_output: 8 kernel_size: 3 pad: 8 weight_filler { type: "msra" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc6" type: "Convolution" bottom: "pool1" top: "fc6"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "msra" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "score_fr" type: "Convolution" bottom: "fc6" top: "score_fr"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "upscore" type: "Deconvolution" bottom: "score_fr" top: "upscore" param { lr_mult: 0 }
  convolution_param { num_output: 3 group: 3 kernel_size: 4 stride: 2 bias_term: false
    weight_filler { type: "bilinear" } } }
layer { name: "score" type: "Crop" bottom: "upscore" bottom: "data" top: "score"
  crop_param { axis: 2 offset: 8 } }
'''
LOSS = '''layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 normalize: true } }
'''
SOLVER = '''train_net: "train.prototxt"
base_lr: 0.01
lr_policy: "fixed"
momentum: 0.9
weight_decay: 0.0005
max_iter: 1000
snapshot_prefix: "train"
'''


def tiny(folder, voc, *changes):
    """The net of five layers on a data set, with (old, new) replaced in its texts; its solver."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {'train.prototxt': DATA % voc + NET + LOSS, 'solver.prototxt': SOLVER}
    for old, new in changes:
        assert any(old in text for text in texts.values()), old
        texts = {name: text.replace(old, new) for name, text in texts.items()}
    for name, text in texts.items():
        (folder / name).write_text(text)
    return folder / 'solver.prototxt'


def filled(solver, name='tiny.caffemodel.h5', **changes):
    """Weights for such a net: its fillers, scores of small numbers; changes: {layer: [array], or
    None to leave it out}."""
    net = Net.read(solver.parent / 'train.prototxt', 0, seed=3)
    layers = {key: [blob.data.numpy().copy() for blob in blobs]
              for key, blobs in net.params.items()}
    rng = np.random.default_rng(0)
    layers['score_fr'][0] = rng.normal(0, 0.1, layers['score_fr'][0].shape).astype(np.float32)
    layers |= changes
    return save(solver.parent / name, {k: v for k, v in layers.items() if v is not None})


COLOURS = '''input: "data" input_shape { dim: 1 dim: 3 dim: 48 dim: 64 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "score" type: "Convolution" bottom: "conv" top: "score"
  convolution_param { num_output: 3 kernel_size: 1 } }
'''


def by_colour(folder, swapped=False, dead=False):
    """(deploy net, weights) that label red and blue of BGR images; swapped: of RGB images; dead:
    that give class 0 everywhere, at nearly the same score."""
    (folder / 'deploy.prototxt').write_text(COLOURS)
    conv = np.array([[-1, 0, 1], [1, 0, -1]], np.float32)
    score = np.array([[0, 0], [1, 0], [0, 1]], np.float32) / 10
    bias = np.array([5, 0, 0], np.float32)
    if swapped:
        conv = conv[:, ::-1]
    if dead:
        score, bias = score * 1e-3, bias * 10
    return folder / 'deploy.prototxt', save(folder / 'colours.caffemodel.h5', {
        'conv': [np.ascontiguousarray(conv)[:, :, None, None], np.zeros(2, np.float32)],
        'score': [score[:, :, None, None], bias]})
