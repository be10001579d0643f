"""Compare this project with Caffe on every golden below the folders given, array by array.

    python tools/check_goldens.py tests/data/layers tests/data/solvers

One line for each case: the number of its arrays, the error that is largest in relation to its limit
(max|a - golden| / max|golden|), the limit, and the verdict. A case is recognised by the files that
stand together; a file that belongs to no case is listed as not supported.

A folder may have a file known_differences.json, {"case": "reason"} or {"case": {"reason": "...",
"arrays": ["outputs/*"]}}: these cases are checked and counted apart. Exit status 1 if a case
departs, is not supported, or agrees although it is listed as a known difference.
"""

import argparse
import os
import sys
import time

from fcn_repro.errors import tool
from fcn_repro.parity import (
    KINDS,
    Limits,
    check_folder,
    describe,
    find_cases,
    read_known,
    summarize,
)
from fcn_repro.parity.comparison import KNOWN, OK
from fcn_repro.parity.fixtures import KINDS as FIXTURES
from fcn_repro.parity.fixtures.full_width import OPENBLAS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('folders', nargs='+', metavar='FOLDER')
    parser.add_argument('--bad', action='store_true', help='list only the cases that fail')
    parser.add_argument('--known', metavar='FILE', help="known differences of one FOLDER (default: "
                        'its known_differences.json, if it has one)')


@tool
def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args()
    if args.known and len(args.folders) > 1:
        parser.error('--known is for one FOLDER')
    known = read_known(args.known) if args.known else None
    kinds, comparisons, start = (*KINDS, *FIXTURES), [], time.perf_counter()
    for folder in args.folders:
        width = max(len(case.name) for case in find_cases(folder, kinds))
        for comparison in check_folder(folder, Limits(), kinds, known):
            comparisons.append(comparison)
            if not args.bad or comparison.verdict not in (OK, KNOWN):
                print(describe(comparison, width), flush=True)
    text, passed = summarize(comparisons)
    print(f'{text}; {time.perf_counter() - start:.0f} s')
    sys.exit(not passed)


if __name__ == '__main__':
    if not OPENBLAS.keys() <= os.environ.keys():        # read when OpenBLAS is loaded: start anew
        os.execve(sys.executable, [sys.executable, *sys.argv], {**OPENBLAS, **os.environ})
    main()
