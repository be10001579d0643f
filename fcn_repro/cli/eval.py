"""Score a net on a folder laid out as PASCAL VOC is: the four metrics, IU by class, time, memory,
pictures, a report; and label maps for VOC's server.

    fcn-repro eval --run runs/own-fcn16s --report
    fcn-repro eval --net deploy.prototxt --weights fcn8s.caffemodel --voc VOCdevkit/VOC2011

Without --run, --stage or --net it is the newest finished run of runs/, or the one that was trained
on the folder of --voc; the first line says which, and why.
"""

import argparse
import os
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..data.image import MEAN
from ..data.layer import DataLayer
from ..distributed import Processes
from ..errors import FcnError
from ..export import Exported
from ..formats.weights import format_rows, read_extra
from ..memory import keep_freed_memory
from ..net.bn_statistics import check_weights_folded
from ..net.net import Net
from ..net.placement import check_precision, pick_device, place
from ..predict.crf import Grid, Scores, option_of, search
from ..predict.evaluation import evaluate_and_report, how_many
from ..predict.heads import find_heads
from ..predict.labels import val_file
from ..predict.outputs import find_output
from ..predict.sources import GivenSource, given_voc, val_sources
from ..proto import TEST
from ..pycaffe.mode import set_user_code
from ..pycaffe.userlayer import UserNet, search_here
from ..recipe.checks import check_options
from ..recipe.optimisations import Optimisations
from ..recipe.options import FOLDERS, Options
from ..recipe.run_facts import facts_of_run, facts_of_weights
from ..recipe.runs import Run
from ..report.html import FILE as REPORT
from ..report.html import check_report, write_report
from .arguments import (
    add_crf,
    add_dialect,
    add_max_pixels,
    add_optimisations,
    add_precision,
    add_published,
    add_user_code,
    add_workers,
    add_writes,
    crf_of_args,
    dialect_of_args,
    finite,
    grid_of_args,
    processes_of_command,
    say_dialect,
)
from .views import add_views, views_of
from .which_run import add_run_options, check_named, results_of, run_meant

SHOWN = 10                      # settings of a search
MOST_SEARCHED = 100             # images of one by default, as in DeepLab's papers
SEVERAL_PROCESSES = True        # torchrun may start it several times, to work together


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_run_options(parser, 'a val prototxt with a VOC data layer, or a deploy prototxt with --voc')
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
    parser.add_argument('--out', metavar='DIR', help='default: eval in the folder of the run, '
                        'or runs/eval/WEIGHTS for a net or weights of your own; with options of '
                        'views eval-views, or runs/eval/WEIGHTS-views')
    parser.add_argument('--device')
    parser.add_argument('--verbose', action='store_true', help='list every layer that takes '
                        'weights, not only those that are not simply copied')
    add_crf(parser, search=True)
    add_max_pixels(parser)
    add_dialect(parser)
    add_writes(parser)
    add_user_code(parser)
    add_workers(parser)
    add_precision(parser)
    add_optimisations(parser)
    add_views(parser)


def run(args: argparse.Namespace) -> None:
    keep_freed_memory()
    search_here()
    set_user_code(not args.no_user_code)
    with processes_of_command() as processes:
        score(args, processes)


def score(args: argparse.Namespace, processes: Processes) -> None:
    """Score the net, each process its share of the images."""
    if not args.crf_search and args.crf_rounds is not None:
        raise FcnError('--crf-rounds is for a search', do='Give --crf-search, or leave it out.')
    crf, grid = (None, grid_of_args(args)) if args.crf_search else (crf_of_args(args), None)
    device = pick_device(args.device or processes.device())
    check_precision(args.precision, device)
    optimisations = Optimisations(args.no_opt)
    options = Options(**{name: getattr(args, name) for name in FOLDERS}, runs=args.runs,
                      pictures=args.pictures)
    source = choose(args, options)
    net = UserNet.read(source.net, TEST, passes=optimisations.passes, weights=source.weights,
                       overrides=options.in_order(args.split, bool(args.submit)),
                       writes=args.writes, **dialect_of_args(args))
    say_dialect(source.net, net.graph.dialect, net.found)
    data = given_data(net, args, source.weights)
    weights = source.weights
    print(f'{source.net} with {weights}')
    check_weights_folded(net, weights)
    print(format_rows(net.copy_from(weights), args.verbose))
    place(net, device, workers=args.workers, precision=args.precision, **optimisations.placed)
    if grid is not None:
        source_of = val_sources(net, find_heads(net, args.output, args.threshold))[0] \
            if data is None else GivenSource(net, find_output(net, args.output, args.threshold),
                                             data, net.options.workers)
        print_search(source_of, args, grid)
        return
    views = views_of(args)
    out = Path(args.out or (source.out if views.plain else
                            source.out.with_name(f'{source.out.name}-views')))
    report = args.report if args.report != '' else \
        (out if args.out or source.run is None or not views.plain else source.run.folder) / REPORT
    if report is not None:
        check_report(report)
    scored = evaluate_and_report(net, out, args.pictures, args.images, args.rule, args.output,
                                args.threshold, processes, data=data, submit=args.submit,
                                weights=weights, provenance=read_extra(weights), crf=crf,
                                views=views)
    if scored is None:
        print('the split has no labels: no score')
    elif report is not None and processes.first:
        write_report(report, scored, facts_of_weights(weights) if source.run is None else
                     facts_of_run(source.run, Path(weights)))
        print(f'report: {report}')


def print_search(source: Scores, args: argparse.Namespace, grid: Grid) -> None:
    """Search for the settings of a CRF; print the best ones, and the options that set them."""
    count = how_many(MOST_SEARCHED if args.images is None else args.images, source.data)
    rounds = 2 if args.crf_rounds is None else args.crf_rounds
    found = search(source, count, grid, rounds, args.rule)
    ranked = sorted(found.tried.items(), key=lambda each: -each[1])
    print(f'{len(ranked)} settings of a dense CRF on {count} images, rule of the {args.rule}: '
          f'mean IU {100 * found.without:.2f} without it')
    for crf, iu in ranked[:SHOWN]:
        print(f'  {100 * iu:.2f}  {crf.words}')
    options = ' '.join(f'--{option_of(name)} {value:g}' for name, value in
                       found.best.settings.items())
    print(f'the best: --crf {options}')
    print('they were chosen on these images: score them on others')


class Source(NamedTuple):
    """What is scored: a net, its weights, and where the results go by default. run: the run whose
    newest weights these are; None for a net or weights of the user's own."""
    net: Path
    weights: Path
    out: Path
    run: Run | None


def choose(args: argparse.Namespace, options: Options) -> Source:
    """What the options mean; prints which run it is, and why, where none is named."""
    check_named(args)
    if args.net and not args.stage:
        return Source(Path(args.net), Path(args.weights),
                      results_of('eval', args.weights, args.runs), None)
    run = Run(args.stage, options) if args.stage else run_of_data(args, options)
    if not (args.net or os.path.exists(run.prototxt)):
        check_options(run)      # refuses an unknown stage
    net = Path(args.net or val_file(run.prototxt))
    if args.net or args.weights:
        weights = Path(args.weights or run.newest_weights())
        return Source(net, weights, results_of('eval', weights, args.runs), None)
    return Source(net, run.newest_weights(), run.folder / 'eval', run)


def run_of_data(args: argparse.Namespace, options: Options) -> Run:
    """The run that is named; or, where none is, the newest finished one, of those that were trained
    on the folder of --voc where there are any."""
    for name in 'mnist', 'm2nist':
        if getattr(args, name) and not args.run:
            raise FcnError(f'--{name} is the data of a run, and no run is named',
                           do='Give --stage, or --run.')
    given = (getattr(args, name) for name in FOLDERS if name not in ('sbd', 'mnist', 'm2nist'))
    found = run_meant(args, [Path(folder) for folder in given if folder])
    if not (found.finished or args.weights):
        print(f'warning: {found.folder} is at iteration {found.iteration} of {found.length}')
    return Run(found.stage_name, replace(options, out=str(found.folder)))


def given_data(net: Net, args: argparse.Namespace, weights: Path) -> DataLayer | None:
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
    return given_voc(args.voc, args.split, args.sbd,
                     args.mean or Exported.of(weights).mean or MEAN,
                     find_output(net, args.output, args.threshold).classes, bool(args.submit))
