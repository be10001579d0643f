"""What is measured on a GPU alone, and what is wanted there (of an H200)."""

import tempfile
from pathlib import Path

import numpy as np
from nets import FOLDER, fill, of_ours
from PIL import Image
from targets import cases, seconds
from timing import OURS, measure

from fcn_repro.solver import Solver

SIZE = 500, 500
FCN32S, ITERATIONS, PHOTOS = FOLDER.parent / 'voc-fcn32s', 60, 20
BATCH = 20


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
    """Rows of FCN-32s, one image an iteration, read from JPEGs: a turn is `iterations` of them, a
    row's seconds are of one."""
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
        solver = Solver(folder / 'solver.prototxt', device=args.device,
                        precision='tf32' if args.device == 'cuda' else 'fp32')
        fill(of_ours(solver.net))
        rows = measure('FCN-32s online training', {'image': '375x500'},
                       {OURS: lambda: solver.step(iterations)},
                       type(args)(**{**vars(args), 'runs': 3}), gradients=True, warm=False)
    for row in rows:
        row['seconds'] = [s / iterations for s in row['seconds']]
        row['median'], row['best'] = row['median'] / iterations, row['best'] / iterations
    return rows


def inverse(value):
    """1 / value, None of None."""
    return None if value is None else 1 / value


def summary(rows):
    """What is wanted of an H200, and what was reached, as text; rows may be missing."""
    batch = [row['ratio'] for row in rows if row['group'] == 'op 1 forward' and 'curve' not in row
             and row['case']['batch'] == BATCH and row['way'].startswith('floor')]
    loss = [row['ratio'] for ways in cases(rows, 'op 5 loss forward + backward').values()
            for way, row in ways.items() if way.startswith('floor')]
    figures = [(f'op 1, batch {BATCH}: share of the write bandwidth, percent', 85, 100,
                min(batch, default=None), True),
               ('op 5: times the floor of its exponentials', 3, 1,
                inverse(min(loss, default=None)), False),
               ('FCN-8s 500x500, TF32: ms', 2.5, 1e3,
                seconds(rows, 'FCN-8s scores', 'ours, tf32'), False),
               ('FCN-8s 500x500, bf16: ms', 1.5, 1e3,
                seconds(rows, 'FCN-8s scores', 'ours, bf16'), False),
               ('FCN-32s online training, TF32: images/s', 150, 1,
                inverse(seconds(rows, 'FCN-32s online training')), True)]
    return '\n'.join(f'{name:58}{">=" if least else "<="} {wanted:<6}'
                     f'{verdict(wanted, value, scale, least)}'
                     for name, wanted, scale, value, least in figures)


def verdict(wanted, value, scale, least):
    """scale * value, and whether it is at least, or at most, what is wanted."""
    if value is None:
        return f'{"-":>9}  NOT MEASURED'
    reached = scale * value
    return f'{reached:9.2f}  {"met" if (reached >= wanted) == least else "NOT MET"}'
