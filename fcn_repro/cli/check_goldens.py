"""Compare this project with Caffe on every golden below the folders given, array by array.

    fcn-repro check-goldens tests/data/layers tests/data/solvers

One line per case: its number of arrays, the error that is largest relative to its limit
(max|a - golden| / max|golden|), the limit, and the verdict. A case is recognised by the set of
files that it consists of; a file that belongs to no case is listed as not supported.

--device and --precision place the nets and solvers of the goldens; files, texts and Caffe's own
arithmetic stay on the CPU. Precisions other than fp32 have wider limits (docs/numerics.md).

A folder may have a file known_differences.json, {"case": "reason"} or {"case": {"reason": "...",
"arrays": ["outputs/*"]}}: these cases are checked and counted apart. {"outputs/*": 1e-4} in place
of the list names the largest error that is excused, of arrays that differ by rounding and so on
some machines alone; {"reason": "...", "unread": true} lists a file that belongs to no case. The
exit status is 1 if a case departs, is not supported, or agrees although it is listed as a known
difference for another reason than rounding.
"""

import argparse
import os
import sys
import time

from ..errors import FcnError
from ..parity import (
    KINDS,
    LIMITS,
    Placement,
    check_folder,
    describe,
    find_cases,
    read_known,
    summarize,
)
from ..parity.comparison import KNOWN, OK
from ..parity.fixtures import KINDS as FIXTURES
from ..parity.fixtures.full_width import OPENBLAS
from .arguments import add_placement


def prepare_process() -> None:
    """Re-exec the process with the OpenBLAS kernels that the goldens were made with: OpenBLAS picks
    its kernels when it is loaded."""
    if not OPENBLAS.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**OPENBLAS, **os.environ})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', metavar='FOLDER')
    parser.add_argument('--bad', action='store_true', help='list only the cases that fail')
    parser.add_argument('--known', metavar='FILE', help='known differences of one FOLDER (default: '
                        'its known_differences.json, if it has one)')
    add_placement(parser)


def run(args: argparse.Namespace) -> int | None:
    """1 where a case fails."""
    if args.known and len(args.folders) > 1:
        raise FcnError(f'--known is for one folder, {len(args.folders)} are given',
                       do='Give one FOLDER.')
    where = Placement(args.device, args.precision)
    where.check()
    known = read_known(args.known) if args.known else None
    kinds, comparisons, start = (*KINDS, *FIXTURES), [], time.perf_counter()
    for folder in args.folders:
        width = max(len(case.name) for case in find_cases(folder, kinds))
        for comparison in check_folder(folder, LIMITS[where.precision], kinds, known, where):
            comparisons.append(comparison)
            if not args.bad or comparison.verdict not in (OK, KNOWN):
                print(describe(comparison, width), flush=True)
    text, passed = summarize(comparisons)
    print(f'{text}; {time.perf_counter() - start:.0f} s')
    return None if passed else 1
