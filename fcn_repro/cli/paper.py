"""Print a table or figure of the paper, its numbers beside ours.

    fcn-repro paper --list
    fcn-repro paper table2 --voc data/pascal/VOC2011 --sbd data/sbdd/dataset
    fcn-repro paper all --mini

Rows are runs of `fcn-repro train`: those in --runs are scored and shown, and the others say what
they need; --train trains them. --mini is the same with narrow nets on generated data, where what is
missing is trained at once, less than an hour for all on two cores. --released DIR scores the
release's own weights beside them. Each experiment writes JSON and a picture into --out, and all of
a call one page. Finished runs are kept, and a stopped one is resumed.
"""

import argparse
import time
from pathlib import Path

from ..memory import keep_freed_memory
from ..paper.catalogue import ALL, EXPERIMENTS, listing, named, page_name, run_experiments
from ..paper.experiment import Setting
from ..recipe.options import FOLDERS, Options
from ..report.progress import human
from .arguments import add_experiments
from .remedies import HINTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('names', nargs='*', metavar='NAME',
                        help=f'{", ".join(EXPERIMENTS)}, or {ALL} (default: the list)')
    parser.add_argument('--list', action='store_true', help='every table and figure with what it '
                        'needs')
    parser.add_argument('--mini', action='store_true', help='narrow nets on generated data')
    parser.add_argument('--train', action=argparse.BooleanOptionalAction, help='train the runs '
                        'that are missing, or only show those that are there (default: --train '
                        'with --mini, else --no-train)')
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='runs of each row '
                        '(default: %(default)s); tables show their mean and spread')
    for name in FOLDERS:
        parser.add_argument(f'--{name}', metavar='DIR', help=f'folder of data, as of '
                            f'`fcn-repro train --{name}`')
    parser.add_argument('--weights', metavar='FILE', help='what the stages without a parent start '
                        "from: a caffemodel or Caffe's HDF5")
    parser.add_argument('--released', metavar='DIR', help="folder of the release's caffemodels "
                        '(fcn8s-heavy-pascal.caffemodel, …), to score them too')
    add_experiments(parser, 'run', 'RUNS/paper, RUNS/paper-mini')


def run(args: argparse.Namespace) -> int | None:
    """130 where a signal stopped a run, 1 where an experiment failed."""
    if args.list or not args.names:
        print(listing())
        return None
    keep_freed_memory()
    start = time.perf_counter()
    options = Options(**{name: getattr(args, name) for name in FOLDERS}, weights=args.weights,
                      runs=args.runs, iterations=args.iterations, device=args.device,
                      keep=args.keep, workers=args.workers, pictures=4)
    out = Path(args.out or Path(args.runs, 'paper-mini' if args.mini else 'paper'))
    train = args.mini if args.train is None else args.train
    released = args.released and Path(args.released)
    outcomes = run_experiments(args.names, Setting(
        options, args.mini, args.seeds, train, released, out, args.jobs, HINTS))
    if outcomes is None:
        return 130
    if any(row.needs for outcome in outcomes for table in outcome.tables for row in table.rows):
        print('where data sets and weights are from: fcn-repro data list')
    print(f'in {human(time.perf_counter() - start)}; page: {out / page_name(named(args.names))}')
    return 1 if any(outcome.failed for outcome in outcomes) else None
