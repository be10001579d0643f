"""Compare this project with Caffe on every golden below the folders given, array by array.

    fcn-repro check-goldens tests/data/layers tests/data/solvers

One line per case: its number of arrays, the error that is largest relative to its limit
(max|a - golden| / max|golden|), the limit, and the verdict. A case is recognised by the set of
files that it consists of; a file that belongs to no case is listed as not supported. The exit
status is 1 if a case departs or is not supported.
"""

import argparse
import os
import sys
import time
from collections import Counter

from ..parity.case import DEPARTS, OK, UNSUPPORTED, Case, Limits
from ..parity.folder import check_folder, find_cases
from ..parity.full import OPENBLAS

SHOWN = 400         # characters of a remark


def prepare_process() -> None:
    """Start the process anew with the kernels of OpenBLAS that the goldens were made with, which it
    chooses when it is loaded."""
    if not OPENBLAS.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**OPENBLAS, **os.environ})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', metavar='FOLDER')
    parser.add_argument('--bad', action='store_true', help='list only what departs or is not '
                        'supported')


def run(args: argparse.Namespace) -> int | None:
    """1 where a case departs or is not supported."""
    limits, start = Limits(), time.perf_counter()
    counts: Counter[str] = Counter()
    for folder in args.folders:
        width = max(len(name) for name, _ in find_cases(folder))
        for case in check_folder(folder, limits):
            counts[case.verdict] += 1
            counts['arrays'] += len(case.gaps)
            if case.verdict != OK or not args.bad:
                print(line(case, width), flush=True)
    cases = sum(counts[verdict] for verdict in (OK, DEPARTS, UNSUPPORTED))
    print(f'{cases} cases, {counts["arrays"]} arrays: {counts[OK]} ok, {counts[DEPARTS]} depart, '
          f'{counts[UNSUPPORTED]} not supported; {time.perf_counter() - start:.0f} s')
    return 1 if counts[OK] != cases else None


def line(case: Case, width: int) -> str:
    """A row of the table: name, number of arrays, largest error and its limit, verdict, remark."""
    if case.verdict == UNSUPPORTED:
        why = case.refused or 'the golden holds nothing to compare'
        return f'{case.name:{width}} {"":29}  {UNSUPPORTED}: {short(why)}'
    worst = case.worst
    text = (f'{case.name:{width}} {len(case.gaps):5} arrays {worst.error:8.1e} {worst.limit:7.0e}'
            f'  {case.verdict}')
    if case.verdict == OK:
        return text
    bad = [gap for gap in case.gaps if gap.departs]
    more = f' and {len(bad) - 1} more' if len(bad) > 1 else ''
    return f'{text}: {short(" ".join(filter(None, (worst.what, worst.note))))}{more}'


def short(text: str) -> str:
    """The text on one line, cut to SHOWN characters."""
    text = ' '.join(text.split())
    return text if len(text) <= SHOWN else text[:SHOWN - 3] + '...'
