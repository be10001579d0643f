"""Train the whole staged recipe with its controls, and print Table 2 of the paper in miniature.

Runs that are there already are kept, one that was stopped is gone on with.
"""

import argparse
import sys
import time

from fcn_repro.cli.remedies import HINTS
from fcn_repro.errors import tool
from fcn_repro.memory import keep_freed_memory
from fcn_repro.recipe.comparison import compare
from fcn_repro.recipe.options import Options
from fcn_repro.report.progress import human


@tool
def main():
    keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__)
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
    parser.add_argument('--runs', metavar='DIR', default='runs', help='where the runs of all '
                        'stages lie (default: %(default)s)')
    parser.add_argument('--iterations', type=int, metavar='N', help='instead of every max_iter')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, … (default: a GPU if there is one)')
    parser.add_argument('--keep', type=int, metavar='N', help='snapshots; older ones are removed')
    parser.add_argument('--pictures', type=int, default=6, metavar='N')
    options = vars(parser.parse_args())
    start = time.perf_counter()
    if compare(options.pop('family'), seeds=options.pop('seeds'),
               options=Options(**options), hints=HINTS) is None:
        sys.exit(130)
    print(f'in {human(time.perf_counter() - start)}')


if __name__ == '__main__':
    main()
