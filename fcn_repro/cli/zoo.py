"""Train small nets of FCN and of its successors on the same data, and put them side by side.

    fcn-repro zoo --list
    fcn-repro zoo
    fcn-repro zoo --family pspnet --family deeplab-v2 --seeds 3

Writes one table (zoo.md, zoo.json: parameters, multiply-adds, time, mean IU) and a picture of each
family. Finished runs are kept, and a stopped one is resumed.
"""

import argparse
import time
from pathlib import Path

from ..memory import keep_freed_memory
from ..paper.experiment import Setting
from ..paper.zoo import listing, run_zoo
from ..recipe.options import Options
from ..report.progress import human
from .arguments import add_experiments
from .remedies import HINTS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--list', action='store_true', help='the families and their nets')
    parser.add_argument('--family', action='append', default=[], metavar='NAME',
                        help='one of the families (default: all); may be repeated')
    parser.add_argument('--seeds', type=int, default=1, metavar='N', help='runs of each net '
                        '(default: %(default)s); the table has their mean and spread')
    add_experiments(parser, 'net', 'RUNS/zoo')


def run(args: argparse.Namespace) -> int | None:
    """130 where a signal stopped a run."""
    if args.list:
        print(listing())
        return None
    keep_freed_memory()
    start = time.perf_counter()
    options = Options(runs=args.runs, iterations=args.iterations, device=args.device,
                      keep=args.keep, workers=args.workers, pictures=4)
    outcome = run_zoo(args.family, Setting(
        options, mini=True, seeds=args.seeds, train=True,
        out=Path(args.out or Path(args.runs, 'zoo')), jobs=args.jobs, hints=HINTS))
    if outcome is None:
        return 130
    print(f'in {human(time.perf_counter() - start)}')
    return None
