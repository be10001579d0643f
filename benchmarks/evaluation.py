#!/usr/bin/env python3
"""Evaluating a split beside bare inference of the same images: what reading and scoring add.

    python benchmarks/evaluation.py [--nets voc-fcn8s own-fcn16s] [--images 12] [--size 375x500]
                                    [--runs 5] [--threads 2] [--device cuda] [--json FILE]

The photographs and labels are made by the benchmark, in VOC's layout. Inference takes the label
maps of N blobs that were read beforehand. Evaluation is all that `fcn-repro eval` does with a
deploy net once its weights are loaded: decode, run, count, draw, print and write the results. All
take turns; a ratio is the median over the rounds. What an evaluation does once (a hash of the
weights, eight pictures, the tables) is the row `once`. `each N images` is half of what 3 N images
take more than N, and so what a split of hundreds costs. OMP_WAIT_POLICY=PASSIVE is what the command
sets where nothing is set.
"""

import contextlib
import io
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch
from nets import fill, of_ours
from PIL import Image
from timing import alternate, arguments, parse_size, prepare, table, write

from fcn_repro.cli.reporting import report_errors
from fcn_repro.data.image import MEAN
from fcn_repro.data.prefetch import default_workers
from fcn_repro.net import Net, placement
from fcn_repro.predict.evaluation import evaluate_and_report
from fcn_repro.predict.outputs import find_output
from fcn_repro.predict.sources import given_voc
from fcn_repro.proto import TEST
from fcn_repro.recipe.optimisations import Optimisations

PROTOTXT = Path(__file__).parent.parent / 'prototxt'
MOST = 1.10             # evaluation's time by inference's
REGIONS = 6             # objects in a label map
VOID_EDGE = 3           # pixels of void around an object, as VOC's labels have
BARE, WHOLE, LONG, EACH = 'inference', 'evaluation', 'evaluation of 3 N', 'each N images'


def make(folder, count, size, classes):
    """`count` smooth noisy JPEGs and labels of discs with a void rim, in VOC's layout."""
    rng = np.random.default_rng(0)
    for name in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
        Path(folder, name).mkdir(parents=True)
    ids = [f'image_{i:04}' for i in range(count)]
    for id_ in ids:
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC), float)
        noisy = smooth + rng.normal(0, 8, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            Path(folder, 'JPEGImages', f'{id_}.jpg'), quality=90)
        Image.fromarray(label(rng, size, classes)).save(
            Path(folder, 'SegmentationClass', f'{id_}.png'))
    Path(folder, 'ImageSets/Segmentation/val.txt').write_text('\n'.join(ids) + '\n')
    Path(folder, 'classes.txt').write_text('\n'.join(f'class {i}' for i in range(classes)) + '\n')


def label(rng, size, classes):
    """(H, W) uint8: discs of random classes on background 0, each in a rim of void."""
    y, x = np.ogrid[:size[0], :size[1]]
    found = np.zeros(size, np.uint8)
    for _ in range(REGIONS):
        distance = np.hypot(y - rng.integers(size[0]), x - rng.integers(size[1]))
        radius = rng.integers(8, min(size) // 3)
        found[distance < radius + VOID_EDGE] = 255
        found[distance < radius] = rng.integers(1, classes)
    return found


def read(name, device):
    """The deploy net of a folder of prototxt/ with random weights, as the tools run it."""
    optimisations = Optimisations(())
    net = Net.read(PROTOTXT / name / 'deploy.prototxt', TEST, passes=optimisations.passes)
    params = of_ours(net)
    for node in net.graph.nodes:
        if node.type == 'BatchNorm':
            with torch.no_grad():
                for blob, value in zip(params.pop(node.name), (0, 1, 1), strict=True):
                    blob.fill_(value)           # mean, variance, their weight
        elif node.type == 'Deconvolution' and len(params[node.name]) > 1:
            params.pop(node.name)               # a learned one, which keeps its filler's weights
    fill(params)
    placement.place(net, device, workers=default_workers(), **optimisations.placed)
    return net


def compare(name, args):
    """Rows of one net: inference and evaluation of N images, and evaluation of 3 N."""
    net = read(name, args.device)
    output = find_output(net)
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder, 'voc'), 3 * args.images, args.size, output.classes)
        data = given_voc(Path(folder, 'voc'), 'val', None, MEAN, output.classes)
        blobs = [data.blobs([data.sample(k)])[0] for k in range(args.images)]

        def infer():
            for blob in blobs:
                output.predict(net, data=blob)

        def evaluate(count):
            with tempfile.TemporaryDirectory() as out, \
                    contextlib.redirect_stdout(io.StringIO()), \
                    contextlib.redirect_stderr(io.StringIO()):
                evaluate_and_report(net, out, count=count, data=data)

        functions = {BARE: infer, WHOLE: lambda: evaluate(args.images),
                     LONG: lambda: evaluate(3 * args.images)}
        taken = alternate(functions, args.runs, args.device, warm=False)
    return rows_of(name, args, taken)


def rows_of(name, args, taken):
    """Rows, printed as well."""
    both = list(zip(taken[WHOLE], taken[LONG], strict=True))
    ways = {**taken, 'once': [(3 * whole - long) / 2 for whole, long in both],
            EACH: [(long - whole) / 2 for whole, long in both]}
    case = {'net': name, 'images': args.images, 'image': f'{args.size[0]}x{args.size[1]}',
            'threads': torch.get_num_threads()}
    rows = [{'group': 'evaluation', 'case': case, 'way': way, 'median': statistics.median(times),
             'best': min(times), 'seconds': times, 'ratio': statistics.median(
                 t / b for t, b in zip(times, taken[BARE], strict=True))}
            for way, times in ways.items()]
    print(table(rows, 'x inference'), flush=True)
    return rows


@report_errors()
def main():
    parser = arguments(__doc__, 5)
    parser.add_argument('--nets', nargs='+', default=['voc-fcn8s', 'own-fcn16s'], metavar='NAME',
                        help='folders of prototxt/')
    parser.add_argument('--images', type=int, default=12)
    parser.add_argument('--size', type=parse_size, default=(375, 500), metavar='HxW')
    args = parser.parse_args()
    machine = prepare(args)
    rows = [row for name in args.nets for row in compare(name, args)]
    write(args.json, machine, rows)
    for row in rows:
        if row['way'] == EACH:
            print(f'{row["case"]["net"]}: {row["ratio"]:.3f} times inference, at most {MOST}: '
                  f'{"met" if row["ratio"] <= MOST else "NOT MET"}')


if __name__ == '__main__':
    main()
