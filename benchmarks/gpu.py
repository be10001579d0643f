"""What is measured on a GPU alone: FCN-32s trained online, from JPEGs."""

import tempfile
from pathlib import Path

import numpy as np
from gpu_targets import ONLINE
from nets import FOLDER, fill, of_ours
from PIL import Image
from timing import OURS, alternate, rows_of, table

from fcn_repro.solver import Solver

SIZE = 500, 500
FCN32S, ITERATIONS, PHOTOS = FOLDER.parent / 'voc-fcn32s', 100, 20


def photos(folder):
    """A VOC folder of JPEGs, 500x375, with labels, and the ids in its train split."""
    made = np.random.default_rng(0)
    for name in 'JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation':
        (folder / name).mkdir(parents=True)
    for i in range(PHOTOS):
        small = Image.fromarray(made.integers(0, 256, (25, 34, 3), dtype=np.uint8))
        small.resize((500, 375), Image.Resampling.BICUBIC).save(
            folder / f'JPEGImages/{i}.jpg', quality=92)
        label = Image.fromarray(made.integers(0, 21, (12, 16), dtype=np.uint8), 'P')
        label.resize((500, 375), Image.Resampling.NEAREST).save(
            folder / f'SegmentationClass/{i}.png')
    (folder / 'ImageSets/Segmentation/train.txt').write_text(
        ''.join(f'{i}\n' for i in range(PHOTOS)))


def online_training(args, iterations=ITERATIONS):
    """Rows of FCN-32s, one image an iteration, read from JPEGs, in TF32 and in float32: a round is
    `iterations` of Solver.step, after as many that do not count; seconds are of one."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        photos(folder / 'voc')
        layers = (FCN32S / 'train.prototxt').read_text()
        data = ("{'voc_dir': '%s', 'seed': 1337, 'split': 'train', "
                "'mean': (104.0, 116.7, 122.7)}" % (folder / 'voc'))
        rest = layers.split('layer {')[2:]
        (folder / 'train.prototxt').write_text(
            'layer { name: "data" type: "Python" top: "data" top: "label" python_param { '
            f'module: "voc_layers" layer: "VOCSegDataLayer" param_str: "{data}" }} }}\n'
            + ''.join('layer {' + layer for layer in rest))
        (folder / 'solver.prototxt').write_text(
            'train_net: "train.prototxt" base_lr: 1e-10 lr_policy: "fixed" momentum: 0.99 '
            'weight_decay: 0.0005 max_iter: 1000000 snapshot_after_train: false')
        for precision in ('tf32', 'fp32') if args.device == 'cuda' else ('fp32',):
            solver = Solver(folder / 'solver.prototxt', device=args.device, precision=precision)
            fill(of_ours(solver.net))
            taken = alternate({OURS: lambda solver=solver: solver.step(iterations)}, 1, args.device,
                              warm=False)
            rows += rows_of(ONLINE, {'image': '375x500', 'precision': precision},
                            {OURS: [seconds / iterations for seconds in taken[OURS]]})
            print(table(rows[-1:]), flush=True)
    return rows
