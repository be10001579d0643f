"""Make scribbles of the masks of train, a stroke along the middle of each connected region, to try
learning from scribbles and measure it; the masks of val stay whole. With the folder that this
writes:

    fcn-repro train own-scribbles --voc OUT         # softmax loss on the strokes, Gated CRF loss
    fcn-repro train own --voc OUT                   # softmax loss on the strokes alone
"""

import argparse
import shlex

from ..data.scribbles import WIDTH, scribble_folder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folder', metavar='DIR', help="in VOC's layout")
    parser.add_argument('--out', required=True, metavar='DIR', help='folder to make')
    parser.add_argument('--width', type=int, default=WIDTH, metavar='N', help='of a stroke, in '
                        'pixels (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, metavar='N', help='of the strokes '
                        '(default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    made = scribble_folder(args.folder, args.out, args.width, args.seed)
    print(f'{made.folder}: {made.images["train"]} train images with {made.strokes} strokes on '
          f'{100 * made.labelled:.1f} % of their pixels; {made.images["val"]} val images with '
          'whole masks')
    print('next: ' + shlex.join(('fcn-repro', 'train', 'own-scribbles', '--voc', args.out)))
    return 0
