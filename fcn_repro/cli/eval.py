"""Score a net on a folder laid out as PASCAL VOC is: the four metrics, IU by class, time, memory,
pictures, a report; and label maps for VOC's server."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from ..data.image import MEAN
from ..data.layer import DataLayer
from ..distributed import Processes
from ..errors import FcnError
from ..formats.weights import format_rows, read_extra
from ..memory import keep_freed_memory
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from ..predict.evaluation import evaluate_and_report
from ..predict.labels import val_file
from ..predict.outputs import find_output
from ..predict.sources import given_voc
from ..proto import TEST
from ..pycaffe.mode import set_user_code
from ..pycaffe.userlayer import UserNet, search_here
from ..recipe.finished import opened
from ..recipe.optimisations import Optimisations
from ..recipe.options import FOLDERS, Options
from ..recipe.run_facts import facts_of_run, facts_of_weights
from ..recipe.runs import Run
from ..report.html import FILE as REPORT
from ..report.html import check_report, write_report
from .arguments import (
    add_max_pixels,
    add_optimisations,
    add_precision,
    add_published,
    add_user_code,
    add_workers,
    add_writes,
    finite,
    processes_of_command,
)

SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--net', metavar='FILE', help='a val prototxt with a VOC data layer, or a '
                        'deploy prototxt with --voc (default: val.prototxt of --stage)')
    parser.add_argument('--run', metavar='DIR', help='a run: its folder, or its name in --runs')
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
    add_published(parser)
    parser.add_argument('--split', help='default: the one that the net names; of a deploy net '
                        'seg11valid if the folder has it or --sbd is given, else val')
    parser.add_argument('--mean', type=finite, nargs=3, metavar=('B', 'G', 'R'), help='of a deploy '
                        "net's input (default: VGG16's, {} {} {})".format(*MEAN))
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
    parser.add_argument('--report', metavar='FILE', nargs='?', const='', help='write a report, one '
                        'HTML file (default name: report.html in the folder of the run, or in '
                        '--out)')
    parser.add_argument('--submit', metavar='FILE', help="write the archive for VOC's server, a "
                        '.tgz; splits without labels, such as test, are taken too')
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
    options = Options(**{name: getattr(args, name) for name in FOLDERS}, runs=args.runs,
                      pictures=args.pictures)
    run = Run(args.stage, options)
    if args.run:
        found = opened(args.run, args.runs)
        run = Run(found.stage_name, replace(options, out=str(found.folder)))
    if not (args.net or os.path.exists(run.prototxt)):
        run.check()             # refuses an unknown stage
    net_file = args.net or val_file(run.prototxt)
    net = UserNet.read(net_file, TEST, passes=optimisations.passes,
                       overrides=options.in_order(args.split, bool(args.submit)),
                       writes=args.writes)
    data = given_data(net, args)
    weights = args.weights or run.newest_weights()
    print(f'{net_file} with {weights}')
    print(format_rows(net.copy_from(weights), args.verbose))
    place(net, device, workers=args.workers, precision=args.precision, **optimisations.placed)
    others = bool(args.net or args.weights)
    own = Path('runs', 'eval', Path(weights).stem) if others else run.folder / 'eval'
    out = Path(args.out or own)
    report = args.report if args.report != '' else \
        (out if others or args.out else run.folder) / REPORT
    if report is not None:
        check_report(report)
    scored = evaluate_and_report(net, out, args.pictures, args.images, args.rule, args.output,
                                args.threshold, processes, data=data, submit=args.submit,
                                weights=weights, provenance=read_extra(weights))
    if scored is None:
        print('the split has no labels: no score')
    elif report is not None and processes.first:
        write_report(report, scored, facts_of_weights(weights) if others else
                     facts_of_run(run, Path(weights)))
        print(f'report: {report}')


def given_data(net: Net, args: argparse.Namespace) -> DataLayer | None:
    """The data that a deploy net is given; None for a net that reads its own. FcnError without
    --voc."""
    if not net.graph.inputs:
        if args.mean is not None:
            raise FcnError('this net reads its data with the mean pixel that it names',
                           file=str(net.graph.file), code='mean-unused', do='Leave out mean.')
        return None
    if args.voc is None:
        raise FcnError('the net has no Python data layer, and no data are given',
                       file=str(net.graph.file), code='no-data',
                       do='Give a val net; or, for a deploy net, a folder in the layout of VOC.')
    return given_voc(args.voc, args.split, args.sbd, args.mean or MEAN,
                     find_output(net, args.output, args.threshold).classes, bool(args.submit))
