"""Make the scenes of handwritten digits: images and labels in VOC's layout, from a seed."""

import argparse
from pathlib import Path

from ..data.digits import DIGIT_SIZES
from ..data.image import read_label
from ..data.scenes import CLASSES, make_scenes
from ..predict.metrics import upper_bound

NEEDED = {32: 0.70, 16: 0.90, 8: 0.97}      # mean IU; less, and the strides cannot be told apart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--out', default='data/scenes', help='folder to make (%(default)s)')
    parser.add_argument('--seed', type=int, default=1337)
    parser.add_argument('--train', type=int, default=600, help='training scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=100, help='validation scenes (%(default)s)')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 320),
                        metavar=('HEIGHT', 'WIDTH'), help='of a scene in pixels')
    parser.add_argument('--digit-sizes', type=int, nargs=2, default=DIGIT_SIZES,
                        metavar=('LEAST', 'MOST'), help='height of a digit in pixels')
    parser.add_argument('--mnist', metavar='DIR', help="folder of MNIST's IDX files, to draw these")


def run(args: argparse.Namespace) -> None:
    made = make_scenes(args.out, args.seed, args.train, args.val, args.size,
                       digit_sizes=args.digit_sizes, mnist=args.mnist)
    print(f"{args.out}: {args.train} train and {args.val} val scenes of "
          f"{args.size[0]}x{args.size[1]} pixels, {len(CLASSES)} classes, "
          f"{'made' if made else 'already there'}")

    labels = [read_label(path)
              for path in sorted(Path(args.out, 'SegmentationClass').glob('val_*.png'))]
    for stride, needed in NEEDED.items() if labels else ():
        bound = upper_bound(labels, stride, len(CLASSES)).mean_iu
        short = '' if bound >= needed else f', less than {100 * needed:.0f}: draw larger digits'
        print(f'upper bound of mean IU at stride {stride:2}: {100 * bound:.1f}{short}')
