"""Train the whole staged recipe with its controls, and print Table 2 of the paper in miniature.

Finished runs are kept; a stopped run is resumed.
"""

import argparse
import time

from ..memory import keep_freed_memory
from ..recipe.comparison import compare
from ..recipe.options import Options
from ..report.progress import human
from .arguments import add_max_pixels
from .remedies import HINTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--family', choices=('mini', 'voc', 'scratch'), default='mini',
                        help='the narrow nets, those of the release, or as wide ones that start '
                        'from random weights (default: %(default)s)')
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='runs of each row '
                        '(default: %(default)s); the table shows their mean and spread')
    parser.add_argument('--voc', metavar='DIR', help='folder laid out as VOC2011 is '
                        '(default: scenes of handwritten digits, made from a seed)')
    parser.add_argument('--sbd', metavar='DIR', help="SBD's dataset folder, to train on")
    parser.add_argument('--classes', type=int, metavar='N', help='with background')
    parser.add_argument('--mnist', metavar='DIR', help="MNIST's IDX files: scenes of these digits")
    parser.add_argument('--weights', metavar='FILE', help='what the stages without a parent start '
                        "from: a caffemodel or Caffe's HDF5; 'none': random weights")
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--iterations', type=int, metavar='N', help='instead of every max_iter')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: a GPU if there is one)')
    parser.add_argument('--keep', type=int, metavar='N', help='snapshots; older ones are removed')
    parser.add_argument('--pictures', type=int, default=6, metavar='N', help='pictures of the '
                        'val set to write (default: %(default)s)')
    add_max_pixels(parser)


def run(args: argparse.Namespace) -> int | None:
    """130 where a signal stopped a run."""
    keep_freed_memory()
    options, start = vars(args), time.perf_counter()
    if compare(options.pop('family'), seeds=options.pop('seeds'),
               options=Options(**options), hints=HINTS) is None:
        return 130
    print(f'in {human(time.perf_counter() - start)}')
    return None
