"""Make the scenes of handwritten digits: images and labels in VOC's layout, from a seed.

    fcn-repro make-scenes --out data/scenes
    fcn-repro make-scenes --kind nyud

--kind: rooms with digits in the layout of NYUDv2 (colour, depth, HHA), SIFT Flow (two labels) or
PASCAL-Context (two tasks), instead of VOC's.
"""

import argparse
from pathlib import Path

from ..data.digits import DIGIT_SIZES
from ..data.image import read_label
from ..data.miniatures import KINDS, folder_of, make_miniature
from ..data.scenes import CLASSES, make_scenes
from ..predict.metrics import upper_bound

NEEDED = {32: 0.70, 16: 0.90, 8: 0.97}      # mean IU; less, and the strides cannot be told apart
VOC = 'voc'
SIZE = (256, 320)                           # of VOC's


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--kind', choices=(VOC, *KINDS), default=VOC, help='layout and contents: '
                        '%(choices)s (default: %(default)s)')
    parser.add_argument('--out', metavar='DIR', help='folder to make (default: data/scenes, or '
                        f'{folder_of("KIND")} with --kind)')
    parser.add_argument('--seed', type=int, default=1337)
    parser.add_argument('--train', type=int, default=600, help='training scenes (%(default)s)')
    parser.add_argument('--val', type=int, default=100, help='validation scenes (%(default)s)')
    parser.add_argument('--size', type=int, nargs=2, metavar=('HEIGHT', 'WIDTH'), help='of a scene '
                        'in pixels (default: 256 320; of siftflow 256 256)')
    parser.add_argument('--digit-sizes', type=int, nargs=2, default=DIGIT_SIZES,
                        metavar=('LEAST', 'MOST'), help='height of a digit in pixels')
    parser.add_argument('--mnist', metavar='DIR', help="folder of MNIST's IDX files, to draw these")


def run(args: argparse.Namespace) -> None:
    numbers = {'seed': args.seed, 'train': args.train, 'val': args.val,
               'digit_sizes': args.digit_sizes, 'mnist': args.mnist}
    if args.kind == VOC:
        out, size, classes = args.out or 'data/scenes', args.size or SIZE, len(CLASSES)
        made = make_scenes(out, size=size, **numbers)
    else:
        kind = KINDS[args.kind]
        out, size, classes = args.out or folder_of(args.kind), args.size or kind.size, \
            len(kind.classes)
        made = make_miniature(args.kind, out, size=size, **numbers)
    print(f"{out}: {args.train} train and {args.val} val scenes of "
          f"{size[0]}x{size[1]} pixels, {classes} classes, "
          f"{'made' if made else 'already there'}")
    if args.kind == VOC:
        show_bounds(Path(out))


def show_bounds(folder: Path) -> None:
    """Print what the coarseness of a stride allows on the labels of VOC's layout."""
    labels = [read_label(path) for path in sorted((folder / 'SegmentationClass').glob('val_*.png'))]
    for stride, needed in NEEDED.items() if labels else ():
        bound = upper_bound(labels, stride, len(CLASSES)).mean_iu
        short = '' if bound >= needed else f', less than {100 * needed:.0f}: draw larger digits'
        print(f'upper bound of mean IU at stride {stride:2}: {100 * bound:.1f}{short}')
