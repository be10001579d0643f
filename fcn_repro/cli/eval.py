"""Score a net on a folder laid out as PASCAL VOC is: the four metrics, IU by class, pictures."""

import argparse
import os
from pathlib import Path

from ..distributed import Processes
from ..formats.weights import format_rows
from ..memory import keep_freed_memory
from ..net.placement import check_precision, pick_device, place
from ..predict.evaluation import evaluate_and_report
from ..proto import TEST
from ..pycaffe.mode import set_user_code
from ..pycaffe.userlayer import UserNet, search_here
from ..recipe.optimisations import Optimisations
from ..recipe.options import Options
from ..recipe.runs import Run
from .arguments import (
    add_max_pixels,
    add_optimisations,
    add_precision,
    add_user_code,
    add_workers,
    add_writes,
    finite,
    processes_of_command,
)

SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--net', metavar='FILE', help='a val prototxt with a VOC data layer '
                        '(default: val.prototxt of --stage)')
    parser.add_argument('--stage', default='mini-fcn32s', help='net and weights of this stage')
    parser.add_argument('--runs', metavar='DIR', default='runs', help='folder of all runs '
                        '(default: %(default)s)')
    parser.add_argument('--weights', metavar='FILE', help='default: the newest of runs/STAGE')
    parser.add_argument('--voc', metavar='DIR', help='default: the one that the net names')
    parser.add_argument('--sbd', metavar='DIR', help='to compute the split seg11valid')
    parser.add_argument('--mnist', metavar='DIR', help='the run, and the scenes, that --mnist of '
                        'train made')
    parser.add_argument('--m2nist', metavar='DIR', help='the run, and the scenes, that --m2nist of '
                        'train took')
    parser.add_argument('--split', help='default: the one that the net names')
    parser.add_argument('--rule', choices=('paper', 'release'), default='paper',
                        help='paper: classes absent from the ground truth are left out; release: '
                        'IU 0 if predicted (default: %(default)s)')
    parser.add_argument('--output', metavar='BLOB', help="the blob to score (default: 'score', or "
                        'the only output)')
    parser.add_argument('--threshold', type=finite, metavar='T', help='of a one-channel output: '
                        'the object is where it is above (default: 0.5 after a Sigmoid)')
    parser.add_argument('--images', type=int, metavar='N', help='only the first N')
    parser.add_argument('--pictures', type=int, default=8, metavar='N', help='images to draw with '
                        'ground truth and prediction (default: %(default)s)')
    parser.add_argument('--out', metavar='DIR', help='default: runs/STAGE/eval, or '
                        'runs/eval/WEIGHTS for a net or weights of your own')
    parser.add_argument('--device')
    parser.add_argument('--verbose', action='store_true', help='list every layer that takes '
                        'weights, not only those that are not simply copied')
    add_max_pixels(parser)
    add_writes(parser)
    add_user_code(parser)
    add_workers(parser)
    add_precision(parser)
    add_optimisations(parser)


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    search_here()
    set_user_code(not args.no_user_code)
    with processes_of_command() as processes:
        score(args, processes)


def score(args: argparse.Namespace, processes: Processes) -> None:
    """Score the net, each process its share of the images."""
    device = pick_device(args.device or processes.device())
    check_precision(args.precision, device)
    optimisations = Optimisations(args.no_opt)
    options = Options(voc=args.voc, sbd=args.sbd, mnist=args.mnist, m2nist=args.m2nist,
                      runs=args.runs, pictures=args.pictures)
    run = Run(args.stage, options)
    if not (args.net or os.path.exists(run.prototxt)):
        run.check()             # refuses an unknown stage
    net_file = args.net or run.prototxt / 'val.prototxt'
    net = UserNet.read(net_file, TEST, passes=optimisations.passes,
                       overrides=options.in_order(args.split), writes=args.writes)
    weights = args.weights or run.newest_weights()
    print(f'{net_file} with {weights}')
    print(format_rows(net.copy_from(weights), args.verbose))
    place(net, device, workers=args.workers, precision=args.precision, **optimisations.placed)
    own = Path('runs', 'eval', Path(weights).stem) if args.net or args.weights else \
        run.folder / 'eval'
    evaluate_and_report(net, args.out or own, args.pictures, args.images, args.rule,
                        args.output, args.threshold, processes)
