"""A stage small enough for tests (its prototxt files, its data in VOC's layout), and tools run as
their main() is, or as a process."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data_folders import save_jpeg, save_palette_png, write_split

from fcn_repro.recipe import stages
from fcn_repro.solver import Solver

ROOT = Path(__file__).parents[2]
SIZE = 24, 32
DATA = '''layer { name: "data" type: "Python" top: "data" top: "label" python_param {
  module: "voc_layers" layer: "VOCSegDataLayer"
  param_str: "{'voc_dir': '%s', 'seed': 1337, 'split': '%s', 'mean': (104.0, 116.7, 122.7)}" } }
'''
NET = '''layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 8
    weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "drop1" type: "Dropout" bottom: "pool1" top: "pool1" }
layer { name: "score_fr" type: "Convolution" bottom: "pool1" top: "score_fr"
  convolution_param { num_output: 3 kernel_size: 1 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "upscore" type: "Deconvolution" bottom: "score_fr" top: "upscore" param { lr_mult: 0 }
  convolution_param { num_output: 3 kernel_size: 4 stride: 2 bias_term: false
    weight_filler { type: "gaussian" std: 1 } } }
layer { name: "score" type: "Crop" bottom: "upscore" bottom: "data" top: "score"
  crop_param { axis: 2 offset: 8 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss"
  loss_param { ignore_label: 255 normalize: true } }
'''


def vgg_conv(name, bottom, outputs, kernel, pad=1):
    """A convolution and its ReLU. The bias keeps windows of zeros away from 0, where rounding would
    decide which way the gradient goes."""
    return f'''layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}"
  convolution_param {{ num_output: {outputs} kernel_size: {kernel} pad: {pad}
    weight_filler {{ type: "msra" }} bias_filler {{ type: "constant" value: 0.1 }} }} }}
layer {{ name: "relu_{name}" type: "ReLU" bottom: "{name}" top: "{name}" }}
'''


def vgg_pool(name, bottom):
    return f'''layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}"
  pooling_param {{ pool: MAX kernel_size: 2 stride: 2 }} }}
'''


# VGG16's layers in miniature, wide enough for our own convolutions: conv1_2, conv2_1, fc6, fc7
VGG = 'layer { name: "scaled" type: "Power" bottom: "data" top: "scaled" power_param { scale: ' \
    '0.01 } }\n' + vgg_conv('conv1_1', 'scaled', 16, 3, 20) \
    + vgg_conv('conv1_2', 'conv1_1', 16, 3) + vgg_pool('pool1', 'conv1_2') \
    + vgg_conv('conv2_1', 'pool1', 48, 3) + vgg_pool('pool2', 'conv2_1') \
    + vgg_conv('fc6', 'pool2', 224, 7, 0) + vgg_conv('fc7', 'fc6', 224, 1, 0) \
    + NET[NET.index('layer { name: "score_fr"'):].replace('pool1', 'fc7').replace(
        'kernel_size: 4 stride: 2', 'group: 3 kernel_size: 8 stride: 4').replace(
        'type: "gaussian" std: 1 }', 'type: "bilinear" }').replace('offset: 8', 'offset: 10')
SOLVER = '''train_net: "train.prototxt"
base_lr: 0.01
lr_policy: "step"
gamma: 0.5
stepsize: 2
momentum: 0.9
weight_decay: 0.0005
iter_size: 2
average_loss: 4
display: 1
max_iter: 6
snapshot: 3
snapshot_prefix: "train"
'''


class Done(NamedTuple):
    status: int
    out: str
    err: str


def small_voc(folder, count=5, classes=3):
    """`count` noise images with labels: the first two are val, the others train."""
    for part in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        (folder / part).mkdir(parents=True)
    ids = [f'im{i}' for i in range(count)]
    for i, id_ in enumerate(ids):
        rng = np.random.default_rng(i)
        size = SIZE[0], SIZE[1] + 4 * i
        save_jpeg(rng.integers(0, 256, (*size, 3), dtype=np.uint8), image_path(folder, id_))
        label = rng.integers(0, classes, size).astype(np.uint8)
        label[0] = 255
        save_palette_png(label, label_path(folder, id_))
    write_split(folder, 'val', ids[:2])
    write_split(folder, 'train', ids[2:])
    return folder


def image_path(voc, id_):
    return voc / f'JPEGImages/{id_}.jpg'


def label_path(voc, id_):
    return voc / f'SegmentationClass/{id_}.png'


def write_stage(folder, voc, net=NET, solver=SOLVER):
    """solver, train and val prototxt; returns the solver's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'train.prototxt').write_text(DATA % (voc, 'train') + net)
    (folder / 'val.prototxt').write_text(DATA % (voc, 'val') + net)
    (folder / 'solver.prototxt').write_text(solver)
    return folder / 'solver.prototxt'


def solver_maker(tmp_path, monkeypatch):
    """A function that makes a solver of the small stage, its texts with (old, new) replaced; under
    tmp_path, where we then are, as is its data, voc."""
    voc = small_voc(tmp_path / 'voc')
    monkeypatch.chdir(tmp_path)

    def make(*changes, prefix='run/train', net=NET, solver=SOLVER, **options):
        for old, new in changes:
            assert old in net + solver, old
            net, solver = net.replace(old, new), solver.replace(old, new)
        return Solver(write_stage(tmp_path / 'net', voc, net, solver), prefix=prefix, **options)
    return make


def run(solver, until=None):
    """Iterate a solver up to there, or to its end; the solver."""
    for _ in solver.run(until):
        pass
    return solver


def small_stage(tmp_path, monkeypatch, name='small', **row):
    """A stage of the table, under tmp_path, where we then are; returns (its folder, its VOC). That
    of a name FAMILY-NET is found by the comparison of this family."""
    voc = tmp_path / 'voc'
    if not voc.exists():
        small_voc(voc)
    write_stage(tmp_path / 'prototxt' / name, voc)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stages, 'PROTOTXT', tmp_path / 'prototxt')
    family, _, net = name.rpartition('-')
    monkeypatch.setitem(stages.STAGES, name, stages.Stage(family=family, net=net, **row))
    return tmp_path / 'prototxt' / name, voc


def tool(name):
    """The module tools/<name>.py."""
    spec = importlib.util.spec_from_file_location(f'tool_{name}', ROOT / f'tools/{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(capsys, name, *args, main=None):
    """main() of tools/<name>.py, or `main`, with these arguments; Done."""
    main, before, status = main or tool(name).main, sys.argv, 0
    sys.argv = [f'tools/{name}.py', *map(str, args)]
    capsys.readouterr()
    try:
        main()
    except SystemExit as end:
        status = end.code
    finally:
        sys.argv = before
    return Done(status, *capsys.readouterr())


def start(name, *args, cwd, **options):
    """tools/<name>.py as a process of its own, as a user types it."""
    return subprocess.Popen(
        [sys.executable, ROOT / f'tools/{name}.py', *map(str, args)], cwd=cwd, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, 'PYTHONPATH': str(ROOT)}, **options)


def wait(process, seconds=600):
    out, err = process.communicate(timeout=seconds)
    return Done(process.returncode, out, err)


def assert_error(done, *parts):
    """One line that begins with 'error:', holds all parts and ends in a remedy; status 1."""
    assert done.status == 1, done
    assert done.err.startswith('error: ') and done.err.count('\n') == 1, done.err
    for part in parts:
        assert str(part) in done.err, (part, done.err)


def contents(folder):
    """{path: bytes} of all files below a folder."""
    return {path.relative_to(folder): path.read_bytes()
            for path in sorted(folder.rglob('*')) if path.is_file()}
